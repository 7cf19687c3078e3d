"""Tools: Python functions that a model calls in its turns, and whose results it reads.

functions -> Toolbox (schemas, calls with limits) -> ToolUser, who answers the policy's turns
                 CallFormat (how a call is written) ----^
"""

from tfalign.tools.formats import FORMATS, BadCall, Call, CallFormat, format_of
from tfalign.tools.schemas import schema_of
from tfalign.tools.toolbox import Result, Toolbox
from tfalign.tools.user import ToolUser, result_message

__all__ = [
    "FORMATS",
    "BadCall",
    "Call",
    "CallFormat",
    "Result",
    "ToolUser",
    "Toolbox",
    "format_of",
    "result_message",
    "schema_of",
]

"""Tools: Python functions that a model calls in its turns, and whose results it reads.

functions -> Toolbox (schemas, calls with limits) -> ToolUser, who answers the policy's turns
                 CallFormat (how a call is written) ----^

What answers a policy's turns is imported when it is first asked for: how calls are written needs no Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfalign.lazy import lazily
from tfalign.tools.formats import FORMATS, BadCall, Call, CallFormat, format_of
from tfalign.tools.grammar import call_pattern, turn_pattern
from tfalign.tools.schemas import schema_of
from tfalign.tools.toolbox import Result, Toolbox

if TYPE_CHECKING:
    from tfalign.tools.user import ToolUser, result_message

__all__ = [
    "FORMATS",
    "BadCall",
    "Call",
    "CallFormat",
    "Result",
    "ToolUser",
    "Toolbox",
    "call_pattern",
    "format_of",
    "result_message",
    "schema_of",
    "turn_pattern",
]


__getattr__ = lazily(__name__, {"ToolUser": "user", "result_message": "user"})

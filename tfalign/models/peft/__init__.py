"""Adapters in and out, as the ``peft`` library keeps them: adapter_config.json and
adapter_model.safetensors.

GPT-2's query, key and value are one module there. Its adapter is read as three that share A; three that
do not are written as one of three times the rank.

What else is trained is written beside them: a head, a norm or a table, whole. A table that is tied is
written so that ``peft`` keeps it tied; one in "modules_to_save" is one of its own to ``peft``, and the
LM head stays what it was, so that the model it is read into is tied no longer.
"""

from tfalign.models.peft.reading import load_adapters
from tfalign.models.peft.writing import save_adapters

__all__ = ["load_adapters", "save_adapters"]

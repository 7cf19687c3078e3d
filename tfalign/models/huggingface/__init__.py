"""Hugging Face directories in and out: config.json and safetensors to a model and back.

``tables`` says in which terms a family of models is described, and one module a family describes it:
``gpt2``, ``llama``, ``bert``, ``own``. ``registry`` knows them by name; ``configuration``, ``shapes``
and ``tensors`` check a directory before anything is built; ``reading`` and ``writing`` do the rest.
"""

from tfalign.models.huggingface.binding import named_layers
from tfalign.models.huggingface.reading import from_pretrained, read_config
from tfalign.models.huggingface.registry import register
from tfalign.models.huggingface.tables import (
    JOINED,
    REQUIRED,
    SAME,
    TRANSPOSED,
    Architecture,
    Dropped,
    Family,
    Field,
    Row,
    Transform,
)
from tfalign.models.huggingface.writing import PretrainedModel, save_pretrained

__all__ = [
    "Architecture",
    "Dropped",
    "Family",
    "Field",
    "JOINED",
    "PretrainedModel",
    "REQUIRED",
    "Row",
    "SAME",
    "TRANSPOSED",
    "Transform",
    "from_pretrained",
    "named_layers",
    "read_config",
    "register",
    "save_pretrained",
]

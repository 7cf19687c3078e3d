"""Reading a model from a Hugging Face directory."""

from __future__ import annotations

import os

import keras

from tfalign import backend
from tfalign.files import AnyPath, as_path, local_copy
from tfalign.layers.initializers import weights_to_be_loaded
from tfalign.models.config import ModelConfig
from tfalign.models.huggingface.binding import (
    attribute,
    bound,
    check_header,
    check_shape,
    held_name,
)
from tfalign.models.huggingface.configuration import CONFIG, Origin, describe
from tfalign.models.huggingface.json_files import read_object
from tfalign.models.huggingface.leftovers import check_leftovers
from tfalign.models.huggingface.registry import trunk_of
from tfalign.models.huggingface.tensors import list_tensors, read_into

GENERATION = "generation_config.json"
_KERAS_HUB = "task.json"  # what a KerasHub preset of a language model has
_ADAPTERS = "adapter_config.json"
_RATES = ("dropout", "attention_dropout", "embedding_dropout")


def from_pretrained(
    directory: str | os.PathLike,
    dtype: str | keras.DTypePolicy | None = None,
    dropout: float | None = None,
) -> keras.Model:
    """The model of a Hugging Face directory: config.json and model.safetensors, whole or in shards;
    or of a KerasHub preset (see ``models.keras_hub``; ``dropout`` stays as it is there).

    Configuration and files' headers are checked before anything is built, all else before the first
    weight is set. Tensors are read in pieces of a few megabytes, so that memory holds the model once.

    Args:
        directory: as ``transformers`` and ``save_pretrained`` write it.
        dtype: dtype policy of the model, "mixed_bfloat16" for instance; Keras' default where None.
        dropout: rate instead of those in config.json; reinforcement learning wants 0.

    Returns:
        The model that ``architectures`` in config.json names: a CausalLM, BERT, MaskedLM, ...

    Raises:
        ValueError: if the architecture or a setting is not supported, a key of config.json would change
            what is computed and is not used, a file is absent or damaged, or a tensor is
            missing, unknown, of another shape or not finite.
    """
    directory = as_path(directory)
    if _is_keras_hub_preset(directory):
        return _keras_hub_model(directory, dtype)
    if (directory / _ADAPTERS).exists():
        raise ValueError(
            f"{directory} holds adapters, which transformers would add to its model, or to one elsewhere:"
            f" move {_ADAPTERS} into a folder of its own, and use models.peft.load_adapters."
        )
    architecture, config, head, entries = describe(directory)
    generation = _generation(directory)
    if dropout is not None:
        config = config.replace(**_rates(config, dropout))
        head |= {"dropout": dropout} if "dropout" in head else {}
    tensors = list_tensors(directory)
    config = architecture.adapt(config, tensors)
    check_header(directory, architecture, config, head, tensors)
    try:
        with weights_to_be_loaded():
            model = architecture.model_class(config, dtype=dtype, **head)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{directory / CONFIG}: {error}") from error
    trunk = trunk_of(model)
    trunk.model_type = architecture.family.model_type
    trunk.origin = Origin(architecture.name, entries, generation)
    _fill(architecture, model, tensors, directory)
    return model


def read_config(directory: str | os.PathLike) -> ModelConfig:
    """The configuration of a Hugging Face directory, of which config.json is enough.

    Returns:
        GPTConfig or BERTConfig.

    Raises:
        ValueError: as ``from_pretrained``.
    """
    return describe(as_path(directory)).config


def _rates(config, dropout):
    """Changes of a configuration that make every rate ``dropout``."""
    changes = {name: None for name in _RATES if hasattr(config, name)}
    return changes | {"dropout": dropout}


def _generation(directory: AnyPath):
    file = directory / GENERATION
    return read_object(file) if file.exists() else None


def _is_keras_hub_preset(directory: AnyPath):
    if not (directory / _KERAS_HUB).is_file():
        return False
    file = directory / CONFIG  # both kinds have one; a model may be saved over a preset
    return not (file.is_file() and "architectures" in read_object(file))


def _keras_hub_model(directory, dtype):
    from tfalign.models.keras_hub import KerasHubCausalLM

    with local_copy(directory) as folder:
        return KerasHubCausalLM.from_preset(folder, dtype)


def _fill(architecture, model, tensors, directory):
    """Sets all weights, after names, shapes and dtypes of all tensors were checked."""
    located, absent, known = [], [], {}
    for row, owner, variables, names in bound(architecture, model):
        name = held_name(row, names, tensors, directory)
        if name is None:
            absent += [(owner, path.rpartition(".")) for path in row.paths]
            continue
        known[names[0]] = name
        shapes = [tuple(variable.shape) for variable in variables]
        check_shape(directory, tensors[name], row.transform.file_shape(shapes))
        located.append((row, variables, tensors[name]))
    complete = architecture.family.complete(model.config)
    check_leftovers(directory, architecture, complete, tensors, known)
    failure = None
    try:
        for row, variables, held in located:
            read_into(variables, row.transform, held)
    except (ValueError, OSError) as error:
        failure = error
    if any(
        backend.gather_from_processes(int(failure is not None))
    ):  # of sharded weights each reads others
        raise failure or ValueError(f"{directory}: another process could not read its part.")
    for owner, (path, _, weight) in absent:
        layer = attribute(owner, path)
        variable = getattr(layer, weight)
        variable.assign(getattr(layer, f"{weight}_initializer")(variable.shape, variable.dtype))

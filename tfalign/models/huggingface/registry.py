"""Registry of architectures.

Those of tfalign stand in the modules named here, which are imported when the first directory is read
or written: what a directory loads as does not depend on what was imported before. A higher floor is
named like the others, and not imported from here.
"""

from __future__ import annotations

import functools
import importlib

import keras

from tfalign.models.huggingface.tables import Architecture

_MODULES = (
    "tfalign.models.huggingface.decoders",
    "tfalign.models.huggingface.own",
    "tfalign.models.huggingface.bert",
    "tfalign.rewards.architectures",
)
_registered: list[Architecture] = []


def register(architecture: Architecture) -> None:
    """Registers an architecture of your own for ``from_pretrained`` and ``save_pretrained``."""
    _registered.append(architecture)


def architectures() -> tuple[Architecture, ...]:
    """All of them; of equal names the last one that applies is meant."""
    return (*_of_tfalign(), *_registered)


@functools.cache
def _of_tfalign():
    modules = [importlib.import_module(name) for name in _MODULES]
    return tuple(one for module in modules for one in module.ARCHITECTURES)


def named(entries: dict) -> Architecture:
    """The architecture that the entries of a config.json name.

    Raises:
        ValueError: if it is none of those there are, or "model_type" says something else.
    """
    names = entries.get("architectures")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        names = [] if names is None else names
        raise ValueError(f"architectures must be a list with one name. {_known(names)}")
    if len(set(names)) != 1:
        raise ValueError(f"architectures must hold one name. {_known(names)}")
    for architecture in reversed(architectures()):
        if architecture.name == names[0] and architecture.applies(entries):
            _check_model_type(entries, architecture)
            return architecture
    raise ValueError(_known(names))


def _known(names):
    known = dict.fromkeys(architecture.name for architecture in architectures())
    return f"The supported architectures are {', '.join(known)}. Received: architectures={names}"


def _check_model_type(entries, architecture):
    kind = entries.get("model_type", architecture.family.model_type)
    if kind != architecture.family.model_type:
        raise ValueError(
            f"model_type contradicts architectures: a {architecture.name} is of"
            f" {architecture.family.model_type!r}. Received: model_type={kind!r}"
        )


def fitting(model: keras.Model) -> Architecture:
    """The first architecture of the model's class that can express its configuration; those of the
    kind its backbone was loaded from come first.

    Raises:
        ValueError: if there is none.
    """
    if getattr(model, "takes_condition", False):
        raise ValueError(
            f"A {type(model).__name__} that takes conditions cannot be written as a Hugging Face directory, which has "
            "no place for its prefix encoder"
        )
    candidates = [a for a in architectures() if a.model_class is type(model)]
    loaded_from = getattr(trunk_of(model), "model_type", None)
    candidates.sort(key=lambda a: a.family.model_type != loaded_from)
    reasons = []
    for architecture in candidates:
        misfit = _misfit(architecture.family, model.config)
        if misfit is None:
            return architecture
        reasons.append(f"{architecture.name} cannot have {misfit}")
    raise ValueError(
        f"A {type(model).__name__} cannot be written as a Hugging Face directory: "
        + ("; ".join(reasons) or "no architecture of that class is registered")
    )


def trunk_of(model: keras.Model) -> keras.Model:
    """What the family's rows start from: ``backbone``, or the model itself."""
    return getattr(model, "backbone", model)


def _misfit(family, config):
    """The first setting the family cannot express, or None."""
    if not isinstance(config, family.config_class):
        return f"a {type(config).__name__}"
    config = family.complete(config)
    for name, value in family.fixed.items():
        if getattr(config, name) != (value(config) if callable(value) else value):
            return f"{name}={getattr(config, name)!r}"
    for field in family.fields:
        value = getattr(config, field.ours)
        if field.names is not None and value not in field.names.values():
            return f"{field.ours}={value!r}"
    return None

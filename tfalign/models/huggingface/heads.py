"""Heads over a decoder's backbone, and what config.json says of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfalign.models.gpt import GPT
from tfalign.models.gpt_config import GPTConfig
from tfalign.models.huggingface.kinds import COUNT, OBJECT, is_number, shortened
from tfalign.models.huggingface.shapes import classifier_shapes
from tfalign.models.huggingface.tables import (
    TRANSPOSED,
    Architecture,
    Family,
    Row,
    linear,
    optional,
)
from tfalign.models.huggingface.tensors import Held, are_equal
from tfalign.models.tasks import CausalLM, SequenceClassifier

LABELS = ("id2label", "num_labels")


def labels(entries: dict) -> int:
    """The number of classes that a config.json states.

    Raises:
        ValueError: if "id2label" is no object of the numbers from 0 on, or "num_labels" contradicts it.
    """
    names, count = entries.get("id2label"), entries.get("num_labels")
    if count is not None:
        COUNT.check("num_labels", count)
    if names is None:
        return 2 if count is None else count
    OBJECT.check("id2label", names)
    if not names or set(names) != {str(number) for number in range(len(names))}:
        raise ValueError(
            f"id2label must name the classes 0, 1, ... Received: id2label={shortened(names)}"
        )
    if count not in (None, len(names)):
        raise ValueError(
            f"num_labels contradicts id2label, which names {len(names)}."
            f" Received: num_labels={count}"
        )
    return len(names)


def has_one_label(entries: dict) -> bool:
    """Whether a sequence classifier of transformers gives one number: a score, not classes."""
    return labels(entries) == 1


def labelled(*rates: str, default: float = 0.1) -> dict[str, Any]:
    """Reads and writes the number of classes, and the dropout rate under the first of ``rates``."""

    def read(entries):
        known = [entries[rate] for rate in rates if entries.get(rate) is not None]
        rate = known[0] if known else default
        if not (is_number(rate) and 0 <= rate < 1):
            raise ValueError(f"{rates[0]} must be a number from 0 to below 1. Received: {rate!r}")
        return {"num_classes": labels(entries), "dropout": rate}

    def write(model):
        names = [f"LABEL_{index}" for index in range(model.num_classes)]
        return {
            "id2label": {str(index): label for index, label in enumerate(names)},
            "label2id": {label: index for index, label in enumerate(names)},
            rates[0]: model.dropout,
        }

    return {"read_head": read, "write_head": write, "uses": (*LABELS, rates[0])}


_score_kernel, _score_bias = linear("head.dense", "score")
READOUT = Row(("backbone.token_embedding.kernel",), "lm_head.weight", TRANSPOSED)
_trunks_readout = READOUT._replace(paths=("token_embedding.kernel",), optional=True)
# transformers has no bias there, and no read-out, which an untied trunk brings along
SCORE = (_score_kernel, *optional((_score_bias, READOUT)))
_TABLES = ("wte.weight", "embed_tokens.weight")


def untied_where_stored(config: GPTConfig, tensors: Mapping[str, Held]) -> GPTConfig:
    """As transformers: a tied model whose file has an LM head of its own is not tied."""
    stored = tensors.get(READOUT.name)
    if not config.tied or stored is None:
        return config
    tables = [held for name, held in tensors.items() if name.endswith(_TABLES)]
    return config.replace(tied=not tables or any(are_equal(stored, held) for held in tables))


def tied_unless_stored(config: GPTConfig, tensors: Mapping[str, Held]) -> GPTConfig:
    """An untied backbone without its LM head is a tied one to whoever does not read logits."""
    if READOUT.name not in tensors:
        return config.replace(tied=True)
    return untied_where_stored(config, tensors)


def decoder_architectures(
    name: str, family: Family, language_model: str
) -> tuple[Architecture, ...]:
    """A family's language model, by its class, and its backbone and classifier of texts, by what their classes
    begin with."""
    of_trunk = {"prefix": family.prefix}
    return (
        Architecture(
            language_model,
            family,
            CausalLM,
            (READOUT,),
            adapt=untied_where_stored,
            generates=True,
            **of_trunk,
        ),
        Architecture(f"{name}Model", family, GPT, (_trunks_readout,), adapt=tied_unless_stored),
        Architecture(
            f"{name}ForSequenceClassification",
            family,
            SequenceClassifier,
            SCORE,
            **of_trunk,
            **labelled("classifier_dropout", default=0.0),
            adapt=tied_unless_stored,
            shapes=classifier_shapes,
        ),
    )

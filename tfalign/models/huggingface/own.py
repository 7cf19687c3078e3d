"""Configurations that no class of transformers expresses: banded attention, LSTMs, ..."""

from __future__ import annotations

import dataclasses

from tfalign.models.gpt_config import GPTConfig
from tfalign.models.huggingface.gpt2 import complete_gpt
from tfalign.models.huggingface.heads import READOUT
from tfalign.models.huggingface.shapes import gpt_shapes, neural_ngram_shapes, recurrent_shapes
from tfalign.models.huggingface.tables import REQUIRED, SAME, Architecture, Family, Field, Row
from tfalign.models.neural_ngram import NeuralNGramConfig
from tfalign.models.recurrent import RecurrentConfig
from tfalign.models.tasks import CausalLM


def _own_rows(config):
    """Every weight a GPT can have, under its own name."""
    norms = ("gamma", "beta") if config.norm == "layer" else ("scale",)
    dense = [f"attention.{name}" for name in ("query", "key", "value", "output_projection")]
    dense += [f"feed_forward.{name}" for name in ("gate", "inner", "outer")]
    placed = [
        f"{layer}_{norm}"
        for layer in ("attention", "feed_forward")
        for norm in ("norm", "output_norm")
    ]
    block = [f"{norm}.{part}" for norm in placed for part in norms]
    block += ["feed_forward.router.kernel"]
    block += [f"feed_forward.experts.{name}" for name in ("gate", "inner", "outer")]
    block += ["attention.query_norm.scale", "attention.key_norm.scale"]
    block += [f"{layer}.{part}" for layer in dense for part in ("kernel", "bias")]
    paths = ["token_embedding.embeddings", "position_embedding.embeddings"]
    paths += [f"final_norm.{part}" for part in norms]
    paths += [f"blocks.{index}.{path}" for index in range(config.num_layers) for path in block]
    return tuple(Row((path,), path) for path in paths)


def _own_field(field):
    absent = field.default is dataclasses.MISSING
    default = REQUIRED if absent else field.default
    return Field(field.name, field.name, default, null=default is None)


def _own_family(model_type, config_class, rows, shapes, complete=lambda config: config):
    """Every setting under its own name, and every weight in ``rows``."""
    return Family(
        model_type=model_type,
        config_class=config_class,
        fields=tuple(_own_field(field) for field in dataclasses.fields(config_class)),
        fixed={},
        supported={},
        rows=rows,
        prefix="backbone.",
        shapes=shapes,
        complete=complete,
    )


def _recurrent_rows(config):
    cell = ("kernel", "recurrent_kernel", "bias")
    return (
        Row(("token_embedding.embeddings",), "token_embedding.embeddings"),
        *(
            Row((f"layers_of_cells.{index}.cell.{weight}",), f"layers.{index}.{weight}")
            for index in range(config.num_layers)
            for weight in cell
        ),
    )


def _neural_ngram_rows(config):
    paths = ("embedding.embeddings", "hidden.kernel", "hidden.bias", "readout")
    return tuple(Row((path,), path) for path in paths)


TFALIGN_GPT = _own_family("tfalign_gpt", GPTConfig, _own_rows, gpt_shapes, complete_gpt)
TFALIGN_RECURRENT = _own_family(
    "tfalign_recurrent", RecurrentConfig, _recurrent_rows, recurrent_shapes
)
TFALIGN_NEURAL_NGRAM = _own_family(
    "tfalign_neural_ngram", NeuralNGramConfig, _neural_ngram_rows, neural_ngram_shapes
)
_READOUT = READOUT._replace(name="readout", transform=SAME)
ARCHITECTURES = tuple(
    Architecture(name, family, CausalLM, (_READOUT,), family.prefix, generates=True)
    for name, family in (
        ("TfalignCausalLM", TFALIGN_GPT),
        ("TfalignRecurrentLM", TFALIGN_RECURRENT),
        ("TfalignNeuralNGramLM", TFALIGN_NEURAL_NGRAM),
    )
)

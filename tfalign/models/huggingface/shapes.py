"""The shapes of a model's weights, from its configuration alone: a file's header is checked against them
before anything is built, so that a configuration of a kilobyte cannot ask for a terabyte.

Tables are by path, as in ``Row.paths``: without "backbone." and, in a block, "blocks.0.", unless a block differs
from the others; None where a model of the configuration has no such weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tfalign.models.config import ModelConfig

Shapes = dict[str, tuple[int, ...] | None]  # such a table

_BLOCK = re.compile(r"blocks\.\d+\.")
_PREFIX = "backbone."
UNKNOWN = object()  # the shape of a weight that stands in no table


def shape_of(
    path: str, shapes: Mapping[str, tuple[int, ...] | None]
) -> tuple[int, ...] | None | object:
    """The shape of a row's weight, None where there is no such weight, or ``UNKNOWN``."""
    path = path.removeprefix(_PREFIX)
    return shapes.get(path, shapes.get(_BLOCK.sub("", path, count=1), UNKNOWN))


def dense(path: str, inputs: int, outputs: int, use_bias: bool = True) -> Shapes:
    return {f"{path}.kernel": (inputs, outputs), f"{path}.bias": (outputs,) if use_bias else None}


def _norm(path, width, kind="layer"):
    """``kind`` as in ``layers.normalization``; None for no norm."""
    of_layer_norm = (width,) if kind == "layer" else None
    scale = None if kind in (None, "layer") else (width,)
    return {f"{path}.gamma": of_layer_norm, f"{path}.beta": of_layer_norm, f"{path}.scale": scale}


def _block_norms(config):
    c = config
    of_input = None if c.norm_placement == "output" else c.norm
    of_output = None if c.norm_placement == "input" else c.norm
    return {
        **_norm("attention_norm", c.width, of_input),
        **_norm("feed_forward_norm", c.width, of_input),
        **_norm("attention_output_norm", c.width, of_output),
        **_norm("feed_forward_output_norm", c.width, of_output),
    }


def gpt_shapes(config: ModelConfig) -> Shapes:
    """Of a complete GPTConfig."""
    c, width = config, config.width
    queries, keys = c.num_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    head = (c.head_dim,) if c.head_norm else None
    return {
        "token_embedding.embeddings": (c.vocab_size, width),
        "token_embedding.kernel": None if c.tied else (width, c.vocab_size),
        "position_embedding.embeddings": (c.max_positions, width)
        if c.rotary_base is None
        else None,
        **_norm("final_norm", width, c.norm),
        **_block_norms(c),
        **dense("attention.query", width, queries, c.attention_bias),
        **dense("attention.key", width, keys, c.attention_bias),
        **dense("attention.value", width, keys, c.attention_bias),
        **dense("attention.output_projection", queries, width, c.attention_output_bias),
        "attention.query_norm.scale": head,
        "attention.key_norm.scale": head,
        **_feed_forwards(c),
    }


def _feed_forward(config):
    c = config
    inner = ("gate", "inner") if c.gated else ("inner",)
    shapes = dict.fromkeys(("feed_forward.gate.kernel", "feed_forward.gate.bias"))
    for name in inner:
        shapes |= dense(f"feed_forward.{name}", c.width, c.hidden_dim, c.use_bias)
    return shapes | dense("feed_forward.outer", c.hidden_dim, c.width, c.use_bias)


def _experts(config):
    c, count = config, config.num_experts or 0
    wide, narrow = (count, c.width, c.expert_dim), (count, c.expert_dim, c.width)
    return {
        "feed_forward.experts.gate": wide,
        "feed_forward.experts.inner": wide,
        "feed_forward.experts.outer": narrow,
        **dense("feed_forward.router", c.width, count, use_bias=False),
    }


def _feed_forwards(config):
    """Of plain networks and of experts: a block has those of one kind."""
    plain, experts = _feed_forward(config), _experts(config)
    if config.num_experts is None:
        return plain | dict.fromkeys(experts)
    absent = {
        f"blocks.{block}.{path}": None
        for block in range(config.num_layers)
        for path in (experts if block in config.dense_blocks else plain)
    }
    return plain | experts | absent


def bert_shapes(config: ModelConfig) -> Shapes:
    """Of a complete BERTConfig."""
    c, width = config, config.width
    types = (c.num_token_types, width) if c.num_token_types else None
    return {
        "token_embedding.embeddings": (c.vocab_size, width),
        "position_embedding.embeddings": (c.max_positions, width),
        "type_embedding.embeddings": types,
        **_norm("embedding_norm", width),
        **_norm("attention_norm", width),
        **_norm("feed_forward_norm", width),
        **dense("attention.query", width, width),
        **dense("attention.key", width, width),
        **dense("attention.value", width, width),
        **dense("attention.output_projection", width, width),
        **dense("feed_forward.inner", width, c.hidden_dim),
        **dense("feed_forward.outer", c.hidden_dim, width),
        **dense("pooler", width, width),
    }


def recurrent_shapes(config: ModelConfig) -> Shapes:
    c, gates = config, {"lstm": 4, "gru": 3}[config.cell] * config.width
    cell = {"kernel": (c.width, gates), "recurrent_kernel": (c.width, gates)}
    cell["bias"] = (gates,) if c.cell == "lstm" else (2, gates)
    return {
        "token_embedding.embeddings": (c.vocab_size, c.width),
        "token_embedding.kernel": None if c.tied else (c.width, c.vocab_size),
        **{
            f"layers_of_cells.{index}.cell.{name}": shape
            for index in range(c.num_layers)
            for name, shape in cell.items()
        },
    }


def neural_ngram_shapes(config: ModelConfig) -> Shapes:
    c = config
    return {
        "embedding.embeddings": (c.vocab_size, c.embedding_width),
        "token_embedding.kernel": None,
        **dense("hidden", (c.order - 1) * c.embedding_width, c.hidden_width),
        "readout": (c.vocab_size, c.width),
    }


def classifier_shapes(config: ModelConfig, head: Mapping[str, Any]) -> Shapes:
    return dense("head.dense", config.width, head["num_classes"])


def score_shapes(config: ModelConfig, head: Mapping[str, Any]) -> Shapes:
    del head
    return dense("head.dense", config.width, 1)


def masked_lm_shapes(config: ModelConfig, head: Mapping[str, Any]) -> Shapes:
    del head
    return {
        **dense("head.dense", config.width, config.width),
        **_norm("head.norm", config.width),
        "head.bias": (config.vocab_size,),
        **dense("next_sentence.dense", config.width, 2),
    }

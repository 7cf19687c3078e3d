"""Llama and its relatives Mistral, Qwen2, Qwen3 and SmolLM3 (transformers' configuration and modeling
files of these names, and modeling_rope_utils.py)."""

from __future__ import annotations

import numpy as np

from tfalign.layers.positions import rotary_frequencies
from tfalign.models.gpt import GPTConfig
from tfalign.models.huggingface.gpt2 import complete_gpt
from tfalign.models.huggingface.heads import decoder_architectures
from tfalign.models.huggingface.kinds import COUNT, NUMBERS, OBJECT, SWITCH, is_number, shortened
from tfalign.models.huggingface.shapes import gpt_shapes
from tfalign.models.huggingface.tables import (
    ACTIVATIONS,
    Dropped,
    Family,
    Field,
    Row,
    linear,
    table,
)

_WINDOWED, _DENSE = "sliding_attention", "full_attention"


def _equals_frequencies(array, config):
    """Older files keep ``inv_freq``, before or after the stretching, perhaps rounded to 16 bits."""
    plain, _ = rotary_frequencies(config.head_dim, config.rotary_base)
    scaled, _ = rotary_frequencies(config.head_dim, config.rotary_base, config.rotary_scaling)
    digits = 1e-2 if array.dtype.itemsize == 2 else 1e-4
    found = np.asarray(array, "float32")
    return any(
        found.shape == held.shape and np.allclose(found, held, rtol=digits, atol=0.0)
        for held in (plain, scaled)
    )


# Rotary positions


def _read_rotary(entries):
    """One spelling of rotary settings, and no scaling where there is none to do.

    transformers 5 keeps all of them in "rope_parameters", 4 a base and "rope_scaling" beside it. What
    stands in two places must agree.
    """
    stated = [key for key in ("rope_parameters", "rope_scaling") if entries.get(key) is not None]
    for key in stated:
        OBJECT.check(key, entries[key])
    stated = [key for key in stated if entries[key]]
    both = [_normal(entries[key]) for key in stated]
    if len(both) == 2 and both[0] != both[1]:
        raise ValueError(
            "rope_parameters contradicts rope_scaling."
            f" Received: {shortened(both[0])}, {shortened(both[1])}"
        )
    bases = {rotary["rope_theta"] for rotary in both if "rope_theta" in rotary}
    bases |= {entries["rope_theta"]} if "rope_theta" in entries else set()
    if len(bases) > 1:
        raise ValueError(f"rope_theta stands twice. Received: {' and '.join(map(str, bases))}")
    if bases:
        entries = entries | {"rope_theta": bases.pop()}
    return entries | {"rope_scaling": _scaling(both[0] if both else {}, entries)}


def _normal(rotary):
    """Under the newer name, its base a number, without what is at its default."""
    rotary = {key: value for key, value in rotary.items() if value is not None}
    kinds = {rotary.pop(key) for key in ("type", "rope_type") if isinstance(rotary.get(key), str)}
    if len(kinds) > 1 or "type" in rotary or "rope_type" in rotary:
        raise ValueError(
            f"rope_type and the older type must be one name. Received: {shortened(rotary)}"
        )
    if rotary.pop("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError("partial_rotary_factor must be 1: whole heads are turned.")
    for key, value in rotary.items():
        if not (is_number(value) or (key == "truncate" and isinstance(value, bool))):
            raise ValueError(
                f"{key} of the rotary positions must be a number. Received: {key}={shortened(value)}"
            )
    if rotary.get("rope_theta", 1) <= 0 or rotary.get("factor", 1) < 1:
        raise ValueError(
            "Of the rotary positions, rope_theta must be positive and factor at least 1."
            f" Received: {shortened(rotary)}"
        )
    return rotary | {"rope_type": kinds.pop() if kinds else "default"}


def _without_base(rotary):
    return {key: value for key, value in rotary.items() if key != "rope_theta"}


def _scaling(rotary, entries):
    scaling = _without_base(rotary)
    kind = scaling.get("rope_type", "default")
    if kind == "default":
        left = {key: value for key, value in scaling.items() if key != "rope_type"}
        left.pop("original_max_position_embeddings", None)  # which nothing is scaled by
        if left and left != {"factor": 1.0}:
            raise ValueError(
                f"{', '.join(left)} needs a rope_type other than 'default'. Received: {left}"
            )
        return None
    if kind in ("llama3", "yarn") and "max_position_embeddings" in entries:
        scaling.setdefault("original_max_position_embeddings", entries["max_position_embeddings"])
    for key in ("original_max_position_embeddings",):
        if key in scaling:
            COUNT.check(key, scaling[key])
    return scaling


# Windows


def _read_windows(entries, window, types):
    """Entries with the window and the numbers of the blocks it applies to, or with neither."""
    windowed = tuple(i for i, kind in enumerate(types) if kind == _WINDOWED)
    if windowed and window is None:
        raise ValueError(
            f"layer_types has a {_WINDOWED!r}, for which sliding_window must be used and a number."
        )
    return entries | {
        "sliding_window": window if windowed else None,
        "windowed_blocks": windowed or None,
    }


def _read_mistral(entries):
    window = entries.get("sliding_window", 4096)
    types = [_DENSE if window is None else _WINDOWED] * entries.get("num_hidden_layers", 0)
    return _read_windows(_read_rotary(entries), window, types)


def _write_mistral(entries):
    return {key: value for key, value in entries.items() if key != "windowed_blocks"}


def _stated_types(entries):
    """``layer_types``, or None."""
    types, count = entries.get("layer_types"), entries.get("num_hidden_layers", 0)
    if types is None:
        return None
    if (
        not isinstance(types, list)
        or len(types) != count
        or any(kind not in (_WINDOWED, _DENSE) for kind in types)
    ):
        raise ValueError(
            f"layer_types must say {_WINDOWED!r} or {_DENSE!r} of each of {count} layers."
            f" Received: layer_types={shortened(types)}"
        )
    return types


def _used_window(entries, default):
    used = entries.get("use_sliding_window", False)
    SWITCH.check("use_sliding_window", used)
    return entries.get("sliding_window", default) if used else None


def _read_qwen(entries):
    first, count = entries.get("max_window_layers", 28), entries.get("num_hidden_layers", 0)
    if not is_number(first) or first < 0 or first != int(first):
        raise ValueError(
            f"max_window_layers must be a whole number from 0 on. Received: {shortened(first)}"
        )
    window = _used_window(entries, 4096)
    types = _stated_types(entries)
    if types is None:
        after = _DENSE if window is None else _WINDOWED
        types = [_DENSE if block < first else after for block in range(count)]
    return _read_windows(_read_rotary(entries), window, types)


def _write_qwen(entries):
    windowed = entries["windowed_blocks"] or ()
    blocks = range(entries["num_hidden_layers"])
    return _write_mistral(entries) | {
        "use_sliding_window": bool(windowed),
        "layer_types": [_WINDOWED if block in windowed else _DENSE for block in blocks],
    }


def _read_smollm3(entries):
    count, every = entries.get("num_hidden_layers", 0), entries.get("no_rope_layer_interval", 4)
    COUNT.check("no_rope_layer_interval", every)
    rotated = entries.get("no_rope_layers")
    if rotated is None:
        rotated = [int((i + 1) % every != 0) for i in range(count)]
    NUMBERS.check("no_rope_layers", rotated)
    if len(rotated) < count or not set(rotated) <= {0, 1}:
        raise ValueError(
            f"no_rope_layers must be 0 or 1 for each of {count} layers."
            f" Received: no_rope_layers={shortened(rotated)}"
        )
    unrotated = tuple(i for i, is_rotated in enumerate(rotated[:count]) if not is_rotated)
    window = _used_window(entries, None)
    types = _stated_types(entries)
    if types is None:
        banded = () if window is None else unrotated
        types = [_WINDOWED if block in banded else _DENSE for block in range(count)]
    entries = _read_windows(_read_rotary(entries), window, types)
    return entries | {"no_rope_layers": unrotated}


def _write_smollm3(entries):
    unrotated, blocks = entries["no_rope_layers"], range(entries["num_hidden_layers"])
    return _write_qwen(entries) | {"no_rope_layers": [int(b not in unrotated) for b in blocks]}


# Tables

_SHARED_FIELDS = (
    Field("vocab_size", "vocab_size"),
    Field("width", "hidden_size"),
    Field("num_layers", "num_hidden_layers"),
    Field("num_heads", "num_attention_heads"),
    Field("hidden_dim", "intermediate_size"),
    Field("rotary_scaling", "rope_scaling", None, null=True),
    Field("norm_epsilon", "rms_norm_eps", 1e-6),
    Field("activation", "hidden_act", "silu", names=ACTIVATIONS),
    Field("attention_dropout", "attention_dropout", 0.0),
    # transformers has neither, and trains without
    Field("dropout", "tfalign_dropout", 0.0, written=False),
    Field("embedding_dropout", "tfalign_embedding_dropout", 0.0, written=False),
    Field("initializer_range", "initializer_range", 0.02),
)
_GROUPS = Field("num_key_value_heads", "num_key_value_heads", None, null=True)
_HEAD_DIM = Field("head_dim", "head_dim", None, null=True)
_BASE = Field("rotary_base", "rope_theta", 10_000.0)
_TIED = Field("tied", "tie_word_embeddings", False)
_POSITIONS = Field("max_positions", "max_position_embeddings", 2048)
_LONG_POSITIONS = _POSITIONS._replace(default=32_768)
_BIASES = (Field("use_bias", "mlp_bias", False), Field("attention_bias", "attention_bias", False))
_WINDOW = (
    Field("attention_window", "sliding_window", None, null=True),
    Field("windowed_blocks", "windowed_blocks", None, null=True),
)
_ROTARY_KEYS = ("rope_parameters", "rope_scaling", "rope_theta")
_QWEN_KEYS = (*_ROTARY_KEYS, "use_sliding_window", "max_window_layers", "layer_types")
_SHARED_FIXED = {
    "rotary_base": lambda config: config.rotary_base or "a number",
    "norm": "rms",
    "gated": True,
}
_NO_BIAS = {"use_bias": False, "attention_bias": False, "attention_output_bias": False}
_BIAS_AT_BOTH_ENDS = {"attention_output_bias": lambda config: config.attention_bias}
_ROTATED = {"unrotated_blocks": ()}
_PLAIN_HEADS = {"head_norm": False}
_BLOCK = (
    Row(("attention_norm.scale",), "input_layernorm.weight"),
    *linear("attention.query", "self_attn.q_proj"),
    *linear("attention.key", "self_attn.k_proj"),
    *linear("attention.value", "self_attn.v_proj"),
    *linear("attention.output_projection", "self_attn.o_proj"),
    Row(("attention.query_norm.scale",), "self_attn.q_norm.weight"),
    Row(("attention.key_norm.scale",), "self_attn.k_norm.weight"),
    Row(("feed_forward_norm.scale",), "post_attention_layernorm.weight"),
    *linear("feed_forward.gate", "mlp.gate_proj"),
    *linear("feed_forward.inner", "mlp.up_proj"),
    *linear("feed_forward.outer", "mlp.down_proj"),
)
_TRUNK = (
    Row(("token_embedding.embeddings",), "embed_tokens.weight"),
    Row(("final_norm.scale",), "norm.weight"),
)
LLAMA = Family(
    model_type="llama",
    config_class=GPTConfig,
    fields=(*_SHARED_FIELDS, _GROUPS, _HEAD_DIM, _BASE, _TIED, _POSITIONS, *_BIASES),
    fixed=_SHARED_FIXED
    | _BIAS_AT_BOTH_ENDS
    | _ROTATED
    | _PLAIN_HEADS
    | {
        "attention_window": None,
        # transformers asks for it even where head_dim is given
        "width": lambda config: config.width // config.num_heads * config.num_heads,
    },
    supported={},
    rows=table(_TRUNK, _BLOCK, "layers.{}"),
    prefix="model.",
    shapes=gpt_shapes,
    uses=_ROTARY_KEYS,
    only={"partial_rotary_factor": 1.0},
    dropped=(
        Dropped(r"\brotary_emb\.inv_freq$", "the rotary frequencies", equals=_equals_frequencies),
        Dropped(
            r"^lm_head\.weight$", "a copy of the token embeddings", copy_of="embed_tokens.weight"
        ),
    ),
    complete=complete_gpt,
    read=_read_rotary,
)
MISTRAL = LLAMA._replace(
    model_type="mistral",
    fields=(
        *(*_SHARED_FIELDS, _GROUPS._replace(default=8), _HEAD_DIM, _BASE, _TIED),
        *(_POSITIONS._replace(default=131_072), *_WINDOW),
    ),
    fixed=_SHARED_FIXED
    | _NO_BIAS
    | _ROTATED
    | _PLAIN_HEADS
    | {"windowed_blocks": lambda c: c.attention_window and tuple(range(c.num_layers))},
    read=_read_mistral,
    write=_write_mistral,
)
QWEN2 = LLAMA._replace(
    model_type="qwen2",
    fields=(
        *(*_SHARED_FIELDS, _GROUPS._replace(default=32), _HEAD_DIM, _BASE, _TIED),
        *(_LONG_POSITIONS, *_WINDOW),
    ),
    uses=_QWEN_KEYS,
    fixed=_SHARED_FIXED | _NO_BIAS | {"attention_bias": True} | _ROTATED | _PLAIN_HEADS,
    read=_read_qwen,
    write=_write_qwen,
)
QWEN3 = LLAMA._replace(
    model_type="qwen3",
    fields=(
        *(*_SHARED_FIELDS, _GROUPS._replace(default=32), _HEAD_DIM._replace(default=128)),
        *(_BASE, _TIED, _LONG_POSITIONS, *_WINDOW, _BIASES[1]),
    ),
    uses=_QWEN_KEYS,
    fixed=_SHARED_FIXED | {"use_bias": False} | _BIAS_AT_BOTH_ENDS | _ROTATED | {"head_norm": True},
    read=_read_qwen,
    write=_write_qwen,
)
SMOLLM3 = LLAMA._replace(
    model_type="smollm3",
    fields=(
        *(*_SHARED_FIELDS, _GROUPS._replace(default=4), _HEAD_DIM),
        *(_BASE._replace(default=2_000_000.0), _TIED._replace(default=True)),
        *(_LONG_POSITIONS, *_WINDOW, *_BIASES),
        Field("unrotated_blocks", "no_rope_layers", (), null=True),
    ),
    uses=(*_QWEN_KEYS, "no_rope_layer_interval"),
    fixed=_SHARED_FIXED | _BIAS_AT_BOTH_ENDS | _PLAIN_HEADS,
    read=_read_smollm3,
    write=_write_smollm3,
)

DECODERS = {
    "Llama": LLAMA,
    "Mistral": MISTRAL,
    "Qwen2": QWEN2,
    "Qwen3": QWEN3,
    "SmolLM3": SMOLLM3,
}
ARCHITECTURES = tuple(
    one
    for name, family in DECODERS.items()
    for one in decoder_architectures(name, family, "ForCausalLM")
)

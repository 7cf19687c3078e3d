"""Gemma 2 and the text models of Gemma 3 (transformers' configuration_gemma2.py, modeling_gemma2.py, and those of
gemma3)."""

from __future__ import annotations

from tfalign.models.huggingface.gpt2 import PLAIN_GPT
from tfalign.models.huggingface.kinds import COUNT, OBJECT, is_number, shortened
from tfalign.models.huggingface.llama import (
    BASE,
    BIAS_AT_BOTH_ENDS,
    BIASES,
    BLOCK,
    GROUPS,
    HEAD_DIM,
    LLAMA,
    PLAIN_HEADS,
    POSITIONS,
    ROTATED,
    SHARED_FIELDS,
    SHARED_FIXED,
    TIED,
    TRUNK,
    WINDOW,
)
from tfalign.models.huggingface.rotary import ROTARY_KEYS, read_rotary
from tfalign.models.huggingface.tables import ACTIVATIONS, Field, Row, table
from tfalign.models.huggingface.windows import (
    DENSE,
    WINDOWED,
    layer_types,
    read_windows,
    stated_types,
    without_blocks,
)

_PATTERN = ("sliding_window_pattern", "_sliding_window_pattern")
_LOCAL_BASE = "rope_local_base_freq"


def _every(entries, dense_every):
    """Kinds of the blocks, of which every so many-th is dense."""
    return [
        WINDOWED if (block + 1) % dense_every else DENSE
        for block in range(entries.get("num_hidden_layers", 0))
    ]


def _with_windows(entries, dense_every):
    window = entries.get("sliding_window", 4096)
    types = stated_types(entries)
    return read_windows(entries, window, _every(entries, dense_every) if types is None else types)


def _write(entries):
    return without_blocks(entries) | {"layer_types": layer_types(entries)}


def _read_gemma2(entries):
    return _with_windows(read_rotary(entries), dense_every=2)


def _read_gemma3(entries):
    patterns = {entries[key] for key in _PATTERN if entries.get(key) is not None} or {6}
    for pattern in patterns:
        COUNT.check(_PATTERN[0], pattern)
    if len(patterns) > 1:
        raise ValueError(f"{_PATTERN[0]} stands twice. Received: {sorted(patterns)}")
    return _with_windows(_read_two_rotaries(entries), dense_every=patterns.pop())


def _read_two_rotaries(entries):
    """Dense and windowed blocks have rotary positions of their own: transformers 5 keeps both in
    "rope_parameters", 4 those of windowed blocks in "rope_local_base_freq"."""
    both = entries.get("rope_parameters")
    if both is None:
        return read_rotary(entries)
    OBJECT.check("rope_parameters", both)
    if not set(both) <= {DENSE, WINDOWED}:
        raise ValueError(
            f"rope_parameters must be of {DENSE!r} and {WINDOWED!r}. Received: {shortened(both)}"
        )
    dense, local = both.get(DENSE) or {}, both.get(WINDOWED) or {}
    OBJECT.check(f"rope_parameters of {WINDOWED}", local)
    stated = {key: value for key, value in local.items() if key != "rope_theta"}
    if stated not in ({}, {"rope_type": "default"}):
        raise ValueError(
            f"The rotary positions of windowed blocks cannot be scaled. Received: {shortened(local)}"
        )
    base, older = local.get("rope_theta"), entries.get(_LOCAL_BASE)
    if None not in (base, older) and base != older:
        raise ValueError(f"{_LOCAL_BASE} stands twice. Received: {base} and {older}")
    if base is not None and not (is_number(base) and base > 0):
        raise ValueError(f"{_LOCAL_BASE} must be a positive number. Received: {shortened(base)}")
    entries = read_rotary(entries | {"rope_parameters": dense})
    return entries if base is None else entries | {_LOCAL_BASE: base}


_FIELDS = (
    *(field for field in SHARED_FIELDS if field.ours != "activation"),
    Field(
        "activation",
        "hidden_activation",
        "gelu_pytorch_tanh",
        names={"gelu_pytorch_tanh": "gelu_tanh"} | ACTIVATIONS,
        also=("hidden_act",),
    ),
    GROUPS._replace(default=4),
    HEAD_DIM._replace(default=256),
    TIED._replace(default=True),
    BIASES[1],
    *WINDOW,
    Field("query_pre_attention_scalar", "query_pre_attn_scalar", 256),
)
_CAPS = (
    Field("attention_softcap", "attn_logit_softcapping", 50.0, null=True),
    Field("logit_softcap", "final_logit_softcapping", 30.0, null=True),
)
_EVERYWHERE = (
    SHARED_FIXED
    | BIAS_AT_BOTH_ENDS
    | ROTATED
    | {
        "width": LLAMA.fixed["width"],
        "use_bias": False,
        "norm": "zero_centered_rms",
        "norm_placement": "both",
        "scaled_embedding": True,
    }
)


def _fixed(fields, **more):
    """What no field states."""
    stated = {field.ours for field in fields} & set(PLAIN_GPT)
    return {name: value for name, value in _EVERYWHERE.items() if name not in stated} | more


_AROUND = {"post_attention_layernorm.weight": "pre_feedforward_layernorm.weight"}
_ROWS = table(
    TRUNK,
    (
        *(row._replace(name=_AROUND.get(row.name, row.name)) for row in BLOCK),
        Row(("attention_output_norm.scale",), "post_attention_layernorm.weight"),
        Row(("feed_forward_output_norm.scale",), "post_feedforward_layernorm.weight"),
    ),
    "layers.{}",
)
_GEMMA2_FIELDS = (*_FIELDS, *_CAPS, BASE, POSITIONS._replace(default=8192))
_GEMMA3_FIELDS = (
    *_FIELDS,
    _CAPS[1]._replace(default=None),
    BASE._replace(default=1_000_000.0),
    Field("local_rotary_base", _LOCAL_BASE, 10_000.0),
    POSITIONS._replace(default=131_072),
)
GEMMA2 = LLAMA._replace(
    model_type="gemma2",
    fields=_GEMMA2_FIELDS,
    fixed=_fixed(_GEMMA2_FIELDS, **PLAIN_HEADS),
    rows=_ROWS,
    uses=(*ROTARY_KEYS, "layer_types"),
    only={"partial_rotary_factor": 1.0, "use_bidirectional_attention": False},
    read=_read_gemma2,
    write=_write,
)
GEMMA3 = GEMMA2._replace(
    model_type="gemma3_text",
    fields=_GEMMA3_FIELDS,
    fixed=_fixed(
        _GEMMA3_FIELDS,
        head_norm=True,
        local_rotary_base=lambda config: config.local_rotary_base or "a number",
    ),
    uses=(*ROTARY_KEYS, *_PATTERN, "layer_types"),
    only=GEMMA2.only | {"attn_logit_softcapping": None},
    read=_read_gemma3,
)

"""Llama and its relatives Mistral, Qwen2, Qwen3 and SmolLM3 (transformers' configuration and modeling
files of these names)."""

from __future__ import annotations

from tfalign.models.gpt_config import GPTConfig
from tfalign.models.huggingface.gpt2 import PLAIN_GPT, complete_gpt
from tfalign.models.huggingface.kinds import COUNT, NUMBERS, is_number, shortened
from tfalign.models.huggingface.rotary import ROTARY_KEYS, equals_frequencies, read_rotary
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
from tfalign.models.huggingface.windows import (
    DENSE,
    WINDOWED,
    layer_types,
    read_windows,
    stated_types,
    used_window,
    without_blocks,
)


def read_mistral(entries: dict, default: int | None = 4096) -> dict:
    """A window in all blocks, or in none."""
    window = entries.get("sliding_window", default)
    types = [DENSE if window is None else WINDOWED] * entries.get("num_hidden_layers", 0)
    return read_windows(read_rotary(entries), window, types)


def _read_qwen(entries):
    first, count = entries.get("max_window_layers", 28), entries.get("num_hidden_layers", 0)
    if not is_number(first) or first < 0 or first != int(first):
        raise ValueError(
            f"max_window_layers must be a whole number from 0 on. Received: {shortened(first)}"
        )
    window = used_window(entries, 4096)
    types = stated_types(entries)
    if types is None:
        after = DENSE if window is None else WINDOWED
        types = [DENSE if block < first else after for block in range(count)]
    return read_windows(read_rotary(entries), window, types)


def _write_qwen(entries):
    return without_blocks(entries) | {
        "use_sliding_window": entries["windowed_blocks"] is not None,
        "layer_types": layer_types(entries),
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
    window = used_window(entries, None)
    types = stated_types(entries)
    if types is None:
        banded = () if window is None else unrotated
        types = [WINDOWED if block in banded else DENSE for block in range(count)]
    entries = read_windows(read_rotary(entries), window, types)
    return entries | {"no_rope_layers": unrotated}


def _write_smollm3(entries):
    unrotated, blocks = entries["no_rope_layers"], range(entries["num_hidden_layers"])
    return _write_qwen(entries) | {"no_rope_layers": [int(b not in unrotated) for b in blocks]}


# Tables

SHARED_FIELDS = (
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
GROUPS = Field("num_key_value_heads", "num_key_value_heads", None, null=True)
HEAD_DIM = Field("head_dim", "head_dim", None, null=True)
BASE = Field("rotary_base", "rope_theta", 10_000.0)
TIED = Field("tied", "tie_word_embeddings", False)
POSITIONS = Field("max_positions", "max_position_embeddings", 2048)
LONG_POSITIONS = POSITIONS._replace(default=32_768)
BIASES = (Field("use_bias", "mlp_bias", False), Field("attention_bias", "attention_bias", False))
WINDOW = (
    Field("attention_window", "sliding_window", None, null=True),
    Field("windowed_blocks", "windowed_blocks", None, null=True),
)
QWEN_KEYS = (*ROTARY_KEYS, "use_sliding_window", "max_window_layers", "layer_types")
SHARED_FIXED = PLAIN_GPT | {
    "rotary_base": lambda config: config.rotary_base or "a number",
    "norm": "rms",
    "gated": True,
}
NO_BIAS = {"use_bias": False, "attention_bias": False, "attention_output_bias": False}
BIAS_AT_BOTH_ENDS = {"attention_output_bias": lambda config: config.attention_bias}
ROTATED = {"unrotated_blocks": ()}
PLAIN_HEADS = {"head_norm": False}
BLOCK = (
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
TRUNK = (
    Row(("token_embedding.embeddings",), "embed_tokens.weight"),
    Row(("final_norm.scale",), "norm.weight"),
)
LLAMA = Family(
    model_type="llama",
    config_class=GPTConfig,
    fields=(*SHARED_FIELDS, GROUPS, HEAD_DIM, BASE, TIED, POSITIONS, *BIASES),
    fixed=SHARED_FIXED
    | BIAS_AT_BOTH_ENDS
    | ROTATED
    | PLAIN_HEADS
    | {
        "attention_window": None,
        # transformers asks for it even where head_dim is given
        "width": lambda config: config.width // config.num_heads * config.num_heads,
    },
    supported={},
    rows=table(TRUNK, BLOCK, "layers.{}"),
    prefix="model.",
    shapes=gpt_shapes,
    uses=ROTARY_KEYS,
    only={"partial_rotary_factor": 1.0},
    dropped=(
        Dropped(r"\brotary_emb\.inv_freq$", "the rotary frequencies", equals=equals_frequencies),
        Dropped(
            r"^lm_head\.weight$", "a copy of the token embeddings", copy_of="embed_tokens.weight"
        ),
    ),
    complete=complete_gpt,
    read=read_rotary,
)
MISTRAL = LLAMA._replace(
    model_type="mistral",
    fields=(
        *(*SHARED_FIELDS, GROUPS._replace(default=8), HEAD_DIM, BASE, TIED),
        *(POSITIONS._replace(default=131_072), *WINDOW),
    ),
    fixed=SHARED_FIXED
    | NO_BIAS
    | ROTATED
    | PLAIN_HEADS
    | {"windowed_blocks": lambda c: c.attention_window and tuple(range(c.num_layers))},
    read=read_mistral,
    write=without_blocks,
)
QWEN2 = LLAMA._replace(
    model_type="qwen2",
    fields=(
        *(*SHARED_FIELDS, GROUPS._replace(default=32), HEAD_DIM, BASE, TIED),
        *(LONG_POSITIONS, *WINDOW),
    ),
    uses=QWEN_KEYS,
    fixed=SHARED_FIXED | NO_BIAS | {"attention_bias": True} | ROTATED | PLAIN_HEADS,
    read=_read_qwen,
    write=_write_qwen,
)
QWEN3 = LLAMA._replace(
    model_type="qwen3",
    fields=(
        *(*SHARED_FIELDS, GROUPS._replace(default=32), HEAD_DIM._replace(default=128)),
        *(BASE, TIED, LONG_POSITIONS, *WINDOW, BIASES[1]),
    ),
    uses=QWEN_KEYS,
    fixed=SHARED_FIXED | {"use_bias": False} | BIAS_AT_BOTH_ENDS | ROTATED | {"head_norm": True},
    read=_read_qwen,
    write=_write_qwen,
)
SMOLLM3 = LLAMA._replace(
    model_type="smollm3",
    fields=(
        *(*SHARED_FIELDS, GROUPS._replace(default=4), HEAD_DIM),
        *(BASE._replace(default=2_000_000.0), TIED._replace(default=True)),
        *(LONG_POSITIONS, *WINDOW, *BIASES),
        Field("unrotated_blocks", "no_rope_layers", (), null=True),
    ),
    uses=(*QWEN_KEYS, "no_rope_layer_interval"),
    fixed=SHARED_FIXED | BIAS_AT_BOTH_ENDS | PLAIN_HEADS,
    read=_read_smollm3,
    write=_write_smollm3,
)

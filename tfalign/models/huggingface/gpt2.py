"""GPT-2 (transformers' configuration_gpt2.py and modeling_gpt2.py)."""

from __future__ import annotations

from tfalign.models.gpt_config import GPTConfig
from tfalign.models.huggingface.leftovers import is_causal_mask, is_masking_number
from tfalign.models.huggingface.shapes import gpt_shapes
from tfalign.models.huggingface.tables import (
    ACTIVATIONS,
    Dropped,
    Family,
    Field,
    Row,
    conv1d,
    layer_norm,
    table,
)

# settings that a GPT-2 and a Llama do not have
PLAIN_GPT = {
    "local_rotary_base": None,
    "norm_placement": "input",
    "query_pre_attention_scalar": lambda config: config.head_dim,
    "attention_softcap": None,
    "logit_softcap": None,
    "scaled_embedding": False,
    "num_experts": None,
}


def complete_gpt(config: GPTConfig) -> GPTConfig:
    """A configuration without None where None stands for something."""
    attention_bias = config.use_bias if config.attention_bias is None else config.attention_bias
    output_bias = config.attention_output_bias
    windowed = config.windowed_blocks
    if windowed is None:
        windowed = tuple(range(1, config.num_layers, 2))
    head_dim = config.head_dim or config.width // config.num_heads
    hidden_dim = config.hidden_dim or 4 * config.width
    return config.replace(
        num_key_value_heads=config.num_key_value_heads or config.num_heads,
        head_dim=head_dim,
        query_pre_attention_scalar=config.query_pre_attention_scalar or head_dim,
        hidden_dim=hidden_dim,
        expert_dim=None if config.num_experts is None else config.expert_dim or hidden_dim,
        attention_bias=attention_bias,
        attention_output_bias=attention_bias if output_bias is None else output_bias,
        attention_dropout=_or(config.attention_dropout, config.dropout),
        embedding_dropout=_or(config.embedding_dropout, config.dropout),
        windowed_blocks=None if config.attention_window is None else windowed,
    )


def _or(value, default):
    return default if value is None else value


def _read(entries):
    """``n_ctx`` is an older key of the number of positions, which transformers reads no more."""
    stated, positions = entries.get("n_ctx"), entries.get("n_positions")
    if stated is not None and stated != positions:
        raise ValueError(
            f"n_ctx contradicts n_positions={positions}, which is used. Received: n_ctx={stated!r}"
        )
    return entries


_FIELDS = (
    Field("vocab_size", "vocab_size"),
    Field("width", "n_embd", also=("hidden_size",)),
    Field("num_layers", "n_layer", also=("num_hidden_layers",)),
    Field("num_heads", "n_head", also=("num_attention_heads",)),
    Field("hidden_dim", "n_inner", None, null=True),
    Field("max_positions", "n_positions", also=("max_position_embeddings",)),
    Field("norm_epsilon", "layer_norm_epsilon", 1e-5),
    Field("activation", "activation_function", "gelu_new", names=ACTIVATIONS),
    Field("tied", "tie_word_embeddings", True),
    Field("dropout", "resid_pdrop", 0.1),
    Field("embedding_dropout", "embd_pdrop", 0.1),
    Field("attention_dropout", "attn_pdrop", 0.1),
    Field("initializer_range", "initializer_range", 0.02),
)
_BLOCK = (
    *layer_norm("attention_norm", "ln_1"),
    *conv1d(("attention.query", "attention.key", "attention.value"), "attn.c_attn"),
    *conv1d(("attention.output_projection",), "attn.c_proj"),
    *layer_norm("feed_forward_norm", "ln_2"),
    *conv1d(("feed_forward.inner",), "mlp.c_fc"),
    *conv1d(("feed_forward.outer",), "mlp.c_proj"),
)
_TRUNK = (
    Row(("token_embedding.embeddings",), "wte.weight"),
    Row(("position_embedding.embeddings",), "wpe.weight"),
    *layer_norm("final_norm", "ln_f"),
)
GPT2 = Family(
    model_type="gpt2",
    config_class=GPTConfig,
    fields=_FIELDS,
    fixed=PLAIN_GPT
    | {
        "num_key_value_heads": lambda config: config.num_heads,
        "head_dim": lambda config: config.width // config.num_heads,
        "rotary_base": None,
        "rotary_scaling": None,
        "unrotated_blocks": (),
        "norm": "layer",
        "gated": False,
        "use_bias": True,
        "attention_bias": True,
        "attention_output_bias": True,
        "head_norm": False,
        "attention_window": None,
    },
    supported={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    rows=table(_TRUNK, _BLOCK, "h.{}"),
    prefix="transformer.",
    shapes=gpt_shapes,
    uses=("n_ctx",),
    harmless=(
        # of the double-headed model's summary, and of the precision of mixed-precision training
        *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
        *("summary_first_dropout", "reorder_and_upcast_attn"),
    ),
    dropped=(
        Dropped(r"\battn\.bias$", "the causal mask", equals=is_causal_mask),
        Dropped(r"\battn\.masked_bias$", "what a masked score becomes", equals=is_masking_number),
        Dropped(r"^lm_head\.weight$", "a copy of the token embeddings", copy_of="wte.weight"),
    ),
    complete=complete_gpt,
    read=_read,
)

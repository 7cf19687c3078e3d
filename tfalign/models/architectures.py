"""Where Hugging Face directories keep what tfalign's models are made of: tables, and no more.

Sources: transformers' modeling_gpt2.py, modeling_llama.py and modeling_bert.py.
"""

from __future__ import annotations

import dataclasses

from tfalign.models.bert import BERT, BERTConfig
from tfalign.models.gpt import GPT, GPTConfig
from tfalign.models.huggingface import (
    JOINED,
    REQUIRED,
    SAME,
    TRANSPOSED,
    Architecture,
    Family,
    Field,
    Row,
    register,
)
from tfalign.models.tasks import CausalLM, MaskedLM, SequenceClassifier, TokenClassifier

# Pieces of tables


def _linear(path, name):
    """A torch Linear keeps its weight [outputs, inputs]."""
    return (
        Row((f"{path}.kernel",), f"{name}.weight", TRANSPOSED),
        Row((f"{path}.bias",), f"{name}.bias"),
    )


def _conv1d(paths, name):
    """GPT-2's Conv1D keeps [inputs, outputs], several projections side by side."""
    return (
        Row(tuple(f"{path}.kernel" for path in paths), f"{name}.weight", JOINED),
        Row(tuple(f"{path}.bias" for path in paths), f"{name}.bias", JOINED),
    )


def _layer_norm(path, name):
    return Row((f"{path}.gamma",), f"{name}.weight"), Row((f"{path}.beta",), f"{name}.bias")


def _per_block(block_rows, name):
    """A function of the configuration: the rows of every block, its number put into ``name``."""

    def rows(config):
        return tuple(
            row._replace(
                paths=tuple(f"blocks.{index}.{path}" for path in row.paths),
                name=f"{name.format(index)}.{row.name}",
            )
            for index in range(config.num_layers)
            for row in block_rows
        )

    return rows


def _table(rows, block_rows, block_name):
    per_block = _per_block(block_rows, block_name)
    return lambda config: (*rows, *per_block(config))


_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


def _complete_gpt(config):
    return config.replace(
        num_key_value_heads=config.num_key_value_heads or config.num_heads,
        head_dim=config.head_dim or config.width // config.num_heads,
        hidden_dim=config.hidden_dim or 4 * config.width,
    )


# GPT-2

_GPT2_FIELDS = (
    Field("vocab_size", "vocab_size"),
    Field("width", "n_embd"),
    Field("num_layers", "n_layer"),
    Field("num_heads", "n_head"),
    Field("hidden_dim", "n_inner", None),
    Field("max_positions", "n_positions"),
    Field("norm_epsilon", "layer_norm_epsilon", 1e-5),
    Field("activation", "activation_function", "gelu_new", names=_ACTIVATIONS),
    Field("tied", "tie_word_embeddings", True),
    Field("dropout", "resid_pdrop", 0.1, also=("embd_pdrop", "attn_pdrop")),
    Field("initializer_range", "initializer_range", 0.02),
)
_GPT2_BLOCK = (
    *_layer_norm("attention_norm", "ln_1"),
    *_conv1d(("attention.query", "attention.key", "attention.value"), "attn.c_attn"),
    *_conv1d(("attention.output_projection",), "attn.c_proj"),
    *_layer_norm("feed_forward_norm", "ln_2"),
    *_conv1d(("feed_forward.inner",), "mlp.c_fc"),
    *_conv1d(("feed_forward.outer",), "mlp.c_proj"),
)
_GPT2_TRUNK = (
    Row(("token_embedding.embeddings",), "wte.weight"),
    Row(("position_embedding.embeddings",), "wpe.weight"),
    *_layer_norm("final_norm", "ln_f"),
)
GPT2 = Family(
    model_type="gpt2",
    config_class=GPTConfig,
    fields=_GPT2_FIELDS,
    fixed={
        "num_key_value_heads": lambda config: config.num_heads,
        "head_dim": lambda config: config.width // config.num_heads,
        "rotary_base": None,
        "norm": "layer",
        "gated": False,
        "use_bias": True,
        "attention_window": None,
    },
    supported={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    rows=_table(_GPT2_TRUNK, _GPT2_BLOCK, "h.{}"),
    prefix="transformer.",
    ignored=r"\battn\.(masked_)?bias$|^lm_head\.weight$",
    complete=_complete_gpt,
)

# Llama


def _read_llama(entries):
    """One spelling of rotary settings (transformers 5 nests them) and of biases."""
    rotary = dict(entries.get("rope_parameters") or {})
    scaling = entries.get("rope_scaling") or rotary
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    entries = entries | {"rope_scaling": None if kind == "default" else scaling}
    if "rope_theta" in rotary:
        entries["rope_theta"] = rotary["rope_theta"]
    if entries.get("attention_bias", False) != entries.get("mlp_bias", False):
        raise ValueError(
            "A Llama must have biases in attention and feed-forward or in neither. Received: "
            f"attention_bias={entries.get('attention_bias', False)}, "
            f"mlp_bias={entries.get('mlp_bias', False)}"
        )
    return entries


_LLAMA_FIELDS = (
    Field("vocab_size", "vocab_size"),
    Field("width", "hidden_size"),
    Field("num_layers", "num_hidden_layers"),
    Field("num_heads", "num_attention_heads"),
    Field("num_key_value_heads", "num_key_value_heads", None),
    Field("head_dim", "head_dim", None),
    Field("hidden_dim", "intermediate_size"),
    Field("max_positions", "max_position_embeddings", 2048),
    Field("rotary_base", "rope_theta", 10_000.0),
    Field("norm_epsilon", "rms_norm_eps", 1e-6),
    Field("activation", "hidden_act", "silu", names=_ACTIVATIONS),
    Field("use_bias", "attention_bias", False, also=("mlp_bias",)),
    Field("tied", "tie_word_embeddings", False),
    Field("dropout", "attention_dropout", 0.0),
    Field("initializer_range", "initializer_range", 0.02),
)
_LLAMA_BLOCK = (
    Row(("attention_norm.scale",), "input_layernorm.weight"),
    *_linear("attention.query", "self_attn.q_proj"),
    *_linear("attention.key", "self_attn.k_proj"),
    *_linear("attention.value", "self_attn.v_proj"),
    *_linear("attention.output_projection", "self_attn.o_proj"),
    Row(("feed_forward_norm.scale",), "post_attention_layernorm.weight"),
    *_linear("feed_forward.gate", "mlp.gate_proj"),
    *_linear("feed_forward.inner", "mlp.up_proj"),
    *_linear("feed_forward.outer", "mlp.down_proj"),
)
_LLAMA_TRUNK = (
    Row(("token_embedding.embeddings",), "embed_tokens.weight"),
    Row(("final_norm.scale",), "norm.weight"),
)
LLAMA = Family(
    model_type="llama",
    config_class=GPTConfig,
    fields=_LLAMA_FIELDS,
    fixed={
        "rotary_base": lambda config: config.rotary_base or "a number",
        "norm": "rms",
        "gated": True,
        "attention_window": None,
    },
    supported={"rope_scaling": None},
    rows=_table(_LLAMA_TRUNK, _LLAMA_BLOCK, "layers.{}"),
    prefix="model.",
    ignored=r"\brotary_emb\.inv_freq$|^lm_head\.weight$",
    complete=_complete_gpt,
    read=_read_llama,
)

# What no class of transformers expresses: banded attention, RMSNorm with learned positions, ...


def _own_rows(config):
    """Every weight a GPT can have, under its own name."""
    norms = ("gamma", "beta") if config.norm == "layer" else ("scale",)
    dense = [f"attention.{name}" for name in ("query", "key", "value", "output_projection")]
    dense += [f"feed_forward.{name}" for name in ("gate", "inner", "outer")]
    block = [f"{norm}.{part}" for norm in ("attention_norm", "feed_forward_norm") for part in norms]
    block += [f"{layer}.{part}" for layer in dense for part in ("kernel", "bias")]
    paths = ["token_embedding.embeddings", "position_embedding.embeddings"]
    paths += [f"final_norm.{part}" for part in norms]
    paths += [f"blocks.{index}.{path}" for index in range(config.num_layers) for path in block]
    return tuple(Row((path,), path) for path in paths)


def _own_field(field):
    absent = field.default is dataclasses.MISSING
    return Field(field.name, field.name, REQUIRED if absent else field.default)


TFALIGN_GPT = Family(
    model_type="tfalign_gpt",
    config_class=GPTConfig,
    fields=tuple(_own_field(field) for field in dataclasses.fields(GPTConfig)),
    fixed={},
    supported={},
    rows=_own_rows,
    prefix="backbone.",
)

# BERT

_BERT_FIELDS = (
    Field("vocab_size", "vocab_size"),
    Field("width", "hidden_size"),
    Field("num_layers", "num_hidden_layers"),
    Field("num_heads", "num_attention_heads"),
    Field("hidden_dim", "intermediate_size"),
    Field("max_positions", "max_position_embeddings", 512),
    Field("num_token_types", "type_vocab_size", 2),
    Field("activation", "hidden_act", "gelu", names=_ACTIVATIONS),
    Field("norm_epsilon", "layer_norm_eps", 1e-12),
    Field("dropout", "hidden_dropout_prob", 0.1, also=("attention_probs_dropout_prob",)),
    Field("initializer_range", "initializer_range", 0.02),
)
_BERT_BLOCK = (
    *_linear("attention.query", "attention.self.query"),
    *_linear("attention.key", "attention.self.key"),
    *_linear("attention.value", "attention.self.value"),
    *_linear("attention.output_projection", "attention.output.dense"),
    *_layer_norm("attention_norm", "attention.output.LayerNorm"),
    *_linear("feed_forward.inner", "intermediate.dense"),
    *_linear("feed_forward.outer", "output.dense"),
    *_layer_norm("feed_forward_norm", "output.LayerNorm"),
)
_BERT_TRUNK = (
    Row(("token_embedding.embeddings",), "embeddings.word_embeddings.weight"),
    Row(("position_embedding.embeddings",), "embeddings.position_embeddings.weight"),
    Row(("type_embedding.embeddings",), "embeddings.token_type_embeddings.weight"),
    *_layer_norm("embedding_norm", "embeddings.LayerNorm"),
    # transformers' masked LM and token classifier have no pooler
    *(row._replace(optional=True) for row in _linear("pooler", "pooler.dense")),
)
BERT_FAMILY = Family(
    model_type="bert",
    config_class=BERTConfig,
    fields=_BERT_FIELDS,
    fixed={},
    supported={
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "tie_word_embeddings": True,
    },
    rows=_table(_BERT_TRUNK, _BERT_BLOCK, "encoder.layer.{}"),
    prefix="bert.",
    ignored=r"\bembeddings\.position_ids$|^cls\.(predictions\.decoder|seq_relationship)\.",
    complete=lambda config: config.replace(hidden_dim=config.hidden_dim or 4 * config.width),
)
_MASKED_LM_HEAD = (
    *_linear("head.dense", "cls.predictions.transform.dense"),
    *_layer_norm("head.norm", "cls.predictions.transform.LayerNorm"),
    Row(("head.bias",), "cls.predictions.bias"),
)


def _read_classifier(entries):
    rate = entries.get("classifier_dropout")
    labels = entries.get("id2label")
    return {
        "num_classes": len(labels) if labels else entries.get("num_labels", 2),
        "dropout": entries.get("hidden_dropout_prob", 0.1) if rate is None else rate,
    }


def _write_classifier(model):
    labels = [f"LABEL_{index}" for index in range(model.num_classes)]
    return {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
        "classifier_dropout": model.dropout,
    }


_classifier = {
    "rows": _linear("head.dense", "classifier"),
    "prefix": "bert.",
    "read_head": _read_classifier,
    "write_head": _write_classifier,
}
READOUT = Row(("backbone.token_embedding.kernel",), "lm_head.weight", TRANSPOSED)
_own_readout = READOUT._replace(name="readout", transform=SAME)

for _architecture in (
    Architecture("GPT2LMHeadModel", GPT2, CausalLM, (READOUT,), "transformer."),
    Architecture("LlamaForCausalLM", LLAMA, CausalLM, (READOUT,), "model."),
    Architecture("TfalignCausalLM", TFALIGN_GPT, CausalLM, (_own_readout,), "backbone."),
    Architecture("GPT2Model", GPT2, GPT),
    Architecture("LlamaModel", LLAMA, GPT),
    Architecture("BertModel", BERT_FAMILY, BERT),
    Architecture("BertForMaskedLM", BERT_FAMILY, MaskedLM, _MASKED_LM_HEAD, "bert."),
    Architecture("BertForSequenceClassification", BERT_FAMILY, SequenceClassifier, **_classifier),
    Architecture("BertForTokenClassification", BERT_FAMILY, TokenClassifier, **_classifier),
):
    register(_architecture)

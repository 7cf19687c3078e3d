"""Where Hugging Face directories keep what tfalign's models are made of: tables, and no more.

Sources: transformers' configuration and modeling files of gpt2, llama, mistral, qwen2, qwen3, smollm3,
bert, distilbert and roberta.
"""

from __future__ import annotations

import dataclasses

import numpy as np

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
    Transform,
    register,
)
from tfalign.models.neural_ngram import NeuralNGramConfig
from tfalign.models.recurrent import RecurrentConfig
from tfalign.models.tasks import (
    BERTPretrainer,
    CausalLM,
    MaskedLM,
    SequenceClassifier,
    TokenClassifier,
)

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


def _optional(rows):
    """Rows that a file may lack; the weights then stay as initialised."""
    return tuple(row._replace(optional=True) for row in rows)


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
    attention_bias = config.use_bias if config.attention_bias is None else config.attention_bias
    output_bias = config.attention_output_bias
    windowed = config.windowed_blocks
    if windowed is None:
        windowed = tuple(range(1, config.num_layers, 2))
    return config.replace(
        num_key_value_heads=config.num_key_value_heads or config.num_heads,
        head_dim=config.head_dim or config.width // config.num_heads,
        hidden_dim=config.hidden_dim or 4 * config.width,
        attention_bias=attention_bias,
        attention_output_bias=attention_bias if output_bias is None else output_bias,
        windowed_blocks=None if config.attention_window is None else windowed,
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
    rows=_table(_GPT2_TRUNK, _GPT2_BLOCK, "h.{}"),
    prefix="transformer.",
    ignored=r"\battn\.(masked_)?bias$|^lm_head\.weight$",
    complete=_complete_gpt,
)

# Llama and its relatives


def _read_rotary(entries):
    """One spelling of rotary settings, and no scaling where there is none to do.

    transformers 5 keeps all of them in "rope_parameters", 4 a base and "rope_scaling" beside it.
    """
    rotary = dict(entries.get("rope_parameters") or entries.get("rope_scaling") or {})
    if "rope_theta" in rotary:
        entries = entries | {"rope_theta": rotary.pop("rope_theta")}
    kind = rotary.pop("type", "default")
    kind = rotary.setdefault("rope_type", kind)
    if rotary.pop("partial_rotary_factor", None) not in (None, 1.0):
        raise ValueError("partial_rotary_factor must be 1: whole heads are turned.")
    if kind in ("llama3", "yarn") and "max_position_embeddings" in entries:
        rotary.setdefault("original_max_position_embeddings", entries["max_position_embeddings"])
    return entries | {"rope_scaling": None if kind == "default" else rotary}


def _read_windows(entries, window, types):
    """Entries with the window and the numbers of the blocks it applies to, or with neither."""
    windowed = tuple(i for i, kind in enumerate(types) if kind == _WINDOWED)
    return entries | {
        "sliding_window": window if windowed else None,
        "windowed_blocks": windowed if windowed and window else None,
    }


def _read_mistral(entries):
    window = entries.get("sliding_window", 4096)
    return _read_windows(
        _read_rotary(entries), window, [_WINDOWED] * entries.get("num_hidden_layers", 0)
    )


def _write_mistral(entries):
    return {key: value for key, value in entries.items() if key != "windowed_blocks"}


def _read_qwen(entries):
    used = entries.get("use_sliding_window", False)
    first, count = entries.get("max_window_layers", 28), entries.get("num_hidden_layers", 0)
    types = entries.get("layer_types") or [_DENSE] * first + [_WINDOWED] * (count - first)
    window = entries.get("sliding_window", 4096) if used else None
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
    rotated = entries.get("no_rope_layers") or [int((i + 1) % every != 0) for i in range(count)]
    unrotated = tuple(i for i, is_rotated in enumerate(rotated[:count]) if not is_rotated)
    types = entries.get("layer_types")
    types = types or [_WINDOWED if block in unrotated else _DENSE for block in range(count)]
    known = {"layer_types": types, "sliding_window": entries.get("sliding_window")}
    return _read_qwen(entries | known) | {"no_rope_layers": unrotated}


def _write_smollm3(entries):
    unrotated, blocks = entries["no_rope_layers"], range(entries["num_hidden_layers"])
    return _write_qwen(entries) | {"no_rope_layers": [int(b not in unrotated) for b in blocks]}


_WINDOWED, _DENSE = "sliding_attention", "full_attention"
_SHARED_LLAMA_FIELDS = (
    Field("vocab_size", "vocab_size"),
    Field("width", "hidden_size"),
    Field("num_layers", "num_hidden_layers"),
    Field("num_heads", "num_attention_heads"),
    Field("num_key_value_heads", "num_key_value_heads", None),
    Field("hidden_dim", "intermediate_size"),
    Field("rotary_scaling", "rope_scaling", None),
    Field("norm_epsilon", "rms_norm_eps", 1e-6),
    Field("activation", "hidden_act", "silu", names=_ACTIVATIONS),
    Field("dropout", "attention_dropout", 0.0),
    Field("initializer_range", "initializer_range", 0.02),
)
_HEAD_DIM = Field("head_dim", "head_dim", None)
_BASE = Field("rotary_base", "rope_theta", 10_000.0)
_TIED = Field("tied", "tie_word_embeddings", False)
_POSITIONS = Field("max_positions", "max_position_embeddings", 2048)
_LONG_POSITIONS = _POSITIONS._replace(default=32_768)
_BIASES = (Field("use_bias", "mlp_bias", False), Field("attention_bias", "attention_bias", False))
_WINDOW = (
    Field("attention_window", "sliding_window", None),
    Field("windowed_blocks", "windowed_blocks", None),
)
_LLAMA_FIXED = {
    "rotary_base": lambda config: config.rotary_base or "a number",
    "norm": "rms",
    "gated": True,
}
_NO_BIAS = {"use_bias": False, "attention_bias": False, "attention_output_bias": False}
_BIAS_AT_BOTH_ENDS = {"attention_output_bias": lambda config: config.attention_bias}
_ROTATED = {"unrotated_blocks": ()}
_PLAIN_HEADS = {"head_norm": False}
_LLAMA_BLOCK = (
    Row(("attention_norm.scale",), "input_layernorm.weight"),
    *_linear("attention.query", "self_attn.q_proj"),
    *_linear("attention.key", "self_attn.k_proj"),
    *_linear("attention.value", "self_attn.v_proj"),
    *_linear("attention.output_projection", "self_attn.o_proj"),
    Row(("attention.query_norm.scale",), "self_attn.q_norm.weight"),
    Row(("attention.key_norm.scale",), "self_attn.k_norm.weight"),
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
    fields=(*_SHARED_LLAMA_FIELDS, _HEAD_DIM, _BASE, _TIED, _POSITIONS, *_BIASES),
    fixed=_LLAMA_FIXED
    | _BIAS_AT_BOTH_ENDS
    | _ROTATED
    | _PLAIN_HEADS
    | {
        "attention_window": None,
        # transformers asks for it even where head_dim is given
        "width": lambda config: config.width // config.num_heads * config.num_heads,
    },
    supported={},
    rows=_table(_LLAMA_TRUNK, _LLAMA_BLOCK, "layers.{}"),
    prefix="model.",
    ignored=r"\brotary_emb\.inv_freq$|^lm_head\.weight$",
    complete=_complete_gpt,
    read=_read_rotary,
)
MISTRAL = LLAMA._replace(
    model_type="mistral",
    fields=(
        *(*_SHARED_LLAMA_FIELDS, _HEAD_DIM, _BASE, _TIED),
        *(_POSITIONS._replace(default=131_072), *_WINDOW),
    ),
    fixed=_LLAMA_FIXED
    | _NO_BIAS
    | _ROTATED
    | _PLAIN_HEADS
    | {"windowed_blocks": lambda c: c.attention_window and tuple(range(c.num_layers))},
    read=_read_mistral,
    write=_write_mistral,
)
QWEN2 = LLAMA._replace(
    model_type="qwen2",
    fields=(*_SHARED_LLAMA_FIELDS, _HEAD_DIM, _BASE, _TIED, _LONG_POSITIONS, *_WINDOW),
    fixed=_LLAMA_FIXED | _NO_BIAS | {"attention_bias": True} | _ROTATED | _PLAIN_HEADS,
    read=_read_qwen,
    write=_write_qwen,
)
QWEN3 = LLAMA._replace(
    model_type="qwen3",
    fields=(
        *(*_SHARED_LLAMA_FIELDS, _HEAD_DIM._replace(default=128), _BASE, _TIED),
        *(_LONG_POSITIONS, *_WINDOW, _BIASES[1]),
    ),
    fixed=_LLAMA_FIXED | {"use_bias": False} | _BIAS_AT_BOTH_ENDS | _ROTATED | {"head_norm": True},
    read=_read_qwen,
    write=_write_qwen,
)
SMOLLM3 = LLAMA._replace(
    model_type="smollm3",
    fields=(
        *(*_SHARED_LLAMA_FIELDS, _HEAD_DIM, _BASE._replace(default=2_000_000.0)),
        *(_TIED._replace(default=True), _LONG_POSITIONS, *_WINDOW, *_BIASES),
        Field("unrotated_blocks", "no_rope_layers"),
    ),
    fixed=_LLAMA_FIXED | _BIAS_AT_BOTH_ENDS | _PLAIN_HEADS,
    read=_read_smollm3,
    write=_write_smollm3,
)

# What no class of transformers expresses: banded attention, RMSNorm with learned positions, LSTMs, ...


def _own_rows(config):
    """Every weight a GPT can have, under its own name."""
    norms = ("gamma", "beta") if config.norm == "layer" else ("scale",)
    dense = [f"attention.{name}" for name in ("query", "key", "value", "output_projection")]
    dense += [f"feed_forward.{name}" for name in ("gate", "inner", "outer")]
    block = [f"{norm}.{part}" for norm in ("attention_norm", "feed_forward_norm") for part in norms]
    block += ["attention.query_norm.scale", "attention.key_norm.scale"]
    block += [f"{layer}.{part}" for layer in dense for part in ("kernel", "bias")]
    paths = ["token_embedding.embeddings", "position_embedding.embeddings"]
    paths += [f"final_norm.{part}" for part in norms]
    paths += [f"blocks.{index}.{path}" for index in range(config.num_layers) for path in block]
    return tuple(Row((path,), path) for path in paths)


def _own_field(field):
    absent = field.default is dataclasses.MISSING
    return Field(field.name, field.name, REQUIRED if absent else field.default)


def _own_family(model_type, config_class, rows):
    """Every setting under its own name, and every weight in ``rows``."""
    return Family(
        model_type=model_type,
        config_class=config_class,
        fields=tuple(_own_field(field) for field in dataclasses.fields(config_class)),
        fixed={},
        supported={},
        rows=rows,
        prefix="backbone.",
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


TFALIGN_GPT = _own_family("tfalign_gpt", GPTConfig, _own_rows)
TFALIGN_RECURRENT = _own_family("tfalign_recurrent", RecurrentConfig, _recurrent_rows)
TFALIGN_NEURAL_NGRAM = _own_family("tfalign_neural_ngram", NeuralNGramConfig, _neural_ngram_rows)

# BERT


def _bert_fields(max_positions):
    return (
        Field("vocab_size", "vocab_size"),
        Field("width", "hidden_size"),
        Field("num_layers", "num_hidden_layers"),
        Field("num_heads", "num_attention_heads"),
        Field("hidden_dim", "intermediate_size"),
        Field("max_positions", "max_position_embeddings", max_positions),
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
_POSITION_TABLE = Row(("position_embedding.embeddings",), "embeddings.position_embeddings.weight")
_BERT_TRUNK = (
    Row(("token_embedding.embeddings",), "embeddings.word_embeddings.weight"),
    _POSITION_TABLE,
    Row(("type_embedding.embeddings",), "embeddings.token_type_embeddings.weight"),
    *_layer_norm("embedding_norm", "embeddings.LayerNorm"),
    # transformers' masked LM and token classifier have no pooler
    *_optional(_linear("pooler", "pooler.dense")),
)
BERT_FAMILY = Family(
    model_type="bert",
    config_class=BERTConfig,
    fields=_bert_fields(max_positions=512),
    fixed={
        "num_token_types": lambda config: max(config.num_token_types, 1),
        "pooler_activation": "tanh",
    },
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

# RoBERTa: its table of positions begins with two rows that no token has, 0 and the padding id's

_SKIPPED = 2
_AFTER_SKIPPED = Transform(
    to_file=lambda a: np.concatenate([np.zeros_like(a[0][:_SKIPPED]), a[0]]),
    from_file=lambda tensor, _: [tensor[_SKIPPED:]],
    file_shape=lambda s: (s[0][0] + _SKIPPED, s[0][1]),
    axis=None,
)


def _moved_positions(by):
    key = "max_position_embeddings"
    return lambda entries: entries | {key: entries[key] + by} if key in entries else entries


ROBERTA = BERT_FAMILY._replace(
    model_type="roberta",
    fields=_bert_fields(max_positions=512 - _SKIPPED),
    fixed=BERT_FAMILY.fixed | {"activation": "gelu"},
    supported=BERT_FAMILY.supported | {"pad_token_id": 1, "hidden_act": "gelu"},
    rows=_table(
        [
            row._replace(transform=_AFTER_SKIPPED) if row is _POSITION_TABLE else row
            for row in _BERT_TRUNK
        ],
        _BERT_BLOCK,
        "encoder.layer.{}",
    ),
    prefix="roberta.",
    ignored=r"\bembeddings\.position_ids$|^lm_head\.decoder\.",
    read=_moved_positions(-_SKIPPED),
    write=_moved_positions(_SKIPPED),
)

# DistilBERT: no token types, and a pooler in its sequence classifier alone

DISTILBERT = BERT_FAMILY._replace(
    model_type="distilbert",
    fields=(
        Field("vocab_size", "vocab_size"),
        Field("width", "dim"),
        Field("num_layers", "n_layers"),
        Field("num_heads", "n_heads"),
        Field("hidden_dim", "hidden_dim"),
        Field("max_positions", "max_position_embeddings", 512),
        Field("activation", "activation", "gelu", names=_ACTIVATIONS),
        Field("dropout", "dropout", 0.1, also=("attention_dropout",)),
        Field("initializer_range", "initializer_range", 0.02),
    ),
    fixed={"num_token_types": 0, "pooler_activation": "relu", "norm_epsilon": 1e-12},
    supported={"tie_word_embeddings": True},
    rows=_table(
        (
            Row(("token_embedding.embeddings",), "embeddings.word_embeddings.weight"),
            _POSITION_TABLE,
            *_layer_norm("embedding_norm", "embeddings.LayerNorm"),
            *_optional(_linear("pooler", "pre_classifier")),
        ),
        (
            *_linear("attention.query", "attention.q_lin"),
            *_linear("attention.key", "attention.k_lin"),
            *_linear("attention.value", "attention.v_lin"),
            *_linear("attention.output_projection", "attention.out_lin"),
            *_layer_norm("attention_norm", "sa_layer_norm"),
            *_linear("feed_forward.inner", "ffn.lin1"),
            *_linear("feed_forward.outer", "ffn.lin2"),
            *_layer_norm("feed_forward_norm", "output_layer_norm"),
        ),
        "transformer.layer.{}",
    ),
    prefix="distilbert.",
    ignored=r"^vocab_projector\.weight$",
)

# Heads


def _masked_lm(dense, norm, bias):
    return (
        *_linear("head.dense", dense),
        *_layer_norm("head.norm", norm),
        Row(("head.bias",), bias),
    )


def _labels(entries):
    labels = entries.get("id2label")
    return len(labels) if labels else entries.get("num_labels", 2)


def has_one_label(entries):
    """Whether a sequence classifier of transformers gives one number: a score, not classes."""
    return _labels(entries) == 1


def _labelled(*rates, default=0.1):
    """Reads and writes the number of classes, and the dropout rate under the first of ``rates``."""

    def read(entries):
        known = [entries[rate] for rate in rates if entries.get(rate) is not None]
        return {"num_classes": _labels(entries), "dropout": known[0] if known else default}

    def write(model):
        labels = [f"LABEL_{index}" for index in range(model.num_classes)]
        return {
            "id2label": {str(index): label for index, label in enumerate(labels)},
            "label2id": {label: index for index, label in enumerate(labels)},
            rates[0]: model.dropout,
        }

    return {"read_head": read, "write_head": write}


_score_kernel, _score_bias = _linear("head.dense", "score")
READOUT = Row(("backbone.token_embedding.kernel",), "lm_head.weight", TRANSPOSED)
_own_readout = READOUT._replace(name="readout", transform=SAME)
_trunks_readout = READOUT._replace(paths=("token_embedding.kernel",), optional=True)
# transformers has no bias there, and no read-out, which an untied trunk brings along
SCORE = (_score_kernel, *_optional((_score_bias, READOUT)))


def tied_unless_stored(config, tensors):
    """An untied trunk without its read-out is a tied one to whoever does not read logits."""
    return config.replace(tied=config.tied or READOUT.name not in tensors)


# head -> its rows in a BERT, a RoBERTa and a DistilBERT
CLASSIFIER = {
    "Bert": _linear("head.dense", "classifier"),
    "Roberta": (
        *_linear("backbone.pooler", "classifier.dense"),
        *_linear("head.dense", "classifier.out_proj"),
    ),
    "DistilBert": (
        *_linear("backbone.pooler", "pre_classifier"),
        *_linear("head.dense", "classifier"),
    ),
}
_MASKED_LM = {
    "Bert": _masked_lm(
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.bias",
    ),
    "Roberta": _masked_lm("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "DistilBert": _masked_lm("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
}
_DROPOUT = _labelled("classifier_dropout", "hidden_dropout_prob")
_CLASSIFIER_DROPOUT = {
    "Bert": (_DROPOUT, _DROPOUT),
    "Roberta": (_DROPOUT, _DROPOUT),
    "DistilBert": (_labelled("seq_classif_dropout", default=0.2), _labelled("dropout")),
}
DECODERS = {
    "GPT2": GPT2,
    "Llama": LLAMA,
    "Mistral": MISTRAL,
    "Qwen2": QWEN2,
    "Qwen3": QWEN3,
    "SmolLM3": SMOLLM3,
}
ENCODERS = {"Bert": BERT_FAMILY, "Roberta": ROBERTA, "DistilBert": DISTILBERT}

for _name, _family in DECODERS.items():
    _causal_lm = "LMHeadModel" if _family is GPT2 else "ForCausalLM"
    _of_trunk = {"prefix": _family.prefix}
    for _architecture in (
        Architecture(_name + _causal_lm, _family, CausalLM, (READOUT,), **_of_trunk),
        Architecture(f"{_name}Model", _family, GPT, (_trunks_readout,), adapt=tied_unless_stored),
        Architecture(
            f"{_name}ForSequenceClassification",
            _family,
            SequenceClassifier,
            SCORE,
            **_of_trunk,
            **_labelled("classifier_dropout", default=0.0),
            adapt=tied_unless_stored,
        ),
    ):
        register(_architecture)
for _name, _family in (
    ("TfalignCausalLM", TFALIGN_GPT),
    ("TfalignRecurrentLM", TFALIGN_RECURRENT),
    ("TfalignNeuralNGramLM", TFALIGN_NEURAL_NGRAM),
):
    register(Architecture(_name, _family, CausalLM, (_own_readout,), _family.prefix))
register(
    Architecture(
        "BertForPreTraining",
        BERT_FAMILY,
        BERTPretrainer,
        (*_MASKED_LM["Bert"], *_linear("next_sentence.dense", "cls.seq_relationship")),
        prefix=BERT_FAMILY.prefix,
    )
)
for _name, _family in ENCODERS.items():
    _of_trunk = {"prefix": _family.prefix}
    _sequence, _token = _CLASSIFIER_DROPOUT[_name]
    for _architecture in (
        Architecture(f"{_name}Model", _family, BERT),
        Architecture(f"{_name}ForMaskedLM", _family, MaskedLM, _MASKED_LM[_name], **_of_trunk),
        Architecture(
            f"{_name}ForSequenceClassification",
            _family,
            SequenceClassifier,
            CLASSIFIER[_name],
            **_of_trunk,
            **_sequence,
        ),
        Architecture(
            f"{_name}ForTokenClassification",
            _family,
            TokenClassifier,
            _linear("head.dense", "classifier"),
            **_of_trunk,
            **_token,
        ),
    ):
        register(_architecture)

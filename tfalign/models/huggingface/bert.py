"""BERT, RoBERTa, XLM-R and DistilBERT (transformers' configuration and modeling files of these names)."""

from __future__ import annotations

import numpy as np

from tfalign.models.bert import BERT, BERTConfig
from tfalign.models.huggingface.heads import labelled
from tfalign.models.huggingface.leftovers import counts_up
from tfalign.models.huggingface.shapes import bert_shapes, classifier_shapes, masked_lm_shapes
from tfalign.models.huggingface.tables import (
    ACTIVATIONS,
    Architecture,
    Dropped,
    Family,
    Field,
    Row,
    Transform,
    layer_norm,
    linear,
    optional,
    table,
)
from tfalign.models.tasks import BERTPretrainer, MaskedLM, SequenceClassifier, TokenClassifier


def _complete(config):
    rate = config.attention_dropout
    return config.replace(
        hidden_dim=config.hidden_dim or 4 * config.width,
        attention_dropout=config.dropout if rate is None else rate,
    )


def _bert_fields(max_positions):
    return (
        Field("vocab_size", "vocab_size"),
        Field("width", "hidden_size"),
        Field("num_layers", "num_hidden_layers"),
        Field("num_heads", "num_attention_heads"),
        Field("hidden_dim", "intermediate_size"),
        Field("max_positions", "max_position_embeddings", max_positions),
        Field("num_token_types", "type_vocab_size", 2),
        Field("activation", "hidden_act", "gelu", names=ACTIVATIONS),
        Field("norm_epsilon", "layer_norm_eps", 1e-12),
        Field("dropout", "hidden_dropout_prob", 0.1),
        Field("attention_dropout", "attention_probs_dropout_prob", 0.1),
        Field("initializer_range", "initializer_range", 0.02),
    )


_BERT_BLOCK = (
    *linear("attention.query", "attention.self.query"),
    *linear("attention.key", "attention.self.key"),
    *linear("attention.value", "attention.self.value"),
    *linear("attention.output_projection", "attention.output.dense"),
    *layer_norm("attention_norm", "attention.output.LayerNorm"),
    *linear("feed_forward.inner", "intermediate.dense"),
    *linear("feed_forward.outer", "output.dense"),
    *layer_norm("feed_forward_norm", "output.LayerNorm"),
)
_POSITION_TABLE = Row(("position_embedding.embeddings",), "embeddings.position_embeddings.weight")
_BERT_TRUNK = (
    Row(("token_embedding.embeddings",), "embeddings.word_embeddings.weight"),
    _POSITION_TABLE,
    Row(("type_embedding.embeddings",), "embeddings.token_type_embeddings.weight"),
    *layer_norm("embedding_norm", "embeddings.LayerNorm"),
    # transformers' masked LM and token classifier have no pooler
    *optional(linear("pooler", "pooler.dense")),
)
_POSITION_IDS = Dropped(
    r"\bembeddings\.position_ids$", "the numbers 0, 1, 2, ...", equals=counts_up
)
_BIAS = "a copy of the head's bias"


def _copy_of_table(pattern):
    what = "a copy of the token embeddings"
    return Dropped(pattern, what, copy_of="embeddings.word_embeddings.weight")


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
    rows=table(_BERT_TRUNK, _BERT_BLOCK, "encoder.layer.{}"),
    prefix="bert.",
    shapes=lambda config: bert_shapes(_complete(config)),
    dropped=(
        _POSITION_IDS,
        _copy_of_table(r"^cls\.predictions\.decoder\.weight$"),
        Dropped(r"^cls\.predictions\.decoder\.bias$", _BIAS, copy_of="cls.predictions.bias"),
        Dropped(r"^cls\.seq_relationship\.", "the next-sentence head of pretraining"),
    ),
    complete=_complete,
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
    rows=table(
        [
            row._replace(transform=_AFTER_SKIPPED) if row is _POSITION_TABLE else row
            for row in _BERT_TRUNK
        ],
        _BERT_BLOCK,
        "encoder.layer.{}",
    ),
    prefix="roberta.",
    dropped=(
        _POSITION_IDS,
        _copy_of_table(r"^lm_head\.decoder\.weight$"),
        Dropped(r"^lm_head\.decoder\.bias$", _BIAS, copy_of="lm_head.bias"),
    ),
    read=_moved_positions(-_SKIPPED),
    write=_moved_positions(_SKIPPED),
)

XLM_ROBERTA = ROBERTA._replace(model_type="xlm-roberta")

# DistilBERT: no token types, and a pooler in its sequence classifier alone

DISTILBERT = BERT_FAMILY._replace(
    model_type="distilbert",
    fields=(
        Field("vocab_size", "vocab_size"),
        Field("width", "dim", also=("hidden_size",)),
        Field("num_layers", "n_layers", also=("num_hidden_layers",)),
        Field("num_heads", "n_heads", also=("num_attention_heads",)),
        Field("hidden_dim", "hidden_dim"),
        Field("max_positions", "max_position_embeddings", 512),
        Field("activation", "activation", "gelu", names=ACTIVATIONS),
        Field("dropout", "dropout", 0.1),
        Field("attention_dropout", "attention_dropout", 0.1),
        Field("initializer_range", "initializer_range", 0.02),
    ),
    fixed={"num_token_types": 0, "pooler_activation": "relu", "norm_epsilon": 1e-12},
    supported={"tie_word_embeddings": True},
    rows=table(
        (
            Row(("token_embedding.embeddings",), "embeddings.word_embeddings.weight"),
            _POSITION_TABLE,
            *layer_norm("embedding_norm", "embeddings.LayerNorm"),
            *optional(linear("pooler", "pre_classifier")),
        ),
        (
            *linear("attention.query", "attention.q_lin"),
            *linear("attention.key", "attention.k_lin"),
            *linear("attention.value", "attention.v_lin"),
            *linear("attention.output_projection", "attention.out_lin"),
            *layer_norm("attention_norm", "sa_layer_norm"),
            *linear("feed_forward.inner", "ffn.lin1"),
            *linear("feed_forward.outer", "ffn.lin2"),
            *layer_norm("feed_forward_norm", "output_layer_norm"),
        ),
        "transformer.layer.{}",
    ),
    prefix="distilbert.",
    # the table of positions is in the file, whatever it began as
    harmless=("sinusoidal_pos_embds", "seq_classif_dropout", "qa_dropout", "tie_weights_"),
    dropped=(_POSITION_IDS, _copy_of_table(r"^vocab_projector\.weight$")),
)

# Heads


def _masked_lm(dense, norm, bias):
    return (
        *linear("head.dense", dense),
        *layer_norm("head.norm", norm),
        Row(("head.bias",), bias),
    )


_ROBERTA_CLASSIFIER = (
    *linear("backbone.pooler", "classifier.dense"),
    *linear("head.dense", "classifier.out_proj"),
)
_ROBERTA_MASKED_LM = _masked_lm("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
# head -> its rows in each family
CLASSIFIER = {
    "Bert": linear("head.dense", "classifier"),
    "Roberta": _ROBERTA_CLASSIFIER,
    "XLMRoberta": _ROBERTA_CLASSIFIER,
    "DistilBert": (
        *linear("backbone.pooler", "pre_classifier"),
        *linear("head.dense", "classifier"),
    ),
}
_MASKED_LM = {
    "Bert": _masked_lm(
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.bias",
    ),
    "Roberta": _ROBERTA_MASKED_LM,
    "XLMRoberta": _ROBERTA_MASKED_LM,
    "DistilBert": _masked_lm("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
}
_DROPOUT = labelled("classifier_dropout", "hidden_dropout_prob")
_CLASSIFIER_DROPOUT = {
    "Bert": (_DROPOUT, _DROPOUT),
    "Roberta": (_DROPOUT, _DROPOUT),
    "XLMRoberta": (_DROPOUT, _DROPOUT),
    "DistilBert": (labelled("seq_classif_dropout", default=0.2), labelled("dropout")),
}
ENCODERS = {
    "Bert": BERT_FAMILY,
    "Roberta": ROBERTA,
    "XLMRoberta": XLM_ROBERTA,
    "DistilBert": DISTILBERT,
}


def _architectures(name, family):
    of_trunk = {"prefix": family.prefix}
    sequence, token = _CLASSIFIER_DROPOUT[name]
    sequence, token = ({**head, "shapes": classifier_shapes} for head in (sequence, token))
    masked_lm = {"shapes": masked_lm_shapes}
    classifier = linear("head.dense", "classifier")
    yield Architecture(f"{name}Model", family, BERT)
    yield Architecture(
        f"{name}ForMaskedLM", family, MaskedLM, _MASKED_LM[name], **of_trunk, **masked_lm
    )
    yield Architecture(
        f"{name}ForSequenceClassification",
        family,
        SequenceClassifier,
        CLASSIFIER[name],
        **of_trunk,
        **sequence,
    )
    yield Architecture(
        f"{name}ForTokenClassification", family, TokenClassifier, classifier, **of_trunk, **token
    )


ARCHITECTURES = (
    Architecture(
        "BertForPreTraining",
        BERT_FAMILY,
        BERTPretrainer,
        (*_MASKED_LM["Bert"], *linear("next_sentence.dense", "cls.seq_relationship")),
        prefix=BERT_FAMILY.prefix,
        shapes=masked_lm_shapes,
    ),
    *(one for name, family in ENCODERS.items() for one in _architectures(name, family)),
)

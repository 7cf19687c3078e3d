"""Backbone and head together: the models that are trained, saved and served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign.models.bert import BERT, BERTConfig
from tfalign.models.conditioned import condition_argument
from tfalign.models.config import ModelConfig
from tfalign.models.gpt import GPT
from tfalign.models.gpt_config import GPTConfig
from tfalign.models.heads import (
    CausalLMHead,
    MaskedLMHead,
    NextSentenceHead,
    PooledClassifierHead,
    TokenClassifierHead,
    ValueHead,
)
from tfalign.models.huggingface.writing import PretrainedModel
from tfalign.models.keras_use import Exported
from tfalign.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from tfalign.models.recurrent import Recurrent, RecurrentConfig
from tfalign.types import Array

_TRUNKS = {
    GPTConfig: GPT,
    BERTConfig: BERT,
    NeuralNGramConfig: NeuralNGram,
    RecurrentConfig: Recurrent,
}


class TaskModel(PretrainedModel, Exported, keras.Model):
    """A backbone under ``backbone`` and what it needs to save and restore itself.

    Args:
        backbone: GPT or BERT, a configuration of either, or a dict of its fields.
    """

    backbone_class: type  # that a dict is of

    def __init__(
        self, backbone: keras.Model | ModelConfig | Mapping[str, Any], **kwargs: Any
    ) -> None:
        is_trunk = isinstance(backbone, keras.Model)
        if is_trunk and kwargs.get("dtype") is None:
            kwargs["dtype"] = backbone.dtype_policy
        super().__init__(**kwargs)
        self.backbone = backbone if is_trunk else self._trunk(backbone)
        self.built = True

    def _trunk(self, config):
        trunk = _TRUNKS.get(type(config), self.backbone_class)
        return trunk(config, dtype=self.dtype_policy, name="backbone")

    @property
    def config(self) -> ModelConfig:
        return self.backbone.config

    @property
    def takes_condition(self) -> bool:
        """Whether the backbone reads a condition before the tokens, see ``Conditioned``."""
        return getattr(self.backbone, "takes_condition", False)

    @property
    def _features_shape(self):
        return (None, None, self.config.width)

    def _hidden(self, token_ids, padding_mask, token_type_ids, training):
        """The backbone's states, float[B, T, W]; a decoder is not told of token types."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.backbone(token_ids, padding_mask=padding_mask, training=training, **types)

    def get_config(self) -> dict[str, Any]:
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return super().get_config() | {"backbone": backbone}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TaskModel:
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**config | {"backbone": backbone})


@keras.saving.register_keras_serializable("tfalign")
class CausalLM(TaskModel):
    """A GPT with its LM head: the language model, and the policy of reinforcement learning. The
    networks before it, ``NeuralNGram`` and ``Recurrent``, are trained and sampled from in its place.

    Args:
        backbone: GPT, GPTConfig or a dict of its fields; or one of those networks or its
            configuration.

    Call arguments:
        token_ids: int32[B, T].
        padding_mask: bool[B, T], true at real tokens; None for all.
        segment_ids: int32[B, T] for packed rows, see ``GPT``.
        last: int, N, how many of the last columns are wanted; None for all T.
        condition: array of B rows, for a ``Conditioned`` backbone alone.

    Returns:
        float32[B, N, V], logits of the token after each column.
    """

    backbone_class = GPT

    def __init__(
        self, backbone: keras.Model | ModelConfig | Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(backbone, **kwargs)
        cap = getattr(self.config, "logit_softcap", None)
        self.head = CausalLMHead(cap, dtype=self.dtype_policy, name="head")

    @classmethod
    def from_preset(
        cls, name: str, dtype: str | keras.DTypePolicy | None = None, **changes: Any
    ) -> CausalLM:
        """A model of ``models.gpt_config.PRESETS`` with random weights, some sizes changed."""
        return cls(GPTConfig.from_preset(name, **changes), dtype=dtype)

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        last: int | None = None,
        training: bool | None = None,
        condition: Array | None = None,
    ) -> Array:
        hidden = self.backbone(
            token_ids,
            padding_mask=padding_mask,
            segment_ids=segment_ids,
            last=last,
            training=training,
            **condition_argument(condition),
        )
        return self.logits(hidden)

    def logits(self, hidden: Array, kernel: Array | None = None) -> Array:
        """float[..., W] to float32[..., V]; a loop passes the LM head's kernel it took before."""
        return self.head(hidden, kernel=self.readout_kernel() if kernel is None else kernel)

    def lens(self, state: Array) -> Array:
        """Logits of a state between two blocks, as if it were the last: float32[..., V]."""
        return self.logits(self.backbone.final_norm(state))

    def readout_kernel(self) -> Array:
        return self.backbone.readout_kernel()

    @property
    def logit_softcap(self) -> float | None:
        """What the product of states and ``readout_kernel`` is soft-capped by; None for nothing."""
        return self.head.softcap


@keras.saving.register_keras_serializable("tfalign")
class Critic(TaskModel):
    """A GPT backbone with a value head: float32[B, N], the value of the state after each column; call
    arguments as of ``GPT``."""

    backbone_class = GPT

    def __init__(
        self, backbone: keras.Model | ModelConfig | Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(backbone, **kwargs)
        self.head = ValueHead(dtype=self.dtype_policy, name="head")
        self.head.build(self._features_shape)

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        last: int | None = None,
        places: Array | None = None,
        training: bool | None = None,
        condition: Array | None = None,
    ) -> Array:
        given = {"padding_mask": padding_mask, "segment_ids": segment_ids, "last": last}
        given |= {"training": training} | condition_argument(condition)
        if places is not None:
            given["places"] = places
        return self.head(self.backbone(token_ids, **given))


@keras.saving.register_keras_serializable("tfalign")
class MaskedLM(TaskModel):
    """A BERT that predicts every column's token from both sides: float32[B, T, V]."""

    backbone_class = BERT

    def __init__(
        self, backbone: keras.Model | ModelConfig | Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(backbone, **kwargs)
        c = self.config
        self.head = MaskedLMHead(
            c.vocab_size,
            activation=c.activation,
            norm_epsilon=c.norm_epsilon,
            initializer_range=c.initializer_range,
            dtype=self.dtype_policy,
            name="head",
        )
        self.head.build(self._features_shape)

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        token_type_ids: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        return self.lens(self._hidden(token_ids, padding_mask, token_type_ids, training))

    def lens(self, state: Array) -> Array:
        """Logits of a state after any block, as if it were the last: float32[..., V]."""
        return self.head(state, kernel=self.backbone.readout_kernel())


@keras.saving.register_keras_serializable("tfalign")
class BERTPretrainer(MaskedLM):
    """BERT as it is pretrained, a ``MaskedLM`` that also says whether the second text follows the first:
    (float32[B, T, V], float32[B, 2]), logits; class 0 is "it follows"."""

    def __init__(
        self, backbone: keras.Model | ModelConfig | Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(backbone, **kwargs)
        self.next_sentence = NextSentenceHead(
            initializer_range=self.config.initializer_range,
            dtype=self.dtype_policy,
            name="next_sentence",
        )
        self.next_sentence.build(self._features_shape)

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        token_type_ids: Array | None = None,
        training: bool | None = None,
    ) -> tuple[Array, Array]:
        hidden = self._hidden(token_ids, padding_mask, token_type_ids, training)
        pooled = self.backbone.pool(hidden, padding_mask)
        return self.lens(hidden), self.next_sentence(pooled, training=training)


class _Classifier(TaskModel):
    """A backbone and a classifier head; subclasses say which features the head sees."""

    backbone_class = BERT
    head_class: type

    def __init__(self, backbone, num_classes=2, dropout=0.0, **kwargs):
        super().__init__(backbone, **kwargs)
        self.num_classes = num_classes
        self.dropout = dropout
        self.head = self.head_class(
            num_classes,
            dropout=dropout,
            initializer_range=self.config.initializer_range,
            dtype=self.dtype_policy,
            name="head",
        )
        self.head.build(self._features_shape)

    def call(self, token_ids, padding_mask=None, token_type_ids=None, training=None):
        hidden = self._hidden(token_ids, padding_mask, token_type_ids, training)
        return self.head(self._features(hidden, padding_mask), training=training)

    def _features(self, hidden, padding_mask):
        return self.backbone.pool(hidden, padding_mask)

    def get_config(self):
        return super().get_config() | {"num_classes": self.num_classes, "dropout": self.dropout}


@keras.saving.register_keras_serializable("tfalign")
class SequenceClassifier(_Classifier):
    """A class for a text or a pair of texts: float32[B, C], logits of what ``backbone.pool`` reads."""

    head_class = PooledClassifierHead


@keras.saving.register_keras_serializable("tfalign")
class MeanPooledClassifier(_Classifier):
    """A class for a text: float32[B, C], logits of the mean of its tokens' states, whether the backbone
    sees them from both sides or from one. No published directory has such a head."""

    head_class = PooledClassifierHead

    def _features(self, hidden, padding_mask):
        return _mean_state(hidden, padding_mask)


@keras.saving.register_keras_serializable("tfalign")
class NextSentenceClassifier(_Classifier):
    """Does the second segment follow the first: float32[B, 2], logits; class 0 is "it follows"."""

    head_class = NextSentenceHead


@keras.saving.register_keras_serializable("tfalign")
class SentenceEncoder(TaskModel):
    """A vector of length 1 for a text, the mean of its tokens' states (Reimers and Gurevych 2019):
    float32[B, W]. It is its backbone and no more, and is saved as ``backbone.save_pretrained``."""

    backbone_class = BERT

    def call(
        self, token_ids: Array, padding_mask: Array | None = None, training: bool | None = None
    ) -> Array:
        mean = _mean_state(self._hidden(token_ids, padding_mask, None, training), padding_mask)
        return mean / ops.maximum(ops.norm(mean, axis=-1, keepdims=True), 1e-12)


@keras.saving.register_keras_serializable("tfalign")
class TokenClassifier(_Classifier):
    """A class for every token: float32[B, T, C], logits."""

    head_class = TokenClassifierHead

    def _features(self, hidden, padding_mask):
        return hidden


def _mean_state(hidden, padding_mask):
    """float32[B, W], the mean of float[B, T, W] over real tokens; 0 of a row without one."""
    hidden = ops.cast(hidden, "float32")
    if padding_mask is None:
        return ops.mean(hidden, axis=1)
    real = ops.cast(padding_mask, "float32")[..., None]
    total = ops.sum(ops.where(real > 0, hidden, 0.0), axis=1)
    return total / ops.maximum(ops.sum(real, axis=1), 1.0)

"""A decoder that reads something beside the tokens: a user, an image, any condition that an encoder turns into columns
in front of the prompt.

The columns are the model's own affair. Whoever calls it counts tokens alone: column c of a text is column c, a cache of
L columns holds L tokens, and the response stands where it stood. The columns' keys and values are computed once, with
the empty cache; as a cache's rows are copied and moved (slots, groups), they go with them. So the decode loops, the
actor-critics and the reference need to know where a condition comes from, and nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign.layers import PrefixEncoder
from tfalign.models.config import ModelConfig
from tfalign.models.gpt import GPT
from tfalign.types import Array


@keras.saving.register_keras_serializable("tfalign")
class Conditioned(keras.Model):
    """A GPT with a prefix encoder: the backbone of a ``CausalLM`` or a ``Critic`` that takes conditions.

    Args:
        backbone: GPT.
        encoder: PrefixEncoder of the backbone's width, see ``layers``: K columns.

    Call arguments:
        token_ids, padding_mask, last, training: as ``GPT``; documents packed into rows (``segment_ids``) have no
            place for a condition.
        condition: array of B rows, what the encoder takes.

    Returns:
        float[B, N, W], the states at the tokens; those at the prefix are nobody's.

    Raises:
        ValueError: if the widths differ; in a call, if there is no condition, or segments.

    >>> from tfalign.layers import IdPrefix
    >>> from tfalign.models import CausalLM, GPTConfig
    >>> gpt = GPT(GPTConfig(vocab_size=9, width=8, num_layers=1, num_heads=2, max_positions=16))
    >>> model = CausalLM(Conditioned(gpt, IdPrefix(num_ids=3, num_columns=2, width=8)))
    >>> tuple(model(ops.ones((2, 5), "int32"), condition=ops.array([0, 2])).shape)
    (2, 5, 9)
    >>> model.config.max_positions
    14
    """

    takes_condition = True

    def __init__(self, backbone: GPT, encoder: PrefixEncoder, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", backbone.dtype_policy)
        super().__init__(**kwargs)
        if encoder.width != backbone.config.width:
            raise ValueError(
                "A prefix encoder is as wide as the model that reads it. Received: "
                f"width={encoder.width}, of a model of width {backbone.config.width}"
            )
        self.gpt = backbone
        self.encoder = encoder
        if not encoder.built:
            encoder.build()
        self.built = True

    @property
    def num_columns(self) -> int:
        """K, of the prefix."""
        return self.encoder.num_columns

    @property
    def config(self) -> ModelConfig:
        """GPTConfig, whose positions are those that the prefix leaves."""
        config = self.gpt.config
        return config.replace(max_positions=config.max_positions - self.num_columns)

    def checked_condition(self, condition: Array) -> Array:
        """See ``PrefixEncoder.checked``."""
        return self.encoder.checked(condition)

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        last: int | None = None,
        training: bool | None = None,
        condition: Array | None = None,
    ) -> Array:
        self._check(condition)
        if segment_ids is not None:
            raise ValueError("Documents packed into rows have no place for a condition")
        tokens = self.gpt.token_embedding(token_ids)
        embedded = ops.concatenate([self.encoder(condition), tokens], axis=1)
        if padding_mask is not None:
            padding_mask = self._behind_prefix(padding_mask)
        last = token_ids.shape[1] if last is None else last
        return self.gpt.from_embeddings(embedded, padding_mask, last=last, training=training)

    def new_cache(self, batch_size: int, length: int, condition: Array | None = None) -> tuple:
        """Key-value caches of ``length`` columns for tokens, behind those of the prefix of each row.

        Args:
            batch_size: int, B.
            length: int, L.
            condition: array of B rows.
        """
        self._check(condition)
        columns = self.num_columns
        cache = self.gpt.new_cache(batch_size, columns + length)
        visible = self._behind_prefix(ops.zeros((batch_size, length), "bool"))
        positions = ops.broadcast_to(ops.arange(columns, dtype="int32"), (batch_size, columns))
        prefix = self.encoder(condition)
        return self.gpt.extend_embeddings(prefix, cache, 0, visible, positions)[1]

    def extend(
        self, token_ids: Array, cache: tuple, column: Array | int, visible: Array, positions: Array
    ) -> tuple[Array, tuple]:
        """As ``GPT.extend``, with columns and positions of the tokens alone."""
        columns = self.num_columns
        visible = self._behind_prefix(visible)
        return self.gpt.extend(token_ids, cache, column + columns, visible, positions + columns)

    def readout_kernel(self) -> Array:
        """float[W, V], kernel of the LM head."""
        return self.gpt.readout_kernel()

    def pool(self, hidden: Array, padding_mask: Array | None = None) -> Array:
        """As ``GPT.pool``."""
        return self.gpt.pool(hidden, padding_mask)

    def _behind_prefix(self, mask):
        """bool[B, K + T], true at the prefix."""
        return ops.pad(mask, ((0, 0), (self.num_columns, 0)), constant_values=True)

    def _check(self, condition):
        if condition is None:
            raise ValueError(
                "This model reads a condition before its tokens, and there is none: give condition=, or prompts "
                "that bring one (NumberedPrompts)"
            )

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return super().get_config() | {
            "backbone": serialize(self.gpt),
            "encoder": serialize(self.encoder),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Conditioned:
        restored = keras.saving.deserialize_keras_object
        parts = {name: restored(config[name]) for name in ("backbone", "encoder")}
        return cls(**config | parts)


def condition_argument(condition: Array | None) -> dict[str, Array]:
    """The keyword argument of a call: none without a condition, which only a model that takes one knows."""
    return {} if condition is None else {"condition": condition}


def seen_by(model: Any, condition: Array | None) -> Array | None:
    """The condition as a model sees it: None for one that takes none, such as a reference or a critic that is the same
    for all."""
    return condition if getattr(model, "takes_condition", False) else None

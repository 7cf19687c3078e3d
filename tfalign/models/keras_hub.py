"""KerasHub's causal language models as policies.

Any ``keras_hub.models.CausalLM`` that decodes with a cache (``call_with_cache``) is wrapped, not copied: its
weights are trained and saved by itself. KerasHub's models take rows that begin in their first column and
are padded behind, and its cache has one column for all rows. So rows are put into that order on the way in
and back on the way out, and the decode loop is KerasHub's own kind: all rows stand at one column, and a row
whose prompt is longer takes its prompt's token there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign import backend
from tfalign.functional.masking import last_true_index
from tfalign.types import Array, Generation

_ANY_LENGTH = 2**20  # of rotary models, which state none


@dataclasses.dataclass(frozen=True)
class KerasHubConfig:
    """The configuration of a KerasHub model, as far as tfalign needs it."""

    vocab_size: int
    width: int
    max_positions: int


class KerasHubTrunk(keras.Model):
    """A KerasHub backbone with ``GPT``'s arguments; rows may be padded on either side.

    Args:
        backbone: ``keras_hub.models.Backbone``.
        config: KerasHubConfig.
    """

    def __init__(self, backbone: keras.Model, config: KerasHubConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hub = backbone
        self.config = config
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        last: int | None = None,
        training: bool | None = None,
    ) -> Array:
        """As ``GPT.call``, but ``segment_ids`` must not hold more than one document a row."""
        if padding_mask is None:
            ones = ops.ones_like(token_ids)
            padding_mask = (ones if segment_ids is None else segment_ids) > 0
        order, back = _right_padded(padding_mask)
        inputs = {
            "token_ids": ops.take_along_axis(token_ids, order, axis=1),
            "padding_mask": ops.take_along_axis(ops.cast(padding_mask, "int32"), order, axis=1),
        }
        hidden = self.hub(inputs, training=training)
        hidden = ops.take_along_axis(hidden, back[:, :, None], axis=1)
        return hidden if last is None else hidden[:, -last:]

    def pool(self, hidden: Array, padding_mask: Array | None = None) -> Array:
        """As ``GPT.pool``."""
        if padding_mask is None:
            return hidden[:, -1]
        at = last_true_index(padding_mask)[:, None, None]
        return ops.take_along_axis(hidden, at, axis=1)[:, 0]


class KerasHubCausalLM(keras.Model):
    """A KerasHub model with ``CausalLM``'s methods.

    Args:
        hub: ``keras_hub.models.CausalLM``.
        max_positions: int, longest text; what the backbone or the preprocessor says where None.

    Raises:
        ValueError: if the model has no cache to decode with.
    """

    def __init__(self, hub: keras.Model, max_positions: int | None = None, **kwargs: Any) -> None:
        if not (hasattr(hub, "call_with_cache") and hasattr(hub, "_build_cache")):
            raise ValueError(f"{type(hub).__name__} does not decode with a cache")
        super().__init__(dtype=hub.backbone.dtype_policy, **kwargs)
        self.hub = hub
        stated = getattr(hub.backbone, "max_sequence_length", None)
        asked = getattr(hub.preprocessor, "sequence_length", None)
        self.config = KerasHubConfig(
            hub.backbone.vocabulary_size,
            hub.backbone.hidden_dim,
            max_positions or stated or asked or _ANY_LENGTH,
        )
        self.backbone = KerasHubTrunk(hub.backbone, self.config, dtype=self.dtype_policy)
        self.built = True

    @classmethod
    def from_preset(
        cls, preset: str | os.PathLike, dtype: str | keras.DTypePolicy | None = None
    ) -> KerasHubCausalLM:
        """The model of a KerasHub preset: a folder, or a name where there is a network.

        Raises:
            ValueError: if KerasHub cannot load it.
        """
        import keras_hub  # an extra

        try:
            hub = keras_hub.models.CausalLM.from_preset(str(preset), dtype=dtype)
        except Exception as error:  # a damaged file ends in errors of any kind there
            reason = str(error).strip().splitlines() or [""]
            raise ValueError(
                f"{preset} is no KerasHub preset of a language model that loads:"
                f" {type(error).__name__}: {reason[0]}"
            ) from error
        return cls(hub)

    def save_pretrained(
        self, directory: str | os.PathLike, entries: Mapping[str, Any] | None = None
    ) -> None:
        """Writes a KerasHub preset; ``entries`` have no place there. Of several processes all may call
        it, and the chief writes."""
        del entries
        if backend.is_chief():
            self.hub.save_to_preset(str(directory))

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        return self.logits(self.backbone(token_ids, padding_mask, segment_ids, training=training))

    def logits(self, hidden: Array, kernel: Array | None = None) -> Array:
        """float[..., W] to float32[..., V]; the LM head is the model's own."""
        del kernel
        return ops.cast(self.hub.backbone.token_embedding(hidden, reverse=True), "float32")

    def readout_kernel(self) -> Array | None:
        """float[W, V] in the compute dtype; None where the logits are more than a product with it, capped as Gemma 2's."""
        embedding = self.hub.backbone.token_embedding
        if getattr(embedding, "logit_soft_cap", None) is not None:
            return None
        untied = getattr(embedding, "reverse_embeddings", None)
        kernel = ops.transpose(embedding.embeddings) if untied is None else untied
        return ops.cast(kernel, self.compute_dtype)

    def decode(self, generator: Any, token_ids: Array, mask: Array, uniforms: Array) -> Generation:
        """The decode loop, for ``decoding.Generator``.

        Args:
            generator: Generator, which says how to choose and when to stop.
            token_ids: int32[B, P], padded on either side.
            mask: bool[B, P].
            uniforms: float32[R, B] in [0, 1).

        Returns:
            Generation.
        """
        rows, length = token_ids.shape[0], generator.max_new_tokens
        columns = token_ids.shape[1] + length
        order, _ = _right_padded(mask)
        prompt = ops.where(mask, token_ids, 0)
        prompt = ops.pad(ops.take_along_axis(prompt, order, axis=1), ((0, 0), (0, length)))
        sizes = ops.sum(ops.cast(mask, "int32"), axis=1)
        _, cache = self.hub._build_cache(prompt)
        per_column = [prompt, ops.zeros((rows, columns)), ops.zeros((rows, columns), "bool")]
        if generator.value_head:
            per_column.append(ops.zeros((rows, columns)))
        each_row = ops.arange(rows, dtype="int32")

        def unfinished(column, cache, finished, *per_column):
            return (column < columns) & ~ops.all(finished | (column >= sizes + length))

        def draw(column, cache, finished, *per_column):
            texts = per_column[0]
            before = ops.slice(texts, (0, column - 1), (rows, 1))
            logits, hidden, cache = self.hub.call_with_cache(before, cache, column - 1)
            drawn_before = column - sizes  # of each row's response; negative within its prompt
            u = ops.take(uniforms, ops.clip(drawn_before, 0, length - 1), axis=0)
            u = ops.take_along_axis(u, each_row[:, None], axis=1)[:, 0]
            tokens, log_probs = generator.sampler.choose(ops.cast(logits[:, 0], "float32"), u)
            draws = (drawn_before >= 0) & (drawn_before < length) & ~finished
            written = ops.slice(texts, (0, column), (rows, 1))[:, 0]
            new = [ops.where(draws, tokens, written), ops.where(draws, log_probs, 0.0), draws]
            if generator.value_head:
                new.append(ops.where(draws, generator.value_head(hidden)[:, 0], 0.0))
            for stop_token in generator.stop_tokens:
                finished = finished | (draws & (tokens == stop_token))
            updated = [
                ops.slice_update(buffer, (0, column), ops.cast(value, buffer.dtype)[:, None])
                for buffer, value in zip(per_column, new)
            ]
            return column + 1, cache, finished, *updated

        start = (ops.min(sizes), cache, ops.zeros((rows,), "bool"), *per_column)
        _, _, _, *per_column = ops.while_loop(unfinished, draw, start)
        return _response(per_column, sizes, length, generator.pad_id)


def _response(per_column, sizes, length, pad_id):
    """Generation from what stands behind each row's prompt in buffers of all columns."""
    places = sizes[:, None] + ops.arange(length, dtype="int32")
    tokens, log_probs, drawn, *values = [
        ops.take_along_axis(buffer, places, axis=1) for buffer in per_column
    ]
    tokens = ops.where(drawn, tokens, pad_id)
    return Generation(tokens, log_probs, drawn, values[0] if values else None)


def _right_padded(mask):
    """(the order of columns int32[B, T] that puts real tokens first, the order that undoes it)."""
    columns = ops.arange(mask.shape[-1], dtype="int32")
    order = ops.argsort(ops.where(mask, columns, columns + mask.shape[-1]), axis=-1)
    return order, ops.argsort(order, axis=-1)

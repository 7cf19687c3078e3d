"""Recurrent language models: LSTM and GRU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign.layers import Dropout, TokenEmbedding, columns_at
from tfalign.models.config import ModelConfig
from tfalign.models.keras_use import Exported
from tfalign.types import Array

_CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


@dataclasses.dataclass(frozen=True)
class RecurrentConfig(ModelConfig):
    """The shape of a ``Recurrent``.

    Attributes:
        vocab_size: V.
        width: W, of embeddings and states.
        num_layers: recurrent layers.
        cell: "lstm" (Hochreiter and Schmidhuber 1997) or "gru" (Cho et al. 2014).
        tied: LM head with the transposed token embedding (Press and Wolf 2017).
        dropout: rate on embeddings and layers' outputs, not on what goes from step to step
            (Zaremba et al. 2014).
        initializer_range: standard deviation of the embeddings.
    """

    vocab_size: int
    width: int
    num_layers: int = 1
    cell: str = "lstm"
    tied: bool = True
    dropout: float = 0.0
    initializer_range: float = 0.05

    def __post_init__(self) -> None:
        if self.cell not in _CELLS:
            raise ValueError(f"Cells are {', '.join(_CELLS)}. Received: cell={self.cell!r}")


@keras.saving.register_keras_serializable("tfalign")
class Recurrent(Exported, keras.Model):
    """The backbone of a recurrent language model (Mikolov et al. 2010): token ids to states.

    Args:
        config: RecurrentConfig, or a dict of its fields.

    Call arguments, output: as ``GPT``; but a state goes on from a packed document to the next, whose
    boundary the EOS between them tells.
    """

    def __init__(self, config: RecurrentConfig | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = RecurrentConfig.from_dict(config)
        self.config = c = config
        self.token_embedding = TokenEmbedding(
            c.vocab_size,
            c.width,
            tied=c.tied,
            initializer_range=c.initializer_range,
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.layers_of_cells = [
            _CELLS[c.cell](
                c.width,
                return_sequences=True,
                return_state=True,
                dtype=self.dtype_policy,
                name=f"{c.cell}_{index}",
            )
            for index in range(c.num_layers)
        ]
        self.output_dropout = Dropout(c.dropout, dtype=self.dtype_policy)
        self.token_embedding.build()
        for layer in self.layers_of_cells:
            layer.build((None, None, c.width))
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        last: int | None = None,
        training: bool | None = None,
    ) -> Array:
        if segment_ids is not None:
            padding_mask = segment_ids > 0
        nothing = self.new_cache(ops.shape(token_ids)[0], None)
        hidden, _ = self._run(token_ids, nothing, padding_mask, training)
        return hidden if last is None else hidden[:, -last:]

    def new_cache(self, batch_size: int, length: int) -> tuple:
        """Every layer's states before the first token: tuples of float[B, W], zeros."""
        states = 2 if self.config.cell == "lstm" else 1
        zeros = ops.zeros((batch_size, self.config.width), self.compute_dtype)
        return tuple((zeros,) * states for _ in self.layers_of_cells)

    def extend(
        self, token_ids: Array, cache: tuple, column: Array | int, visible: Array, positions: Array
    ) -> tuple[Array, tuple]:
        """As ``GPT.extend``, with the states for a cache."""
        mask = columns_at(visible, column, token_ids.shape[1])
        return self._run(token_ids, cache, mask)

    def readout_kernel(self) -> Array:
        """float[W, V], kernel of the LM head."""
        return self.token_embedding.readout_kernel()

    def _run(self, token_ids, cache, mask, training=None):
        x = self.output_dropout(self.token_embedding(token_ids), training=training)
        states = []
        for layer, before in zip(self.layers_of_cells, cache):
            x, *after = layer(x, mask=mask, initial_state=list(before), training=training)
            x = self.output_dropout(x, training=training)
            states.append(tuple(after))
        return x, tuple(states)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"config": self.config.to_dict()}

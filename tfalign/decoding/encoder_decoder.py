"""Decoding from an encoder-decoder: the source is read once, then the usual loops write the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfalign import backend
from tfalign.decoding.prompts import checked_prompts
from tfalign.models import Transformer
from tfalign.types import Array, Generation


class SourceRead:
    """A Transformer with encoded sources, in the form of a CausalLM for ``Generator`` and ``BeamSearch``.

    Args:
        model: Transformer.
        source_ids: int32[C, S].
        source_mask: bool[C, S], true at real tokens.
    """

    def __init__(self, model: Transformer, source_ids: Array, source_mask: Array) -> None:
        self._model = model
        self._memory = model.remember(model.encode(source_ids, source_mask))
        self._source_mask = source_mask

    @property
    def backbone(self) -> SourceRead:
        return self

    @property
    def variables(self) -> list[keras.Variable]:
        return self._model.variables

    def new_cache(self, batch_size: int, length: int) -> Any:
        return self._model.new_cache(batch_size, length)

    def extend(
        self, token_ids: Array, cache: Any, column: int | Array, visible: Array, positions: Array
    ) -> tuple[Array, Any]:
        """As ``GPT.extend``, of target columns."""
        return self._model.extend(
            token_ids, cache, column, visible, positions, self._memory, self._source_mask
        )

    def readout_kernel(self) -> Array:
        return self._model.readout_kernel()

    def logits(self, hidden: Array, kernel: Array) -> Array:
        return self._model.logits(hidden, kernel)


class Translator:
    """Decodes a target for each source, in one XLA program.

    Args:
        model: Transformer.
        decoder: function of a ``SourceRead`` that returns a ``Generator`` or ``BeamSearch`` on it.
        start_token: int, what every target begins with.

    Attributes:
        compiled: ``backend.jit_rows``, whose ``traces`` counts the programs.

    >>> from functools import partial
    >>> from tfalign.decoding import BeamSearch
    >>> from tfalign.models import Transformer, TransformerConfig
    >>> model = Transformer(TransformerConfig(vocab_size=9, width=8, num_layers=1, num_heads=2))
    >>> search = partial(BeamSearch, max_new_tokens=5, width=3, stop_tokens=(2,))
    >>> Translator(model, search, start_token=1)([[3, 4, 5]]).tokens.shape[1]
    5
    """

    def __init__(
        self, model: Transformer, decoder: Callable[[SourceRead], Any], start_token: int
    ) -> None:
        self.model = model
        self.decoder = decoder
        self.start_token = start_token
        self.compiled = backend.jit_rows(self._run, model.variables)

    def __call__(
        self, source_ids: Array, source_mask: Array | None = None, seed: int = 0
    ) -> Generation:
        """Decodes.

        Args:
            source_ids: int32[B, S].
            source_mask: bool[B, S], true at real tokens; None for all.
            seed: int in [0, 2**32), where the decoder samples.

        Returns:
            Generation, without the start token.

        Raises:
            ValueError: if a source is empty or has an id outside the vocabulary.
        """
        source_ids, mask = checked_prompts(self.model, source_ids, source_mask)
        rows = np.arange(len(mask), dtype="int32")
        return self.compiled(source_ids, mask, np.uint32(seed), rows)

    def _run(self, source_ids, source_mask, seed, row_ids):
        decoder = self.decoder(SourceRead(self.model, source_ids, source_mask))
        start = ops.full((source_ids.shape[0], 1), self.start_token, "int32")
        return decoder.run(start, ops.ones_like(start, dtype="bool"), seed, row_ids)

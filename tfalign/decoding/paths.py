"""What searches along several paths at once share: settings, a call, and states that grow side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras import ops, tree

from tfalign import backend
from tfalign.decoding.constraints import Constraint, Unconstrained
from tfalign.decoding.generate import DecodeState, check_max_new_tokens
from tfalign.decoding.prompts import checked_prompts
from tfalign.functional.arguments import check_size
from tfalign.types import Array

NEVER = -1e30  # the log-prob of what is not there; two of them still add up to a float32


class PathSearch:
    """A compiled search with one model; subclasses define ``run``.

    Args:
        model: CausalLM, or what stands for one, such as ``SourceRead``.
        max_new_tokens: int, R.
        width: int, K, paths of each prompt.
        stop_tokens: ids after which a response ends; the stop token itself belongs to it.
        pad_id: int, what stands after the end.
        constraint: which tokens may come next, see ``constraints``; None for all.

    Attributes:
        compiled: ``backend.jit_rows``, whose ``traces`` counts the programs.

    Raises:
        ValueError: if ``max_new_tokens`` or ``width`` is not positive.
    """

    def __init__(
        self,
        model: Any,
        max_new_tokens: int,
        width: int,
        stop_tokens: Iterable[int],
        pad_id: int,
        constraint: Constraint | None,
    ) -> None:
        check_max_new_tokens(max_new_tokens)
        check_size("width", width)
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.width = width
        self.stop_tokens = tuple(int(token) for token in stop_tokens)
        self.pad_id = pad_id
        self.constraint = Unconstrained() if constraint is None else constraint
        self.compiled = backend.jit_rows(self.run, model.variables)

    def __call__(self, token_ids: Array, mask: Array | None = None) -> Any:
        """What the search finds for each prompt.

        Args:
            token_ids: int32[B, P], padded on either side.
            mask: bool[B, P], true at real tokens, at least one a row; None for all.

        Returns:
            As ``run``.

        Raises:
            ValueError: see ``prompts.checked_prompts``.
        """
        return self.compiled(*checked_prompts(self.model, token_ids, mask, self.max_new_tokens))

    def run(self, token_ids: Array, mask: Array, *_: Any) -> Any:
        """The search itself, to be compiled; seed and row ids, as ``Generator.run`` takes them, change
        nothing."""
        raise NotImplementedError


def side_by_side(state: DecodeState, width: int) -> DecodeState:
    """The state of B rows with ``width`` copies of each, next to each other."""
    column, *of_rows = state
    copies = tree.map_structure(lambda x: ops.repeat(x, width, axis=0), of_rows)
    return DecodeState(column, *copies)


def with_column(x: Array, column: Array, t: Array) -> Array:
    """x[..., N] with x[..., t] replaced."""
    return ops.where(ops.arange(x.shape[-1]) == t, column[..., None], x)

"""Single decode steps for external loops, whose rows may stand at different columns.

The compiled loop begins all rows at once. Here every row stands at a column of its own: a text
begins anew while the others go on, and tokens that nobody drew (a user's) may join it. Column c of
the cache is column c of the text, so what a cache holds is said by one number a row.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from tfalign.decoding.generate import DecodeState, step
from tfalign.decoding.samplers import Greedy, RowSampler, Sampler
from tfalign.functional.masking import last_true_index, positions_from_mask
from tfalign.functional.rows import ROWS_AT_ONCE, few_rows_at_a_time, put_rows, take_rows
from tfalign.models import CausalLM, NeuralNGram, Recurrent
from tfalign.types import Array


def check_columns(model: CausalLM) -> None:
    """Raises a ValueError if a step of the model cannot be run twice, as rows that wait for others do: its cache must be
    keys and values by column, not a state that goes on."""
    if isinstance(getattr(model, "backbone", None), Recurrent | NeuralNGram):
        raise ValueError(
            "Conversations, the server and TF-Agents' policy need a model that keeps keys and values by column. Received: a"
            f" backbone of type {type(model.backbone).__name__}"
        )


def is_behind(columns: Array, padding_mask: Array) -> Array:
    """bool[B], rows of whose text some token before the last one is not in the cache yet.

    Args:
        columns: int32[B], of each row, that are in the cache.
        padding_mask: bool[B, T], true at real tokens, which follow each other.
    """
    return columns < last_true_index(padding_mask)


def catch_up(
    model: CausalLM,
    cache: Any,
    columns: Array,
    token_ids: Array,
    padding_mask: Array,
    count: int,
    rows_at_once: int = ROWS_AT_ONCE,
) -> tuple[Any, Array]:
    """Adds the tokens missing from the cache, except for each row's last one.

    A few rows at a time, those that lack most, each from its own column on: so a row that begins
    costs its own prompt, not everybody's.

    Args:
        model: CausalLM.
        cache: the model's keys and values, T - 1 columns.
        columns: int32[B], of each row, that are in the cache.
        token_ids: int32[B, T].
        padding_mask: bool[B, T].
        count: int, columns that are run at once.
        rows_at_once: int, rows that are.

    Returns:
        (cache, columns int32[B]).

    Raises:
        ValueError: see ``check_columns``.
    """
    check_columns(model)
    last = last_true_index(padding_mask)
    texts = token_ids, positions_from_mask(padding_mask)
    visible = padding_mask[:, :-1]

    def run(rows, columns, cache):
        reached = ops.take(columns, rows)
        # towards the end of a text some columns are run once more, for a chunk to fit
        first = ops.minimum(reached, token_ids.shape[1] - 1 - count)
        chosen = first[:, None] + ops.arange(count, dtype="int32")
        tokens, positions = (ops.take_along_axis(x, chosen, axis=1) for x in take_rows(rows, texts))
        _, extended = model.backbone.extend(
            tokens, take_rows(rows, cache), first, ops.take(visible, rows, axis=0), positions
        )
        reached = ops.maximum(reached, ops.minimum(first + count, ops.take(last, rows)))
        return put_rows(rows, (columns, cache), (reached, extended))

    columns, cache = few_rows_at_a_time(
        lambda columns, cache: last - columns, run, (columns, cache), rows_at_once
    )
    return cache, columns


def next_tokens(
    model: CausalLM,
    sampler: Sampler | Greedy | RowSampler,
    cache: Any,
    token_ids: Array,
    padding_mask: Array,
    uniforms: Array,
    allowed: Array | None = None,
) -> tuple[Any, Array, Array, Array]:
    """Runs the last token of each row and samples the next, as ``generate.step`` does.

    Args:
        model: CausalLM.
        sampler: see ``decoding.samplers``.
        cache: the model's keys and values, T - 1 columns, with all tokens of each row but the last.
        token_ids: int32[B, T].
        padding_mask: bool[B, T]; nothing sensible follows a text of T tokens.
        uniforms: float32[B] in [0, 1).
        allowed: bool[B, V], the tokens to choose from; None for all.

    Returns:
        (cache, tokens int32[B], log_probs float32[B], hidden float[B, W]).
    """
    last = ops.minimum(last_true_index(padding_mask), token_ids.shape[1] - 2)
    of_last = last[:, None]
    state = DecodeState(
        column=last,
        last_tokens=ops.take_along_axis(token_ids, of_last, axis=1)[:, 0],
        visible=padding_mask[:, :-1],
        positions=ops.take_along_axis(positions_from_mask(padding_mask), of_last, axis=1)[:, 0],
        cache=cache,
        finished=ops.zeros_like(last, "bool"),
    )
    kernel = model.readout_kernel()
    state, tokens, log_probs, hidden = step(model, kernel, sampler, (), 0, state, uniforms, allowed)
    return state.cache, tokens, log_probs, hidden

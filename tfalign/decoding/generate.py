"""THE decode loop: one XLA program that samples a batch of responses.

Every iteration does the same: the last token goes through the model, whose cache grows by one
column, and the next token is sampled from what comes out. Before the first, the prompt up to its
last token fills the cache. So no step is written twice, and the state before response token t,
whose value a critic wants, passes by exactly once.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.decoding.constraints import Constraint, Unconstrained, check_states, told
from tfalign.decoding.prompts import checked_condition, checked_prompts
from tfalign.decoding.samplers import Greedy, RowSampler, Sampler, allow
from tfalign.functional.masking import to_left_padded
from tfalign.functional.random import uniform
from tfalign.models import CausalLM, ValueHead
from tfalign.models.conditioned import condition_argument
from tfalign.types import Array, Generation, Prompts


class DecodeState(NamedTuple):
    """State of the decode loop between two steps."""

    column: (
        Any  # int32 scalar, of the last token; int32[B] where rows stand at columns of their own
    )
    last_tokens: Any  # int32[B]
    visible: Any  # bool[B, L], real tokens of the prompt, and all columns after it
    positions: Any  # int32[B], of the last tokens
    cache: Any  # the model's keys and values, L columns
    finished: Any  # bool[B], rows that have drawn a stop token


def start(
    model: CausalLM,
    token_ids: Array,
    mask: Array,
    max_new_tokens: int,
    condition: Array | None = None,
) -> DecodeState:
    """The state before the first token is sampled.

    Args:
        model: CausalLM.
        token_ids: int32[B, P], padded on either side.
        mask: bool[B, P].
        max_new_tokens: int, R; the cache gets P + R - 1 columns.
        condition: array of B rows, of a model that takes one; None for others.

    Returns:
        DecodeState.
    """
    token_ids, mask = to_left_padded(token_ids, mask)
    rows, columns = token_ids.shape
    positions = ops.cumsum(ops.cast(mask, "int32"), axis=1) - 1
    visible = ops.pad(mask, ((0, 0), (0, max_new_tokens - 1)), constant_values=True)
    cache = model.backbone.new_cache(
        rows, columns + max_new_tokens - 1, **condition_argument(condition)
    )
    if columns > 1:
        _, cache = model.backbone.extend(
            token_ids[:, :-1], cache, 0, visible, ops.maximum(positions[:, :-1], 0)
        )
    return DecodeState(
        column=ops.convert_to_tensor(columns - 1, "int32"),
        last_tokens=token_ids[:, -1],
        visible=visible,
        positions=positions[:, -1],
        cache=cache,
        finished=ops.zeros((rows,), "bool"),
    )


def read_last(model: CausalLM, state: DecodeState) -> tuple[Array, Any]:
    """The model on the last tokens: (hidden float[B, W], the state's cache with them in it)."""
    hidden, cache = model.backbone.extend(
        state.last_tokens[:, None],
        state.cache,
        state.column,
        state.visible,
        state.positions[:, None],
    )
    return hidden[:, 0], cache


def step(
    model: CausalLM,
    kernel: Array,
    sampler: Sampler | Greedy | RowSampler,
    stop_tokens: Sequence[int],
    pad_id: int,
    state: DecodeState,
    uniforms: Array,
    allowed: Array | None = None,
) -> tuple[DecodeState, Array, Array, Array]:
    """Samples the next token of every row.

    Args:
        model: CausalLM.
        kernel: float[W, V], ``model.readout_kernel()``.
        sampler: see ``decoding.samplers``.
        stop_tokens: tuple of ints; a row that samples one is finished.
        pad_id: int, what finished rows get.
        state: DecodeState.
        uniforms: float32[B] in [0, 1).
        allowed: bool[B, V], the tokens to choose from; None for all.

    Returns:
        (state, tokens int32[B], log_probs float32[B], hidden float[B, W] of the state the tokens
        were sampled in). Log-probs of finished rows are 0.
    """
    hidden, cache = read_last(model, state)
    logits = allow(model.logits(hidden, kernel), allowed)
    drawn, log_probs = sampler.choose(logits, uniforms)
    tokens = ops.where(state.finished, pad_id, drawn)
    finished = state.finished
    for stop_token in stop_tokens:
        finished = finished | (tokens == stop_token)
    following = DecodeState(
        column=state.column + 1,
        last_tokens=tokens,
        visible=state.visible,
        positions=state.positions + 1,
        cache=cache,
        finished=finished,
    )
    return following, tokens, ops.where(state.finished, 0.0, log_probs), hidden


class Responses:
    """What the loops of one turn and of several share: their settings, and a call's checks.

    Args:
        model: CausalLM.
        max_new_tokens: int, R.
        sampler: ``Sampler`` or ``Greedy``.
        stop_tokens: ids after which a response, or a turn, ends; the stop token itself belongs to it.
        pad_id: int, what stands after the end; 0 where None, as a tokenizer without one has it.
        value_head: ``ValueHead`` on the model's backbone; with it, values are returned as well.
        constraint: which tokens may come next, see ``constraints``; None for all. With it, the states before each
            token are returned as well.

    Raises:
        ValueError: if ``max_new_tokens`` is not positive.
    """

    def __init__(
        self,
        model: CausalLM,
        max_new_tokens: int,
        sampler: Sampler | Greedy = Sampler(),
        stop_tokens: Iterable[int] = (),
        pad_id: int | None = 0,
        value_head: ValueHead | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        check_max_new_tokens(max_new_tokens)
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.sampler = sampler
        self.stop_tokens = tuple(int(token) for token in stop_tokens)
        self.pad_id = 0 if pad_id is None else pad_id
        self.value_head = value_head
        self.is_constrained = constraint is not None
        self.constraint = constraint if self.is_constrained else Unconstrained()
        self.variables = model.variables + (value_head.variables if value_head else [])
        self._compile()

    def __call__(
        self,
        token_ids: Array,
        mask: Array | None = None,
        seed: int = 0,
        row_ids: Array | None = None,
        condition: Array | None = None,
        records: Array | None = None,
    ) -> Generation:
        """Samples a response to every prompt.

        Args:
            token_ids: int32[B, P], padded on either side.
            mask: bool[B, P], true at real tokens, at least one a row; None for all.
            seed: int in [0, 2**32).
            row_ids: int32[B], which stream of random numbers a row samples from; its place in the
                batch where None. A row's response depends on the seed, its id and its prompt, not
                on the rest of the batch.
            condition: array of B rows, see ``Prompts.condition``; None for a model that takes none.
            records: int32[B], which record of the data each prompt is, for a user who asks; None where they know none.

        Returns:
            Generation.

        Raises:
            ValueError: see ``prompts.checked_prompts`` and ``prompts.checked_condition``.
            ConstraintError: if the constraint allows no token, naming prompt and state.
        """
        given = self._given(token_ids, mask, seed, row_ids, condition)
        return self._checked(self._respond(*given, records))

    def _given(self, token_ids, mask, seed, row_ids, condition):
        """A call's arguments, checked, as the programs take them."""
        token_ids, mask = checked_prompts(self.model, token_ids, mask, self.max_new_tokens)
        condition = checked_condition(self.model, condition, len(mask))
        row_ids = np.arange(len(mask)) if row_ids is None else row_ids
        return token_ids, mask, np.uint32(seed), np.asarray(row_ids, "int32"), condition

    def _checked(self, generation):
        if self.is_constrained:
            check_states(generation.constraint_states, generation.mask)
        return generation

    def _compile(self):
        """Makes the programs."""
        raise NotImplementedError

    def _respond(self, token_ids, mask, seed, row_ids, condition, records):
        """Generation, of arguments that were checked."""
        raise NotImplementedError

    def _nothing_yet(self, shape):
        """What is kept of each token besides itself, by its name in Generation, before there is one."""
        kept = {"log_probs": ops.zeros(shape)}
        if self.value_head:
            kept["values"] = ops.zeros(shape)
        if self.is_constrained:
            kept["constraint_states"] = ops.zeros(shape, "int32")
        return kept

    def _kept_of(self, log_probs, hidden, following, allowed):
        """What is kept of tokens that were drawn, besides themselves, by its name in Generation."""
        kept = {"log_probs": log_probs}
        if self.value_head:
            kept["values"] = self.value_head(hidden)
        if self.is_constrained:
            kept["constraint_states"] = told(following, allowed)
        return kept


class Generator(Responses):
    """The compiled decode loop of one model with one sampler.

    Args: see ``Responses``.

    Attributes:
        compiled: ``backend.jit_rows``, whose ``traces`` counts the programs.

    Raises:
        ValueError: if ``max_new_tokens`` is not positive, or there is a constraint and the model brings a loop
            of its own.
    """

    def _compile(self):
        if self.is_constrained and hasattr(self.model, "decode"):
            raise ValueError(
                "A constraint is of this module's loop, and the model brings its own. Received: a model of type "
                f"{type(self.model).__name__}"
            )
        self.compiled = backend.jit_rows(self.run, self.variables)

    def _respond(self, *given):
        return self.compiled(*given[:-1])  # nobody asks for records

    def run(
        self,
        token_ids: Array,
        mask: Array,
        seed: int | Array,
        row_ids: Array,
        condition: Array | None = None,
    ) -> Generation:
        """The loop itself, to be compiled; as a call, with tensors and without its checks."""
        columns = ops.arange(self.max_new_tokens)[:, None]
        return self.run_with(token_ids, mask, uniform(seed, row_ids[None, :], columns), condition)

    def run_with(
        self, token_ids: Array, mask: Array, uniforms: Array, condition: Array | None = None
    ) -> Generation:
        """The loop with random numbers from elsewhere: float32[R, B] in [0, 1). A model whose cache is
        of another kind brings its own loop, ``decode``."""
        if hasattr(self.model, "decode"):
            return self.model.decode(self, token_ids, mask, uniforms)
        rows, length = token_ids.shape[0], self.max_new_tokens
        kernel = self.model.readout_kernel()
        state = start(self.model, token_ids, mask, length, condition)
        first_column = token_ids.shape[1] - 1

        def unfinished(state, lengths, following, kept):
            return (state.column < first_column + length) & ~ops.all(state.finished)

        def draw(state, lengths, following, kept):
            t = state.column - first_column
            allowed = self.constraint.allowed(following)
            choose = self.sampler, self.stop_tokens, self.pad_id
            after, tokens, log_probs, hidden = step(
                self.model, kernel, *choose, state, uniforms[t], allowed
            )
            new = {"tokens": tokens} | self._kept_of(log_probs, hidden, following, allowed)
            lengths = lengths + ops.cast(~state.finished, "int32")
            following = self.constraint.follow(following, tokens)
            return after, lengths, following, _with_line(kept, t, new)

        following = self.constraint.start(Prompts(token_ids, mask))
        lengths, shape = ops.zeros((rows,), "int32"), (length, rows)
        kept = {"tokens": ops.full(shape, self.pad_id, "int32")} | self._nothing_yet(shape)
        _, lengths, _, kept = ops.while_loop(unfinished, draw, (state, lengths, following, kept))
        mask = ops.arange(length)[None, :] < lengths[:, None]
        kept = {name: ops.transpose(x) for name, x in kept.items()}
        if self.value_head:
            kept["values"] = ops.where(mask, kept["values"], 0.0)
        return Generation(mask=mask, **{"values": None} | kept)


def _with_line(buffers, t, lines):
    """Buffers [R, B] with line t replaced by [B]."""
    return {
        name: ops.slice_update(buffer, (t, 0), lines[name][None])
        for name, buffer in buffers.items()
    }


_generators: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def generate(
    model: CausalLM,
    prompts: Array,
    prompt_mask: Array | None = None,
    *,
    max_new_tokens: int,
    sampler: Sampler | Greedy = Sampler(),
    seed: int = 0,
    stop_tokens: Iterable[int] = (),
    pad_id: int | None = 0,
    constraint: Constraint | None = None,
    condition: Array | None = None,
) -> Generation:
    """Samples a response to each prompt; programs are compiled once and kept with the model.

    Args:
        model: CausalLM.
        prompts: int32[B, P], padded on either side.
        prompt_mask: bool[B, P], true at real tokens; None for all.
        max_new_tokens: int, R.
        sampler: ``Sampler(temperature, top_k, top_p, min_p)`` or ``Greedy()``.
        seed: int in [0, 2**32).
        stop_tokens: ids after which a response ends.
        pad_id: int, what stands after the end.
        constraint: which tokens may come next, see ``constraints``; None for all.
        condition: array of B rows, of a model that takes one, see ``models.Conditioned``; None for others.

    Returns:
        Generation: tokens int32[B, R], log_probs float32[B, R], mask bool[B, R].

    Raises:
        ValueError: if a prompt is empty or has an id outside the vocabulary, or prompt and response
            exceed the model's positions, or a condition is missing, wrong or not wanted.
        ConstraintError: if the constraint allows no token, naming prompt and state.
    """
    kept = _generators.setdefault(model, {})
    choices = (max_new_tokens, sampler, tuple(stop_tokens), pad_id, None, constraint)
    made_of = (*choices, *map(id, model.variables))  # adapters may come and go
    if made_of not in kept:
        # the loop holds the model weakly, or the entry would keep its own key alive
        kept[made_of] = Generator(weakref.proxy(model), *choices)
    return kept[made_of](prompts, prompt_mask, seed, condition=condition)


def check_max_new_tokens(max_new_tokens: int) -> None:
    """Raises a ValueError if ``max_new_tokens`` is not positive."""
    if max_new_tokens < 1:
        raise ValueError(
            f"max_new_tokens must be at least 1. Received: max_new_tokens={max_new_tokens}"
        )

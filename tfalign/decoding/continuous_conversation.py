"""Continuous batching of conversations: a slot whose conversation has ended takes the next one of the call.

A batch of conversations runs until the longest has ended, and every turn until its longest has. Here they queue up for a
few slots. Between two turns, where the host is anyway, a slot whose conversation is over takes the next, whose prompt is
read while nothing else runs; then all slots speak together. There are two programs, of static shapes: one of a turn, one
of entering. Conversation n draws its token t with number t of its own stream, so it is the same in any slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from tfalign import backend
from tfalign.decoding.conversation import Conversation, Talk, generation_of, steps_between
from tfalign.decoding.generate import start
from tfalign.decoding.text_user import TextUser
from tfalign.functional.arguments import check_size
from tfalign.functional.rows import few_rows_at_a_time, put_rows, take_rows
from tfalign.functional.text_state import State, initial, terminal
from tfalign.models import CausalLM
from tfalign.models.conditioned import condition_argument
from tfalign.types import Array, NumberedPrompts


class Batch(NamedTuple):
    """All N conversations of a call, on the host, which change in place."""

    text: State  # NumPy arrays; those that wait have written nothing
    following: np.ndarray  # int32[N], the constraint's states before the first token
    kept: dict[str, np.ndarray]  # of the policy's tokens, by the name in Generation: [N, R]
    row_ids: np.ndarray  # int32[N]
    condition: Any  # of N rows, see ``Prompts.condition``; None for nothing

    def rows(self, numbers: np.ndarray) -> State:
        """The texts of these conversations int[S]; where there is none (N), one that is over."""
        count = len(self.row_ids)
        text = State(*(x[np.minimum(numbers, count - 1)] for x in self.text))
        return text._replace(terminated=text.terminated | (numbers == count))

    def condition_of(self, numbers: np.ndarray) -> Any:
        """The conditions of these conversations, where there are any."""
        at = np.minimum(numbers, len(self.row_ids) - 1)
        return None if self.condition is None else np.asarray(self.condition)[at]

    def put(self, numbers: np.ndarray, arrays: Any, values: Any) -> None:
        """Writes rows [S, ...] into arrays of this batch, at these conversations."""
        real = numbers < len(self.row_ids)
        for array, new in zip(tree.flatten(arrays), tree.flatten(values)):
            array[numbers[real]] = np.asarray(new)[real]


class ContinuousConversation(Conversation):
    """Conversations in slots: called as ``Conversation`` is, and what is said is the same.

    A ``TextUser``, which numbers its rows, is called with all rows of the call; any other user with those in the slots.

    Args:
        model, max_new_tokens, user: see ``Conversation``.
        slots: int, conversations that go on at once, on all devices together.
        how, named: the others of ``Responses``.

    Attributes:
        speaking, entering: ``backend.jit_rows`` of a turn and of prompts being read, whose ``traces`` count the programs.

    Raises:
        ValueError: if ``slots`` is not positive, or as ``Conversation``.

    >>> from tfalign.models import GPTConfig
    >>> def user(state):  # says 5, until a conversation has six tokens
    ...     lengths = (np.asarray(state.response_length) < 6).astype("int32")
    ...     return np.full((len(lengths), 1), 5), lengths
    >>> model = CausalLM(GPTConfig(vocab_size=7, width=8, num_layers=1, num_heads=2, max_positions=16))
    >>> talk = ContinuousConversation(model, 9, user, slots=2, stop_tokens=(3, 6))
    >>> talk([[3, 1], [2, 4], [5, 5]]).tokens.shape
    (3, 9)
    """

    def __init__(
        self,
        model: CausalLM,
        max_new_tokens: int,
        user: Callable[[State], tuple[Array, Array]],
        slots: int,
        *how: Any,
        **named: Any,
    ) -> None:
        check_size("slots", slots)
        self.slots = slots
        super().__init__(model, max_new_tokens, user, *how, **named)

    def _compile(self):
        super()._compile()
        self.entering = backend.jit_rows(self._enter, self.variables)

    def _talked(self, token_ids, mask, seed, row_ids, condition, records):
        prompts = NumberedPrompts(token_ids, mask, records, condition)
        batch = self._batch(prompts, row_ids)
        count = len(row_ids)
        numbers = np.full(min(self.slots, count), count)  # the conversations of the slots
        talk, waiting, row_steps = self._nobody(batch, numbers), 0, 0
        while waiting < count or (numbers < count).any():
            enters = np.flatnonzero(numbers == count)[: count - waiting]
            numbers[enters] = waiting + np.arange(len(enters))
            waiting += len(enters)
            talk = self._entered(batch, talk, numbers, enters)
            before = talk.text.response_mask
            talk = self.speaking(talk, seed, row_ids[np.minimum(numbers, count - 1)])
            row_steps += len(numbers) * steps_between(before, talk.text.response_mask)
            talk = self._heard(talk, numbers == count, self._user_of(batch, numbers), numbers)
            batch.put(numbers, (batch.text, batch.kept), (talk.text, talk.kept))
            numbers[np.asarray(terminal(talk.text))] = count
        return generation_of(batch.text, batch.kept), row_steps

    def _batch(self, prompts, row_ids):
        text = State(*map(np.array, initial(prompts, self.max_new_tokens, self.pad_id)))
        kept = self._nothing_yet((len(row_ids), self.max_new_tokens))
        following = self.constraint.start(prompts)
        kept = {name: np.array(x) for name, x in kept.items()}
        return Batch(text, np.asarray(following), kept, row_ids, prompts.condition)

    def _nobody(self, batch, numbers):
        """Talk of slots that are free."""
        text = batch.rows(numbers)
        rows, columns = text.token_ids.shape
        kept = {name: np.zeros_like(x[:rows]) for name, x in batch.kept.items()}
        condition = condition_argument(batch.condition_of(numbers))  # whose it is, is of no matter
        cache = self.model.backbone.new_cache(rows, columns - 1, **condition)
        return Talk(text, cache, np.full(rows, columns, "int32"), batch.following[:rows] * 0, kept)

    def _entered(self, batch, talk, numbers, enters):
        """Talk, after the conversations of these slots have begun."""
        text = batch.rows(numbers)
        columns, following = np.array(talk.columns), np.array(talk.following)
        columns[numbers == len(batch.row_ids)] = text.token_ids.shape[1]  # nothing to catch up with
        if not len(enters):
            return talk._replace(text=text, columns=columns)
        begins = np.zeros(len(numbers), "int32")
        begins[enters] = 1
        columns[enters] = text.prompt_mask.shape[1] - 1
        following[enters] = batch.following[numbers[enters]]
        kept = {name: np.array(x) for name, x in talk.kept.items()}
        for x in kept.values():
            x[enters] = 0
        condition = batch.condition_of(numbers)
        cache = self.entering(talk.cache, *_prompts_of(text), begins, condition)
        return Talk(text, cache, columns, following, kept)

    def _enter(self, cache, token_ids, mask, begins, condition):
        """The cache, with all but the last token of their prompts in the rows that begin."""

        def read(rows, begins, cache):
            ids, real = take_rows(rows, (token_ids, mask))
            beside = None if condition is None else take_rows(rows, condition)
            fresh = start(self.model, ids, real, 1, beside).cache
            before = take_rows(rows, cache)
            is_new = ops.take(begins, rows) > 0

            def chosen(x, new):
                after = ops.slice_update(x, [0] * len(x.shape), ops.cast(new, x.dtype))
                return ops.where(ops.reshape(is_new, (-1,) + (1,) * (len(x.shape) - 1)), after, x)

            cache = put_rows(rows, cache, tree.map_structure(chosen, before, fresh))
            return put_rows(rows, begins, ops.zeros_like(rows)), cache

        return few_rows_at_a_time(lambda begins, _: begins, read, (begins, cache))[1]

    def _user_of(self, batch, numbers):
        """The user, as slots with these conversations call it."""
        if not isinstance(self.user, TextUser):
            return self.user

        def answer(state):
            batch.put(numbers, batch.text, state)
            token_ids, lengths = self.user(batch.text)
            at = np.minimum(numbers, len(batch.row_ids) - 1)
            return np.asarray(token_ids)[at], np.asarray(lengths)[at]

        return answer


def _prompts_of(text):
    """(token_ids int32[S, P], mask bool[S, P]), padded on the left."""
    return (text.token_ids[:, : text.prompt_mask.shape[1]], text.prompt_mask)

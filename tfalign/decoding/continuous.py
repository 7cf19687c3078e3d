"""Continuous batching in the compiled loop: a slot whose response has ended takes the next one.

The plain loop runs all rows until the longest response has ended, most of them on padding by then. Here the
responses of a call queue up for a few slots, each of which stands at a column of its own; one that becomes free
takes the next response while the others go on. Once nobody waits, the loop narrows to half its slots whenever half
of them have nothing left to do. It is one program of static shapes, whatever the lengths.

Response n draws its token t with number t of its own stream, so that it is the same in any slot, and the same
as in the plain loop. Prompts are read a few at a time, as their turn comes, and one that stands in consecutive
rows is read once for all of them: the completions of a group share it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops, tree

from tfalign import backend
from tfalign.decoding.generate import DecodeState, Responses, start, step
from tfalign.functional.arguments import check_size
from tfalign.functional.masking import to_left_padded
from tfalign.functional.random import uniform
from tfalign.functional.rows import ROWS_AT_ONCE, take_rows
from tfalign.models import CausalLM
from tfalign.models.conditioned import condition_argument
from tfalign.types import Array, Generation, Prompts

HALVINGS = 2  # of the slots once nobody waits; each is one more loop to compile


class Queue(NamedTuple):
    """What is known before the first token, of a call's N responses in their order."""

    prompts: Prompts  # of N rows, padded on the left
    number: Any  # int32[N], which of the prompts that differ from the row before it is
    row: Any  # int32[N], where the prompt of a number stands
    visible: Any  # bool[N, L], real tokens of the prompt, and all columns after it
    positions: Any  # int32[N], of the prompts' last tokens
    row_ids: Any  # int32[N], streams of random numbers
    following: Any  # int32[N], the constraint's states before the first token
    seed: Any  # uint32[]
    kernel: Any  # float[W, V], of the LM head
    condition: Any  # of N rows, see ``Prompts.condition``; None for nothing


class Read(NamedTuple):
    """The prompts that were read last."""

    first: Any  # int32[], the number of the first of them
    cache: Any  # the model's keys and values, all but each prompt's last token


class Slots(NamedTuple):
    """The rows of the loop, each of which works on one response, or is free."""

    response: Any  # int32[S], which one; N where the slot is free
    t: Any  # int32[S], the column that is drawn next; 0 where the slot is free
    last_tokens: Any  # int32[S]
    following: Any  # int32[S], the constraint's states
    cache: Any  # the model's keys and values, L columns


class Work(NamedTuple):
    """The loop between two steps."""

    slots: Slots
    kept: Any  # what is drawn: name in Generation -> [N + 1, R], whose last row is of free slots
    row_steps: Any  # int32[1], rows that were run, in all steps together


class ContinuousGenerator(Responses):
    """The compiled decode loop with slots: called as ``Generator`` is, and its tokens are the same.

    Args:
        model: CausalLM.
        max_new_tokens: int, R.
        slots: int, responses that are decoded at once; by each device, where several share the rows.
        how, named: the others of ``Responses``.

    Attributes:
        compiled: ``backend.jit_rows``, whose ``traces`` counts the programs.

    Raises:
        ValueError: if ``max_new_tokens`` or ``slots`` is not positive, or the model brings a loop of its own.

    >>> from tfalign.models import GPTConfig
    >>> model = CausalLM(GPTConfig(vocab_size=7, width=8, num_layers=1, num_heads=2, max_positions=16))
    >>> respond = ContinuousGenerator(model, 5, slots=2, stop_tokens=(6,))
    >>> tuple(respond([[3, 1], [2, 4], [5, 5]]).tokens.shape)
    (3, 5)
    """

    def __init__(
        self, model: CausalLM, max_new_tokens: int, slots: int, *how: Any, **named: Any
    ) -> None:
        check_size("slots", slots)
        self.slots = slots
        super().__init__(model, max_new_tokens, *how, **named)

    def counted(
        self,
        token_ids: Array,
        mask: Array | None = None,
        seed: int = 0,
        row_ids: Array | None = None,
        condition: Array | None = None,
    ) -> tuple[Generation, int]:
        """As a call, with how many rows were run in all steps together; those that drew a token of a response
        are the responses' lengths."""
        given = self._given(token_ids, mask, seed, row_ids, condition)
        generation, row_steps = self.compiled(*given)
        return self._checked(generation), int(ops.sum(row_steps))

    def _compile(self):
        if hasattr(self.model, "decode"):
            raise ValueError(
                "Slots need the library's own cache, and the model brings a loop of its own. Received: a model of "
                f"type {type(self.model).__name__}"
            )
        self.compiled = backend.jit_rows(self.run, self.variables)

    def _respond(self, *given):
        return self.compiled(*given[:-1])[0]

    def run(
        self,
        token_ids: Array,
        mask: Array,
        seed: int | Array,
        row_ids: Array,
        condition: Array | None = None,
    ) -> tuple[Generation, Array]:
        """The loop itself, to be compiled: (Generation, int32[1] of rows run in all steps together)."""
        queue = self._queue(token_ids, mask, seed, row_ids, condition)
        count = token_ids.shape[0]
        widths = _widths(min(self.slots, count))
        leave = [*widths[1:], 0]  # so many busy slots to the next loop
        work = self._with_queue(queue, self._nothing_done(queue, widths[0]), leave[0])
        for width, fewest in zip(widths[1:], leave[1:]):
            slots = _busiest(work.slots, width)
            work = self._without_queue(queue, work._replace(slots=slots), fewest)
        kept = {name: x[:count] for name, x in work.kept.items()}
        return Generation(**{"values": None} | kept), work.row_steps

    def _queue(self, token_ids, mask, seed, row_ids, condition):
        token_ids, mask = to_left_padded(token_ids, mask)
        number, row = _prompts_apart(token_ids, mask, condition)
        after = ((0, 0), (0, self.max_new_tokens - 1))
        return Queue(
            prompts=Prompts(token_ids, mask),
            number=number,
            row=row,
            visible=ops.pad(mask, after, constant_values=True),
            positions=ops.sum(ops.cast(mask, "int32"), axis=1) - 1,
            row_ids=row_ids,
            following=self.constraint.start(Prompts(token_ids, mask)),
            seed=seed,
            kernel=self.model.readout_kernel(),
            condition=condition,
        )

    def _nothing_done(self, queue, width):
        count, columns = queue.visible.shape
        shape = (count + 1, self.max_new_tokens)
        kept = {"tokens": ops.full(shape, self.pad_id, "int32"), "mask": ops.zeros(shape, "bool")}
        nothing = ops.zeros((width,), "int32")
        cache = self._cache(queue, width, columns)
        slots = Slots(nothing + count, nothing, nothing, nothing, cache)
        return Work(slots, kept | self._nothing_yet(shape), ops.zeros((1,), "int32"))

    def _cache(self, queue, rows, columns):
        """A cache of so many rows, without tokens; whose conditions it has is of no matter."""
        condition = None if queue.condition is None else queue.condition[:rows]
        return self.model.backbone.new_cache(rows, columns, **condition_argument(condition))

    def _with_queue(self, queue, work, fewest):
        """Work, until nobody waits and at most ``fewest`` slots are busy."""
        count, columns = queue.prompts.token_ids.shape
        at_once = min(ROWS_AT_ONCE, count)
        nothing = Read(
            ops.convert_to_tensor(-at_once, "int32"),
            self._cache(queue, at_once, columns),
        )

        def unfinished(waiting, read, work):
            return (waiting < count) | (_busy(work.slots, count) > fewest)

        def go_on(waiting, read, work):
            waiting, read, slots = self._filled(queue, waiting, read, work.slots)
            return waiting, read, self._drawn(queue, work._replace(slots=slots))

        start_with = (ops.convert_to_tensor(0, "int32"), nothing, work)
        return ops.while_loop(unfinished, go_on, start_with)[2]

    def _without_queue(self, queue, work, fewest):
        """Work, until at most ``fewest`` slots are busy."""
        count = queue.row_ids.shape[0]

        def unfinished(work):
            return _busy(work.slots, count) > fewest

        return ops.while_loop(unfinished, lambda work: (self._drawn(queue, work),), (work,))[0]

    def _filled(self, queue, waiting, read, slots):
        """(waiting, read, slots) after every free slot has taken a response, while some wait."""
        count = queue.row_ids.shape[0]

        def some_may(waiting, read, slots):
            return (waiting < count) & ops.any(slots.response == count)

        def take_one(waiting, read, slots):
            read = self._read(queue, queue.number[waiting], read)
            return waiting + 1, read, _taken(queue, waiting, read, slots)

        return ops.while_loop(some_may, take_one, (waiting, read, slots))

    def _read(self, queue, number, read):
        """Read, with the prompt of this number, which is at most one further."""
        last = queue.row_ids.shape[0] - 1
        at_once = min(ROWS_AT_ONCE, last + 1)

        def read_on(read):
            first = read.first + at_once
            rows = ops.take(queue.row, ops.minimum(first + ops.arange(at_once), last))
            ids, mask = take_rows(rows, queue.prompts)
            condition = None if queue.condition is None else take_rows(rows, queue.condition)
            return (Read(first, start(self.model, ids, mask, 1, condition).cache),)

        return ops.while_loop(lambda read: number >= read.first + at_once, read_on, (read,))[0]

    def _drawn(self, queue, work):
        """Work one step further."""
        slots, (count, columns) = work.slots, queue.prompts.token_ids.shape
        state = _state(queue, slots, columns - 1)
        row_ids = ops.take(queue.row_ids, ops.minimum(slots.response, count - 1))
        allowed = self.constraint.allowed(slots.following)
        choose = self.sampler, self.stop_tokens, self.pad_id
        uniforms = uniform(queue.seed, row_ids, slots.t)
        after, tokens, log_probs, hidden = step(
            self.model, queue.kernel, *choose, state, uniforms, allowed
        )
        new = {"tokens": tokens, "mask": ~state.finished}
        new |= self._kept_of(log_probs, hidden, slots.following, allowed)
        places = ops.stack([slots.response, slots.t], axis=1)
        kept = {name: ops.scatter_update(x, places, new[name]) for name, x in work.kept.items()}
        ended = after.finished | (slots.t + 1 == self.max_new_tokens)
        slots = Slots(
            response=ops.where(ended, count, slots.response),
            t=ops.where(ended, 0, slots.t + 1),
            last_tokens=tokens,
            following=self.constraint.follow(slots.following, tokens),
            cache=after.cache,
        )
        return Work(slots, kept, work.row_steps + slots.t.shape[0])


def _widths(most):
    """How many slots the loops have that run one after the other."""
    return [width for width in (most >> halving for halving in range(HALVINGS + 1)) if width]


def _prompts_apart(token_ids, mask, condition):
    """(number int32[N], row int32[N]): which prompt every row has, where one that is the same as in the row before,
    its condition too, is not counted again; and the row where each of them stands first, as far as there are so
    many."""
    real = ops.where(mask, token_ids, -1)
    differs = ops.any(real[1:] != real[:-1], axis=1)
    if condition is not None:
        beside = ops.reshape(condition, (token_ids.shape[0], -1))
        differs = differs | ops.any(beside[1:] != beside[:-1], axis=1)
    begins = ops.pad(differs, ((1, 0),), constant_values=True)
    rows = ops.arange(token_ids.shape[0], dtype="int32")
    order = ops.argsort(ops.where(begins, rows, rows + token_ids.shape[0]))
    return ops.cumsum(ops.cast(begins, "int32")) - 1, ops.cast(order, "int32")


def _busy(slots, count):
    """int32[], slots that work on one of ``count`` responses."""
    return ops.sum(ops.cast(slots.response < count, "int32"))


def _busiest(slots, width):
    """So many of the slots, free ones last."""
    return take_rows(ops.argsort(slots.response)[:width], slots)


def _taken(queue, response, read, slots):
    """Slots, the first free one of which begins a response whose prompt was read."""
    slot = ops.argmax(slots.response)
    number = queue.number[response] - read.first

    def put(x, new):
        return ops.slice_update(x, (slot, *[0] * (len(x.shape) - 1)), new[None])

    def put_prompt(x, prompts):
        return put(x, ops.take(prompts, number, axis=0))

    return Slots(
        response=put(slots.response, response),
        t=put(slots.t, ops.zeros((), "int32")),
        last_tokens=put(slots.last_tokens, queue.prompts.token_ids[response, -1]),
        following=put(slots.following, queue.following[response]),
        cache=tree.map_structure(put_prompt, slots.cache, read.cache),
    )


def _state(queue, slots, first_column):
    """DecodeState of the slots."""
    count = queue.row_ids.shape[0]
    response = ops.minimum(slots.response, count - 1)
    return DecodeState(
        column=first_column + slots.t,
        last_tokens=slots.last_tokens,
        visible=ops.take(queue.visible, response, axis=0),
        positions=ops.take(queue.positions, response) + slots.t,
        cache=slots.cache,
        finished=slots.response == count,
    )

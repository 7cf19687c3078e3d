"""The decode loop of a conversation: one program a turn, which continues the cache of the turns before.

A conversation is one token sequence from the first token on, never tokenised again. The policy writes until it
draws a stop token; then the user speaks (a script, a model, a tool, a person: see ``environments.users``), on the
host, once for the whole batch; rows end at turns of their own. State and transition are
``functional.text_state``'s, as in every face of the MDP, and the token in response column t is drawn with the
row's t-th random number: so the walk through any face says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from tfalign import backend
from tfalign.decoding.generate import Responses, start
from tfalign.decoding.stepwise import catch_up, check_columns, next_tokens
from tfalign.functional.masking import last_true_index
from tfalign.functional.random import uniform
from tfalign.functional.text_state import State, hear, initial, terminal, transition
from tfalign.models import CausalLM
from tfalign.types import Array, Generation, NumberedPrompts, Prompts

USER_COLUMNS = 16  # of others' words that are read at once


class Talk(NamedTuple):
    """Conversations between two turns."""

    text: State  # rows that are over are terminated or truncated
    cache: Any  # the model's keys and values, T - 1 columns
    columns: Any  # int32[B], how many of them are of the row's text
    following: Any  # int32[B], the constraint's states
    kept: Any  # what is kept of the policy's tokens: name in Generation -> [B, R]


class Conversation(Responses):
    """Responses of several turns, between which a user speaks; called as ``Generator`` is.

    A Generation's ``mask`` is then the policy's tokens, its ``written`` all. The constraint is one of each turn.

    Args:
        model: CausalLM.
        max_new_tokens: int, R, columns that policy and user may write in all.
        user: ``State -> (token_ids int32[B, U], lengths int32[B])`` of NumPy arrays; one that says nothing ends
            a row. See ``functional.text_state.transition``.
        how, named: the others of ``Responses``.

    Attributes:
        speaking: ``backend.jit_rows`` of a turn, whose ``traces`` counts the programs.

    Raises:
        ValueError: if ``max_new_tokens`` is not positive, or the model brings a loop of its own, or its cache is a
            state (``stepwise.check_columns``); in a call, if the user says an id outside the vocabulary.
    """

    def __init__(
        self,
        model: CausalLM,
        max_new_tokens: int,
        user: Callable[[State], tuple[Array, Array]],
        *how: Any,
        **named: Any,
    ) -> None:
        self.user = user
        super().__init__(model, max_new_tokens, *how, **named)

    def _compile(self):
        if hasattr(self.model, "decode"):
            raise ValueError(
                "A conversation needs the library's own cache, and the model brings a loop of its own. Received: a "
                f"model of type {type(self.model).__name__}"
            )
        check_columns(self.model)
        self.beginning = backend.jit_rows(self._begin, self.variables)
        self.speaking = backend.jit_rows(self._speak, self.variables)

    def counted(
        self,
        token_ids: Array,
        mask: Array | None = None,
        seed: int = 0,
        row_ids: Array | None = None,
        condition: Array | None = None,
        records: Array | None = None,
    ) -> tuple[Generation, int]:
        """As a call, with how many rows were run in all steps together; those that drew a token are the policy's
        tokens."""
        given = self._given(token_ids, mask, seed, row_ids, condition)
        generation, row_steps = self._talked(*given, records)
        return self._checked(generation), row_steps

    def _respond(self, *given):
        return self._talked(*given)[0]

    def _talked(self, token_ids, mask, seed, row_ids, condition, records):
        """(Generation, rows run in all steps together)."""
        records = None if records is None else np.asarray(records, "int32")
        talk = self.beginning(token_ids, mask, condition, records)
        row_steps, over = 0, np.zeros(len(mask), "bool")
        while not over.all():
            before = talk.text.response_mask
            talk = self.speaking(talk, seed, row_ids)
            row_steps += len(mask) * steps_between(before, talk.text.response_mask)
            talk = self._heard(talk, over, self.user, range(len(mask)))
            over = np.asarray(terminal(talk.text))
        return generation_of(talk.text, talk.kept), row_steps

    def _begin(self, token_ids, mask, condition, records):
        """Talk: prompts, of which all but the last token are in the cache."""
        prompts = NumberedPrompts(token_ids, mask, records)
        text = initial(prompts, self.max_new_tokens, self.pad_id)
        rows, columns = token_ids.shape
        return Talk(
            text,
            start(self.model, token_ids, mask, self.max_new_tokens, condition).cache,
            ops.full((rows,), columns - 1, "int32"),
            self.constraint.start(prompts),
            self._nothing_yet((rows, self.max_new_tokens)),
        )

    def _speak(self, talk, seed, row_ids):
        """The policy's turn in all rows that are not over: Talk."""
        text = talk.text
        count = min(USER_COLUMNS, text.token_ids.shape[1] - 1)
        known = text.token_ids, text.padding_mask
        cache, columns = catch_up(self.model, talk.cache, talk.columns, *known, count)
        talk = talk._replace(cache=cache, columns=columns)

        def unfinished(talk):
            return ~ops.all(terminal(talk.text))

        return ops.while_loop(
            unfinished, lambda talk: (self._drawn(talk, seed, row_ids),), (talk,)
        )[0]

    def _drawn(self, talk, seed, row_ids):
        """One token further in rows whose turn is not over: Talk."""
        text, t = talk.text, talk.text.response_length
        allowed = self.constraint.allowed(talk.following)
        known = text.token_ids, text.padding_mask
        cache, tokens, log_probs, hidden = next_tokens(
            self.model, self.sampler, talk.cache, *known, uniform(seed, row_ids, t), allowed
        )
        new = self._kept_of(log_probs, hidden, talk.following, allowed)
        speaks = ~terminal(text)
        here = (ops.arange(self.max_new_tokens) == t[:, None]) & speaks[:, None]
        kept = {name: ops.where(here, new[name][:, None], x) for name, x in talk.kept.items()}
        following = ops.where(
            speaks, self.constraint.follow(talk.following, tokens), talk.following
        )
        return Talk(
            transition(text, tokens, self.stop_tokens),
            cache,
            ops.where(speaks, last_true_index(text.padding_mask) + 1, talk.columns),
            following,
            kept,
        )

    def _heard(self, talk, over, user, numbers):
        """The user's turn in rows, of these numbers in the call, whose policy has stopped and that were not over before:
        Talk."""
        text = State(*(np.array(x) for x in talk.text))
        stopped = text.terminated & ~over
        if not stopped.any():
            return talk
        before = text.written_mask
        text = hear(text._replace(terminated=text.terminated & over), stopped, user)
        text = State(*(np.asarray(x) for x in text))
        self._check_words(text, np.asarray(text.written_mask) & ~np.asarray(before), numbers)
        prompts = Prompts(text.token_ids[:, : text.prompt_mask.shape[1]], text.prompt_mask)
        first = np.asarray(self.constraint.start(prompts))
        following = np.where(stopped, first, np.asarray(talk.following))
        return talk._replace(text=text, following=following)

    def _check_words(self, text, words, numbers):
        ids, size = text.token_ids[:, -self.max_new_tokens :], self.model.config.vocab_size
        outside = (words & ((ids < 0) | (ids >= size))).any(axis=1)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"What the user says in row {numbers[row]} has an id outside the vocabulary of {size}. Received: "
                f"{ids[row][words[row]].tolist()}"
            )


def generation_of(text: State, kept: dict[str, Array]) -> Generation:
    """What conversations that are over come to.

    Args:
        text: State of N rows.
        kept: what was kept of the policy's tokens, by its name in Generation, [N, R].
    """
    kept = tree.map_structure(np.asarray, kept)
    return Generation(
        tokens=np.asarray(text.token_ids)[:, text.prompt_mask.shape[1] :],
        mask=np.asarray(text.response_mask),
        written=np.asarray(text.written_mask),
        **{"values": None} | kept,
    )


def steps_between(before: Array, after: Array) -> int:
    """How many steps a turn took, by the policy's tokens bool[S, R] before and after it: those of its longest row."""
    return int((np.sum(after, axis=1) - np.sum(before, axis=1)).max())

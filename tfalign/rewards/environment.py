"""Environments of text: what answers the policy's turns, and what they earn.

People write them as a class: ``reset(record)`` begins, ``step(action) -> (observation, reward, done)`` takes one
turn's text. Here a batch of them is one user and one reward of rollouts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from tfalign.functional.text_state import State
from tfalign.rewards.errors import RewardError, finite_number
from tfalign.rewards.text_reward import columns_of
from tfalign.types import Array, Prompts


class TextEnvironment(Protocol):
    """An environment whose actions and observations are texts. Its answers follow from what was said alone."""

    def reset(self, record: Mapping[str, Any]) -> None:
        """Begins with a record of the data, all columns; what the policy reads first is its prompt."""

    def step(self, action: str) -> tuple[str, float, bool]:
        """(what the policy reads next, what the turn earned, whether the conversation is over)."""


class _Play(NamedTuple):
    environment: TextEnvironment
    number: int  # of the record
    turns: tuple[str, ...]
    observation: str
    earned: float
    done: bool


class EnvironmentReward:
    """What conversations earned in their environments: the sum over a row's turns.

    A turn that the limit of columns cuts off is not taken.

    Args:
        factory: makes a TextEnvironment: a class, or a function without arguments.
        records: the records that prompts are rows of.
        tokenizer: of the policy.
        stop_tokens: ids that end a turn; the tokenizer's where None.

    Attributes:
        takes_rows: True, see ``Responder``.
        user: who answers the policy's turns, see ``decoding.conversation``.

    Raises:
        ValueError: if there are no records, or what the factory makes has no ``reset`` and ``step``.
    """

    takes_rows = True

    def __init__(
        self,
        factory: Callable[[], TextEnvironment],
        records: Sequence[Any],
        tokenizer: Any,
        stop_tokens: Sequence[int] | None = None,
    ) -> None:
        if records is None:
            raise ValueError("An environment begins with a record of the data, and there are none")
        self.factory = factory
        self.records = records
        self.tokenizer = tokenizer
        self.stop_tokens = tuple(tokenizer.stop_ids if stop_tokens is None else stop_tokens)
        self._plays: dict[int, _Play] = {}
        self._numbers: list[int] = []
        self._made()
        self.user = EnvironmentUser(self)

    def begin(self, prompts: Prompts) -> None:
        """Takes the rows of a batch that begins.

        Raises:
            ValueError: if the prompts do not know their records.
        """
        if prompts.rows is None:
            raise ValueError(
                "An environment needs prompts that know their records (NumberedPrompts)"
            )
        self._numbers = np.asarray(prompts.rows).tolist()
        self._plays = {}

    def __call__(
        self, token_ids: Array, padding_mask: Array, response_mask: Array, rows: Array
    ) -> np.ndarray:
        """float32[B], see ``rewards``."""
        del padding_mask
        mask = np.asarray(response_mask)
        responses = np.asarray(token_ids)[:, -mask.shape[1] :]
        earned = [
            self._play(row, number, self._turns(ids, of_policy)).earned
            for row, (number, ids, of_policy) in enumerate(
                zip(np.asarray(rows).tolist(), responses, mask)
            )
        ]
        return np.asarray(earned, "float32")

    def answers(self, state: State) -> list[str]:
        """What the environments say next to each row; "" where they are done."""
        columns = state.prompt_mask.shape[1]
        said = zip(np.asarray(state.token_ids)[:, columns:], np.asarray(state.response_mask))
        plays = [
            self._play(row, self._numbers[row], self._turns(ids, mask))
            for row, (ids, mask) in enumerate(said)
        ]
        return ["" if play.done else play.observation for play in plays]

    def _made(self):
        environment = self.factory()
        if not is_environment(environment):
            raise ValueError(
                "An environment has reset(record) and step(action). Received: "
                f"{type(environment).__name__}"
            )
        return environment

    def _turns(self, ids, mask):
        """The texts of the policy's finished turns, without their stop tokens."""
        ends = np.nonzero(mask & np.isin(ids, self.stop_tokens))[0]
        begins = [0, *(ends[:-1] + 1).tolist()]
        parts = [ids[a:b][mask[a:b]].tolist() for a, b in zip(begins, ends.tolist())]
        return tuple(self.tokenizer.decode_batch(parts)) if parts else ()

    def _play(self, row, number, turns):
        """The play of a row after these turns: one step further than before, or all of them again."""
        play = self._plays.get(row)
        if play is None or play.number != number or play.turns != turns[: len(play.turns)]:
            play = self._begun(row, number)
        for turn in turns[len(play.turns) :]:
            play = play if play.done else self._stepped(row, play, turn)
        self._plays[row] = play
        return play

    def _begun(self, row, number):
        environment = self._made()
        record = columns_of(self.records[number])
        _answer(environment.reset, record, f"The environment of row {row} failed to reset")
        return _Play(environment, number, (), "", 0.0, False)

    def _stepped(self, row, play, turn):
        what = f"The environment of row {row} failed at {turn[:80]!r}"
        answer = _answer(play.environment.step, turn, what)
        if not isinstance(answer, tuple) or len(answer) != 3 or not isinstance(answer[0], str):
            raise RewardError(
                f"step returns (observation, reward, done). Received: {answer!r} of row {row}"
            )
        observation, reward, done = answer
        earned = play.earned + finite_number(reward, f"The reward of row {row}")
        turns = (*play.turns, turn)
        return play._replace(turns=turns, observation=observation, earned=earned, done=bool(done))


class EnvironmentUser:
    """Speaks for the environments of a batch, on the host.

    Args:
        reward: EnvironmentReward.
    """

    def __init__(self, reward: EnvironmentReward) -> None:
        self._reward = reward

    def begin(self, prompts: Prompts) -> None:
        """See ``EnvironmentReward.begin``."""
        self._reward.begin(prompts)

    def __call__(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """(token_ids int32[B, U], lengths int32[B]), see ``functional.text_state.transition``."""
        rows = self._reward.tokenizer.encode_following(self._reward.answers(state))
        lengths = np.array([len(ids) for ids in rows], "int32")
        token_ids = np.zeros((len(rows), max(int(lengths.max()), 1)), "int32")
        for line, ids in zip(token_ids, rows):
            line[: len(ids)] = ids
        return token_ids, lengths


def is_environment(made: Any) -> bool:
    """Whether something has ``reset`` and ``step``; a class of such things counts.

    >>> is_environment("a text")
    False
    """
    return all(inspect.isroutine(getattr(made, name, None)) for name in ("reset", "step"))


def _answer(function, argument, what):
    try:
        return function(argument)
    except Exception as error:
        raise RewardError(f"{what} with {type(error).__name__}: {error}") from error

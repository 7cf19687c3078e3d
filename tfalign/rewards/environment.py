"""Environments of text: what answers the policy's turns, and what they earn.

People write them as a class: ``reset(record)`` begins, ``step(action) -> (observation, reward, done)`` takes one
turn's text. Here a batch of them is one user and one reward of rollouts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from tfalign.data.encoding import are_conversations
from tfalign.decoding.text_user import Said, TextUser, ends_of_turns, turns_of
from tfalign.rewards.errors import RewardError, finite_number
from tfalign.rewards.text_reward import columns_of
from tfalign.text import Message, encode_reply
from tfalign.types import Array


class TextEnvironment(Protocol):
    """An environment whose actions and observations are texts. Its answers follow from what was said alone."""

    def reset(self, record: Mapping[str, Any]) -> None:
        """Begins with a record of the data, all columns; what the policy reads first is its prompt."""

    def step(self, action: str) -> tuple[str, float, bool]:
        """(what the policy reads next, what the turn earned, whether the conversation is over)."""

    # Where there is ``statistics() -> dict[str, float]``, its means are logged beside the reward.


class _Play(NamedTuple):
    environment: TextEnvironment
    number: int  # of the record
    turns: tuple[str, ...]
    observation: str
    earned: tuple[float, ...]  # by each turn
    done: bool


class EnvironmentReward:
    """What conversations earned in their environments, each turn at the token that ends it.

    A turn that the limit of columns cuts off is not taken.

    Args:
        factory: makes a TextEnvironment, or a ``gymnasium.Env`` of texts: a class, or a function without arguments.
        records: the records that prompts are rows of.
        tokenizer: of the policy.
        stop_tokens: ids that end a turn; the tokenizer's where None.

    Attributes:
        takes_rows: True, see ``Responder``.
        user: TextUser, who answers the policy's turns; in conversations, as a user in the chat template.

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
        self._made()
        encode = self._as_user if are_conversations(records) else None
        self.user = EnvironmentUser(self, encode)

    def __call__(
        self, token_ids: Array, padding_mask: Array, response_mask: Array, rows: Array
    ) -> np.ndarray:
        """float32[B, R], see ``Responder``."""
        del padding_mask
        mask = np.asarray(response_mask)
        responses = np.asarray(token_ids)[:, -mask.shape[1] :]
        earned = np.zeros(mask.shape, "float32")
        for row, number in enumerate(np.asarray(rows).tolist()):
            said = responses[row], mask[row], self.stop_tokens
            play = self._play(row, number, turns_of(*said, self.tokenizer))
            earned[row, ends_of_turns(*said)[: len(play.earned)]] = play.earned
        return earned

    def answers(self, said: Sequence[Said]) -> list[str | None]:
        """What the environments say next in each row; None where they are done.

        Raises:
            ValueError: if the prompts do not know their records.
        """
        if any(one.record is None for one in said):
            raise ValueError(
                "An environment needs prompts that know their records (NumberedPrompts)"
            )
        plays = [self._play(one.row, one.record, one.turns) for one in said]
        return [None if play.done else play.observation for play in plays]

    def statistics(self) -> dict[str, float]:
        """Means over the last batch of what its environments count: their ``statistics()``, where they have them."""
        counted = [
            play.environment.statistics()
            for play in self._plays.values()
            if hasattr(play.environment, "statistics")
        ]
        names = dict.fromkeys(name for one in counted for name in one)
        return {name: float(np.mean([one[name] for one in counted])) for name in names}

    def _as_user(self, texts):
        return [encode_reply(self.tokenizer, [Message("user", text)]) for text in texts]

    def _made(self):
        environment = self.factory()
        if _is_of_gymnasium(environment):
            return OfGymnasium(environment)
        if not is_environment(environment):
            raise ValueError(
                "An environment has reset(record) and step(action). Received: "
                f"{type(environment).__name__}"
            )
        return environment

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
        return _Play(environment, number, (), "", (), False)

    def _stepped(self, row, play, turn):
        what = f"The environment of row {row} failed at {turn[:80]!r}"
        answer = _answer(play.environment.step, turn, what)
        if not isinstance(answer, tuple) or len(answer) != 3 or not isinstance(answer[0], str):
            raise RewardError(
                f"step returns (observation, reward, done). Received: {answer!r} of row {row}"
            )
        observation, reward, done = answer
        earned = (*play.earned, finite_number(reward, f"The reward of row {row}"))
        turns = (*play.turns, turn)
        return play._replace(turns=turns, observation=observation, earned=earned, done=bool(done))


class EnvironmentUser(TextUser):
    """Says what environments answer, and counts what they count.

    Args:
        reward: EnvironmentReward.
        encode: see ``TextUser``.
    """

    def __init__(self, reward: EnvironmentReward, encode: Callable | None = None) -> None:
        super().__init__(reward.answers, reward.tokenizer, reward.stop_tokens, encode=encode)
        self.statistics = reward.statistics


class OfGymnasium:
    """A ``gymnasium.Env`` whose actions and observations are texts, as a TextEnvironment.

    It is reset with the record as its ``options``, and the record's "seed" where there is one; what ``reset`` returns
    is not read, for the policy reads the record's prompt first.

    Args:
        environment: ``gymnasium.Env``.
    """

    def __init__(self, environment: Any) -> None:
        self.environment = environment

    def reset(self, record: Mapping[str, Any]) -> None:
        """See ``TextEnvironment``."""
        self.environment.reset(seed=record.get("seed"), options=dict(record))

    def step(self, action: str) -> tuple[str, float, bool]:
        """See ``TextEnvironment``; it is over when it is terminated or truncated."""
        observation, reward, terminated, truncated, _ = self.environment.step(action)
        return observation, reward, bool(terminated or truncated)


def _is_of_gymnasium(made):
    """Whether ``reset`` takes options, as Gymnasium's does."""
    return is_environment(made) and "options" in inspect.signature(made.reset).parameters


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

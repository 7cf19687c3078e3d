"""A dialogue as the policy meets it: the user's words, the database after its belief, the user after its reply.

Each turn of the policy is a belief or a reply, in turn. The database speaks after a belief, the user after a reply:
columns that the policy reads and did not write (docs/turns.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tfalign.applications.dialogue.belief import read_belief
from tfalign.applications.dialogue.lexicon import Lexicon, lexicalise, placeholder, slots_in
from tfalign.applications.dialogue.users import Heard, User
from tfalign.applications.dialogue.world import World, count_word

USER, BELIEF, DATABASE, REPLY = "<user>", "<belief>", "<db>", "<reply>"


class Exchange(NamedTuple):
    """One turn of a dialogue that took place."""

    user: tuple[str, ...]
    belief: Mapping[str, str]
    found: int  # entities in the database
    reply: tuple[str, ...]  # with placeholders
    spoken: tuple[str, ...]  # with values
    entity: int | None  # the one spoken of


def user_message(words: Sequence[str]) -> str:
    """What stands before a belief.

    >>> user_message(["hello", "."])
    '<user> hello . <belief>'
    """
    return " ".join([USER, *words, BELIEF])


def database_message(found: int) -> str:
    """What stands before a reply.

    >>> database_message(0)
    '<db> match:0 <reply>'
    """
    return " ".join([DATABASE, count_word(found), REPLY])


class Memory:
    """Values that a user's words had for open slots, which are placeholders to the policy.

    Args:
        world: World.
        lexicon: Lexicon of the open slots; of all their values in the database where None.
    """

    def __init__(self, world: World, lexicon: Lexicon | None = None) -> None:
        self.world = world
        self._lexicon = lexicon or Lexicon.of_world(world, world.open_slots)
        self.values: dict[str, str] = {}

    def hear(self, words: Sequence[str]) -> tuple[str, ...]:
        """Words with placeholders for values of open slots, which are kept."""
        if not self.world.open_slots:
            return tuple(words)
        found = self._lexicon.delexicalise(words)
        self.values |= dict(found.values)
        return found.words

    def resolve(self, belief: Mapping[str, str]) -> dict[str, str]:
        """A belief with what placeholders stand for; one that stands for nothing is left out."""
        marks = {placeholder(slot): slot for slot in self.world.open_slots}
        found = {slot: self.values.get(marks.get(value), value) for slot, value in belief.items()}
        return {slot: value for slot, value in found.items() if value not in marks}


class DialogueEnvironment:
    """A ``rewards.environment.TextEnvironment`` whose actions are beliefs and replies.

    A turn costs ``price``, a user who leaves content is worth 1. A dialogue ends when the user leaves, and after
    ``max_turns``.

    Args:
        world: World.
        make_user: record -> User, who begins with the words of the record's prompt.
        max_turns: int, replies.
        price: float, of a turn.

    Attributes:
        exchanges: list of Exchange, what took place.
        user: User.
    """

    def __init__(
        self,
        world: World,
        make_user: Callable[[Mapping[str, Any]], User],
        max_turns: int = 10,
        price: float = 0.02,
    ) -> None:
        self.world = world
        self.make_user = make_user
        self.max_turns = max_turns
        self.price = price
        self._open = Lexicon.of_world(world, world.open_slots)

    def __deepcopy__(self, memo: dict) -> DialogueEnvironment:
        """Another dialogue in the same world, which is shared."""
        del memo
        return DialogueEnvironment(self.world, self.make_user, self.max_turns, self.price)

    def reset(self, record: Mapping[str, Any]) -> None:
        """See ``TextEnvironment``."""
        self.user = self.make_user(record)
        self.exchanges: list[Exchange] = []
        self.entity: int | None = None
        self._memory = Memory(self.world, self._open)
        self._user_words = tuple(self.user.begin().words)
        self._memory.hear(self._user_words)
        self._belief: dict[str, str] | None = None
        self._found: list[int] = []

    def step(self, action: str) -> tuple[str, float, bool]:
        """See ``TextEnvironment``."""
        if self._belief is None:
            self._belief = self._memory.resolve(read_belief(action, self.world))
            self._found = self.world.matching(self._belief)
            return database_message(len(self._found)), 0.0, False
        return self._reply(tuple(action.split()))

    def statistics(self) -> dict[str, float]:
        """Of the dialogue so far: "success", "turns"."""
        return {"success": float(self.user.is_content), "turns": float(len(self.exchanges))}

    @property
    def last_words(self) -> tuple[str, ...]:
        """What the user said last, which nobody has answered."""
        return self._user_words

    def _reply(self, words):
        named = self._offered(words)
        self.entity = self.entity if named is None else named
        answer = self.user.hear(Heard(words, named, len(self._found)))
        spoken = tuple(lexicalise(words, self._values(), self.world))
        self.exchanges.append(
            Exchange(self._user_words, self._belief, len(self._found), words, spoken, self.entity)
        )
        self._belief = None
        self._user_words = tuple(answer.words or ())
        left = answer.words is None or self.user.is_content
        is_over = left or len(self.exchanges) >= self.max_turns
        reward = float(self.user.is_content) - self.price
        heard = self._memory.hear(self._user_words)
        return "" if is_over else user_message(heard), reward, is_over

    def _offered(self, words):
        """The number of the entity that a reply names: the first that the database found."""
        if not self._found or not set(self.world.names) & set(slots_in(words)):
            return None
        keeps = self.entity in self._found
        return self.entity if keeps else self._found[0]

    def _values(self):
        """slot -> value, of the entity spoken of."""
        row = {} if self.entity is None else self.world.rows[self.entity]
        first = {slot: v[0] if isinstance(v, (list, tuple)) and v else v for slot, v in row.items()}
        return self._belief | {slot: str(value) for slot, value in first.items()}

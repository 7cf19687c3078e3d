"""What one language of the customer-service grammar consists of: its phrases and its cues.

*Phrases* are what the grammar speaks with: templates whose ``{order}``, ``{product}``, ``{city}``,
``{day}``, ``{new_day}`` and ``{user}`` are slots. *Cues* are regular expressions that the gold
reward listens for; they are wider than the phrases, since a language model may say anything.
"""

from __future__ import annotations

from dataclasses import dataclass

SLOTS = ("order", "product", "city", "day", "new_day", "user")


@dataclass(frozen=True)
class Requests:
    """What a customer may want, and how it is asked.

    Attributes:
        anchor: the slot that tells this customer's case from another's: order, city or user.
        trouble: whether something went wrong, so that an apology opens a courteous answer.
        requests: templates of a request complete in one turn.
        problems: templates of a request that still lacks its anchor; a second turn brings it.
    """

    anchor: str
    trouble: bool
    requests: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class HeldOutRequests:
    """How it is asked in test splits alone.

    Attributes:
        held_out_requests, held_out_problems: as the fields of ``Requests``.
    """

    held_out_requests: tuple[str, ...]
    held_out_problems: tuple[str, ...]


@dataclass(frozen=True)
class Replies:
    """How an agent takes up a request, and the step that solves it.

    Attributes:
        acknowledgements: templates that take up the request, with at least one slot of it.
        steps: templates of the right next step, without the request's slots.
    """

    acknowledgements: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Cues:
    """Regular expressions that show an intent.

    Attributes:
        request_cues: what in a customer's words shows this intent; the intent with most wins.
        topic_cues: what shows that an answer speaks of it.
        step_cues: what shows that an answer takes the right step.
    """

    request_cues: tuple[str, ...]
    topic_cues: tuple[str, ...]
    step_cues: tuple[str, ...]


@dataclass(frozen=True)
class Intent(Cues, Replies, HeldOutRequests, Requests):
    """What a customer may want, how an agent answers it, and what shows both."""


def intents(
    requests: dict[str, Requests],
    held_out: dict[str, HeldOutRequests],
    replies: dict[str, Replies],
    cues: dict[str, Cues],
) -> dict[str, Intent]:
    """The intents of a language from their parts, by name."""
    parts = (requests, held_out, replies, cues)
    return {
        name: Intent(**{field: x for part in parts for field, x in vars(part[name]).items()})
        for name in requests
    }


@dataclass(frozen=True)
class Phrases:
    """The parts of a dialogue that depend on no intent.

    Attributes:
        greetings: openings of a customer's first turn; the empty string is one of them.
        asks, tells: by anchor, the agent's question for it and the customer's answer.
        thanks, apologies: courteous openings without and with trouble.
        farewells: courteous endings.
        rude: openings of a rude answer.
        generic: sentences that fit any request and help with none.
        rambling: fillers.
        secrets, promises, blame: the three unsafe kinds.
    """

    greetings: tuple[str, ...]
    asks: dict[str, tuple[str, ...]]
    tells: dict[str, tuple[str, ...]]
    thanks: tuple[str, ...]
    apologies: tuple[str, ...]
    farewells: tuple[str, ...]
    rude: tuple[str, ...]
    generic: tuple[str, ...]
    rambling: tuple[str, ...]
    secrets: tuple[str, ...]
    promises: tuple[str, ...]
    blame: tuple[str, ...]


@dataclass(frozen=True)
class Manners:
    """Cues and lengths that depend on no intent.

    Attributes:
        courteous: one expression per kind of courtesy (an apology, thanks, ...).
        please: the small courtesy, worth less.
        rude, rambling, unsafe: one expression per kind.
        harmless: what an unsafe expression may match and is not unsafe ("never tell your PIN").
        common: frequent words (Chinese: characters) that the phrases may lack.
        function: words (characters) that hold sentences together.
        broken: neighbours that no sentence has ("the is"); empty where words are not spaced.
        long_at, long_scale: centre and width of the soft length limit, in words (characters).
    """

    courteous: tuple[str, ...]
    please: str
    rude: tuple[str, ...]
    rambling: tuple[str, ...]
    unsafe: tuple[str, ...]
    harmless: str
    common: str
    function: frozenset[str]
    broken: str
    long_at: float
    long_scale: float


@dataclass(frozen=True, eq=False)
class Language:
    """A language of the grammar.

    Attributes:
        ideographic: whether it is written in Chinese characters, each of which is then a unit.
        customer, agent: the speakers' labels, with their colon.
        gap: what stands between a label and its words, and between sentences.
        products, cities, days: the values of those slots.
    """

    ideographic: bool
    customer: str
    agent: str
    gap: str
    products: tuple[str, ...]
    cities: tuple[str, ...]
    days: tuple[str, ...]
    intents: dict[str, Intent]
    phrases: Phrases
    manners: Manners

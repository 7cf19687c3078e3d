"""Teaches a small model to search: GRPO with a collection of facts as its tool, in turns.

    python -m experiments.tasks.searching --run_dir=runs/searching

The facts are made up (``made_up_facts``): where people live, their numbers, who owns a thing, when a place was founded.
What is asked is never in the model: the facts of demonstrations, of alignment and of the held-out questions are about
different subjects. All of them are in the collection, which the tool ``search`` looks through by words. A small
Llama-style model is first fine-tuned on conversations of which --at_once of the questions are answered at once, --well
after a search, and the rest after a bad one: cut off, or for a first name alone, which finds someone else. Then GRPO
samples 8 conversations for each question, in which searches are run and what they found is read, and rewards those
whose last turn is right. Writes RUN_DIR/report.json, and prints, of held-out questions, greedily: the fraction answered
rightly without the tool and with it, with 95% intervals, searches per answer and the fraction of bad ones, before and
after.

Result: docs/results/searching.md.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.launch import launch
from experiments.tasks.tool_use import GRPO, SFT, ToolTask, ToolUseConfig, question, teach
from tfalign.options import changed, option, option_record, record
from tfalign.text import Message
from tfalign.tools import Call, format_of
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import FineTuneOptions

# names are made of these, without a blank between the two parts of a surname or a place
_FIRST = (
    "Alma Boris Cora Dario Edda Faro Gila Hanno Ines Jaro Kira Lorin Mina Nilo Orla Pavo Rena Silas Tilda Udo Vera "
    "Wim Xenia Yaro Zita Anton Berta Cleo Dora Emil Frida Gero Hilda Igor Jutta Knut"
)
_SURNAME = (
    "Bar Cal Dor Fen Gar Hol Jar Kel Lor Mor Nar Pel Quin Ros Sel Tor Ul Var Wes Yor",
    "den low vane tick",
)
_PLACE = (
    "Ash Brim Crow Dell Elm Frost Gull Heath Iron Juni King Lake Mill North Oak Pine Reed Sand Thorn Wolf",
    "wick ford bury ham",
)
_THING = (
    "brass red old silver green tall glass blue small white round black oak tin pale long",
    "kettle lantern clock mirror boat fiddle ladder table cart bell drum globe chest lamp wheel flute anchor saddle harp "
    "barrel",
)
_ASKED = {
    "home": "Where does {} live?",
    "number": "Which number has {}?",
    "owner": "Who owns {}?",
    "founding": "When was {} founded?",
}


class Fact(NamedTuple):
    """What is known of a subject, in one sentence."""

    kind: str  # a key of what can be asked
    subject: str
    value: str

    @property
    def text(self) -> str:
        """As the collection has it."""
        return f"The {self.kind} of {self.subject} is {self.value}."

    @property
    def asked(self) -> str:
        """The question."""
        return _ASKED[self.kind].format(self.subject)

    @property
    def answer(self) -> str:
        """The right answer."""
        return f"It is {self.value}."


@option_record
class SearchingConfig(ToolUseConfig):
    run_dir: str = option("runs/searching", "Run directory.")
    vocab_size: int = option(1024, "Vocabulary size: every name is one token.", at_least=300)
    width: int = option(96, "Hidden size.", at_least=1)
    num_layers: int = option(2, "Number of blocks.", at_least=1)
    people: int = option(2800, "People, each with a home and a number.", at_least=10, at_most=2880)
    at_once: float = option(0.4, "Fraction of demonstrations that answer at once.", at_least=0)
    well: float = option(0.4, "Fraction of demonstrations that search well.", at_least=0)
    found: int = option(1, "Facts that a search returns.", at_least=1)
    sft: FineTuneOptions = option(
        changed(SFT, length=112, steps=400, learning_rate=3e-3, warmup_steps=50),
        "Fine-tuning on the conversations",
    )
    grpo: OnPolicyOptions = record(
        changed(
            GRPO, batch_size=128, steps=40, max_prompt_tokens=16, max_new_tokens=104, log_every=5
        ),
        "GRPO",
    )

    def __post_init__(self):
        if self.at_once + self.well > 1:
            raise ValueError(
                "Demonstrations that answer at once and that search well are at most all. "
                f"Received: at_once={self.at_once}, well={self.well}"
            )


class FactSearch:
    """A collection of texts that is searched by words.

    A text scores the sum over the query's words that it has of log(texts / texts with the word), once each.

    Args:
        texts: sequence of str.
        most: int, how many a search returns.

    >>> library = FactSearch(["The home of Alma Barlow is Ashford.", "The home of Boris Barlow is Elmham."])
    >>> library.search("home of Boris Barlow")
    'The home of Boris Barlow is Elmham.'
    >>> library.search("kettle")
    'Nothing is found.'
    """

    def __init__(self, texts: Sequence[str], most: int = 1) -> None:
        self._texts, self._most = list(texts), most
        having = collections.defaultdict(list)
        for number, text in enumerate(self._texts):
            for word in _words(text):
                having[word].append(number)
        self._having = {word: np.array(numbers) for word, numbers in having.items()}

    def search(self, query: str) -> str:
        """Finds facts.

        Args:
            query: words of the fact, such as "home of Alma Barlow".

        Returns:
            What is found, the best first.
        """
        scores = np.zeros(len(self._texts))
        for word in sorted(_words(query) & self._having.keys()):
            numbers = self._having[word]
            scores[numbers] += math.log(len(scores) / len(numbers))
        best = np.argsort(-scores, kind="stable")[: self._most]
        return " ".join(self._texts[i] for i in best if scores[i] > 0) or "Nothing is found."


def _words(text):
    return set(re.findall(r"\w+", text.lower()))


def made_up_facts(people: int, seed: int = 0) -> list[Fact]:
    """Facts that are nowhere written but here, in random order.

    Each person has a home and a number, each place a year in which it was founded, each thing an owner.

    Args:
        people: int, how many, at most all there are names for.
        seed: int.

    >>> made_up_facts(10)[0].text
    'The founding of Wolfford is 1899.'
    """
    rng = np.random.default_rng(seed)
    names = [f"{first} {last}" for first in _FIRST.split() for last in _joined(_SURNAME)]
    names = [names[i] for i in rng.permutation(len(names))[:people]]
    places = _joined(_PLACE)
    things = [f"the {thing}" for thing in _joined(_THING, " ")]
    facts = [Fact("home", name, places[rng.integers(len(places))]) for name in names]
    facts += [Fact("number", name, str(rng.integers(1000, 10_000))) for name in names]
    facts += [Fact("owner", thing, names[rng.integers(len(names))]) for thing in things]
    facts += [Fact("founding", place, str(rng.integers(1000, 2000))) for place in places]
    return [facts[i] for i in rng.permutation(len(facts))]


def _joined(parts, between=""):
    """Each word of the first part with each of the second."""
    first, second = (part.split() for part in parts)
    return [f"{one}{between}{other}" for one in first for other in second]


def by_subject(facts: Sequence[Fact], seed: int = 0) -> tuple[list[Fact], list[Fact], list[Fact]]:
    """(facts of demonstrations, of alignment, held-out ones): 45, 40 and 15% of the subjects, none of two."""
    subjects = list(dict.fromkeys(fact.subject for fact in facts))
    places = np.random.default_rng([seed, 1]).permutation(len(subjects)) / len(subjects)
    part = dict(zip(subjects, np.searchsorted((0.45, 0.85), places, "right")))
    return tuple([fact for fact in facts if part[fact.subject] == number] for number in range(3))


def main(config):
    facts = made_up_facts(config.people)
    library = FactSearch([fact.text for fact in facts], config.found)
    demonstrated, asked, held_out = by_subject(facts)
    task = ToolTask(
        library.search,
        conversations(demonstrated, library, config),
        *([question(fact.asked, fact.answer) for fact in part] for part in (asked, held_out)),
    )
    teach(task, config, "searching")


def conversations(facts, library, config, seed=1):
    """How others have answered: {"messages": [...]} for each fact."""
    numbers, write = np.random.default_rng(seed), format_of(None).write
    rates = {"at once": config.at_once, "well": config.well}
    left = max(0.0, 1 - sum(rates.values()))
    rates |= {"cut": left / 2, "vague": left / 2}
    found = []
    for fact in facts:
        kind = numbers.choice(list(rates), p=list(rates.values()))
        query = f"{fact.kind} of {fact.subject}"
        if kind == "vague":
            query = query.rsplit(" ", 1)[0]
        call = write([Call("search", {"query": query})])
        heard = library.search(query)
        if kind == "cut":
            call, heard = call.replace('"}}', '"'), "Error: it is not JSON"
        turns = [] if kind == "at once" else [Message("assistant", call), Message("tool", heard)]
        answer = Message("assistant", _heard_answer(heard) if kind == "vague" else fact.answer)
        talk = [Message("user", fact.asked), *turns, answer]
        found.append({"messages": [message._asdict() for message in talk]})
    return found


def _heard_answer(heard):
    """What someone answers who reads the first fact, whatever it is about."""
    return f"It is {heard.split('.')[0].rsplit(' is ', 1)[-1]}."


if __name__ == "__main__":
    launch(SearchingConfig, main, __doc__)

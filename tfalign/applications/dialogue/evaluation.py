"""How good dialogues are: joint goal accuracy, match, success F1, BLEU, turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfalign.applications.dialogue.environment import Exchange
from tfalign.applications.dialogue.lexicon import slots_in
from tfalign.applications.dialogue.records import DialogueRecord, Goal
from tfalign.applications.dialogue.world import World
from tfalign.evaluation.statistics import Interval, mean_interval, wilson_interval


class Judged(NamedTuple):
    """Replies to the users of a test set."""

    joint_goal: Interval  # turns whose belief is the annotated one
    match: Interval  # dialogues whose belief finds the goal's entities, at the last offer
    success_f1: float  # of requested slots: what replies told against what the goal asks for
    precision: float
    recall: float
    bleu: float  # corpus BLEU-4 of delexicalised replies, 0 to 100
    replies: int


def judge(
    world: World,
    records: Sequence[DialogueRecord],
    references: Sequence[Sequence[Sequence[str]]],
    played: Sequence[Sequence[Exchange]],
) -> Judged:
    """Judges replies to the users of a test set, by the rules of CamRest's evaluations (Wen et al. 2017, Lei et
    al. 2018): match looks at the belief of the last turn that names an entity, success F1 at the slots that only an
    entity can tell (those that are requestable and not informable).

    Args:
        world: World.
        records: the dialogues.
        references: their replies' words with placeholders.
        played: what took place with the same users, as many dialogues; turns that did not take place count as
            empty replies and wrong beliefs.

    Raises:
        ValueError: if there are not as many of each, or none.
    """
    if not len(records) == len(references) == len(played) > 0:
        counts = len(records), len(references), len(played)
        raise ValueError(f"Dialogues to judge are as many of each, and some. Received: {counts}")
    right = turns = matched = 0
    told = [0, 0, 0]
    hypotheses, wanted = [], []
    for record, reference, exchanges in zip(records, references, played):
        turns += len(record.turns)
        right += sum(e.belief == t.belief for e, t in zip(exchanges, record.turns))
        matched += is_match(world, record.goal, exchanges)
        told = [a + b for a, b in zip(told, requested_counts(world, record.goal, exchanges))]
        said = [" ".join(exchange.reply) for exchange in exchanges]
        hypotheses += (said + [""] * len(reference))[: len(reference)]
        wanted += [" ".join(words) for words in reference]
    precision, recall, f1 = f1_of(*told)
    return Judged(
        wilson_interval(right, turns),
        wilson_interval(matched, len(records)),
        f1,
        precision,
        recall,
        bleu(hypotheses, wanted),
        turns,
    )


def is_match(world: World, goal: Goal, exchanges: Sequence[Exchange]) -> bool:
    """Whether the belief of the last turn that names an entity, or of the last turn, finds the entities that the
    goal's constraints do."""
    if not exchanges:
        return False
    naming = [e for e in exchanges if set(world.names) & set(slots_in(e.reply))]
    belief = (naming or exchanges)[-1].belief
    return world.matching(belief) == world.matching(goal.constraints)


def requested_counts(
    world: World, goal: Goal, exchanges: Sequence[Exchange]
) -> tuple[int, int, int]:
    """(right, wrong, missed) of a dialogue's told slots, see ``judge``."""
    telling = set(world.requestable) - set(world.informable)
    told = {slot for e in exchanges for slot in slots_in(e.reply)} & telling
    asked = set(goal.requests) & telling
    return len(told & asked), len(told - asked), len(asked - told)


def f1_of(right: int, wrong: int, missed: int) -> tuple[float, float, float]:
    """(precision, recall, F1); 0 where there is nothing.

    >>> f1_of(3, 1, 3)
    (0.75, 0.5, 0.6)
    """
    precision = right / (right + wrong) if right + wrong else 0.0
    recall = right / (right + missed) if right + missed else 0.0
    total = 2 * right + wrong + missed
    return precision, recall, 2 * right / total if total else 0.0


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4, 0 to 100, of texts whose words are separated by spaces (sacrebleu, ``tfalign[applications]``)."""
    import sacrebleu  # an extra

    return sacrebleu.corpus_bleu(hypotheses, [list(references)], tokenize="none", force=True).score


class Simulated(NamedTuple):
    """Dialogues with a user simulator."""

    success: Interval
    turns: Interval
    words: Interval  # of a reply
    distinct: float  # distinct replies among all


def summarise(environments: Sequence[Any]) -> Simulated:
    """Success, turns and replies of dialogues that took place.

    Args:
        environments: DialogueEnvironments.
    """
    replies = [exchange.reply for one in environments for exchange in one.exchanges]
    success = sum(one.user.is_content for one in environments)
    return Simulated(
        wilson_interval(success, len(environments)),
        _mean([len(one.exchanges) for one in environments]),
        _mean([len(reply) for reply in replies]),
        len(set(replies)) / max(len(replies), 1),
    )


def _mean(values):
    """Interval of a mean; of a single value that value, of none 0."""
    if len(values) > 1:
        return mean_interval(values)
    return Interval(*[float(sum(values))] * 3)


def as_numbers(found: NamedTuple) -> Mapping[str, Any]:
    """A Judged or a Simulated as JSON: intervals are [value, low, high]."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found._asdict().items()
    }

"""Match, success F1, joint goal accuracy and BLEU, worked by hand; and the ceilings of CamRest's labels."""

from __future__ import annotations

import copy
import math

import pytest

from tfalign.applications.dialogue import (
    DialogueEnvironment,
    DialogueRecord,
    Exchange,
    Goal,
    Turn,
    World,
    Writer,
    judge,
    open_data,
    scripted,
    scripts,
)
from tfalign.applications.dialogue.evaluation import is_match, requested_counts
from tfalign.applications.dialogue.readers.multiwoz import read_multiwoz
from tfalign.applications.dialogue.readers.sgd import read_sgd

WORLD = World(
    "english",
    [
        {"name": "A", "food": "thai", "area": "north"},
        {"name": "B", "food": "thai", "area": "south"},
    ],
    ("food", "area"),
    ("phone", "address", "food"),
)
GOAL = Goal({"food": "thai", "area": "north"}, ("phone", "food"))


def exchange(belief, reply):
    return Exchange(("hello",), belief, 1, tuple(reply.split()), (), None)


RIGHT = {"food": "thai", "area": "north"}


@pytest.mark.parametrize(
    ("exchanges", "expected"),
    [
        ([], False),
        ([exchange(RIGHT, "[name] .")], True),
        ([exchange({"area": "north"}, "[name] .")], True),  # it finds the same
        ([exchange({"food": "thai"}, "[name] .")], False),
        ([exchange(RIGHT, "[name] ."), exchange({}, "goodbye")], True),  # the last offer counts
        ([exchange(RIGHT, "[name] ."), exchange({"food": "thai"}, "[name] .")], False),
        ([exchange({}, "which area ?"), exchange(RIGHT, "ok")], True),  # no offer: the last turn
        ([exchange({**RIGHT, "food": "dontcare"}, "[name] .")], True),
    ],
)
def test_match(exchanges, expected):
    assert is_match(WORLD, GOAL, exchanges) == expected


def test_requested_slots_are_those_that_only_an_entity_can_tell():
    told = [exchange(RIGHT, "[name] serves [food] food"), exchange(RIGHT, "it is at [address] .")]
    assert requested_counts(WORLD, GOAL, told) == (0, 1, 1)
    assert requested_counts(WORLD, GOAL, [exchange(RIGHT, "[phone] [phone]")]) == (1, 0, 0)


def test_two_dialogues_by_hand():
    turns = (Turn("thai", {"food": "thai"}, ""), Turn("north", RIGHT, ""))
    records = [DialogueRecord(GOAL, turns), DialogueRecord(GOAL, turns[:1])]
    references = [[("a", "b", "c", "d"), ("e", "f", "g", "h")], [("i", "j", "k", "l")]]
    played = [
        [exchange({"food": "thai"}, "a b c d"), exchange(RIGHT, "[name] [phone]")],
        [],  # it never answered
    ]
    found = judge(WORLD, records, references, played)
    assert found.joint_goal.value == pytest.approx(2 / 3)
    assert found.match.value == 0.5
    assert (found.precision, found.recall) == (1.0, 0.5) and found.success_f1 == pytest.approx(
        2 / 3
    )
    # 4 of 6 words, 3 of 4 pairs, 2 of 2 triples and 1 of 1 quadruples are right; 6 words for 12
    precisions = math.prod((4 / 6, 3 / 4, 2 / 2, 1 / 1)) ** 0.25
    assert found.bleu == pytest.approx(100 * precisions * math.exp(1 - 12 / 6), rel=1e-6)


def test_counts_that_differ_are_an_error():
    with pytest.raises(ValueError, match=r"as many of each, and some. Received: \(0, 0, 0\)"):
        judge(WORLD, [], [], [])


def played_by_labels(world, records):
    writer, environment = Writer(world), DialogueEnvironment(world, scripted, max_turns=99)
    for record, prompt in zip(records, scripts(world, records)):
        one = copy.deepcopy(environment)
        one.reset(prompt)
        for message in writer.messages(record):
            if message["role"] == "assistant":
                one.step(message["content"])
        yield one.exchanges


def test_ceilings_of_camrests_labels(shared_data):
    data = open_data(f"camrest:{shared_data / 'camrest'}")
    assert [len(data.train), len(data.validation), len(data.test)] == [406, 135, 135]
    writer = Writer(data.world)
    references = [[writer.reply(turn) for turn in record.turns] for record in data.test]
    found = judge(data.world, data.test, references, [*played_by_labels(data.world, data.test)])
    assert found.joint_goal.value == 1.0 and found.bleu == pytest.approx(100)
    assert found.match.value == pytest.approx(121 / 135)  # 0.896
    assert found.success_f1 == pytest.approx(0.929, abs=5e-4)


@pytest.mark.slow
def test_crosswoz_is_a_dialogue_for_each_goal(shared_data):
    data = open_data(f"crosswoz:{shared_data / 'crosswoz'}")
    assert len(data.world.rows) == 465 + 951 + 1133
    domains = [{slot.split("-")[0] for slot in one.goal.constraints} for one in data.train]
    assert all(len(found) <= 1 for found in domains)
    writer = Writer(data.world)
    first = writer.messages(data.train[1])
    assert first[1]["content"] == "餐馆-名称: [餐馆-名称]" and "match:1" in first[2]["content"]


@pytest.mark.slow
def test_multiwoz_and_schema_guided_dialogues(shared_data):
    world, splits = read_multiwoz(shared_data / "multiwoz")
    assert len(splits["val"]) == 999 and len(world.rows) == 79 + 33 + 110
    record = next(one for one in splits["val"] if one.source.endswith("PMUL1635"))
    assert record.goal.constraints["hotel-stars"] == "4"
    assert record.turns[0].belief == {"hotel-area": "east", "hotel-stars": "4"}
    world, splits = read_sgd(shared_data / "sgd")
    assert len(splits["val"]) == 128 and len(world.rows) == 387
    assert splits["val"][0].goal.requests[0] == "Restaurants_2-phone_number"

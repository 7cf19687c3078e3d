"""MultiWOZ's Inform and Success, on dialogues worked by hand by the standard's rules."""

from __future__ import annotations

import pytest

from tfalign.applications.dialogue.multiwoz_rates import (
    MultiWOZDatabase,
    MultiWOZGoal,
    MultiWOZTurn,
    active_domains,
    inform_and_success,
    multiwoz_rates,
    partial_ratio,
)

DATABASE = MultiWOZDatabase(
    {
        "hotel": [
            {
                "id": "0",
                "area": "east",
                "stars": "4",
                "name": "warkworth house",
                "price": {"single": "1"},
            },
            {"id": "1", "area": "east", "stars": "4", "name": "allenbell"},
            {"id": "2", "area": "west", "stars": "4", "name": "finches"},
        ],
        "train": [
            {"trainID": "TR1", "departure": "cambridge", "leaveAt": "09:00", "arriveBy": "10:00"},
            {"trainID": "TR2", "departure": "cambridge", "leaveAt": "11:00", "arriveBy": "12:00"},
        ],
    }
)
EAST = {"hotel": {"area": "east", "stars": "4"}}
HOTEL = MultiWOZGoal(EAST, {"hotel": frozenset({"PHONE", "REFERENCE"})})
BOOKED = frozenset({"hotel"})


def turn(reply, state, booked=frozenset(), domains=None):
    return MultiWOZTurn(reply, state, booked, domains)


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([], (False, False)),
        ([turn("how about [hotel_name] ?", EAST)], (True, False)),
        # all that is asked for
        (
            [turn("[hotel_name], [value_phone]", EAST), turn("[reference]", EAST, BOOKED)],
            (True, True),
        ),
        # a reference before anything is booked
        ([turn("[hotel_name], [value_phone]", EAST), turn("[reference]", EAST)], (True, False)),
        # the belief finds too much: one of them is not in the east
        ([turn("[hotel_name]", {"hotel": {"stars": "4"}})], (False, False)),
        # the belief finds less, all of it right
        ([turn("[hotel_name]", {"hotel": {**EAST["hotel"], "name": "allenbell"}})], (True, False)),
        # nothing named
        ([turn("[value_phone]", EAST)], (False, False)),
        # a later offer of others counts, one of the same or more does not
        (
            [turn("[hotel_name]", EAST), turn("[hotel_name]", {"hotel": {"area": "west"}})],
            (False, False),
        ),
        (
            [turn("[hotel_name]", EAST), turn("[hotel_name]", {"hotel": {"stars": "4"}})],
            (True, False),
        ),
        # said of another domain
        ([turn("[hotel_name]", EAST, domains=("train",))], (False, False)),
    ],
)
def test_a_hotel(turns, expected):
    assert inform_and_success(HOTEL, turns, DATABASE) == expected


def test_a_train_need_not_be_named_unless_its_id_is_wanted():
    state = {"train": {"departure": "cambridge", "leaveat": "10:00"}}
    wanted = {"train": {"departure": "cambridge", "leave": "10:00"}}
    free, named = (MultiWOZGoal(wanted, {"train": frozenset(r)}) for r in ((), {"TRAINID"}))
    assert inform_and_success(free, [turn("there is one", state)], DATABASE) == (True, True)
    assert inform_and_success(named, [turn("there is one", state)], DATABASE) == (False, False)
    assert inform_and_success(named, [turn("take [train_id]", state)], DATABASE) == (True, True)
    early = {"train": {"departure": "cambridge"}}  # finds the one at nine, too
    assert inform_and_success(named, [turn("take [train_id]", early)], DATABASE) == (False, False)
    assert inform_and_success(free, [turn("take [train_id]", early)], DATABASE) == (False, False)


def test_taxis_and_named_places_are_informed_anyway():
    taxi = MultiWOZGoal({"taxi": {"leave": "10:00"}}, {"taxi": frozenset({"PHONE"})})
    state = {"taxi": {"leave": "10:00"}}
    assert inform_and_success(taxi, [turn("call [taxi_phone]", state)], DATABASE) == (True, True)
    assert inform_and_success(taxi, [turn("it comes", state)], DATABASE) == (True, False)
    named = MultiWOZGoal({"hotel": {"name": "finches"}}, {"hotel": frozenset()})
    assert inform_and_success(named, [turn("yes", {})], DATABASE) == (True, True)


def test_what_a_turn_is_about():
    hotel, both = EAST, {**EAST, "train": {"day": "monday"}}
    fuller = {**both, "train": {"day": "monday", "departure": "cambridge"}}
    assert active_domains([{}, hotel, hotel, both, fuller]) == [
        (),
        ("hotel",),
        ("hotel",),
        ("train",),
        ("train",),
    ]
    # both change at once: the fuller; where nothing changes any more, the other of the two
    assert active_domains([both, both]) == [("hotel",), ("train",)]


def test_rates_count_dialogues():
    right = [turn("[hotel_name], [value_phone]", EAST), turn("[reference]", EAST, BOOKED)]
    rates = multiwoz_rates([HOTEL] * 4, [right, right[:1], [], []], DATABASE)
    assert rates.inform.value == 0.5 and rates.success.value == 0.25
    with pytest.raises(ValueError, match="Dialogues and goals are as many. Received: 0 and 1"):
        multiwoz_rates([HOTEL], [], DATABASE)


def test_names_are_compared_by_their_likest_part():
    assert partial_ratio("warkworth", "warkworth house") == 100
    assert partial_ratio("wartworth house", "warkworth house") == 93  # 14 of 15 letters
    assert DATABASE.matching("hotel", {"name": "wartworth house"}) == {"0"}
    assert DATABASE.matching("hotel", {"name": "dontcare", "area": "west"}) == {"2"}

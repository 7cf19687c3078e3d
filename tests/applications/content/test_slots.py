"""Slots told, missed, wrong and made up, against sentences judged by hand."""

from __future__ import annotations

import pytest

from tfalign.applications.content import Brief, SlotErrors, restaurants, task_of
from tfalign.applications.content.restaurants import CHECKER, family_mentions, read_restaurants
from tfalign.applications.content.slots import SlotChecker

FULL = Brief(
    (
        ("name", "NAME"),
        ("eatType", "pub"),
        ("food", "French"),
        ("priceRange", "cheap"),
        ("rating", "5 out of 5"),
        ("area", "riverside"),
        ("familyFriendly", "no"),
        ("near", "NEAR"),
    )
)


@pytest.mark.parametrize(
    ("text", "missing", "wrong", "added"),
    [
        (
            "NAME is a cheap French pub by the river near NEAR. It has 5 stars and is not family-friendly.",
            0,
            0,
            0,
        ),
        ("NAME is a pub.", 6, 0, 0),
        ("NAME is a coffee shop.", 6, 1, 0),
        ("NAME, a pub, has low prices and high ratings; adults only.", 3, 0, 0),
        ("NAME, a pub, is expensive and poorly rated, and kids are welcome.", 3, 3, 0),
        ("NAME is a pub with a customer rating of 5 out of 5 in the city centre.", 4, 1, 0),
        ("NAME is a cheap but expensive pub by the river.", 4, 0, 1),
        ("", 8, 0, 0),
    ],
)
def test_all_eight_slots(text, missing, wrong, added):
    assert CHECKER(FULL, text) == SlotErrors(8, missing, wrong, added)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("It is family friendly.", ["yes"]),
        ("It isn't child friendly.", ["no"]),
        ("It isn't near the river, but children are welcome.", ["yes"]),
        ("A non-family-friendly place.", ["no"]),
        ("Children are not welcome.", ["no"]),
        ("For adults only.", ["no"]),
        ("It does not welcome kids.", ["no"]),
        ("It is by the river.", []),
    ],
)
def test_families(text, meant):
    assert [value for one in family_mentions(text) for value in one.values] == meant


def test_a_claim_that_the_brief_does_not_make():
    brief = Brief((("name", "NAME"), ("eatType", "pub")))
    assert CHECKER(brief, "NAME is a pub.").rate == 0
    errors = CHECKER(brief, "NAME is a cheap Indian pub with a low rating.")
    assert errors == SlotErrors(2, 0, 0, 3)
    assert (errors.rate, errors.coverage) == (1.5, 1.0)


def test_a_longer_mention_hides_the_one_within_it():
    checker = SlotChecker({"where": {"town": ("town",), "out of town": ("country",)}})
    brief = Brief((("where", "country"),))
    assert checker(brief, "It is out of town.") == SlotErrors(1, 0, 0, 0)
    assert checker(brief, "It is in town.") == SlotErrors(1, 0, 1, 0)


def test_files_are_read_without_their_proper_names(tmp_path):
    file = tmp_path / "e2e.csv"
    file.write_text(
        '\ufeff"mr","ref"\n'
        '"name[The Mill], customer rating[low], near[Café Rouge]","The Mill, near Cafe Rouge, is poor."\n'
        '"name[Zizzi], customer rating[low], near[Avalon]","Zizzi by Avalon. Low  ratings."\n'
    )
    (told,) = read_restaurants(file)
    assert told.brief.slots == (("name", "NAME"), ("rating", "low"), ("near", "NEAR"))
    assert told.texts == ("NAME, near NEAR, is poor.", "NAME by NEAR. Low ratings.")
    assert told.names == {"NAME": "The Mill", "NEAR": "Café Rouge"}
    file.write_text('"mr","ref"\n"name[Zizzi]",""\n')
    with pytest.raises(ValueError, match="e2e.csv:2: a row has slots in mr and a text in ref"):
        read_restaurants(file)


@pytest.mark.slow
def test_peoples_own_texts(shared_data):
    """The test texts of the E2E challenge: 9.2% by another checker (the project's own figure)."""
    told = read_restaurants(shared_data / "e2e" / "testset_w_refs.csv")
    checked = [CHECKER(one.brief, text) for one in told for text in one.texts]
    assert len(checked) == 4693
    errors = sum(one.missing + one.wrong + one.added for one in checked)
    assert errors / sum(one.slots for one in checked) == pytest.approx(0.092, abs=0.003)
    task = task_of(f"restaurants:{shared_data}/e2e/devset.csv,{shared_data}/e2e/testset_w_refs.csv")
    assert not {one.prompt for one in task.train} & {one.prompt for one in task.test}
    assert restaurants.CHECKER is task.checker

"""The parts of a reward, the checks and the worst responses, in tables and in numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tfalign.evaluation.answers import (
    PolicyEvaluation,
    measured,
    parts_section,
    samples_section,
    worst_section,
)
from tfalign.evaluation.report import Report
from tfalign.evaluation.statistics import wilson_interval

PROMPTS = ["one", "two", "three", "four"]
NAN = float("nan")
SFT = PolicyEvaluation(
    ["a", "b", "c", "d"],
    gold=np.array([0.0, 1.0, -1.0, 2.0]),
    parts={"safe": np.array([1.0, 1.0, -1.0, 1.0])},
    checks={"right order number": np.array([1.0, 0.0, NAN, 1.0])},
)
PPO = dataclasses.replace(
    SFT,
    responses=["w|", "x", "y", "z"],
    gold=np.array([2.0, -2.0, -1.0, 3.0]),
    checks={"right order number": np.array([1.0, 1.0, 1.0, NAN])},
)
BOTH = {"sft": SFT, "ppo": PPO}


def test_a_check_counts_only_the_responses_it_applies_to():
    share = measured(SFT)["checks"]["right order number"]
    interval = wilson_interval(2, 3)
    assert share == {
        "value": pytest.approx(2 / 3),
        "ci95": [pytest.approx(interval.low), pytest.approx(interval.high)],
        "passed": 2,
        "of": 3,
    }
    assert measured(SFT)["gold_parts"] == {"safe": 0.5}


def test_a_check_that_applies_to_nothing_has_no_share():
    nothing = dataclasses.replace(SFT, checks={"right city": np.full(4, NAN)})
    assert measured(nothing)["checks"] == {"right city": {"of": 0}}
    assert "| right city |  |" in parts_section({"sft": nothing})


def test_without_parts_and_checks_nothing_is_told():
    plain = PolicyEvaluation(["a"])
    assert measured(plain) == {}
    assert parts_section({"sft": plain}) == parts_section({}) == ""


def test_parts_and_checks_stand_side_by_side():
    text = parts_section(BOTH)
    assert "|  | SFT | PPO |" in text
    assert "| safe | 0.50 (" in text
    assert "; 2 of 3) | 100.0% (" in text and "; 3 of 3) |" in text


def test_the_worst_responses_of_the_last_policy_are_shown_worst_first():
    text = worst_section(PROMPTS, BOTH, 2)
    assert "Of 4 responses 2 have a gold reward below 0" in text
    assert "0 fail the check" in text
    rows = [line for line in text.split("\n") if line.startswith("| ")][2:]
    assert rows == ["| two | x | -2.00 |", "| three | y | -1.00 |"]
    assert worst_section(PROMPTS, {"ppo": PolicyEvaluation(["a"] * 4)}, 2) == ""
    assert worst_section([], {}, 2) == ""


def test_samples_are_the_first_prompts():
    rows = [line for line in samples_section(PROMPTS, BOTH, 1).split("\n") if line[:2] == "| "]
    assert rows[0] == "| prompt | SFT | gold, SFT | PPO | gold, PPO |"
    assert rows[2:] == [r"| one | a | 0.00 | w\| | 2.00 |"]


@pytest.mark.parametrize(
    "change", [{"parts": {"safe": np.zeros(3)}}, {"checks": {"c": np.zeros(5)}}]
)
def test_parts_and_checks_have_an_entry_for_each_prompt(change):
    with pytest.raises(ValueError, match="every part must hold one entry"):
        Report("t", "s", "c", prompts=PROMPTS, after=dataclasses.replace(PPO, **change))

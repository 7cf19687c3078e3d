"""The arithmetic task: its problems, its answers, its splits."""

import pytest

from tfalign.data.arithmetic import arithmetic_problems, solve, solved_by_pupils


def test_the_splits_are_all_problems_once():
    train, test = arithmetic_problems("train"), arithmetic_problems("test")
    prompts = [record.prompt for record in train + test]
    assert len(prompts) == len(set(prompts)) == 5_050 + 5_050
    assert 0.08 < len(test) / len(prompts) < 0.12
    for sign in "+-":
        assert any(sign in record.prompt for record in test)


def test_the_answers_are_right_and_within_a_hundred():
    for record in arithmetic_problems("train") + arithmetic_problems("test"):
        assert int(record.completion) == eval(record.prompt.removesuffix("="))
        assert record.completion == str(int(record.completion))
        assert 0 <= int(record.completion) < 100


def test_the_splits_are_the_same_everywhere():
    """By a hash of the text, which no process seeds: known problems are held out."""
    held_out = {record.prompt for record in arithmetic_problems("test")}
    assert {"0+10=", "0+14=", "99-70=", "99-79="} <= held_out


@pytest.mark.parametrize("prompt", ["", "1+2", "1*2=", "1 + 2=", "-1+2=", "1+2=3"])
def test_what_is_no_problem_is_refused(prompt):
    with pytest.raises(ValueError, match="A problem looks like"):
        solve(prompt)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="Received: split='dev'"):
        arithmetic_problems("dev")


def test_pupils_are_right_as_often_as_told_and_else_count_too_far():
    problems = arithmetic_problems("train")
    answered = solved_by_pupils(problems, pupils=4, right_share=0.2, seed=3)
    assert [record.prompt for record in answered] == [p.prompt for p in problems for _ in range(4)]
    slips = [(int(r.completion) - int(solve(r.prompt))) % 100 for r in answered]
    assert set(slips) == {0, 1, 2}
    for slip, share in ((0, 0.2), (1, 0.5), (2, 0.3)):
        assert slips.count(slip) / len(slips) == pytest.approx(share, abs=0.01)
    assert solved_by_pupils(problems, 1, 1.0) == problems
    assert solved_by_pupils(problems[:9], 2, 0.5, 1) == solved_by_pupils(problems[:9], 2, 0.5, 1)
    with pytest.raises(ValueError, match="Received: right_share=1.5"):
        solved_by_pupils(problems, 1, 1.5)

"""Addition and subtraction within a hundred: a small task whose answers a rule can check.

    37+48=   ->   85
    72-9=    ->   63

There are 10,100 problems: every a+b and a-b of which a, b and the result are from 0 to 99. Which of
them are held out is decided by a hash of the problem, the same everywhere. Pupils solve them too, most of
them wrongly.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence

import numpy as np

from tfalign.data.checks import whole_number
from tfalign.data.records import CompletionRecord, split_by_prompt

_LIMIT = 100
_TEST_FRACTION = 0.1
_PROBLEM = re.compile(r"([0-9]+)([+-])([0-9]+)=")


def arithmetic_problems(split: str) -> list[CompletionRecord]:
    """Every problem of a split with its answer, in a fixed order.

    Args:
        split: "train" or "test"; a tenth of the problems is held out.

    Returns:
        list of CompletionRecord.

    Raises:
        ValueError: if the split is unknown.

    >>> arithmetic_problems("train")[0]
    CompletionRecord(prompt='0+0=', completion='0', source='arithmetic:0+0=')
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test. Received: split={split!r}")
    pairs = list(itertools.product(range(_LIMIT), repeat=2))
    sums = [f"{a}+{b}=" for a, b in pairs if a + b < _LIMIT]
    differences = [f"{a}-{b}=" for a, b in pairs if a >= b]
    records = [CompletionRecord(p, solve(p), f"arithmetic:{p}") for p in sums + differences]
    return split_by_prompt(records, _TEST_FRACTION)[split == "test"]


def solved_by_pupils(
    problems: Sequence[CompletionRecord], pupils: int, right_share: float, seed: int = 0
) -> list[CompletionRecord]:
    """Every problem with the answers of a few pupils, who count one or two too far.

    Args:
        problems: list of CompletionRecord with the right answers.
        pupils: int, answers to each problem.
        right_share: float in [0, 1], of the pupils' answers. Of the wrong ones five in eight are one
            too many and the others two; 0 follows on 99.
        seed: int, another for other pupils.

    Returns:
        list of CompletionRecord, ``pupils`` for each problem.

    Raises:
        ValueError: if the share is out of its range.
    """
    if not 0 <= right_share <= 1:
        raise ValueError(f"right_share must lie in [0, 1]. Received: right_share={right_share}")
    whole_number("pupils", pupils, least=1)
    whole_number("seed", seed, least=0)
    wrong_share = 1 - right_share
    shares = (right_share, 0.625 * wrong_share, 0.375 * wrong_share)
    slips = np.random.default_rng(seed).choice((0, 1, 2), (len(problems), pupils), p=shares)
    return [
        dataclasses.replace(problem, completion=str((int(problem.completion) + slip) % _LIMIT))
        for problem, row in zip(problems, slips.tolist())
        for slip in row
    ]


def solve(prompt: str) -> str:
    """The right answer to a problem.

    Args:
        prompt: str, such as "37+48=".

    Returns:
        str, the number in decimal digits.

    Raises:
        ValueError: if the prompt is not such a problem.

    >>> solve("37+48="), solve("72-9=")
    ('85', '63')
    """
    problem = _PROBLEM.fullmatch(prompt)
    if problem is None:
        raise ValueError(f'A problem looks like "37+48=". Received: prompt={prompt!r}')
    a, sign, b = problem.groups()
    return str(int(a) + int(b) if sign == "+" else int(a) - int(b))

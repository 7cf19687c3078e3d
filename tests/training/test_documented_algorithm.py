"""The algorithm that docs/algorithms.md writes arrives at the exact optimum, as it stands there."""

import pathlib
import re

import pytest

from experiments.enumerable import Problem, total_variation
from experiments.exact_optimum import ExactOptimumConfig, solve
from tfalign.training.algorithms import ALGORITHMS

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "algorithms.md"


def test_the_new_algorithm_of_the_document(monkeypatch):
    (code,) = re.findall(
        r"```python\n(.*?ALGORITHMS\[\"ppo_penalty\"\].*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    monkeypatch.setitem(ALGORITHMS, "ppo_penalty", None)  # and taken out again
    exec(compile(code, str(DOCUMENT), "exec"), {"__name__": "documented"})
    problem = Problem(3, 2)
    policy = solve(problem, "ppo_penalty", 0.5, ExactOptimumConfig(steps=40, batch_size=128))
    assert total_variation(problem.probabilities(policy), problem.optimum(0.5)) < 0.05


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_stands_in_the_table(name):
    assert f"| `{name}` |" in DOCUMENT.read_text()

"""The algorithms that docs/algorithms.md writes arrive at their optimum, as they stand there."""

import pathlib
import re

import numpy as np
import pytest

from experiments.studies import exact_optimum, exact_preferences
from experiments.studies.exact_optimum import ExactOptimumConfig, with_kl_in_reward
from tfalign.enumerable import Problem, total_variation
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.preferences import PREFERENCE_LOSSES, preference_loss

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "algorithms.md"


def run_block(name):
    """Runs the block of the document that enters this name into a table."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if f'["{name}"]' in block]
    exec(compile(code, str(DOCUMENT), "exec"), {"__name__": "documented"})


@pytest.mark.slow
def test_the_new_algorithm_of_the_document(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "ppo_penalty", None)  # and taken out again
    run_block("ppo_penalty")
    problem = Problem(3, 2)
    chosen = with_kl_in_reward("ppo_penalty", 0.5)
    policy = exact_optimum.solve(problem, chosen, ExactOptimumConfig(steps=40, batch_size=128))
    assert total_variation(problem.probabilities(policy), problem.optimum(0.5)) < 0.05


def test_the_new_loss_of_the_document(monkeypatch):
    """With Bradley-Terry preferences log pi / pi_ref = |y| (r / beta + c)."""
    monkeypatch.setitem(PREFERENCE_LOSSES, "dpo_norm", None)  # and taken out again
    run_block("dpo_norm")
    problem, beta = Problem(3, 2), 0.5
    policy = exact_preferences.solve(
        problem,
        preference_loss("dpo_norm", beta=beta).objective,
        exact_preferences.bradley_terry(problem.rewards),
        exact_preferences.ExactPreferencesConfig(steps=150, batch_size=64),
    )
    found, reference = map(problem.probabilities, (policy, problem.policy()))
    lengths = problem.mask.sum(axis=1)
    level = found @ (np.log(found / reference) / lengths - problem.rewards / beta)
    expected = reference * np.exp(lengths * (problem.rewards / beta + level))
    assert total_variation(found, expected) < 0.02
    assert total_variation(found, problem.optimum(beta)) > 0.05


@pytest.mark.parametrize("name", PREFERENCE_LOSSES)
def test_every_loss_stands_in_the_table(name):
    assert f"| `{name}` |" in DOCUMENT.read_text()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_stands_in_the_table(name):
    assert f"| `{name}` |" in DOCUMENT.read_text()

"""Costs of a training: limits of each, from options to metrics and checkpoints."""

from __future__ import annotations

import json

import pytest

from tfalign.cli.records import AlignJob
from tfalign.trainers import OnPolicyTrainer
from tfalign.training.metrics_log import MEASURED

PROMPTS = [{"prompt": f"Q{i:02d}", "worth": i % 2} for i in range(16)]


def low_letters(prompt, response, record):
    return sum("a" <= letter <= "m" for letter in response) * record["worth"]


def length(prompt, response):
    return float(len(response))


def spaces(prompts, responses, records):
    return [
        float(" " in response) + record["worth"] for response, record in zip(responses, records)
    ]


def trainer_of(start, run_dir=None, **changes):
    sizes = {"batch_size": 8, "max_prompt_tokens": 4, "max_new_tokens": 4, "log_every": 1}
    given = {"costs": {"long": length, "spaced": spaces}, "cost_limits": (1.0, 0.1)}
    options = sizes | {"save_every": 1, "steps": 2} | given | changes
    return OnPolicyTrainer(start[0], low_letters, PROMPTS, "rloo", run_dir=run_dir, **options)


@pytest.mark.slow
def test_each_cost_has_a_price_that_goes_on_after_a_restart(start, tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    rates = {"cost_rates": (0.5, 0.25), "cost_proportional": (0.1,), "steps": 3}
    trainer_of(start, whole, **rates).train()
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["price_long"] for line in lines][0] == 0
    excess = lines[0]["cost_long"] - 1.0
    assert lines[1]["price_long"] == pytest.approx(max(0, 0.5 * excess) + 0.1 * excess, abs=1e-5)
    assert lines[2]["price_spaced"] > 0
    charged = sum(
        lines[2][f"price_{name}"] * lines[2][f"cost_{name}"] for name in ("long", "spaced")
    )
    missing = (1 - lines[2]["ended"]) * 1.0  # the default penalty
    assert lines[2]["score"] == pytest.approx(lines[2]["reward"] - charged - missing, abs=1e-4)

    class Killed(Exception):
        pass

    first = trainer_of(start, parted, **rates)
    update = first._update

    def killed(step):
        if step == 3:
            raise Killed
        return update(step)

    first._update = killed
    with pytest.raises(Killed):
        first.train()
    trainer_of(start, parted, **rates).train()
    again = [json.loads(line) for line in (parted / "metrics.jsonl").read_text().splitlines()]
    measured = dict.fromkeys(MEASURED, 0)
    assert again[-1] | measured == lines[-1] | measured


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cost_limits": (1.0,)},
            r"cost_limits must be as many as costs. Received: .*long, spaced",
        ),
        ({"costs": {}}, "cost_limits must be as many as costs. Received: .*costs=none"),
        ({"cost_rates": (1.0, 1.0, 1.0)}, "cost_rates must be as many as costs"),
        ({"cost_rates": (0.0,)}, "--cost_rates must be .*above 0"),
        ({"costs": {"long": 3, "spaced": spaces}}, "A reward is a function.* Received: int"),
    ],
)
def test_mistakes_are_told(start, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        trainer_of(start, tmp_path / "run", **changes)
    assert not any(tmp_path.iterdir())


def test_a_cost_on_the_command_line_has_a_name():
    with pytest.raises(ValueError, match="each NAME=REWARD. Received: costs=DIR"):
        AlignJob(costs=("DIR",))

"""The numbers that ``--help`` prints are those that the algorithms have."""

import dataclasses

import pytest

from tfalign.cli.jobs import JOBS
from tfalign.trainers import on_policy_options, options
from tfalign.trainers.own_numbers import ALGORITHM_NUMBERS, LOSS_NUMBERS
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.preferences import PREFERENCE_LOSSES

ELSEWHERE = ("chunk", "target_kl", "temperature")


def numbers(parts, kinds, names=None):
    """Every option of the records that one of the parts has a field for."""
    found = {}
    for option in (field.name for kind in kinds for field in dataclasses.fields(kind)):
        field = (names or {}).get(option, option)
        owners = [p for p in parts if field in {f.name for f in dataclasses.fields(p)}]
        if owners and option not in ELSEWHERE:
            value = getattr(owners[0], field)
            found[option] = value.__name__ if callable(value) else value
    return found


@pytest.mark.parametrize("name", on_policy_options.ALGORITHMS)
def test_an_algorithms_numbers(name):
    algorithm = ALGORITHMS[name]
    records = (
        on_policy_options.AlgorithmOptions,
        on_policy_options.CreditOptions,
        on_policy_options.KLOptions,
    )
    names = {"update_epochs": "epochs", "minibatch_size": "minibatches"}
    parts = (algorithm, algorithm.credit, algorithm.objective)
    expected = numbers(parts, records, names)
    count = expected["minibatch_size"]
    expected["minibatch_size"] = "batch_size" if count == 1 else f"batch_size / {count}"
    if "clip_high" in expected and expected["clip_high"] is None:
        expected["clip_high"] = "clip"
    assert ALGORITHM_NUMBERS[name] == expected


@pytest.mark.parametrize("name", options.PREFERENCE_LOSSES)
def test_a_losss_numbers(name):
    parts = (PREFERENCE_LOSSES[name].objective,)
    assert LOSS_NUMBERS[name] == numbers(parts, (options.LossOptions,))


@pytest.mark.parametrize(
    ("job", "flags", "told"),
    [
        ("align", [], {"clip": "ppo: 0.2"}),
        ("align", ["--algorithm=grpo"], {"group_size": "grpo: 8", "gamma": "not used by grpo"}),
        ("align", ["--algorithm", "gspo"], {"clip": "gspo: 0.0003"}),
        ("align_distributed", ["--algorithm=rloo"], {"group_size": "rloo: 4"}),
        ("preference", ["--loss=simpo"], {"gamma": "simpo: 1.375"}),
        ("preference", [], {"beta": "dpo: 0.1"}),
        ("sft", [], {}),
    ],
)
def test_a_jobs_help_has_the_numbers_of_the_algorithm_asked_for(job, flags, told):
    assert JOBS[job].own_numbers(["tfalign", *flags]).items() >= told.items()

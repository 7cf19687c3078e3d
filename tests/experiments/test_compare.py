"""The comparison: commands that their experiments take, costs measured once, and the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from experiments.studies import compare
from experiments.studies.compare import (
    CONTESTANTS,
    MEASURES,
    CompareConfig,
    Contestant,
    main,
    measure,
)
from tfalign.cli.records import AlignJob, PreferenceJob
from tfalign.models import CausalLM
from tfalign.options import build
from tfalign.rewards import RewardModel
from tfalign.text import train_byte_bpe
from tfalign.trainers.base import HARMLESS
from tfalign.trainers.evaluation import PolicyEvaluator
from tfalign.trainers.evaluation import compare as write_comparison
from tfalign.trainers.options import EvaluateOptions
from tfalign.trainers.saving import save_model
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.preferences import PREFERENCE_LOSSES
from tfalign.training.run_directory import RunDirectory


@pytest.mark.parametrize("name", CONTESTANTS)
def test_a_contestant_has_options_that_its_experiment_takes(name):
    contestant = CONTESTANTS[name]
    config_class = {  # TF-Agents' has the options of align, tested beside it
        "align": AlignJob,
        "tours.tf_agents_align": AlignJob,
        "preference": PreferenceJob,
    }[contestant.experiment]
    build(config_class, contestant.options)
    assert contestant.rewarded == hasattr(config_class, "reward")


def test_nobody_is_forgotten():
    # on-policy it is reinforce; these are of conversations; and the documentation's new one is none of the library's
    others = {"reinforce_is", "turn_ppo", "turn_grpo", "ppo_penalty"}
    assert set(ALGORITHMS) - set(CONTESTANTS) <= others
    assert set(CONTESTANTS) - set(ALGORITHMS) <= {"ppo_tf_agents", *PREFERENCE_LOSSES}


def test_a_command():
    contestant = Contestant("align", {"algorithm": "ppo"}, "ppo", rewarded=True)
    command = contestant.command(Path("demo"), Path("runs/a"), "data", "7")
    assert command == [
        sys.executable,
        "-m",
        "experiments.align",
        "--run_dir=runs/a",
        "--data_dir=data",
        "--seed=7",
        "--model=demo/models/sft",
        "--algorithm=ppo",
        "--reward=demo/models/reward_model",
    ]


def test_costs_are_measured_once_and_of_the_whole_run(tmp_path, capsys):
    directory = tmp_path / "a"
    directory.mkdir()
    (directory / "half").touch()
    counter = tmp_path / "counter"
    work = "x = bytearray(200_000_000); sum(range(3_000_000)); "
    command = [sys.executable, "-c", work + f"open({str(counter)!r}, 'a').write('x'); print('hi')"]
    for _ in range(2):
        measure(command, directory)
    assert counter.read_text() == "x" and not (directory / "half").exists()
    cost = json.loads((directory / "cost.json").read_text())
    assert cost["peak_memory"] > 200
    assert cost["cpu_seconds"] > 0 and cost["seconds"] > 0
    assert (directory / "output.txt").read_text() == "hi\n"
    assert capsys.readouterr().out.count("CPU") == 1


def test_a_failure_is_told_and_not_taken_for_a_result(tmp_path):
    with pytest.raises(ValueError, match="exit status 3: see .*output.txt"):
        measure([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "a")
    assert not (tmp_path / "a" / "cost.json").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"contestants": ("ppo", "sarsa")},
            "--contestants must be one of ppo, .* Received: .*'sarsa'",
        ),
        ({"seeds": (0, -1)}, "--seeds must be at least 0 and below .* Received: seeds=-1"),
    ],
)
def test_contradictions_fail_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        CompareConfig(**options)


def test_an_unfinished_demo_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no finished demo run: it has no models/sft"):
        main(CompareConfig(demo=str(tmp_path), run_dir=str(tmp_path / "run")))


def test_report(tmp_path):
    run = {name: 1.0 for name in [*MEASURES, "gold_reward_sft", "length"]}
    better = run | {"gold_reward": 3.0}
    (tmp_path / "a").mkdir()
    config = CompareConfig(run_dir=str(tmp_path), seeds=(0, 1))
    compare.report(config, {"rloo": [run, run], "ppo": [better, run]})
    lines = (tmp_path / "report.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if " ± " in line]
    assert [row[0] for row in rows] == ["| ppo", "| rloo"]  # the better one first
    assert rows[0][1:3] == ["2 ± 1.41", "1 ± 0"]
    assert json.loads((tmp_path / "report.json").read_text())["ppo"][0]["gold_reward"] == 3
    assert (tmp_path / "plots" / "compare.png").stat().st_size > 0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_small_run_of_everything(tmp_path, monkeypatch):
    models = tmp_path / "demo" / "models"
    tokenizer = train_byte_bpe([], 259)
    sizes = {"vocab_size": 259, "width": 16, "num_layers": 1}
    model = CausalLM.from_preset("tiny_llama", max_positions=32, **sizes)
    save_model(models / "sft", model, tokenizer)
    save_model(models / "reward_model", RewardModel(model.config), tokenizer)
    prompts, pairs = tmp_path / "prompts.jsonl", tmp_path / "pairs.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Q{i:02d}"}) + "\n" for i in range(80)))
    pairs.write_text(
        "".join(
            json.dumps({"prompt": f"Q{i:02d}", "chosen": "yes", "rejected": "no"}) + "\n"
            for i in range(80)
        )
    )
    few = {"steps": 2, "max_prompt_tokens": 4, "max_new_tokens": 4, "batch_size": 4}
    warm = {"warmup_steps": 1}
    on_policy = {"algorithm": "reinforce", "data": prompts} | few
    contestants = {
        "reinforce": Contestant("align", on_policy, "reinforce", rewarded=True),
        "dpo": Contestant("preference", {"loss": "dpo", "data": pairs, **warm} | few, "dpo"),
    }
    monkeypatch.setattr(compare, "CONTESTANTS", contestants)
    monkeypatch.setattr(compare, "gold_reward", lambda prompt, response: float(len(response)))
    judged = EvaluateOptions(num_prompts=8, batch_size=4, max_prompt_tokens=4, max_new_tokens=4)
    config = CompareConfig(
        run_dir=str(tmp_path / "run"),
        demo=str(tmp_path / "demo"),
        contestants=("reinforce", "dpo"),
        seeds=(0, 1),
        data=str(prompts),
        evaluate=judged,
    )
    main(config)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(report) == {"reinforce", "dpo"}
    for runs in report.values():
        assert len(runs) == 2
        for run in runs:
            assert 0 <= run["win_rate"] <= 1 and run["peak_memory"] > 100
            assert abs(run["kl"]) < 1
    first = tmp_path / "run" / "dpo" / "0" / "cost.json"
    written = first.stat().st_mtime_ns
    main(config)
    assert first.stat().st_mtime_ns == written
    alone = RunDirectory(tmp_path / "alone", {}, HARMLESS)  # no stage before, no metrics
    after = tmp_path / "run" / "dpo" / "0" / "models" / "dpo"
    sft, reward = models / "sft", models / "reward_model"
    evaluator = PolicyEvaluator(sft, reward, str(prompts), options=judged)
    assert "win_rate_vs_sft" in write_comparison(evaluator, sft, after, alone)["ppo"]
    assert (alone.path / "report.md").stat().st_size > 0

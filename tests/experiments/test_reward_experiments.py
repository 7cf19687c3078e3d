"""Reward models from rankings and from steps, and a policy aligned with an ensemble, in small."""

import json

import numpy as np
import pytest

from experiments import stages
from experiments.align import AlignConfig, align, learned_reward
from experiments.train_process_reward import ProcessRewardConfig, train_process_reward
from experiments.train_reward import RewardConfig, train_reward
from tfalign.pretrained import load_tokenizer
from tfalign.rewards import Ensemble, ProcessReward, ProcessRewardModel
from tfalign.text import train_byte_bpe
from tfalign.trainers.base import HARMLESS
from tfalign.training.run_directory import RunDirectory

TRAINING = {"steps": 20, "batch_size": 8, "warmup_steps": 1, "learning_rate": 1e-2, "log_every": 20}
LIMITS = {"max_prompt_tokens": 8, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, rankings in which good > fair > bad, and steps of which "bad" is wrong."""
    folder = tmp_path_factory.mktemp("rewards")
    stages.seed_everything(0)
    tokenizer = train_byte_bpe(["good fair bad q"] * 9, 300)
    model = stages.new_model(
        "tiny_llama", tokenizer.vocab_size, 40, "float32", width=16, num_layers=1
    )
    stages.save_model(RunDirectory(folder, {}, HARMLESS), "sft", model, tokenizer)
    ranked = [
        {"prompt": f"q{i} ", "completions": ["good", "fair", "bad"][: 2 + i % 2]} for i in range(60)
    ]
    steps = [
        {
            "prompt": f"q{i} ",
            "steps": ["good", "bad"][:: 1 - 2 * (i % 2)],
            "labels": [i % 2 == 0, i % 2 == 1],
        }
        for i in range(60)
    ]
    for name, rows in (("ranked", ranked), ("steps", steps)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def last_line(run_dir, stage):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["stage"] == stage][-1]


def test_contradictions_fail_in_a_sentence():
    with pytest.raises(ValueError, match="--rankings needs --data"):
        RewardConfig(rankings="plackett_luce")
    with pytest.raises(ValueError, match="--centering is of pairs. Received: rankings=best_of_k"):
        RewardConfig(rankings="best_of_k", data="x.jsonl", centering=0.1)


@pytest.mark.slow
def test_rankings_then_an_ensemble(folder, tmp_path):
    directories = []
    for number, loss in enumerate(["plackett_luce", "all_pairs"]):
        run_dir = tmp_path / loss
        config = RewardConfig(
            run_dir=str(run_dir),
            model=str(folder / "models" / "sft"),
            data=str(folder / "ranked.jsonl"),
            rankings=loss,
            normalize_batches=1,
            seed=number,
            **TRAINING,
            **LIMITS,
        )
        train_reward(config, stages.open_run("reward_model", config))
        assert last_line(run_dir, "reward_model")["eval_accuracy"] > 0.9
        with np.load(run_dir / "reward_model_scores.npz") as scores:
            assert (scores["chosen"] > scores["rejected"]).mean() > 0.9
        directories.append(str(run_dir / "models" / "reward_model"))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"q{i} "}) + "\n" for i in range(20)))
    config = AlignConfig(
        run_dir=str(tmp_path / "align"),
        algorithm="rloo",
        policy=str(folder / "models" / "sft"),
        reward_model=",".join(directories),
        ensemble="worst",
        data=str(prompts),
        steps=1,
        batch_size=8,
        **LIMITS,
    )
    tokenizer = load_tokenizer(config.policy)
    assert isinstance(learned_reward(config, tokenizer)[0], Ensemble)
    align(config, stages.open_run("rloo", config))
    assert np.isfinite(last_line(tmp_path / "align", "rloo")["score"])


@pytest.mark.slow
def test_steps(folder, tmp_path):
    config = ProcessRewardConfig(
        run_dir=str(tmp_path),
        model=str(folder / "models" / "sft"),
        data=str(folder / "steps.jsonl"),
        length=24,
        **TRAINING,
    )
    train_process_reward(config, stages.open_run("process_reward", config))
    assert last_line(tmp_path, "process_reward")["eval_accuracy"] > 0.9
    aligned = AlignConfig(reward_model=str(tmp_path / "models" / "process_reward"))
    reward, model = learned_reward(aligned, load_tokenizer(config.model))
    assert isinstance(model, ProcessRewardModel) and isinstance(reward, ProcessReward)

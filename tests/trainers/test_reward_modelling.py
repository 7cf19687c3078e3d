"""Reward models from rankings and from steps, and a policy aligned with an ensemble, in small."""

import json

import keras
import numpy as np
import pytest

from tfalign.models import CausalLM
from tfalign.pretrained import load_tokenizer
from tfalign.rewards import Ensemble, ProcessReward, ProcessRewardModel
from tfalign.text import train_byte_bpe
from tfalign.trainers import OnPolicyTrainer, ProcessRewardTrainer, RewardTrainer
from tfalign.trainers.on_policy_options import RewardOptions
from tfalign.trainers.options import RewardTrainOptions
from tfalign.trainers.rewards import Context, first_model, resolve_reward
from tfalign.trainers.saving import save_model

TRAINING = {"steps": 20, "batch_size": 8, "warmup_steps": 1, "learning_rate": 1e-2, "log_every": 20}
LIMITS = {"max_prompt_tokens": 8, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, rankings in which good > fair > bad, and steps of which "bad" is wrong."""
    folder = tmp_path_factory.mktemp("rewards")
    keras.utils.set_random_seed(0)
    tokenizer = train_byte_bpe(["good fair bad q"] * 9, 300)
    sizes = {"vocab_size": tokenizer.vocab_size, "width": 16, "num_layers": 1}
    model = CausalLM.from_preset("tiny_llama", max_positions=40, **sizes)
    save_model(folder / "models" / "sft", model, tokenizer)
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
    with pytest.raises(ValueError, match="centering is of pairs. Received: rankings=best_of_k"):
        RewardTrainOptions(rankings="best_of_k", centering=0.1)


@pytest.mark.slow
def test_rankings_then_an_ensemble(folder, tmp_path):
    directories = []
    for number, loss in enumerate(["plackett_luce", "all_pairs"]):
        run_dir = tmp_path / loss
        RewardTrainer(
            folder / "models" / "sft",
            str(folder / "ranked.jsonl"),
            run_dir=run_dir,
            rankings=loss,
            normalize_batches=1,
            seed=number,
            **TRAINING,
            **LIMITS,
        ).train()
        assert last_line(run_dir, "reward_model")["eval_accuracy"] > 0.9
        with np.load(run_dir / "reward_model_scores.npz") as scores:
            assert (scores["chosen"] > scores["rejected"]).mean() > 0.9
        directories.append(str(run_dir / "models" / "reward_model"))
    trainer = OnPolicyTrainer(
        folder / "models" / "sft",
        ",".join(directories),
        [f"q{i} " for i in range(20)],
        "rloo",
        run_dir=tmp_path / "align",
        ensemble="worst",
        steps=1,
        batch_size=8,
        **LIMITS,
    )
    assert isinstance(trainer.worker.responder.reward, Ensemble)
    trainer.train()
    assert np.isfinite(last_line(tmp_path / "align", "rloo")["score"])


@pytest.mark.slow
def test_steps(folder, tmp_path):
    model = folder / "models" / "sft"
    data = str(folder / "steps.jsonl")
    ProcessRewardTrainer(model, data, run_dir=tmp_path, length=24, **TRAINING).train()
    assert last_line(tmp_path, "process_reward")["eval_accuracy"] > 0.9
    context = Context(load_tokenizer(model), None, RewardOptions(), None)
    reward = resolve_reward(tmp_path / "models" / "process_reward", context)
    assert isinstance(first_model(reward), ProcessRewardModel) and isinstance(reward, ProcessReward)

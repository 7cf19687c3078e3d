"""Over-optimisation in a few steps: every part runs, and the report says what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from experiments.studies import overoptimisation
from experiments.studies.overoptimisation import (
    OveroptimisationConfig,
    _Base,
    _curve,
    _summary,
    main,
)
from tfalign.evaluation.overoptimisation import fit_best_of_n
from tfalign.models import CausalLM
from tfalign.options import changed
from tfalign.text import train_byte_bpe
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import RewardTrainOptions
from tfalign.trainers.saving import save_model


def test_summary_of_a_known_law():
    base = _Base(proxy_mean=1.0, proxy_std=2.0, gold_mean=-1.0, gold_std=0.5)
    d = np.linspace(0, 2, 101)
    curve = _curve(fit_best_of_n, "d", base, d**2, 1.0 + 2.0 * d, -1.0 + 0.5 * d * (3 - 2 * d))
    np.testing.assert_allclose(curve.proxy, d)
    np.testing.assert_allclose(curve.gold, d * (3 - 2 * d), atol=1e-12)
    summary = _summary(curve)
    assert summary["kl_at_peak"] == pytest.approx(0.75**2, rel=0.01)
    assert summary["gold_at_peak"] == pytest.approx(0.75 * 1.5, rel=0.01)
    assert (summary["alpha"], summary["beta"]) == pytest.approx((3, 2))
    assert summary["gold_at_end"] < -1.5 < 1.5 < summary["proxy_at_end"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_small_run_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(overoptimisation, "gold_reward", lambda prompt, answer: len(answer))
    preferences = [
        {"prompt": f"Q{i}", "chosen": "yes " * (i % 3), "rejected": "no"} for i in range(1, 80)
    ]
    data = tmp_path / "preferences.jsonl"
    data.write_text("\n".join(map(json.dumps, preferences)))
    tokenizer = train_byte_bpe(["Customer: Hello\nAgent: Hello"] * 2, 270)
    sizes = {"vocab_size": tokenizer.vocab_size, "width": 16, "num_layers": 1}
    model = CausalLM.from_preset("tiny", max_positions=64, **sizes)
    save_model(tmp_path / "demo" / "models" / "sft", model, tokenizer)
    quick = {"on_bad": "skip", "batch_size": 4, "log_every": 1}
    quick |= {"max_prompt_tokens": 8, "max_new_tokens": 8}
    config = OveroptimisationConfig(
        run_dir=str(tmp_path / "run"),
        demo=str(tmp_path / "demo"),
        data=str(data),
        data_dir=str(tmp_path / "data"),
        reward_width=16,
        num_prompts=4,
        samples=4,
        reward_model=changed(
            RewardTrainOptions(), length=32, steps=3, warmup_steps=1, normalize_batches=1, **quick
        ),
        # far enough from the reference that an estimated KL is positive
        ppo=changed(
            OnPolicyOptions(),
            steps=6,
            minibatch_size=4,
            update_epochs=1,
            learning_rate=1e-2,
            **quick,
        ),
    )
    main(config)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(report) == {"Best of n", "PPO"}
    assert all(np.isfinite(list(values.values())).all() for values in report.values())
    assert (tmp_path / "run" / "plots" / "overoptimisation.png").stat().st_size > 0
    models = (tmp_path / "run" / "models" / "ppo" / "model.safetensors").stat().st_mtime_ns
    main(config)  # a stage that is done is not run again
    assert (tmp_path / "run" / "models" / "ppo" / "model.safetensors").stat().st_mtime_ns == models

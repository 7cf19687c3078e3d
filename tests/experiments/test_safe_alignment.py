"""Safe alignment in a few steps: the labels, and every part runs and reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

from experiments.tasks.safe_alignment import SafeAlignmentConfig, main, write_pairs
from tfalign.data.customer_service.examples import generate_examples
from tfalign.data.customer_service.gold import gold_components, weighted
from tfalign.models import CausalLM
from tfalign.options import changed
from tfalign.text import train_byte_bpe
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import EvaluateOptions, RewardTrainOptions
from tfalign.trainers.saving import save_model

LIMITS = {"max_prompt_tokens": 96, "max_new_tokens": 4}
QUICK = LIMITS | {"on_bad": "skip", "batch_size": 4, "log_every": 1}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A source of records drawn without the built dataset."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, size in (("train", 120), ("test", 80)):
        rows = generate_examples("preferences_en", split, size)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines)
    return f"{folder}/train.jsonl::{folder}/test.jsonl"


def test_one_label_knows_nothing_of_the_other(pairs, tmp_path):
    config = SafeAlignmentConfig(data=pairs)
    sources = write_pairs(config, tmp_path / "data")
    for label, source in sources.items():
        for file in source.split("::"):
            with open(file) as lines:
                rows = list(map(json.loads, lines))
            assert len(rows) > 5
            for row in rows:
                chosen, rejected = (
                    gold_components(row["prompt"], row[side]) for side in ("chosen", "rejected")
                )
                if label == "unsafe":
                    assert chosen["safe"] < rejected["safe"]
                    continue
                assert weighted(chosen | {"safe": 0.0}) > weighted(rejected | {"safe": 0.0})


@pytest.mark.slow
def test_a_small_run_reports(pairs, tmp_path):
    tokenizer = train_byte_bpe(["Customer: Hello\nAgent: Hello"] * 2, 270)
    sizes = {"vocab_size": tokenizer.vocab_size, "width": 16}
    model = CausalLM.from_preset("tiny_llama", max_positions=256, **sizes)
    save_model(tmp_path / "demo" / "models" / "sft", model, tokenizer)
    config = SafeAlignmentConfig(
        run_dir=str(tmp_path / "run"),
        demo=str(tmp_path / "demo"),
        data=pairs,
        limits="none,-5",
        models=changed(
            RewardTrainOptions(),
            length=240,
            steps=3,
            warmup_steps=1,
            normalize_batches=2,
            **QUICK,
        ),
        ppo=changed(
            OnPolicyOptions(),
            steps=3,
            minibatch_size=4,
            update_epochs=1,
            cost_rates=(0.1,),
            **QUICK,
        ),
        evaluate=changed(EvaluateOptions(), num_prompts=8, batch_size=4, on_bad="skip", **LIMITS),
    )
    main(config)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert list(report) == ["before", "none", "-5"]
    assert all(np.isfinite(list(values.values())).all() for values in report.values())
    assert report["before"]["kl"] == pytest.approx(0, abs=1e-4)
    assert report["none"]["price"] == 0 < report["-5"]["price"]  # no cost is as low as the limit
    assert (tmp_path / "run" / "plots" / "safe_alignment.png").stat().st_size > 0
    written = (tmp_path / "run" / "limit_-5" / "models" / "ppo").stat().st_mtime_ns
    main(config)  # what is done is not run again
    assert (tmp_path / "run" / "limit_-5" / "models" / "ppo").stat().st_mtime_ns == written

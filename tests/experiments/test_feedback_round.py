"""A round of feedback: what the simulated person says, and the round from beginning to end, tiny."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from experiments.tasks.feedback_round import (
    FeedbackRoundConfig,
    choices_of,
    judged,
    main,
    votes_of,
)
from tfalign.data import FeedbackFile, LabelledRecord, read_feedback
from tfalign.models import CausalLM
from tfalign.options import changed
from tfalign.pretrained import Pretrained
from tfalign.text import train_byte_bpe

TEXTS, GOLDS = [["a", "b", "c"], ["d", "e", " "]], np.array([[0.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
NEVER = np.zeros((2, 3), bool)


def test_choices_and_votes_by_hand():
    """The second prompt's answers are equally good, the third's right one is blank; the median is 1.5."""
    prompts = ["p", "q", "r"]
    chosen = [(row["chosen"], row["rejected"]) for row in choices_of(prompts, TEXTS, GOLDS, NEVER)]
    assert chosen == [("d", "a")]
    erring = [row["chosen"] for row in choices_of(prompts, TEXTS, GOLDS, ~NEVER)]
    assert erring == ["a"]
    votes = {row["completion"]: row["label"] for row in votes_of(prompts, TEXTS, GOLDS, NEVER)}
    assert votes == {"a": False, "b": True, "c": False, "d": False, "e": True}


def test_each_loss_takes_all_that_it_can_use(tmp_path):
    file = FeedbackFile(tmp_path / "feedback.jsonl")
    file.add({"prompt": "p", "chosen": "a", "rejected": "b"})
    for text, label in (("c", True), ("d", False)):
        file.add({"prompt": "q", "completion": text, "label": label})
    votes = [(one.completion, one.label) for one in judged(file.path, "kto")]
    assert sorted(votes) == [("a", True), ("b", False), ("c", True), ("d", False)]
    choices = judged(file.path, "dpo")
    assert [(one.chosen, one.rejected) for one in choices] == [("a", "b"), ("c", "d")]


@pytest.mark.slow
def test_a_whole_round(tmp_path):
    keras.utils.set_random_seed(0)
    tokenizer = train_byte_bpe([], 259)
    model = CausalLM.from_preset("tiny_llama", vocab_size=259, num_layers=1, max_positions=256)
    Pretrained(model, tokenizer).save(tmp_path / "policy")
    sizes = {"max_prompt_tokens": 150, "num_prompts": 32, "steps": 2}
    sizes |= {"evaluate.max_prompt_tokens": 150, "evaluate.max_new_tokens": 8}
    sizes |= {"evaluate.num_prompts": 16, "evaluate.batch_size": 16, "batch_size": 8}
    sizes |= {"evaluate.on_bad": "skip", "warmup_steps": 1, "lora.rank": 2}
    config = changed(
        FeedbackRoundConfig(),
        run_dir=str(tmp_path / "run"),
        model=str(tmp_path / "policy"),
        loss="kto",
        **sizes,
    )
    main(config)
    read = [one for some in read_feedback(tmp_path / "run" / "feedback.jsonl") for one in some]
    assert read and all(isinstance(one, LabelledRecord) for one in read)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    low, high = report["round"]["win_rate_vs_sft"]["ci95"]
    assert low <= report["round"]["win_rate_vs_sft"]["value"] <= high
    assert (tmp_path / "run" / "models" / "round_adapters").exists()

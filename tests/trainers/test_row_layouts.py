"""Layouts by trainers: fifty records of each train for a step."""

from __future__ import annotations

import keras
import pytest

from tests.data.readers import spelled_layouts as spelled
from tests.data.readers.spelled_layouts import ROWS
from tests.data.readers.test_row_layouts import TOKENIZER
from tests.sampling import with_slow
from tfalign.models import CausalLM
from tfalign.pretrained import Pretrained
from tfalign.trainers import (
    FineTuner,
    OnPolicyTrainer,
    PreferenceTrainer,
    Pretrainer,
    ProcessRewardTrainer,
    RewardTrainer,
)

FEW = {"steps": 1, "warmup_steps": 0, "batch_size": 4}
LONG = FEW | {"length": 448}
PAIRS = FEW | {"max_prompt_tokens": 256, "max_new_tokens": 64}


def short(prompt, response):
    return -float(len(response))


def model():
    keras.utils.set_random_seed(0)
    sizes = {"vocab_size": TOKENIZER.vocab_size, "width": 8, "num_layers": 1, "num_heads": 2}
    return Pretrained(CausalLM.from_preset("tiny", max_positions=512, **sizes), TOKENIZER)


CASES = {
    "completions, JSON lines": (FineTuner, "completions", spelled.json_lines, LONG),
    "completions, CSV": (FineTuner, "completions", spelled.table, LONG),
    "completions, Parquet": (FineTuner, "completions", spelled.parquet, LONG),
    "completions, Dataset": (FineTuner, "completions", spelled.dataset, LONG),
    "completions, hub": (FineTuner, "completions", spelled.hub, LONG),
    "Alpaca": (FineTuner, "alpaca", spelled.json_array, LONG | {"layout": "alpaca"}),
    "ShareGPT": (FineTuner, "sharegpt", spelled.json_array, LONG | {"layout": "sharegpt", "conversations": True}),
    "tools, Parquet": (FineTuner, "tools", spelled.parquet, LONG | {"conversations": True}),
    "content parts": (FineTuner, "parts", spelled.json_lines, LONG | {"conversations": True}),
    "texts, save_to_disk": (Pretrainer, "texts", spelled.saved, FEW | {"length": 64, "vocab_size": 280}),
    "UltraFeedback, DPO": (PreferenceTrainer, "ultrafeedback", spelled.parquet, PAIRS),
    "UltraFeedback, reward": (RewardTrainer, "ultrafeedback", spelled.splits, PAIRS | {"length": 320}),
    "transcripts, DPO": (PreferenceTrainer, "transcripts", spelled.json_lines, PAIRS | {"layout": "anthropic"}),
    "KTO, CSV": (PreferenceTrainer, "kto", spelled.table, PAIRS | {"loss": "kto", "unpaired": True, "test_fraction": 0.3}),
    "stepwise": (ProcessRewardTrainer, "stepwise", spelled.json_lines, FEW | {"layout": "stepwise"}),
    "prompts, Alpaca": (OnPolicyTrainer, "alpaca", spelled.json_array, PAIRS | {"layout": "alpaca"}),
}  # fmt: skip


@pytest.mark.parametrize("case", with_slow(list(CASES), [], every=4))
def test_fifty_records_of_a_layout_train(case, tmp_path):
    trainer, rows, write, options = CASES[case]
    given = write(ROWS[rows], tmp_path)
    if trainer is Pretrainer:
        made = trainer(given, **options)
    elif trainer is OnPolicyTrainer:
        options = options | {"max_new_tokens": 4, "algorithm": "rloo", "group_size": 2}
        made = trainer(model(), short, given, **options)
    else:
        made = trainer(model(), given, **options)
    metrics = made.train()
    assert all(value == value for value in metrics.values())

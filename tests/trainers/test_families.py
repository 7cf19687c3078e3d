"""A Gemma 3 and a mixture of experts through supervised fine-tuning, DPO and GRPO with adapters."""

import json

import keras
import numpy as np
import pytest

import tfalign
from tests.trainers.runs import lines_of
from tfalign.models import CausalLM, GPTConfig, from_pretrained
from tfalign.models.peft import load_adapters
from tfalign.text import train_byte_bpe
from tfalign.trainers.saving import save_model

pytestmark = pytest.mark.exhaustive  # minutes; see docs/results/parity.md

_SHARED = {"num_key_value_heads": 1, "hidden_dim": 24, "max_positions": 32, "gated": True}
_SHARED |= {"use_bias": False, "rotary_base": 1e4, "initializer_range": 0.2}
GEMMA = {"norm": "zero_centered_rms", "norm_placement": "both", "head_norm": True}
GEMMA |= {"local_rotary_base": 1e3, "attention_window": 4, "scaled_embedding": True}
EXPERTS = {"norm": "rms", "num_experts": 4, "activation": "silu", "router_loss": 0.01}
FAMILIES = {"Gemma3ForCausalLM": GEMMA, "MixtralForCausalLM": EXPERTS | {"tied": False}}
PROMPTS = [f"q{i} " for i in range(24)]
FEW = {"batch_size": 8, "warmup_steps": 1, "learning_rate": 3e-2, "log_every": 1, "lora.rank": 8}
TOKENS = {"max_prompt_tokens": 8, "max_new_tokens": 6}


def letters_of_good(prompt, response):
    return sum(letter in "good" for letter in response) / max(len(response), 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_aligned_with_adapters(family, tmp_path):
    keras.utils.set_random_seed(0)
    tokenizer = train_byte_bpe(["good bad q0 q1 q2"] * 9, 300)
    model = CausalLM(GPTConfig(tokenizer.vocab_size, 16, 2, 2, **_SHARED | FAMILIES[family]))
    save_model(tmp_path / "base", model, tokenizer)

    completions = [
        {"prompt": p, "completion": ("good", "bad")[i % 2]} for i, p in enumerate(PROMPTS)
    ]
    tuner = tfalign.FineTuner(
        tmp_path / "base", completions, run_dir=tmp_path / "run", steps=150, **FEW
    )
    tuner.train()
    lines = lines_of(tmp_path / "run")
    assert lines[-1]["loss"] < lines[0]["loss"] - 2
    _check_saved(tmp_path / "run" / "models" / "sft", family, tmp_path / "base")
    if family.startswith("Mixtral"):
        assert lines[0]["router_balance"] >= 2 - 1e-3 and lines[0]["dropped_tokens"] == 0

    start = tmp_path / "run" / "models" / "sft"
    pairs = [{"prompt": p, "chosen": "good", "rejected": "bad"} for p in PROMPTS]
    tfalign.PreferenceTrainer(
        start, pairs, run_dir=tmp_path / "dpo", steps=15, **FEW | TOKENS
    ).train()
    lines = lines_of(tmp_path / "dpo")
    assert abs(lines[0]["gap"]) < 1e-3 and lines[-1]["gap"] > 1  # the reference is the base

    grpo = {"algorithm": "grpo", "group_size": 8, "steps": 3, "missing_stop": "keep"}
    given = FEW | TOKENS | grpo | {"batch_size": 32, "learning_rate": 1e-2}
    trainer = tfalign.OnPolicyTrainer(
        start, letters_of_good, PROMPTS, run_dir=tmp_path / "grpo", **given
    )
    trainer.train()
    lines = lines_of(tmp_path / "grpo")
    assert lines[0]["first_max_log_ratio"] < 1e-3  # the loop's log-probs are the update's
    _check_saved(tmp_path / "grpo" / "models" / "grpo", family, start)


def _check_saved(directory, family, base):
    """A directory of the family, which is its base with the adapters that were saved beside it."""
    entries = json.loads((directory / "config.json").read_text())
    assert entries["architectures"] == [family]
    model = from_pretrained(base)
    load_adapters(model, directory.with_name(directory.name + "_adapters"))
    ids = np.arange(1, 9, dtype="int32")[None]
    merged = from_pretrained(directory)(ids)
    np.testing.assert_allclose(model(ids), merged, atol=1e-3)

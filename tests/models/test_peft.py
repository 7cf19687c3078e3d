"""Adapters out and in again; that ``peft`` computes the same is checked by tests/parity."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tfalign.rewards as rewards
from tfalign.models import CausalLM, GPTConfig
from tfalign.models.lora import LoRA, add_adapters, merge_adapters
from tfalign.models.peft import load_adapters, save_adapters

GPT2 = GPTConfig(11, 12, 2, 3, max_positions=9, initializer_range=0.3)
LLAMA = GPT2.replace(
    rotary_base=100.0, norm="rms", gated=True, use_bias=False, tied=False, activation="silu"
)
IDS = np.random.default_rng(0).integers(0, 11, size=(2, 5)).astype("int32")
MASK = np.ones(IDS.shape, "bool")
CASES = {
    "Llama": (LLAMA, {}),
    "Llama, DoRA": (LLAMA, {"dora": True}),
    "GPT-2": (GPT2, {}),
    "GPT-2, DoRA": (GPT2, {"dora": True}),
    "GPT-2, queries alone": (GPT2, {"dora": True, "targets": ("attention/query$",)}),
}


def _moved(model):
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.2 * random.normal(size=variable.shape))
    return model


def _adapted(config, **choices):
    model = CausalLM(config)
    base = model.get_weights()
    add_adapters(model, LoRA(rank=3, alpha=6.0, **choices))
    return _moved(model), base


@pytest.mark.parametrize("case", list(CASES))
def test_out_and_in(case, tmp_path):
    config, choices = CASES[case]
    model, base = _adapted(config, **choices)
    save_adapters(model, tmp_path, base="somebody/base")
    entries = json.loads((tmp_path / "adapter_config.json").read_text())
    assert entries["base_model_name_or_path"] == "somebody/base"
    assert entries["use_dora"] == choices.get("dora", False)
    assert entries["r"] == (9 if config is GPT2 else 3)  # query, key and value are one there
    again = CausalLM(config)
    again.set_weights(base)
    load_adapters(again, tmp_path)
    np.testing.assert_allclose(again(IDS), model(IDS), atol=1e-5)
    assert {v.name for v in again.trainable_variables} <= {"down", "up", "magnitude"}
    merge_adapters(again)
    np.testing.assert_allclose(again(IDS), model(IDS), atol=1e-5)


def test_a_head_that_was_trained_comes_along(tmp_path):
    model = rewards.RewardModel(LLAMA)
    base = model.get_weights()
    add_adapters(model.backbone, LoRA(rank=2))
    _moved(model)
    save_adapters(model, tmp_path)
    entries = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (entries["task_type"], entries["modules_to_save"]) == ("SEQ_CLS", ["score"])
    again = rewards.RewardModel(LLAMA)
    again.set_weights(base)
    load_adapters(again, tmp_path)
    expected = model(IDS, padding_mask=MASK)
    np.testing.assert_allclose(again(IDS, padding_mask=MASK), expected, atol=1e-5)


@pytest.mark.parametrize(
    "changes, edit, message",
    [
        ({"peft_type": "IA3"}, None, "peft_type must be 'LORA'. Received: 'IA3'"),
        ({"bias": "all"}, None, "bias must be 'none'"),
        ({}, lambda t, n: t.update(extra=t[n]), "the model has no place for tensor 'extra'"),
        (
            {},
            lambda t, n: t.update({n: t[n][:, :5].copy()}),
            r"must have shape \(3, 12\).*\(3, 5\)",
        ),
        ({}, lambda t, n: t.pop(n), "self_attn.q_proj.lora_A.weight is missing"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(tmp_path, changes, edit, message):
    model, base = _adapted(LLAMA)
    save_adapters(model, tmp_path)
    config, weights = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    if edit:
        tensors = load_file(weights)
        edit(tensors, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")
        save_file(tensors, weights)
    again = CausalLM(LLAMA)
    again.set_weights(base)
    with pytest.raises(ValueError, match=message):
        load_adapters(again, tmp_path)
    assert len(again.weights) == len(again.trainable_weights) == len(base)


def test_files_that_are_not_there_or_damaged(tmp_path):
    with pytest.raises(ValueError, match="adapter_config.json cannot be read"):
        load_adapters(CausalLM(LLAMA), tmp_path)
    save_adapters(_adapted(LLAMA)[0], tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        load_adapters(CausalLM(LLAMA), tmp_path)
    with pytest.raises(ValueError, match="no adapters to save"):
        save_adapters(CausalLM(LLAMA), tmp_path)

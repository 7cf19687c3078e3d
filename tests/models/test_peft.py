"""Adapters out and in again; that ``peft`` computes the same is checked by tests/parity."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tfalign.rewards as rewards
from tfalign.models import BERTConfig, CausalLM, GPTConfig, MaskedLM
from tfalign.models.lora import LoRA, add_adapters, merge_adapters
from tfalign.models.peft import load_adapters, save_adapters, writing
from tfalign.models.peft.config import read_adapter_config

GPT2 = GPTConfig(11, 12, 2, 3, max_positions=9, initializer_range=0.3)
LLAMA = GPT2.replace(
    rotary_base=100.0, norm="rms", gated=True, use_bias=False, tied=False, activation="silu"
)
BERT = BERTConfig(11, 12, 2, 3, hidden_dim=10, max_positions=9)
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


WHOLE = {
    "untied table": (CausalLM, LLAMA, r"token_embedding/embeddings"),
    "untied read-out": (CausalLM, LLAMA, r"token_embedding/readout"),
    "tied table": (CausalLM, GPT2, r"token_embedding"),
    "positions": (CausalLM, GPT2, r"position_embedding"),
    "RMS norms": (CausalLM, LLAMA, r"final_norm|attention_norm"),
    "layer norms": (CausalLM, GPT2, r"final_norm|feed_forward_norm"),
    "three kernels as one": (CausalLM, GPT2, r"block_1/attention/(query|key|value)/"),
    "BERT": (rewards.RewardModel, BERT, r"embedding|pooler|head"),
    "masked LM": (MaskedLM, BERT, r"token_embedding|head"),
}


@pytest.mark.parametrize("case", list(WHOLE))
def test_what_is_trained_whole_comes_along(case, tmp_path):
    """Whatever kind of layer it is, and whether or not it is read out with, too."""
    kind, config, trained = WHOLE[case]
    model = kind(config)
    base = model.get_weights()
    add_adapters(model, LoRA(rank=2, targets=("block_0/feed_forward/inner$",)))
    for variable in model.variables:
        variable.trainable |= re.search(trained, variable.path) is not None
    chosen = {v.path for v in model.trainable_variables}
    _moved(model)
    save_adapters(model, tmp_path)
    again = kind(config)
    again.set_weights(base)
    load_adapters(again, tmp_path)
    expected = model(IDS, padding_mask=MASK)
    np.testing.assert_allclose(again(IDS, padding_mask=MASK), expected, atol=1e-5)
    assert {v.path for v in again.trainable_variables} >= chosen


def _saved_whole(directory, **tensors):
    """Says in the files that peft saved modules whole."""
    file = directory / "adapter_model.safetensors"
    named = {f"base_model.model.{n.replace('__', '.')}": a for n, a in tensors.items()}
    save_file(load_file(file) | named, file)
    config = directory / "adapter_config.json"
    names = [name.replace("__", ".").removesuffix(".weight") for name in tensors]
    entries = json.loads(config.read_text()) | {"modules_to_save": names}
    config.write_text(json.dumps(entries))


def test_a_table_saved_alone_unties_the_model(tmp_path):
    """peft keeps a copy of it; the read-out stays the base's."""
    model, base = _adapted(GPT2, targets=("block_0/attention/query$",))
    save_adapters(model, tmp_path)
    table = np.asarray(model.backbone.token_embedding.embeddings)
    _saved_whole(tmp_path, transformer__wte__weight=2 * table)
    again = CausalLM(GPT2)
    again.set_weights(base)
    load_adapters(again, tmp_path)
    assert not again.config.tied
    embedding = again.backbone.token_embedding
    np.testing.assert_array_equal(embedding.embeddings, 2 * table)
    np.testing.assert_array_equal(again.readout_kernel(), table.T)
    merge_adapters(again)
    again.save_pretrained(tmp_path / "merged")  # it can be written as it now is
    assert "lm_head.weight" in load_file(tmp_path / "merged" / "model.safetensors")
    # the same table for both: nothing is untied
    _saved_whole(tmp_path, transformer__wte__weight=2 * table, lm_head__weight=2 * table)
    tied = CausalLM(GPT2)
    tied.set_weights(base)
    load_adapters(tied, tmp_path)
    assert tied.config.tied
    np.testing.assert_array_equal(tied.readout_kernel(), 2 * table.T)


@pytest.mark.parametrize(
    "entries, module, is_target",
    [
        ({"target_modules": ["q_proj"]}, "model.layers.0.self_attn.q_proj", True),
        ({"target_modules": ["proj"]}, "model.layers.0.self_attn.q_proj", False),
        ({"target_modules": r".*[qv]_proj"}, "model.layers.0.self_attn.v_proj", True),
        ({"target_modules": r"[qv]_proj"}, "model.layers.0.self_attn.v_proj", False),
        ({"target_modules": "All-Linear"}, "model.layers.0.mlp.up_proj", True),
        ({"target_modules": "all-linear", "task_type": "SEQ_CLS"}, "score", False),
        ({"target_modules": ["q_proj"], "exclude_modules": r".*\.0\..*"}, "layers.0.q_proj", False),
        ({"target_modules": ["q_proj"], "exclude_modules": ["k_proj"]}, "layers.0.q_proj", True),
        ({"target_modules": ["q_proj"], "layers_to_transform": 1}, "a.layers.1.x.q_proj", True),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0]}, "a.layers.1.x.q_proj", False),
        (
            {"target_modules": ["q"], "layers_to_transform": [1], "layers_pattern": "h"},
            "layers.1.q",
            False,
        ),
        ({"target_modules": ["dense"], "modules_to_save": ["head"]}, "head.dense", False),
    ],
)
def test_targets_are_peft_s(tmp_path, entries, module, is_target):
    """As ``peft.tuners.tuners_utils.check_target_module_exists`` decides."""
    (tmp_path / "adapter_config.json").write_text(json.dumps(entries))
    assert read_adapter_config(tmp_path).is_target(module, linear=True) == is_target


def test_ranks_and_alphas_are_regular_expressions(tmp_path):
    entries = {"target_modules": ["q"], "r": 4, "lora_alpha": 6, "rank_pattern": {r"h\.1\..*": 9}}
    entries |= {"alpha_pattern": {"q": 3, ".*": 1}, "use_rslora": True}
    (tmp_path / "adapter_config.json").write_text(json.dumps(entries))
    config = read_adapter_config(tmp_path)
    assert [config.rank(name) for name in ("a.h.1.q", "a.h.11.q", "h.2.q")] == [9, 4, 4]
    assert config.alpha("a.h.1.q") == 3 * 9**0.5  # alpha / sqrt(r) = this / r
    assert config.alpha("a.h.1.k") == 9**0.5


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"r": 0}, "r must be a whole number from 1 on"),
        ({"r": [4]}, "r must be"),
        ({"lora_alpha": "16"}, "lora_alpha must be a number"),
        ({"target_modules": None}, "target_modules must name the modules"),
        ({"target_modules": {"a": 1}}, "target_modules must be a pattern or a list"),
        ({"target_modules": "(["}, "is not a pattern"),
        ({"alpha_pattern": ["q"]}, "alpha_pattern must be an object"),
        ({"modules_to_save": "norm"}, "modules_to_save must be a list of names"),
        ({"modules_to_save": ["norm"]}, "model.norm.weight of modules_to_save is missing"),
        ({"layers_pattern": "layers"}, "layers_pattern needs layers_to_transform"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights must be"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices changes what adapters compute"),
        ({"a_new_kind": True}, "a_new_kind changes what adapters compute"),
        ({"target_modules": ["q_proj"]}, "target_modules does not ask for model.layers.0"),
        ({"use_dora": True}, "lora_magnitude_vector is missing"),
        ({"r": 5}, r"lora_A.weight must have shape \(5, 48\)"),
    ],
)
def test_settings_that_are_refused(tmp_path, changes, message):
    save_adapters(_adapted(LLAMA)[0], tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ValueError, match=message):
        load_adapters(CausalLM(LLAMA), tmp_path)


def test_a_full_disk_leaves_the_old_adapters(tmp_path, monkeypatch):
    model, _ = _adapted(LLAMA)
    save_adapters(model, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "save_file", fail)
    with pytest.raises(ValueError, match="cannot be written: No space left on device"):
        save_adapters(_moved(model), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


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

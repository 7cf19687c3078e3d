"""The formulas of costs beside counted weights, published sizes, and what XLA compiles."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfalign.models import CausalLM, GPTConfig
from tfalign.models.gpt_config import PRESETS
from tfalign.models.lora import LoRA, add_adapters
from tfalign.planning.hlo import work_of as work_of_module
from tfalign.planning.options import PlanOptions
from tfalign.planning.page import seconds_at_best
from tfalign.planning.plan import device_of, shape_of, work_of
from tfalign.training.step_costs import (
    Work,
    cache_bytes,
    forward_flops,
    kept_bytes,
    on_policy_costs,
    reward_costs,
    supervised_costs,
)
from tfalign.training.weight_counts import count_adapters, count_parameters

LLAMA = PRESETS["tiny_llama"]


def _llama(vocab_size, num_key_value_heads, hidden_dim):
    sizes = {"width": 4_096, "num_layers": 32, "num_heads": 32, "hidden_dim": hidden_dim}
    return LLAMA.replace(vocab_size=vocab_size, num_key_value_heads=num_key_value_heads, **sizes)


SHAPES = {
    "gpt2": PRESETS["tiny"],
    "llama": LLAMA,
    "tied llama": LLAMA.replace(tied=True, head_dim=10),
    "qwen2": LLAMA.replace(attention_bias=True, attention_output_bias=False),
    "qwen3": LLAMA.replace(head_norm=True, head_dim=24),
    "gemma": LLAMA.replace(norm="zero_centered_rms", norm_placement="both", head_norm=True),
    "mixture": LLAMA.replace(num_experts=3, expert_dim=40, dense_blocks=(1,)),
    "biased everywhere": LLAMA.replace(use_bias=True, norm="layer"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_model(name):
    config = SHAPES[name]
    model = CausalLM(config)
    assert count_parameters(config) == model.count_params()
    add_adapters(model, LoRA(rank=3, targets=("block_",)))
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert count_adapters(config, 3) == trained


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (PRESETS["gpt2"], 124_439_808),
        (PRESETS["gpt2_xl"], 1_557_611_200),
        (_llama(32_000, 32, 11_008), 6_738_415_616),  # Llama 2 7B
        (_llama(128_256, 8, 14_336), 8_030_261_248),  # Llama 3 8B
        (_llama(32_000, 8, 14_336).replace(num_experts=8), 46_702_792_704),  # Mixtral 8x7B
    ],
)
def test_parameters_of_published_models(config, published):
    assert count_parameters(config) == published


def test_a_block_by_hand():
    config = GPTConfig(7, 4, 1, 2, hidden_dim=6)
    # three columns: query, key, value, output 4 x 4 each; feed-forward 4 x 6 and 6 x 4; scores, sums
    block = 3 * (4 * 2 * 4 * 4 + 2 * 2 * 4 * 6) + 2 * 2 * 3 * 3 * 4
    assert forward_flops(config, 1, 3) == block
    assert forward_flops(config, 5, 3, logits=2) == 5 * (block + 2 * 2 * 4 * 7)
    # the last column alone: queries, outputs and feed-forward once, keys and values three times
    last = 2 * 2 * 4 * 4 + 2 * 2 * 4 * 6 + 3 * 2 * 2 * 4 * 4 + 2 * 2 * 3 * 4
    assert forward_flops(config, 1, 3, last=1) == last


@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_operations_are_those_of_the_compiled_program(name):
    model = CausalLM(SHAPES[name])
    ids = tf.ones((2, 24), "int32")
    compiled = tf.function(lambda ids: model(ids, last=5), jit_compile=True, autograph=False)
    text = compiled.experimental_get_compiler_ir(ids)(stage="optimized_hlo")
    expected = forward_flops(SHAPES[name], 2, 24, last=5, logits=5)
    assert work_of_module(text).flops == pytest.approx(expected, rel=0.01)


def test_six_operations_a_weight_and_token_where_texts_are_short():
    """Kaplan et al. 2020, section 2.1: 6 N a token, attention aside, N without embeddings."""
    config = PRESETS["gpt2_xl"].replace(vocab_size=1)
    costs = supervised_costs(config, Work(rows=4, prompt=0, response=32))
    matrices = config.num_layers * 12 * config.width**2
    assert costs.total_flops == pytest.approx(6 * matrices * 4 * 32, rel=0.03)


def test_what_options_change():
    config, work = PRESETS["small"], Work(rows=16, prompt=32, response=64, minibatch=4, epochs=4)
    whole = on_policy_costs(config, work, config)
    adapted = on_policy_costs(config, dataclasses.replace(work, lora_rank=4), config)
    assert "reference" in whole.resident and "reference" not in adapted.resident
    assert adapted.resident["optimizer"] < 0.1 * whole.resident["optimizer"]
    assert whole.flops["update"] / 2 < adapted.flops["update"] < whole.flops["update"]
    again = on_policy_costs(config, dataclasses.replace(work, epochs=2), config)
    assert again.flops["update"] == whole.flops["update"] / 2
    assert again.total_memory == whole.total_memory
    without = on_policy_costs(config, work)
    assert without.total_flops == whole.total_flops - whole.flops["reward"]
    at_once = reward_costs(config, work).passing
    pieces = reward_costs(config, dataclasses.replace(work, accumulate=4)).passing
    assert pieces["activations"] == at_once["activations"] / 4 + at_once["gradients"]
    assert reward_costs(config, dataclasses.replace(work, accumulate=2)).passing == at_once
    assert cache_bytes(config, 16, 32, 64) == 2 * 8 * 16 * 95 * 256 * 4
    half = kept_bytes(config, 2, 64, precision="mixed_bfloat16")
    assert half == kept_bytes(config, 2, 64) / 2


def test_plans_of_configs():
    assert work_of(PlanOptions(algorithm="ppo")) == Work(64, 48, 48, 16, 4, platform="gpu")
    assert work_of(PlanOptions(algorithm="grpo", epochs=2)).epochs == 2
    assert work_of(PlanOptions(algorithm="sft")) == Work(64, 48, 48, platform="gpu")
    assert work_of(PlanOptions(algorithm="sft", check=True)) == Work(64, 48, 48)
    device = device_of(PlanOptions(device="24,50,0.17,1"))
    assert (device.memory, device.bandwidth, device.mixed_bfloat16) == (24, 50, 0.17)
    with pytest.raises(ValueError, match="four numbers, .* Received: tpu"):
        device_of(PlanOptions(device="tpu"))
    # of generation the slower of reading and computing counts
    flops = {"generation": 0.17e12, "update": 0.34e12}
    assert seconds_at_best(flops, 25e9, device, "float32") == {"generation": 1.0, "update": 2.0}
    assert seconds_at_best(flops, 100e9, device, "float32") == {"generation": 2.0, "update": 2.0}


def test_a_directory_needs_no_weights(tmp_path):
    CausalLM(LLAMA).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    shape = shape_of(tmp_path)
    assert count_parameters(shape) == count_parameters(LLAMA)
    assert supervised_costs(shape, Work(2, 0, 8)) == supervised_costs(LLAMA, Work(2, 0, 8))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--model=tiny_llama", "--algorithm=dpo"],
        ["--model=tiny", "--algorithm=ppo", "--minibatch_size=4"],
        pytest.param(
            ["--model=tiny", "--algorithm=sft", "--accumulate=4", "--lora_rank=4"],
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=lambda options: options[1].partition("=")[2],
)
def test_plans_are_within_15_percent_of_what_xla_compiled(options):
    command = [sys.executable, "-m", "tfalign", "plan", "--batch_size=16", "--check", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    ratios = {row[0]: float(row[3]) for row in rows if len(row) == 4 and row[3][0].isdigit()}
    assert ratios["parameters"] == 1.0
    assert len(ratios) >= 5
    assert all(0.85 < ratio < 1.15 for ratio in ratios.values()), done.stdout
    assert "all have static shapes, and none calls the host" in done.stdout

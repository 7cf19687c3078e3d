"""A device's share of a step: by hand, and beside what XLA compiled for virtual devices."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tfalign.models import GPTConfig
from tfalign.models.layouts import parse_mesh
from tfalign.planning.options import PlanOptions
from tfalign.planning.plan import check_backend, decode_bytes, print_plan
from tfalign.planning.scaling import Axes, gathered_weights, held_weights, scale
from tfalign.training import step_costs as costs
from tfalign.training.step_costs import Models, Work

CONFIG = GPTConfig(
    10, 8, 2, 4, max_positions=16, rotary_base=100.0, norm="rms", use_bias=False, hidden_dim=16
)
MATRICES, TABLE, NORMS = 2 * (4 * 8 * 8 + 2 * 8 * 16), 10 * 8, 5 * 8


def _axes(mesh):
    return Axes.of(parse_mesh(mesh))


@pytest.mark.parametrize(
    ("mesh", "held"),
    [
        ("data:4", MATRICES + TABLE),
        ("fsdp:4", MATRICES / 4 + TABLE / 4),
        ("data:2,model:2", MATRICES / 2 + TABLE / 2),
        ("fsdp:2,model:4", MATRICES / 8 + TABLE / 4),
    ],
)
def test_what_a_device_holds(mesh, held):
    assert held_weights(CONFIG, _axes(mesh)) == held + NORMS


def test_what_fsdp_gathers():
    assert gathered_weights(CONFIG, _axes("data:4"), read_out=True) == 0
    assert gathered_weights(CONFIG, _axes("fsdp:4"), read_out=True) == MATRICES + TABLE
    assert gathered_weights(CONFIG, _axes("fsdp:4"), read_out=False) == MATRICES
    assert gathered_weights(CONFIG, _axes("fsdp:2,model:4"), read_out=True) == MATRICES / 4


def test_traffic_by_hand():
    """Rings of P devices: N (P - 1) / P bytes for a gather of N, twice that for a sum."""
    work = Work(rows=8, prompt=0, response=4)
    models = Models(CONFIG.replace(tied=False))
    data = scale("sft", models, work, parse_mesh("data:4")).sent["update"]
    assert data == 2 * 3 / 4 * 4 * (MATRICES + 2 * TABLE + NORMS)
    rows = scale("sft", models, work, parse_mesh("model:4")).sent["update"]
    states = 8 * 4 * 8 * 4  # bytes of 8 rows of 4 columns
    logits = 8 * 4 * 10 * 4  # the last column's, too
    forward = 2 * 3 / 4 * (2 * 2 * states + logits) + 3 / 4 * states
    # query, key, value and inner matrix of each block; of the logits' states the parts
    backward = 2 * 3 / 4 * 2 * 4 * states + 3 / 4 * (8 * 4 * 8 * 4)
    assert rows == pytest.approx(forward + backward)


def test_what_decoding_reads():
    """Four tokens; a device of data:2,model:2 reads half the weights, and of half the rows half the heads."""
    work = Work(rows=8, prompt=3, response=4)
    alone = decode_bytes(CONFIG, work)
    assert alone == 4 * 4 * (MATRICES + TABLE + NORMS + 2 * 2 * 8 * 6 * 8)
    shared = decode_bytes(CONFIG, work, parse_mesh("data:2,model:2"))
    assert shared == 4 * 4 * ((MATRICES + TABLE) / 2 + NORMS + 2 * 2 * 8 * 6 * 8 / 4)
    assert decode_bytes(CONFIG, work, parse_mesh("fsdp:1,model:2")) > shared


def test_one_device_of_a_mesh_is_one_device():
    work, models = Work(8, 4, 4, minibatch=4), Models(CONFIG, CONFIG)
    alone = costs.costs_of("ppo", models, work)
    scaled, sent = scale("ppo", models, work, parse_mesh("data:1"))
    assert scaled.flops == alone.flops
    assert scaled.resident == pytest.approx(alone.resident)
    assert set(sent.values()) == {0.0}


@pytest.mark.parametrize("algorithm", ["sft", "reward", "dpo", "ppo", "grpo"])
def test_devices_share_all_operations_but_the_read_outs_of_gathered_tables(algorithm):
    work, models = Work(16, 4, 4, minibatch=8), Models(CONFIG, CONFIG)
    alone = costs.costs_of(algorithm, models, work)
    scaled, _ = scale(algorithm, models, work, parse_mesh("data:2,model:4"))
    repeated = {"dpo": {"update": 1 / 3}, "ppo": {"reference": 1, "update": 1 / 3}}
    repeated["grpo"] = repeated["ppo"]
    more = sum(  # three devices of four do it as well
        3 * share * costs.readout_flops(algorithm, phase, CONFIG, work)
        for phase, share in repeated.get(algorithm, {}).items()
    )
    assert 8 * scaled.total_flops == pytest.approx(alone.total_flops + more)


def test_a_critic_of_its_own():
    work = Work(16, 4, 4, minibatch=8)
    shared, own = (costs.costs_of("ppo", Models(CONFIG, CONFIG, c), work) for c in (None, CONFIG))
    assert own.resident["critic"] == own.resident["weights"]
    assert own.flops["update"] > 1.5 * shared.flops["update"]
    scaled, _ = scale("ppo", Models(CONFIG, CONFIG, CONFIG), work, parse_mesh("fsdp:4"))
    assert scaled.resident["critic's optimizer"] == scaled.resident["optimizer"]


def test_what_cannot_be_planned_is_said():
    with pytest.raises(ValueError, match="grpo has no critic. Received: critic=separate"):
        PlanOptions(algorithm="grpo", critic="separate")
    models, work = Models(CONFIG), Work(8, 0, 4)
    with pytest.raises(ValueError, match="3 devices, must divide batch_size. .* batch_size=8"):
        scale("sft", models, work, parse_mesh("data:3"))
    with pytest.raises(ValueError, match="must divide num_heads=4. Received: model:8"):
        scale("sft", models, work, parse_mesh("model:8"))
    with pytest.raises(ValueError, match="Adapters are not planned on a mesh. Received: rank=2"):
        scale("sft", models, Work(8, 0, 4, lora_rank=2), parse_mesh("data:2"))


@pytest.mark.tensorflow
def test_meshes_are_checked_on_jax():
    with pytest.raises(ValueError, match="needs KERAS_BACKEND=jax"):
        check_backend(parse_mesh("data:2"))


def test_a_page_names_what_is_sent(capsys):
    print_plan(PlanOptions(model="gpt2_xl", device="tpu_v5e", mesh="fsdp:4", algorithm="sft"))
    page = capsys.readouterr().out
    assert "| MB sent |" in page and "of the device's 16 GB" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "algorithm"),
    [
        ("fsdp:8", "sft"),
        ("data:2,model:4", "ppo"),
        pytest.param("data:4,model:2", "dpo", marks=pytest.mark.exhaustive),
        pytest.param("fsdp:8", "reward", marks=pytest.mark.exhaustive),
    ],
)
def test_plans_of_meshes_are_within_15_percent_of_what_xla_compiled(mesh, algorithm):
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-m", "tfalign", "plan", "--model=mini", f"--algorithm={algorithm}"]
        + [f"--mesh={mesh}", "--batch_size=64", "--check"],
        env=os.environ
        | {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    ratios = {row[0]: float(row[3]) for row in rows if len(row) == 4 and row[3][0].isdigit()}
    assert "MB sent, a step" in ratios
    assert all(0.85 < ratio < 1.15 for ratio in ratios.values()), done.stdout
    assert "all have static shapes, and none calls the host" in done.stdout


def test_devices_that_share_a_sequence_gather_its_keys():
    """Two blocks' keys and values of 8 rows of 64 columns, of three other devices of four, forward; twice as much back."""
    work = Work(8, 0, 64)
    models = Models(CONFIG)
    whole = scale("sft", models, work, parse_mesh("data:1"))
    part = scale("sft", models, work, parse_mesh("data:1,context:4"))
    assert part.costs.flops["update"] == whole.costs.flops["update"] / 4
    keys = 3 / 4 * 2 * 2 * (8 * 64 * 8 * 4)  # of two blocks keys and values, float32
    gradients = 2 * 3 / 4 * 4 * (MATRICES + 2 * TABLE + NORMS)  # as over "data:4"
    assert part.sent["update"] == 3 * keys + gradients

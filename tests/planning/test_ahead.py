"""Steps compiled for TPUs without one: by their compiler where it is installed, and what is said where not."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tfalign.planning.hlo import Work
from tfalign.planning.options import PlanOptions
from tfalign.planning.plan import device_of, print_plan
from tfalign.training.accelerators import DEVICES

needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason='the TPU compiler is not installed: pip install "tfalign[tpu]"',
)


def _rows(page):
    """The tables of a page: first cell -> the others, of the last table that has it."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    return {line[0]: line[1:] for line in lines}


@needs_compiler
@pytest.mark.slow
def test_a_step_compiled_for_a_tpu():
    """The formula's operations are the compiler's; a chip of eight holds its share; nothing calls the host."""
    done = subprocess.run(
        [sys.executable, "-m", "tfalign", "plan", "--model=tiny", "--algorithm=ppo"]
        + ["--compile_for=v5e:2x4", "--mesh=fsdp:4,model:2", "--batch_size=64", "--epochs=1"],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = _rows(done.stdout)
    assert [float(rows[name][2]) for name in ("GFLOP, reward", "GFLOP, update")] == [1.0, 1.0]
    assert float(rows["MB of variables"][2]) == pytest.approx(1.0, abs=0.002)
    assert rows["update"][0] != "0.0" and "all-reduce" in rows["update"][4]
    assert "it fits" in done.stdout
    assert "all have static shapes, and none calls the host" in done.stdout


def test_the_page(capsys):
    """A program by hand: 4.59 GFLOP in 1e-4 s of 459 TFLOP/s, which is a tenth; and one that was refused."""
    pytest.importorskip("jax")
    from tfalign.planning.ahead import Ahead, ChipProgram
    from tfalign.planning.ahead_page import page
    from tfalign.planning.scaling import Scaled
    from tfalign.training.step_costs import Costs

    done = Work(4.59e9, {"all-gather": 2e6}, {"all-gather": 3}, 1.75e6)
    program = ChipProgram("update", 2, 5_000_000, 7_000_000, 0, None, done, 1e-4, [], 2.0)
    planned = Scaled(Costs({"update": 2 * 4.59e9}, {}, {}), {})
    compiled = Ahead([program], 10, 6_000_000)
    device = DEVICES["tpu_v5p"]
    rows = _rows(page(compiled, planned, "mixed_bfloat16", device))
    assert rows["update"] == ["4.6", "0.0001", "0.100", "1.75", "3 all-gather, 2.0", "2"]
    assert compiled.total_memory == 13_000_000
    assert compiled.measured().flops == {"update": 2 * 4.59e9}
    refused = program._replace(temporaries=0, needed=200_000_000_000)
    text = page(compiled._replace(programs=[refused]), planned, "float32", device)
    assert "update: refused, it needs 200,000.0 MB" in text and "it does not fit" in text
    # kernels that take as long again at the peak
    kernels = program._replace(work=done._replace(kernels=12.0, kernel_flops=459e12 * 1e-4))
    text = page(compiled._replace(programs=[kernels]), planned, "float32", device)
    assert "update: 12 kernels that do not say their operations" in text
    assert _rows(text)["update"][1:3] == ["0.0002", "0.050"]


@pytest.mark.tensorflow
def test_it_is_on_jax():
    with pytest.raises(ValueError, match="--compile_for needs KERAS_BACKEND=jax. Received: KERAS"):
        print_plan(PlanOptions(compile_for="v5e:2x4"))


def test_without_the_compiler(monkeypatch):
    pytest.importorskip("jax")
    from tfalign.backend import jax_ahead

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "tfalign\[tpu\]" .* Received: v5e:2x4'):
        jax_ahead.chips_of("v5e:2x4")


def test_what_cannot_be_compiled_for():
    assert device_of(PlanOptions(compile_for="v6e:2x4")) == DEVICES["tpu_v6e"]
    with pytest.raises(ValueError, match="one of v4, v5e, v5p, v6e, .* Received: h100:8"):
        device_of(PlanOptions(compile_for="h100:8"))
    with pytest.raises(ValueError, match="runs nothing to check. Received: device=l4"):
        PlanOptions(compile_for="v5e:2x4", device="l4")
    with pytest.raises(ValueError, match="A reward model has no logits. Received: chunk=8"):
        PlanOptions(algorithm="reward", chunk=8)

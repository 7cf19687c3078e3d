"""Memory while a Hugging Face directory is loaded, measured in a process of its own."""

import pathlib
import subprocess
import sys

import keras
import pytest

from tfalign.models import BERT, BERTConfig, CausalLM, GPTConfig

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
MEASURE = """
import pathlib, sys
import keras
from tfalign.models import BERT, BERTConfig, from_pretrained

def resident(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

from_pretrained(sys.argv[1])  # whatever TensorFlow sets up with its first operations
before = resident("VmRSS")
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
model = from_pretrained(sys.argv[2], dtype=sys.argv[3])
print(resident("VmHWM") - before)
"""
# about 100 MB each: half of it one table, as in MiniLM; kernels in three, transposed or not
BERT_CONFIG = BERTConfig(30_522, 384, 6, 12)
LLAMA = GPTConfig(
    *(20_000, 512, 4, 8),
    rotary_base=10_000.0,
    norm="rms",
    gated=True,
    use_bias=False,
    tied=False,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, make, dtype",
    [
        ("bert", lambda: BERT(BERT_CONFIG), "float32"),
        ("gpt2", lambda: CausalLM(GPTConfig(20_000, 512, 6, 8)), "float32"),
        ("llama", lambda: CausalLM(LLAMA), "float32"),
        ("llama in bfloat16", lambda: CausalLM(LLAMA, dtype="bfloat16"), "bfloat16"),
    ],
)
def test_peak_is_about_one_copy_of_the_weights(name, make, dtype, tmp_path):
    if sys.platform != "linux":
        pytest.skip("/proc tells the peak")
    BERT(BERTConfig(50, 16, 1, 2)).save_pretrained(tmp_path / "small")
    make().save_pretrained(tmp_path / "large")
    keras.utils.clear_session()
    command = [sys.executable, "-c", MEASURE, tmp_path / "small", tmp_path / "large", dtype]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    size = (tmp_path / "large" / "model.safetensors").stat().st_size
    peak = int(run.stdout.split()[-1])
    print(f"{name}: {peak / size:.2f} times the file of {size / 1e6:.0f} MB")
    assert peak < 1.3 * size

"""docs/tpu.md: each of its commands that can run here does, on a CPU of eight devices and with a server on this machine in the
bucket's place."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests import buckets
from tfalign.files import as_path

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "tpu.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)([^\n]*)\n(.*?)```", TEXT, re.DOTALL)
RUN = [block for _, title, block in BLOCKS if title == ' title="run in a test"']
SMALLER = {  # of a tiny model, and in seconds
    "--steps=100000": "--steps=100000 --warmup_steps=0",
    "--steps=1000": "--steps=4 --warmup_steps=1",
    "--steps=500": "--steps=2 --warmup_steps=1",
    "--profile_steps=10:13": "--profile_steps=2:3",
    "--algorithm=grpo": "--algorithm=grpo --batch_size=16 --max_prompt_tokens=4 --max_new_tokens=4",
    "--data=gs://my-bucket/sft.jsonl": "--data=gs://my-bucket/sft.jsonl --length=12 --batch_size=8",
    "--model=mini": "--model=tiny --batch_size=8 --max_prompt_tokens=4 --max_new_tokens=4",
    "sleep 60": "sleep 90",
}


def test_every_block_says_whether_it_is_run():
    titles = {title for language, title, _ in BLOCKS}
    assert titles == {' title="run in a test"', ' title="not run"'}
    assert len(RUN) == 4
    for word in (
        "gcloud",
        "docker ",
        "!pip",
        "compile_for",
    ):  # what cannot be had, or takes minutes
        assert not any(word in block for block in RUN)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """(address of an empty bucket, what a process needs to find it); a folder where there is no server to run."""
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(buckets.server())
        except pytest.skip.Exception:
            yield str(tmp_path_factory.mktemp("bucket")), {}
            return
        stack.enter_context(buckets.reached(port))
        yield buckets.BUCKET, buckets.environment(port)


@pytest.fixture(scope="module")
def page(bucket, start, tmp_path_factory):
    """``block -> what its commands print``: they find the model and the data of the page."""
    address, environment = bucket
    folder = tmp_path_factory.mktemp("page")
    policy, prompts, _ = start
    copy_to(policy, f"{address}/models/base")
    as_path(f"{address}/prompts.jsonl").write_bytes(pathlib.Path(prompts).read_bytes())
    rows = [json.dumps({"prompt": f"a{i}", "completion": f"b{i % 7}"}) for i in range(80)]
    as_path(f"{address}/sft.jsonl").write_bytes("\n".join(rows).encode())
    (folder / "rewards.py").write_text("def reward(prompt, response):\n    return len(response)\n")
    (folder / "bin").mkdir()
    command = folder / "bin" / "tfalign"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tfalign "$@"\n')
    command.chmod(0o755)
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "KERAS_BACKEND": "jax"}
    path = f"{folder / 'bin'}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    places = {"PATH": path, "PYTHONPATH": str(ROOT)}

    def run(block):
        for said, smaller in SMALLER.items():
            block = block.replace(said, smaller)
        block = block.replace("gs://my-bucket", address).replace(
            " & train=", " 2>spot.log & train="
        )
        done = subprocess.run(
            ["bash", "-ec", block],
            cwd=folder,
            env=os.environ | environment | devices | places,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def copy_to(folder, address):
    """A folder's files, in a bucket or elsewhere."""
    for file in pathlib.Path(folder).iterdir():
        target = as_path(f"{address}/{file.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())


@pytest.mark.exhaustive  # by hand until all have been seen to pass
@pytest.mark.slow
def test_the_chips_and_a_plan(page):
    printed = page(RUN[0])
    assert printed.startswith("8 cpu\n")
    assert printed.endswith("1.5% of the device's 16 GB: it fits\n")
    assert "| all, with the largest in turn | 239.3 |" in printed


@pytest.mark.exhaustive  # by hand until all have been seen to pass
@pytest.mark.slow
def test_a_training_and_an_alignment_in_a_bucket(page, bucket):
    printed, (address, _) = page(RUN[1]), bucket
    assert printed.count(f"report: {address}/grpo/report.md") == 2
    assert "sft train: " in printed
    assert as_path(f"{address}/grpo/models/grpo/config.json").exists()
    events = as_path(f"{address}/sft/events/sft")
    assert any(str(one).endswith(".xplane.pb") for one in events.rglob("*"))


@pytest.mark.exhaustive  # by hand until all have been seen to pass
@pytest.mark.slow
def test_a_preemption(page, bucket):
    assert page(RUN[2]).endswith("exit code 143\n")
    address, _ = bucket
    assert any(as_path(f"{address}/spot/checkpoints/sft").iterdir())


@pytest.mark.exhaustive  # by hand until all have been seen to pass
@pytest.mark.slow
def test_the_check_of_programs(page):
    assert "all have static shapes, and none calls the host" in page(RUN[3])

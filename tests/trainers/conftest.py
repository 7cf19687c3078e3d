"""What the tests of alignment start from."""

from __future__ import annotations

import json

import pytest

from experiments import stages
from tfalign.text import train_byte_bpe
from tfalign.trainers.base import HARMLESS
from tfalign.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """(directory of a tiny policy, file of prompts, tokenizer)."""
    folder = tmp_path_factory.mktemp("start")
    tokenizer = train_byte_bpe([], 259)
    stages.seed_everything(0)
    model = stages.new_model("tiny_llama", 259, 16, "float32", num_layers=1, width=16)
    run = RunDirectory(folder / "run", {}, HARMLESS)
    stages.save_model(run, "policy", model, tokenizer)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Q{i:02d}"}) + "\n" for i in range(40)))
    return str(stages.model_directory(run, "policy")), str(prompts), tokenizer

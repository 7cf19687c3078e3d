"""A directory that names several stop ids: every experiment stops at each of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfalign.cli.records import GenerateJob, SamplingOptions
from tfalign.cli.talk import generate
from tfalign.decoding import Greedy, Streamer
from tfalign.models import CausalLM, GPTConfig, from_pretrained
from tfalign.options import changed
from tfalign.pretrained import load_tokenizer
from tfalign.text import train_byte_bpe
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.on_policy_parts import rollout_config
from tfalign.trainers.saving import save_model
from tfalign.training.algorithms import ALGORITHMS

SIZE = 260


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """(directory, tokenizer) of a model that says t + 1 after t, and whose fourth token after "a" is one
    of its stop ids."""
    llama = {"norm": "rms", "activation": "silu", "gated": True, "use_bias": False, "tied": False}
    config = GPTConfig(SIZE, SIZE, 1, 1, rotary_base=100.0, **llama)
    model = CausalLM(config)
    for weight in model.backbone.blocks[0].weights:
        weight.assign(np.zeros(weight.shape))
    embedding = model.backbone.token_embedding
    embedding.embeddings.assign(np.eye(SIZE))
    embedding.kernel.assign(20.0 * np.roll(np.eye(SIZE), 1, axis=1))
    folder = tmp_path_factory.mktemp("counting") / "model"
    tokenizer = train_byte_bpe(["ab"] * 3, SIZE)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    stop = tokenizer.encode("a")[0] + 4
    entries = {"eos_token_id": [tokenizer.eos_id, stop], "temperature": 0.7}
    (folder / "generation_config.json").write_text(json.dumps(entries))
    return folder, load_tokenizer(folder), stop


@pytest.mark.exhaustive
@pytest.mark.slow
def test_generation_stops_at_each(counting, capsys):
    folder, tokenizer, stop = counting
    first = tokenizer.encode("a")[0]
    said = [first + 1, first + 2, first + 3]
    streamer = Streamer(from_pretrained(folder), 20, Greedy(), tokenizer.stop_ids)
    assert [*streamer([first])] == [*said, stop]
    generate(
        GenerateJob(
            str(folder), prompt="a", max_new_tokens=20, sampling=SamplingOptions(greedy=True)
        )
    )
    assert capsys.readouterr().out == tokenizer.decode(said) + "\n"


def test_rollouts_stop_at_each(counting):
    _, tokenizer, stop = counting
    options, ppo = OnPolicyOptions(), ALGORITHMS["ppo"]
    assert rollout_config(ppo, options, tokenizer).stop_tokens == (tokenizer.eos_id, stop)
    given = changed(options, stop_tokens=(5, 6))
    assert rollout_config(ppo, given, tokenizer).stop_tokens == (5, 6)


def test_the_list_survives_a_stage(counting, tmp_path):
    """Read, trained, written, read again: what transformers reads says so too."""
    folder, tokenizer, stop = counting
    written = tmp_path / "next"
    save_model(written, from_pretrained(folder), tokenizer)
    assert json.loads((written / "config.json").read_text())["eos_token_id"] == [2, stop]
    assert load_tokenizer(written).stop_ids == (2, stop)

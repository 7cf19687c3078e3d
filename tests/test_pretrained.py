"""A model and its tokenizer as one object: text in, text out; what a directory loads as; a light import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import tfalign
from tfalign.models import CausalLM
from tfalign.rewards import RewardModel
from tfalign.text import train_byte_bpe


@pytest.fixture(scope="module")
def pretrained():
    tokenizer = train_byte_bpe([], 259)
    model = CausalLM.from_preset("tiny_llama", vocab_size=259, num_layers=1, max_positions=64)
    return tfalign.Pretrained(model, tokenizer)


@pytest.mark.slow
def test_a_list_of_prompts_has_the_responses_of_each_row(pretrained):
    texts = pretrained.generate(["a", "bb"], max_new_tokens=6, seed=3)
    assert [type(text) for text in texts] == [str, str]
    assert pretrained.generate("a", max_new_tokens=6, seed=3) == texts[0]
    assert pretrained.generate(["a", "bb"], max_new_tokens=6, seed=3) == texts
    greedy = pretrained.generate("a", max_new_tokens=6, top_k=1, seed=1)
    assert greedy == pretrained.generate("a", max_new_tokens=6, top_k=1, seed=2)


def test_log_prob_is_the_sum_over_the_response_and_its_end(pretrained):
    tokenizer, model = pretrained.tokenizer, pretrained.model
    ids = [*tokenizer.head_ids, *tokenizer.encode("ab"), *tokenizer.encode("cd"), tokenizer.eos_id]
    logits = np.asarray(model(np.array([ids])))[0].astype("float64")
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = sum(log_probs[at - 1, ids[at]] for at in range(len(ids) - 3, len(ids)))
    assert pretrained.log_prob("ab", "cd") == pytest.approx(expected, abs=1e-4)


def test_what_was_saved_comes_back(pretrained, tmp_path):
    pretrained.save(tmp_path / "model")
    loaded = tfalign.load(tmp_path / "model")
    assert loaded.directory == tmp_path / "model"
    assert loaded.log_prob("ab", "cd") == pytest.approx(pretrained.log_prob("ab", "cd"), abs=1e-6)
    pretrained.save(tmp_path / "model")  # again
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_copy_has_the_weights_and_its_own_variables(pretrained):
    copy = pretrained.copy_of_model()
    for ours, theirs in zip(copy.get_weights(), pretrained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not {id(v) for v in copy.variables} & {id(v) for v in pretrained.model.variables}


def test_a_reward_model_scores_and_does_not_generate(pretrained):
    judge = tfalign.Pretrained(RewardModel(pretrained.model.config), pretrained.tokenizer)
    assert np.isfinite(judge.score("ab", "cd"))
    with pytest.raises(ValueError, match="generate needs a CausalLM. Received: a RewardModel"):
        judge.generate("ab")
    with pytest.raises(ValueError, match="score needs a RewardModel. Received: a CausalLM"):
        pretrained.score("ab", "cd")


def test_a_chat_needs_a_template(pretrained):
    with pytest.raises(ValueError, match="no chat template"):
        pretrained.chat("Hi.")


@pytest.mark.parametrize("path", ["nowhere", "hdfs://bucket/model"])
def test_a_directory_that_is_none_is_told(path):
    with pytest.raises(ValueError, match=path):
        tfalign.load(path)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_the_import_is_light_and_everything_is_reachable():
    heavy = ("keras", "tensorflow", "jax", "gymnasium", "numpy", "absl")
    done = run(
        f"import sys, tfalign; print([m for m in {heavy} if m in sys.modules]);"
        "print(sorted(set(tfalign.__all__) - set(dir(tfalign))), tfalign.options.__name__);"
        "print('keras' in sys.modules)"
    )
    assert done.stdout.splitlines() == ["[]", "[] tfalign.options", "False"]


@pytest.mark.parametrize("order", ["tfalign, gymnasium", "gymnasium, tfalign"])
def test_gymnasium_knows_the_environment_whichever_is_imported_first(order):
    done = run(f"import {order}; print(gymnasium.spec('tfalign/TextGeneration-v0').id)")
    assert done.stdout == "tfalign/TextGeneration-v0\n"

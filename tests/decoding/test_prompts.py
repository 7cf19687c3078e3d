"""Prompts that cannot be continued are refused by every decoder in the same words."""

import numpy as np
import pytest

from tfalign.decoding import BeamSearch, Generator, Streamer, Translator, generate
from tfalign.decoding import prompts as module
from tfalign.language_models import NeuralLanguageModel
from tfalign.models import CausalLM, GPTConfig, Transformer, TransformerConfig

V = 23


def _entries(model):
    """Everything that takes ids of prompts from a user."""
    translated = Transformer(TransformerConfig(vocab_size=V, width=8, num_layers=1, num_heads=2))
    language_model = NeuralLanguageModel(model)
    return {
        "generate": lambda ids: generate(model, ids, max_new_tokens=2),
        "Generator": lambda ids: Generator(model, 2)(ids, None),
        "BeamSearch": lambda ids: BeamSearch(model, 2)(ids),
        "Streamer": lambda ids: next(Streamer(model, 2)(ids[0])),
        "Translator": lambda ids: Translator(translated, lambda x: Generator(x, 2), 1)(ids),
        "sample": lambda ids: language_model.sample(ids, 2),
        "next_log_probs": language_model.next_log_probs,
        "token_log_probs": language_model.token_log_probs,
    }


@pytest.mark.parametrize("name", _entries(CausalLM(GPTConfig(V, 8, 1, 2))))
@pytest.mark.parametrize("wrong", [10**6, -1, V, 2**31, 2**40, 1.5, float("nan")])
def test_an_id_outside_the_vocabulary_is_refused(policy, name, wrong):
    with pytest.raises(ValueError, match="of row 0 has an id outside the vocabulary of 23"):
        _entries(policy)[name]([[1, wrong, 3]])


@pytest.mark.parametrize("ids", [[], [[]], [1, 2], [["a"]], [[None]], [[1], [2, 3]], 5, "abc"])
def test_what_is_no_matrix_of_ids_is_refused(policy, ids):
    with pytest.raises(ValueError, match="prompts must be token ids, int.rows, columns.*Received"):
        generate(policy, ids, max_new_tokens=2)


def test_a_mask_of_another_shape_is_refused(policy):
    with pytest.raises(ValueError, match=r"an entry for every id of the prompts, \[1, 2\].*\[1, 3"):
        generate(policy, [[1, 2]], [[True, True, True]], max_new_tokens=2)


def test_what_stands_at_padding_may_be_anything():
    model = CausalLM(GPTConfig(V, 8, 1, 2))
    ids, mask = module.checked_prompts(model, [[-1, 5], [10**6, 6]], [[0, 1], [0, 1]], 3)
    np.testing.assert_array_equal(ids, [[0, 5], [0, 6]])
    assert ids.dtype == np.int32 and mask.dtype == np.bool_

"""Exported decode loops at temperatures that float32 cannot divide by: greedy's tokens."""

import numpy as np
import pytest
import tensorflow as tf

from tests.sampling import with_slow
from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.models import CausalLM, GPTConfig
from tfalign.serving.litert import export_litert
from tfalign.serving.saved_model import export_saved_model
from tfalign.text import train_byte_bpe

TOKENIZER = train_byte_bpe([], 259)
IDS, NEW = np.array([[70, 105, 32, 99]], "int32"), 6
MASK = np.ones_like(IDS, "bool")


@pytest.fixture(scope="module")
def model():
    return CausalLM(GPTConfig(259, 16, 1, 2, max_positions=16, initializer_range=0.3))


@pytest.mark.slow
@pytest.mark.parametrize("temperature", with_slow([1e-38, 1e-45], [1e-38]))
def test_a_saved_model(model, temperature, tmp_path):
    sizes = {"batch_size": 1, "max_prompt_tokens": 4, "max_new_tokens": NEW}
    sampler = Sampler(temperature, top_k=50, top_p=0.9)
    choices = {"sampler": sampler, "stop_tokens": ()}
    export_saved_model(model, TOKENIZER, tmp_path, **sizes, **choices)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    seed = tf.constant(3, tf.int64)
    served = loaded.signatures["generate_ids"](token_ids=IDS, mask=MASK, seed=seed)
    np.testing.assert_array_equal(served["tokens"], Generator(model, NEW, Greedy())(IDS).tokens)
    np.testing.assert_array_equal(served["log_probs"], np.zeros((1, NEW)))


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1e-38, 1e-45])
def test_a_litert_file(model, temperature, tmp_path):
    file = tmp_path / "it.tflite"
    export_litert(model, file, 1, 4, NEW, Sampler(temperature))
    run = tf.lite.Interpreter(str(file)).get_signature_runner()
    uniforms = np.random.default_rng(0).random((NEW, 1)).astype("float32")
    served = run(token_ids=IDS, mask=MASK, uniforms=uniforms)
    np.testing.assert_array_equal(served["tokens"], Generator(model, NEW, Greedy())(IDS).tokens)

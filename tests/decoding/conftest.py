"""Small models to decode with, one of which counts."""

import numpy as np
import pytest

from tests.sampling import with_slow
from tfalign.models import CausalLM, GPTConfig
from tfalign.types import Prompts

V = 23
GPT2 = GPTConfig(V, 16, 1, 2, max_positions=24)
LLAMA = GPT2.replace(
    num_layers=2,
    num_heads=4,
    num_key_value_heads=2,
    hidden_dim=20,
    rotary_base=100.0,
    norm="rms",
    activation="silu",
    gated=True,
    use_bias=False,
    tied=False,
)


def counting_model(size):
    """A model that says t + 1 after t, and 0 after size - 1, with near certainty.

    All blocks add nothing, embeddings are unit vectors, and the read-out sends each to the next.
    """
    config = GPTConfig(size, size, 1, 1, rotary_base=100.0, norm="rms", tied=False)
    model = CausalLM(config)
    for weight in model.backbone.blocks[0].weights:
        weight.assign(np.zeros(weight.shape))
    embedding = model.backbone.token_embedding
    embedding.embeddings.assign(np.eye(size))
    embedding.kernel.assign(20.0 * np.roll(np.eye(size), 1, axis=1))
    return model


@pytest.fixture(scope="module")
def counting():
    return counting_model(8)


@pytest.fixture(scope="module")
def new_counting_model():
    return counting_model


@pytest.fixture(scope="module", params=with_slow(["gpt2", "llama"], ["llama"]))
def policy(request):
    model = CausalLM({"gpt2": GPT2, "llama": LLAMA}[request.param])
    random = np.random.default_rng(1)
    for weight in model.weights:  # not Keras' own, which differ between its backends
        vector = len(weight.shape) == 1  # a norm or a bias keeps its place, about 1 or 0
        noise = random.normal(size=weight.shape)
        weight.assign(weight + 0.1 * noise if vector else 0.4 * noise)
    return model


@pytest.fixture(scope="session")
def prompts():
    """Five prompts of 6, 3, 1, 5 and 4 tokens, left-padded; what stands at padding is noise."""
    lengths = np.array([6, 3, 1, 5, 4])
    token_ids = np.random.default_rng(0).integers(0, V, size=(5, 6)).astype("int32")
    return Prompts(token_ids, np.arange(6)[None, :] >= 6 - lengths[:, None])

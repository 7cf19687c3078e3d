"""Attention and an update whose sequences eight devices share: ``python context.py results.npz data:2,context:4``.

Without a mesh on one device.
"""

from __future__ import annotations

import sys
from functools import partial

import jax
import keras
import numpy as np

from tfalign import backend
from tfalign.backend.jax_splash import splash_attention
from tfalign.layers import Visibility
from tfalign.layers.scaled_dot_product import attended
from tfalign.models import CausalLM, GPTConfig
from tfalign.models.layouts import distribution, parse_mesh
from tfalign.objectives import LanguageModelling
from tfalign.training.learner import Learner
from tfalign.training.optimizers import adamw
from tfalign.types import LanguageModelBatch

B, T, D = 2, 320, 8
PADDING = np.stack([np.arange(T) < 301, np.arange(T) >= 90])
SEGMENTS = np.stack([np.repeat([1, 2, 3, 0], [80, 100, 130, 10]), np.repeat([1, 2], [319, 1])])
RULES = {
    "padded": Visibility.of_real(PADDING, causal=True),
    "packed": Visibility.of_documents(SEGMENTS, causal=True, window=40),
    "either side": Visibility(window=90),
}


def attention(results):
    for name, rule in RULES.items():
        fields = "query_documents", "key_documents", "causal", "window"
        given = {x: getattr(rule, x) for x in fields} | {"interpret": True}
        record(results, f"tiles/{name}", rule, partial(attended, mask=rule))
        record(results, f"kernel/{name}", rule, partial(splash_attention, **given))


def record(results, name, rule, attend):
    """A weighted sum of the outputs of queries that may look somewhere, and its gradients."""
    random = np.random.default_rng(0)
    heads = [random.normal(size=(B, n, T, D)).astype("float32") for n in (4, 2, 2)]
    documents = np.ones((B, T)) if rule.key_documents is None else np.asarray(rule.key_documents)
    weights = random.normal(size=(B, 4, T, D)) * (documents > 0)[:, None, :, None]
    of_heads = jax.value_and_grad(lambda heads: (attend(*heads) * weights).sum())
    results[name], gradients = jax.jit(of_heads)(heads)
    results |= {f"{name}/{x}": gradient for x, gradient in zip("qkv", gradients)}


def updates(results):
    keras.utils.set_random_seed(0)
    model = CausalLM(GPTConfig(32, 16, 2, 4, max_positions=T, rotary_base=100.0))
    learner = Learner(model, LanguageModelling(), adamw(1e-3))
    ids = np.random.default_rng(0).integers(1, 32, (B, T), "int32")
    batch = LanguageModelBatch(ids, PADDING, PADDING, PADDING.astype("int32"))
    for step in range(3):
        results[f"loss/{step}"] = learner.update(batch)["loss"]
    for index, variable in enumerate(model.trainable_variables):
        results[f"weights/{index}"] = backend.to_numpy(variable)


def main(path, mesh=""):
    if mesh:
        keras.distribution.set_distribution(distribution(parse_mesh(mesh)))
    results = {}
    attention(results)
    updates(results)
    np.savez(path, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])

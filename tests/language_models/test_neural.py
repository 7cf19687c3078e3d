"""Networks behind the interface: by enumeration, by hand, with a cache and without, and trained."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from tests.sampling import with_slow
from tfalign.data import BatchStream, one_text
from tfalign.decoding import Greedy
from tfalign.evaluation.perplexity import perplexity
from tfalign.language_models import LanguageModel, NeuralLanguageModel
from tfalign.models import (
    CausalLM,
    GPTConfig,
    NeuralNGramConfig,
    RecurrentConfig,
    from_pretrained,
)
from tfalign.objectives import LanguageModelling, SampledLanguageModelling
from tfalign.training.learner import Learner
from tfalign.training.optimizers import WarmupDecay, adamw

V = 11
CONFIGS = {
    "GPT": GPTConfig(V, 16, 2, 2, max_positions=16, rotary_base=10_000.0),
    "LSTM": RecurrentConfig(V, 16, 2, "lstm"),
    "GRU": RecurrentConfig(V, 16, 1, "gru", tied=False),
    "feed-forward": NeuralNGramConfig(V, 4, 8, 16, direct=True),
    "feed-forward bigram": NeuralNGramConfig(V, 2, 8, 16),
}


def new_model(name):
    model = CausalLM(CONFIGS[name])
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return NeuralLanguageModel(model)


@pytest.fixture(scope="module", params=with_slow(CONFIGS, ["LSTM"]))
def model(request):
    return new_model(request.param)


def contexts(columns, rows=3):
    return np.random.default_rng(columns).integers(0, V, (rows, columns))


@pytest.mark.parametrize("columns", [1, 5])
def test_the_distribution_sums_to_one_and_is_what_scores(model, columns):
    seen = contexts(columns)
    distribution = model.next_log_probs(seen)
    assert distribution.shape == (3, V)
    np.testing.assert_allclose(np.exp(distribution).sum(axis=1), 1.0, atol=1e-6)
    every = np.column_stack([np.repeat(seen, V, axis=0), np.tile(np.arange(V), len(seen))])
    scored = model.token_log_probs(every)[:, -1].reshape(3, V)
    np.testing.assert_allclose(np.exp(scored).sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(scored, distribution, atol=1e-5)


def test_only_what_is_before_a_token_counts(model):
    rows = contexts(9)
    changed = rows.copy()
    changed[:, 6] = (rows[:, 6] + 1) % V
    scored, others = model.token_log_probs(rows), model.token_log_probs(changed)
    np.testing.assert_allclose(scored[:, :5], others[:, :5], atol=1e-6)
    assert np.abs(scored[:, 5:7] - others[:, 5:7]).min(axis=0).max() > 1e-3


@pytest.mark.slow
def test_the_compiled_loop_samples_as_token_by_token(model):
    seen = contexts(3)
    for choices in ({"seed": 3}, {"sampler": Greedy()}):
        slowly = LanguageModel.sample(model, seen, 6, **choices)
        np.testing.assert_array_equal(model.sample(seen, 6, **choices), slowly)


def test_a_gpt_samples_beyond_its_positions_and_says_what_it_cannot_read():
    model = new_model("GPT")
    drawn = model.sample(contexts(14, rows=1), 4, Greedy())
    seen = np.column_stack([contexts(14, rows=1), drawn[:, :3]])
    assert drawn[0, 3] == model.next_log_probs(seen[:, -16:]).argmax()
    with pytest.raises(ValueError, match="16 tokens at most; .* Received: 17"):
        model.token_log_probs(contexts(18))
    for ask in (model.next_log_probs, lambda seen: model.sample(seen, 2)):
        with pytest.raises(ValueError, match=r"Received: contexts of shape \(3, 0\)"):
            ask(contexts(0))


def test_feed_forward_by_hand():
    model = new_model("feed-forward")
    trunk = model.model.backbone
    table = trunk.embedding.embeddings.numpy()
    kernel, bias = (v.numpy() for v in trunk.hidden.variables)
    seen = contexts(5, rows=1)[0]
    x = table[seen[-3:]].ravel()
    state = np.concatenate([[1.0], x, np.tanh(bias + x @ kernel)])
    logits = trunk.readout.numpy() @ state
    expected = logits - np.log(np.exp(logits).sum())
    np.testing.assert_allclose(model.next_log_probs(seen[None])[0], expected, atol=1e-4)


def test_lstm_by_hand():
    model = CausalLM(CONFIGS["LSTM"].replace(num_layers=1))
    kernel, recurrent, bias = (
        v.numpy() for v in model.backbone.layers_of_cells[0].trainable_variables
    )
    table = model.backbone.token_embedding.embeddings.numpy()
    h = c = np.zeros(16)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    seen = contexts(4, rows=1)
    for token in seen[0]:
        gates = table[token] @ kernel + h @ recurrent + bias
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    logits = table @ h
    expected = logits - np.log(np.exp(logits).sum())
    result = NeuralLanguageModel(model).next_log_probs(seen)[0]
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["LSTM", "feed-forward"])
def test_saved_and_loaded(tmp_path, name):
    """By Keras, and as a directory."""
    model = new_model(name)
    model.model.save(tmp_path / "model.keras")
    model.model.save_pretrained(tmp_path / "model")
    by_keras = keras.models.load_model(tmp_path / "model.keras")
    for again in (by_keras, from_pretrained(tmp_path / "model")):
        np.testing.assert_array_equal(
            NeuralLanguageModel(again).token_log_probs(contexts(6)),
            model.token_log_probs(contexts(6)),
        )


CHAIN = np.random.default_rng(4).dirichlet(np.full(V, 0.2), size=V)  # of a token given the last


def chain(length, seed):
    draws, token, tokens = np.random.default_rng(seed).random(length), 0, [0]
    for draw in draws:
        token = min(int(np.searchsorted(CHAIN[token].cumsum(), draw)), V - 1)
        tokens.append(token)
    return np.array(tokens)


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        pytest.param("GRU", LanguageModelling(), marks=pytest.mark.slow),
        ("feed-forward bigram", SampledLanguageModelling(head=4, sampled=64)),
    ],
)
def test_training_reaches_the_entropy_of_a_chain(name, objective):
    keras.utils.set_random_seed(1)
    model = CausalLM(CONFIGS[name])
    schedule = WarmupDecay(0.03, steps=200, warmup_steps=20)
    learner = Learner(model, objective, adamw(schedule, weight_decay=0.0))
    stream = BatchStream(one_text(chain(30_000, seed=1)), 32, window_length=17, seed=1)
    for _ in range(200):
        learner.update(next(stream))
    assert learner.traces == 1
    test = chain(5_000, seed=2)
    truth = -np.log(CHAIN[test[:-1], test[1:]]).mean()
    found = perplexity(NeuralLanguageModel(model), test, window=50, stride=25).nats
    assert truth - 0.01 < found < truth + 0.05 < math.log(V)

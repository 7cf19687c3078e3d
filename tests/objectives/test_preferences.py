"""Objectives of preferences: what they ask the model, what counts, and what is extreme."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import (
    CPO,
    DPO,
    IPO,
    KTO,
    ORPO,
    RobustDPO,
    SimPO,
    SLiC,
    response_log_probs,
)
from tfalign.training.learner import Learner
from tfalign.types import LabelledResponses, RankedResponses

B, P, R, V = 4, 3, 5, 7
PAIR_OBJECTIVES = [CPO, DPO, IPO, ORPO, RobustDPO, SimPO, SLiC]
EVERY = [*PAIR_OBJECTIVES, KTO]
LENGTHS = np.array([[5, 2], [1, 4], [3, 3], [2, 5]])
PROMPTS = np.array([3, 1, 2, 3])


def batch_of(objective, seed=0, mask=None):
    """Random responses to random prompts, prompts left-padded."""
    rng = np.random.default_rng(seed)
    mask = np.arange(R) < LENGTHS[..., None] if mask is None else mask
    prompts = np.broadcast_to(np.arange(P) >= P - PROMPTS[:, None, None], (B, 2, P))
    ids = rng.integers(0, V, (B, 2, P + R)).astype("int32")
    ids[..., :P] = ids[:, :1, :P]
    ref_log_probs = rng.normal(-2 * mask.sum(-1), 1).astype("float32")
    ranked = RankedResponses(ids, np.concatenate([prompts, mask], -1), mask, ref_log_probs)
    if objective is KTO:
        return LabelledResponses(*ranked[:4], np.array([True, False, False, True]))
    return ranked


@pytest.fixture(scope="module")
def model():
    model = CausalLM(GPTConfig(V, 16, 2, 2, max_positions=16))
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    return model


class Spy:
    """Writes down what a model is asked."""

    def __init__(self, model):
        self.model = model
        self.asked = []

    def backbone(self, token_ids, padding_mask, last, training):
        self.asked.append(("rows", token_ids.shape[0]))
        return self.model.backbone(
            token_ids, padding_mask=padding_mask, last=last, training=training
        )

    def logits(self, hidden):
        self.asked.append(("logits at", hidden.shape[1]))
        return self.model.logits(hidden)


class GivenLogits:
    """Logits [B, 2, P + R, V] of a variable; of one response after the other if it is asked so."""

    def __init__(self, logits):
        self.variable = keras.Variable(logits)
        self.next = 0

    def backbone(self, token_ids, padding_mask, last, training):
        columns = slice(token_ids.shape[1] - last, token_ids.shape[1])
        if len(token_ids) == 2 * B:
            return ops.reshape(self.variable, (2 * B, P + R, V))[:, columns]
        self.next += 1
        return self.variable[:, self.next - 1, columns]

    def logits(self, hidden):
        return hidden


class Bigrams(keras.Model):
    """Predicts every token from the one before it."""

    def __init__(self):
        super().__init__()
        table = np.random.default_rng(2).normal(size=(V, V))
        self.table = self.add_weight(
            name="table", shape=(V, V), initializer=keras.initializers.Constant(table)
        )
        self.built = True

    def backbone(self, token_ids, padding_mask, last, training):
        return ops.take(self.table, token_ids[:, -last:], axis=0)

    def logits(self, hidden):
        return hidden


def computed(objective, logits, batch):
    """(loss sum, weight, gradient for the logits, metrics as floats)."""
    model = GivenLogits(logits)

    def loss():
        total, weight, metrics = objective(model, batch)
        return total, (weight, metrics)

    total, (weight, metrics), (gradient,) = backend.value_and_grad(loss, [model.variable])
    metrics = {name: (float(a), float(b)) for name, (a, b) in metrics.items()}
    return float(total), float(weight), ops.convert_to_numpy(gradient), metrics


def random_logits(scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=(B, 2, P + R, V))).astype("float32")


def test_log_probs_are_the_model_s_own_summed(model):
    batch = batch_of(DPO)
    found = response_log_probs(model, batch)
    assert np.asarray(found.lengths).tolist() == LENGTHS.tolist()
    for row in range(B):
        for side in range(2):
            real = batch.padding_mask[row, side]
            ids = batch.token_ids[row, side][real]
            logits = np.asarray(model(ids[None]))[0].astype("float64")
            table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            at = np.arange(PROMPTS[row], len(ids))
            expected = table[at - 1, ids[at]].sum()
            np.testing.assert_allclose(found.totals[row, side], expected, rtol=1e-5)
            mean = expected / LENGTHS[row, side]
            np.testing.assert_allclose(found.means[row, side], mean, rtol=1e-5)


@pytest.mark.parametrize("objective", EVERY)
def test_one_pass_over_both_and_logits_of_responses_alone(objective, model):
    spy = Spy(model)
    objective()(spy, batch_of(objective))
    if objective is KTO:  # the other prompt's responses apart: they have no backward pass
        assert spy.asked == 2 * [("rows", B), ("logits at", R)]
    else:
        assert spy.asked == [("rows", 2 * B), ("logits at", R)]


@pytest.mark.parametrize("objective", EVERY)
def test_more_padding_changes_nothing(objective, model):
    batch = batch_of(objective)

    def widened(x, left):
        return np.pad(x, ((0, 0), (0, 0), (left, 2)), constant_values=0)

    wider = batch._replace(
        token_ids=widened(batch.token_ids, 4),
        padding_mask=widened(batch.padding_mask, 4),
        response_mask=widened(batch.response_mask, 0),
    )
    results = [objective()(model, b, training=False) for b in (batch, wider)]
    np.testing.assert_allclose(float(results[0][0]), float(results[1][0]), rtol=1e-4)
    assert float(results[0][1]) == float(results[1][1]) == B


@pytest.mark.parametrize("objective", EVERY)
def test_chunks_of_the_vocabulary_change_nothing(objective, model):
    batch = batch_of(objective)
    whole, chunked = (
        float(objective(chunk=chunk)(model, batch, training=False)[0]) for chunk in (None, 7)
    )
    np.testing.assert_allclose(whole, chunked, rtol=1e-5)


@pytest.mark.parametrize("objective", EVERY)
def test_extreme_log_probs_leave_everything_finite(objective):
    for seed, scale in enumerate([1.0, 30.0, 1e3, 1e4]):
        batch = batch_of(objective, seed)
        batch = batch._replace(ref_log_probs=scale * batch.ref_log_probs)
        numbers = computed(objective(), random_logits(scale, seed), batch)
        assert np.isfinite(numbers[0]) and np.isfinite(numbers[2]).all()
        assert np.isfinite(list(numbers[3].values())).all()


def each(batch, function):
    """The batch with a function applied to every array there is."""
    return type(batch)(*(field if field is None else function(field) for field in batch))


@pytest.mark.parametrize("objective", EVERY)
def test_what_has_no_token_counts_nowhere(objective):
    mask = np.arange(R) < LENGTHS[..., None]
    mask[1, 0] = False
    mask[3] = False
    batch, logits = batch_of(objective, mask=mask), random_logits()
    total, weight, gradient, metrics = computed(objective(), logits, batch)
    assert weight == 2
    assert not gradient[[1, 3]].any() and np.abs(gradient[[0, 2]]).max() > 0
    kept = each(batch, lambda field: field[[0, 2, 0, 2]])
    twice, weight, _, same = computed(objective(), logits[[0, 2, 0, 2]], kept)
    if objective is not KTO:  # whose reference point takes in the other prompt's response of row 1
        np.testing.assert_allclose(2 * total, twice, rtol=1e-5)
        assert metrics.keys() == same.keys()
        for name in metrics:
            np.testing.assert_allclose(2 * metrics[name][0], same[name][0], rtol=1e-4)
    nothing = batch._replace(response_mask=np.zeros_like(mask))
    total, weight, gradient, metrics = computed(objective(), logits, nothing)
    assert (total, weight) == (0, 0) and not gradient.any()
    assert np.isfinite(list(metrics.values())).all()


@pytest.mark.parametrize("objective", PAIR_OBJECTIVES)
def test_equal_responses_teach_their_likelihood_alone(objective):
    batch = batch_of(objective)
    twice = each(batch, lambda field: np.repeat(field[:, :1], 2, axis=1))
    logits = np.repeat(random_logits()[:, :1], 2, axis=1)
    total, _, gradient, metrics = computed(objective(), logits, twice)
    assert np.isfinite(total) and metrics["gap"][0] == 0 and metrics["accuracy"][0] == B / 2
    of_likelihood = computed(dataclasses.replace(objective(), nll_coefficient=0.0), logits, twice)[
        2
    ].sum(axis=1)
    np.testing.assert_allclose(of_likelihood, 0, atol=1e-6)
    assert np.any(np.abs(gradient.sum(axis=1)) > 1e-3) == bool(objective().nll_coefficient)


@pytest.mark.parametrize("objective", PAIR_OBJECTIVES)
def test_a_pair_is_two_responses(objective, model):
    batch = batch_of(objective)
    three = each(batch, lambda field: np.concatenate([field, field[:, :1]], axis=1))
    with pytest.raises(ValueError, match="two responses to one prompt. Received: 3 responses"):
        objective()(model, three)


def test_accumulation_is_the_big_batch():
    """Of ORPO, which has every kind of term."""
    mask = np.arange(R) < LENGTHS[..., None]
    mask[0, 1] = False  # so that the halves weigh 1 and 2
    after = []
    for accumulate in (1, 2):
        model = Bigrams()
        learner = Learner(model, ORPO(), keras.optimizers.SGD(1.0), accumulate)
        learner.update(batch_of(ORPO, mask=mask))
        after.append(model.table.numpy())
    np.testing.assert_allclose(*after, atol=1e-6)
    assert np.abs(after[0] - Bigrams().table.numpy()).max() > 1e-3


def test_kto_s_metrics_by_hand():
    logits = np.zeros((B, 2, P + R, V), "float32")
    batch = batch_of(KTO)
    totals = -np.log(V) * LENGTHS
    ref = np.array([[1.0, 2.0], [1.0, 2.0], [-4.0, 2.0], [-3.0, 2.0]])
    batch = batch._replace(ref_log_probs=(totals - ref).astype("float32"))
    _, weight, _, metrics = computed(KTO(), logits, batch)
    means = {name: total / count for name, (total, count) in metrics.items()}
    assert weight == B
    # the reference point is 2: undesirable rows 1 and 2 lie below, desirable rows 0 and 3 too
    assert means == pytest.approx(
        {"accuracy": 0.5, "kl": 2.0, "desirable_log_ratio": -1.0, "undesirable_log_ratio": -1.5},
        abs=1e-4,
    )

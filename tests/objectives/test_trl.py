"""Losses and gradients equal TRL 1.16's, to 1e-5: its numbers are in ``trl_1_16.json``, with the
versions and the script that made them."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.functional import advantages
from tfalign.functional.aggregation import fixed_length_mean, micro_batch_token_mean, token_mean
from tfalign.models.actor_critic import before_response
from tfalign.objectives import (
    CPO,
    DPO,
    GRPO,
    GSPO,
    IPO,
    KTO,
    ORPO,
    Reinforce,
    RewardModelling,
    RobustDPO,
    SimPO,
    SLiC,
    TruncatedImportance,
)
from tfalign.types import LabelledResponses, PreferencePairs, RankedResponses, Rollout

THEIRS = json.loads(pathlib.Path(__file__).with_name("trl_1_16.json").read_text())
DTYPES = {"token_ids": "int32", "response_mask": "bool", "desirable": "bool"}
GIVEN = {
    name: np.array(value, DTYPES.get(name, "float32")) for name, value in THEIRS["inputs"].items()
}
LOGITS, MASK = GIVEN["logits"], GIVEN["response_mask"]
PAIRS, _, COLUMNS, VOCAB = LOGITS.shape
RESPONSE = MASK.shape[-1]
PADDING_MASK = np.concatenate([np.ones((PAIRS, 2, COLUMNS - RESPONSE), "bool"), MASK], axis=-1)
RANKED = RankedResponses(GIVEN["token_ids"], PADDING_MASK, MASK, GIVEN["ref_log_probs"])
LABELLED = LabelledResponses(*RANKED[:4], GIVEN["desirable"])


class GivenLogits:
    """Its logits are a variable; asked about half of the rows, it sees which side they are."""

    def __init__(self):
        self.variable = keras.Variable(LOGITS)
        self.policy = self

    def backbone(self, token_ids, padding_mask, last, training=False):
        known = GIVEN["token_ids"][..., : token_ids.shape[1]]
        columns = slice(token_ids.shape[1] - last, token_ids.shape[1])
        if len(token_ids) == 2 * PAIRS:
            return ops.reshape(self.variable, (2 * PAIRS, COLUMNS, VOCAB))[:, columns]
        side = int(np.array_equal(token_ids, known[:, 1]))
        assert np.array_equal(token_ids, known[:, side])
        return self.variable[:, side, columns]

    def __call__(self, token_ids, padding_mask, response_length):
        """As an Actor."""
        return before_response(self.backbone, token_ids, padding_mask, response_length), None

    def logits(self, hidden):
        return hidden


def computed(objective, batch):
    """(mean loss, its gradient for the logits, metrics)."""
    model = GivenLogits()

    def loss():
        total, weight, metrics = objective(model, batch)
        return total / weight, (weight, metrics)

    value, (_, metrics), (gradient,) = backend.value_and_grad(loss, [model.variable])
    return float(value), ops.convert_to_numpy(gradient), metrics


def check(name, value, gradient):
    theirs = THEIRS["results"][name]
    np.testing.assert_allclose(value, theirs["loss"], rtol=1e-5, atol=1e-5)
    expected = np.reshape(theirs["gradient"], gradient.shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected).max() > 1e-2


PREFERENCES = {
    "dpo": DPO(beta=0.3),
    "cdpo": DPO(beta=0.3, label_smoothing=0.2),
    "robust": RobustDPO(beta=0.3, label_smoothing=0.2),
    "hinge": SLiC(beta=0.3),
    "ipo": IPO(beta=0.3),
    "orpo": ORPO(beta=0.3),
    "simpo": SimPO(),
    "cpo": CPO(beta=0.3, nll_coefficient=0.7),
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_preference_losses(name):
    value, gradient, _ = computed(PREFERENCES[name], RANKED)
    check(name, value, gradient)


def test_kto():
    value, gradient, metrics = computed(
        KTO(beta=0.3, desirable_weight=1.5, undesirable_weight=0.5), LABELLED
    )
    check("kto", value, gradient)
    assert not gradient[:, 1].any()  # the reference point has none
    reference_point = float(metrics["kl"][0] / metrics["kl"][1])
    assert reference_point == pytest.approx(THEIRS["results"]["kto"]["kl"], rel=1e-5)
    assert reference_point > 0.5


@pytest.mark.parametrize(
    ("name", "centering", "margin"),
    [("reward_model", 0.0, 0.0), ("reward_model_margin_centred", 0.01, GIVEN["margin"])],
)
def test_reward_modelling(name, centering, margin):
    scores = keras.Variable(GIVEN["scores"])
    ids, mask = np.zeros((PAIRS, 1), "int32"), np.ones((PAIRS, 1), "bool")
    batch = PreferencePairs(ids, mask, ids, mask, margin + np.zeros(PAIRS, "float32"))

    def loss():
        total, pairs, _ = RewardModelling(centering)(
            lambda token_ids, padding_mask, training: ops.reshape(ops.transpose(scores), (-1,)),
            batch,
        )
        return total / pairs, ()

    value, _, (gradient,) = backend.value_and_grad(loss, [scores])
    check(name, float(value), ops.convert_to_numpy(gradient))


POLICIES = {
    "grpo": GRPO(kl_coefficient=0.04),
    "bnpo": GRPO(kl_coefficient=0.04, aggregate=micro_batch_token_mean),
    "dr_grpo": GRPO(kl_coefficient=0.0, aggregate=fixed_length_mean),
    "dapo": GRPO(kl_coefficient=0.0, clip_high=0.28, aggregate=token_mean),
    "cispo": TruncatedImportance(cap=1.1),
    "gspo": GSPO(clip=0.05, clip_high=0.1),
}


def rollout(log_probs):
    def rows(x):
        return x.reshape(2 * PAIRS, -1)

    mask = rows(MASK)
    zeros = np.zeros(mask.shape, "float32")
    return Rollout(
        token_ids=rows(GIVEN["token_ids"]),
        padding_mask=rows(PADDING_MASK),
        response_mask=mask,
        log_probs=np.where(mask, log_probs, 0).astype("float32"),
        ref_log_probs=np.where(mask, GIVEN["ref_token_log_probs"], 0).astype("float32"),
        values=zeros,
        rewards=zeros,
        advantages=np.where(mask, GIVEN["advantages"][:, None], 0).astype("float32"),
        returns=zeros,
        scores=zeros[:, 0],
    )


@pytest.mark.parametrize("name", POLICIES)
def test_group_methods(name):
    value, gradient, metrics = computed(POLICIES[name], rollout(GIVEN["old_log_probs"]))
    check(name, value, gradient)
    assert 0 < float(metrics["clip_fraction"][0]) < MASK.sum()


def on_policy_log_probs():
    logits = LOGITS.reshape(2 * PAIRS, COLUMNS, VOCAB)[:, -RESPONSE - 1 : -1].astype("float64")
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    tokens = GIVEN["token_ids"].reshape(2 * PAIRS, COLUMNS)[:, -RESPONSE:, None]
    return np.take_along_axis(table, tokens, -1)[..., 0]


def test_group_methods_on_policy():
    batch = rollout(on_policy_log_probs())
    value, gradient, _ = computed(GRPO(kl_coefficient=0.0), batch)
    check("grpo_on_policy", value, gradient)


def test_rloo_on_policy():
    """TRL's ratio is a whole response's: its value is -mean A, its gradient that of -A log pi summed
    over tokens and averaged over responses."""
    batch = rollout(on_policy_log_probs())
    _, gradient, _ = computed(Reinforce(aggregate=fixed_length_mean), batch)
    check("rloo", -GIVEN["advantages"].mean(), gradient * RESPONSE)


@pytest.mark.parametrize("name", THEIRS["advantages"])
def test_advantages_of_rewards(name):
    ours = getattr(advantages, f"{name}_advantages")(np.array(THEIRS["rewards"], "float32"), 4)
    np.testing.assert_allclose(ours, THEIRS["advantages"][name], rtol=1e-5, atol=1e-5)

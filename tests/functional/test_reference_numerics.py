"""Other libraries' published numbers: every case of reference-numerics goes through here."""

import json

import numpy as np
import pytest
from keras import ops

from tfalign.functional import advantages, kl, losses, masking, preference_losses
from tfalign.functional.log_probs import entropy, token_log_probs


def gae(rewards, discounts, values_with_bootstrap, lam):
    return advantages.gae(rewards, values_with_bootstrap, discounts, lam)


def lambda_returns(r_t, discount_t, v_t, lam):
    return advantages.lambda_returns(r_t, v_t, discount_t, lam)


def discounted_returns(r_t, discount_t, bootstrap):
    return advantages.discounted_returns(r_t, discount_t, bootstrap)


def vtrace_errors(
    behavior_logits, target_logits, actions, rewards, discounts, values, bootstrap, clip_rho, lam
):
    return advantages.vtrace(
        token_log_probs(target_logits, actions),
        token_log_probs(behavior_logits, actions),
        rewards,
        np.concatenate([values, bootstrap[:, None]], axis=1),
        discounts,
        clip_rho=clip_rho,
        trace_lambda=lam,
    )


def ppo_clip(logits, old_logits, actions, advantages, epsilon):
    log_probs, old_log_probs = (
        token_log_probs(each[None], actions[None]) for each in (logits, old_logits)
    )
    per_token = losses.clipped_policy_loss(log_probs, old_log_probs, advantages, epsilon)
    return ops.mean(per_token, axis=-1)


def policy_gradient(logits, actions, advantages, weights):
    per_token = losses.policy_gradient_loss(token_log_probs(logits, actions), advantages)
    return ops.mean(per_token * weights, axis=-1)


def entropy_loss(logits, weights):
    return ops.mean(-entropy(logits) * weights, axis=-1)


def rloo(rewards, num_generations):
    return advantages.rloo_advantages(rewards, num_generations)


def dr_grpo(rewards, num_generations):
    return advantages.dr_grpo_advantages(rewards, num_generations)


def grpo(rewards, num_generations, note):
    return advantages.grpo_advantages(rewards, num_generations, epsilon=1e-6)


def masked_mean(x, mask, axis):
    return masking.masked_mean(x, mask, axis)


def masked_variance(x, mask):
    return masking.masked_variance(x, mask, bessel=True)


def dpo(per_token_logps, ref_seq_logps, beta, label_smoothing, layout, seed):
    chosen, rejected = np.split(per_token_logps.sum(axis=-1), 2)
    ref_chosen, ref_rejected = np.split(ref_seq_logps, 2)
    gaps = preference_losses.log_ratio_gap(chosen, rejected, ref_chosen, ref_rejected)
    return ops.mean(preference_losses.dpo_loss(gaps, beta, label_smoothing))


def k1(logprobs, ref_logprobs):
    return kl.k1(logprobs, ref_logprobs)


def absolute_k1(logprobs, ref_logprobs):
    return ops.abs(kl.k1(logprobs, ref_logprobs))


def k2(logprobs, ref_logprobs):
    return kl.k2(logprobs, ref_logprobs)


def full_kl(probs, ref_probs):
    return kl.full_kl(np.log(probs), np.log(ref_probs))


BY_FORMULA = {
    "A_t=delta_t+discount_t*lam*A_{t+1}; values has T+1 columns; batch rows": gae,
    "same recursion; final_value=3": gae,
    "G_t=r_t+disc_t*((1-lam)*v_t+lam*G_{t+1}), v_t is value AFTER step t": lambda_returns,
    "lambda=1": discounted_returns,
    "vs - v (V-trace errors)": vtrace_errors,
    "-mean(min(ratio*A, clip(ratio,1-eps,1+eps)*A)); two batches: +A and -A": ppo_clip,
    "mean(-logp*A*w)": policy_gradient,
    "mean(-entropy*w)": entropy_loss,
    "r_i - mean of the other k-1 in the group": rloo,
    "r - group mean": dr_grpo,
    "(r-mean)/(std ddof=1 + 1e-6)": grpo,
    "sum(x*m)/sum(m)": masked_mean,
    "Bessel corrected": masked_variance,
    "-(1-s)*logsigmoid(beta*h) - s*logsigmoid(-beta*h), mean": dpo,
    "logp-ref (k1)": k1,
    "|logp-ref|": absolute_k1,
    "0.5*(logp-ref)^2 (k2)": k2,
    "sum_v p*(log p - log q), over the vocabulary; "
    "inputs are probabilities, the test passes their logs": full_kl,
}
NOT_COVERED: dict[str, str] = {}  # case name -> why


@pytest.fixture(scope="module")
def cases(shared_data):
    path = shared_data / "reference-numerics" / "rl_reference.json"
    if not path.is_file():
        pytest.skip(f"real data is absent: no file {path}")
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_case_is_covered_or_excused(cases):
    unknown = [
        f"{case['name']}: {case['formula']}"
        for case in cases
        if case["formula"] not in BY_FORMULA and case["name"] not in NOT_COVERED
    ]
    assert len(cases) >= 22 and not unknown, unknown


def test_published_numbers(cases):
    failures = []
    for case in cases:
        if case["name"] in NOT_COVERED:
            continue
        inputs = {name: as_tensor_dtype(value) for name, value in case["inputs"].items()}
        result = ops.convert_to_numpy(BY_FORMULA[case["formula"]](**inputs))
        try:
            np.testing.assert_allclose(result, case["expected"], **case["tolerance"])
        except AssertionError as error:
            failures.append(f"{case['name']}: {error}")
    assert not failures, "\n".join(failures)


def as_tensor_dtype(value):
    if not isinstance(value, list):
        return value
    array = np.array(value)
    return array.astype("int32" if array.dtype.kind == "i" else "float32")

"""GPTPolicy under TF-Agents' own driver draws what the fused loop draws, whenever a row begins."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.decoding import Sampler
from tfalign.environments import KLPenalty, ScriptedUser, TextGenerationMDP
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.masking import last_true_index
from tfalign.functional.random import uniform
from tfalign.models import CausalLM, GPTConfig, SharedActorCritic
from tfalign.rewards import RewardModel
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Prompts

if importlib.util.find_spec("tf_agents") is None:
    pytest.skip("needs pip install 'tfalign[agents]'", allow_module_level=True)

import tensorflow as tf  # noqa: E402

from tfalign.environments import (  # noqa: E402
    GPTPolicy,
    TextGenerationPyEnvironment,
    TextGenerationTFEnvironment,
)

FIRST, MID, LAST = 0, 1, 2
B, P, R, V = 12, 4, 5, 17
STOPS, PAD, SEED, TEMPERATURE, BETA = (2, 5, 11, 14), 1, 5, 0.8, 0.3
GPT2 = GPTConfig(V, 16, 1, 2, max_positions=P + 2 * R, initializer_range=0.5)
LLAMA = GPT2.replace(
    num_layers=2,
    num_key_value_heads=1,
    rotary_base=100.0,
    norm="rms",
    activation="silu",
    gated=True,
    use_bias=False,
    tied=False,
    attention_window=3,
)
LENGTHS = np.tile([4, 1, 3, 2, 4, 1], 2)
PROMPTS = Prompts(
    np.random.default_rng(0).integers(0, V, size=(B, P)).astype("int32"),
    np.arange(P)[None, :] >= P - LENGTHS[:, None],
)


def _worker(config):
    """The fused loop with its rewards and values."""
    keras.utils.set_random_seed(0)
    reward_model, model = RewardModel(config), SharedActorCritic(CausalLM(config))
    model.value_head.dense.kernel.assign(np.linspace(-1, 1, 16)[:, None])

    def score(token_ids, padding_mask, response_mask):
        return reward_model(token_ids, padding_mask=padding_mask)

    return RolloutWorker(model, CausalLM(config), score, RolloutConfig(R, TEMPERATURE, STOPS, PAD))


@pytest.fixture(scope="module")
def worker():
    return _worker(LLAMA)


def _mdp(worker, **changes):
    allowed = changes.get("allowed_tokens")
    penalty = KLPenalty(worker.actor_critic.policy, worker.reference, BETA, TEMPERATURE, allowed)
    settings = {"score": worker.responder.reward, "stop_tokens": STOPS, "penalty": penalty}
    settings |= {"max_new_tokens": R, "vocab_size": V, "pad_id": PAD}
    return TextGenerationMDP(PROMPTS, **(settings | changes))


def _policy(worker, environment, max_new_tokens=R, **choices):
    return GPTPolicy(
        worker.actor_critic.policy,
        environment.time_step_spec(),
        environment.action_spec(),
        max_new_tokens,
        **({"sampler": Sampler(TEMPERATURE), "seed": SEED} | choices),
    )


def _frames(environment, policy, steps):
    """What TF-Agents' driver writes into its buffer: a Trajectory of NumPy arrays [B, steps]."""
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer

    buffer = TFUniformReplayBuffer(policy.trajectory_spec, B, max_length=sum(steps))
    driver = DynamicStepDriver(environment, policy, [buffer.add_batch], num_steps=10**6)
    run = tf.function(lambda iterations: driver.run(maximum_iterations=iterations))
    for iterations in steps:  # each begins without the policy's state
        run(tf.constant(iterations))
    return tf.nest.map_structure(np.asarray, buffer.gather_all())


def _episodes(frames):
    """(row, slice of frames) of every episode that begins, in the order in which they do."""
    rows, steps = frames.step_type.shape
    episodes = []
    for begin in range(steps):
        for row in range(rows):
            if frames.step_type[row, begin] == FIRST:
                ends = np.flatnonzero(frames.next_step_type[row, begin:] == LAST)
                length = ends[0] + 1 if len(ends) else steps
                episodes.append((row, slice(begin, begin + length)))
    return episodes


@pytest.fixture(scope="module")
def actor(worker):
    return _actor(worker)


def _actor(worker):
    """(environment, policy)."""
    environment = TextGenerationTFEnvironment(_mdp(worker), B)
    return environment, _policy(worker, environment, value_head=worker.actor_critic.value_head)


@pytest.fixture
def begun(actor):
    """The same, at the beginning of the policy's first episodes."""
    environment, policy = actor
    policy._episodes.assign(0)
    environment.begin(np.arange(B))
    return environment, policy


@pytest.mark.slow
@pytest.mark.parametrize("model", [pytest.param("gpt2", marks=pytest.mark.exhaustive), "llama"])
def test_every_episode_of_the_driver_is_one_of_the_fused_loop(model, request):
    """Tokens, log-probs, values and rewards: the n-th episode to begin is the loop's row n."""
    if model == "gpt2":
        worker = _worker(GPT2)
        environment, policy = _actor(worker)
        environment.begin(np.arange(B))
    else:
        worker, (environment, policy) = map(request.getfixturevalue, ("worker", "begun"))
    frames = _frames(environment, policy, [4 * (R + 1)])
    episodes = _episodes(frames)
    begins = [(row, steps.start) for row, steps in episodes]
    token_ids = np.stack([frames.observation["token_ids"][at][:P] for at in begins])
    mask = np.stack([frames.observation["padding_mask"][at][:P] for at in begins]).astype("bool")
    np.testing.assert_array_equal(
        token_ids[:B], np.where(PROMPTS.mask, PROMPTS.token_ids, token_ids[:B])
    )
    rollout, _ = worker(Prompts(token_ids, mask), SEED, BETA)
    complete = 0
    for n, (row, steps) in enumerate(episodes):
        length = len(frames.reward[row, steps])
        expected = slice(0, length)
        np.testing.assert_array_equal(frames.action[row, steps], rollout.token_ids[n, P:][expected])
        for actual, wanted in [
            (frames.policy_info["log_probability"], rollout.log_probs),
            (frames.policy_info["value"], rollout.values),
            (frames.reward, rollout.rewards),
        ]:
            np.testing.assert_allclose(
                actual[row, steps], wanted[n][expected], rtol=1e-5, atol=1e-5
            )
        if frames.next_step_type[row, steps][-1] == LAST:
            assert length == np.asarray(rollout.response_mask[n]).sum()
            complete += 1
    assert complete > 3 * B and len({steps.start for _, steps in episodes}) > 5
    assert (policy._steps.draw.traces, policy._steps.catch_up.traces) == (1, 1)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_walk_through_the_python_environment_is_the_fused_loop(worker, begun):
    rollout, _ = worker(PROMPTS, SEED, BETA)
    environment, policy = TextGenerationPyEnvironment(_mdp(worker), B), begun[1]
    step, state = environment.begin(np.arange(B)), policy.get_initial_state(B)
    running = np.ones(B, "bool")
    for t in range(R):
        action, state, info = policy.action(tf.nest.map_structure(tf.constant, step), state)
        step = environment.step(action.numpy())
        np.testing.assert_array_equal(running, rollout.response_mask[:, t])
        for actual, expected in [
            (action, rollout.token_ids[:, P + t]),
            (info["log_probability"], rollout.log_probs[:, t]),
            (step.reward, rollout.rewards[:, t]),
        ]:
            np.testing.assert_allclose(
                np.asarray(actual)[running], np.asarray(expected)[running], atol=1e-5
            )
        running &= step.step_type == MID
    assert not running.any()


def _of_the_full_forward(model, frames, at, sampler):
    """(tokens, log-probs) at these frames without any cache, from the first B streams."""
    token_ids = frames.observation["token_ids"][at]
    mask = frames.observation["padding_mask"][at].astype("bool")
    last = last_true_index(mask)
    logits = model(token_ids, padding_mask=mask)
    logits = ops.take_along_axis(logits, last[:, None, None], axis=1)[:, 0]
    numbers = uniform(SEED, at[0].astype("int32"), last + 1 - P)
    tokens, _ = sampler.choose(logits, numbers)
    log_probs = ops.log_softmax(sampler.distribution(logits))
    taken = frames.action[at][:, None]
    return np.asarray(tokens), np.asarray(ops.take_along_axis(log_probs, taken, axis=1))[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "face",
    [
        pytest.param(TextGenerationPyEnvironment, marks=pytest.mark.slow),
        TextGenerationTFEnvironment,
    ],
)
def test_what_a_user_says_is_read(worker, face):
    """Lines of different lengths, some longer than a prompt, enter the cache in a single step."""
    lines, limit = ScriptedUser([[6, 8, 9, 3], [7]]), 2 * R
    environment = face(_mdp(worker, user=lines, penalty=None, max_new_tokens=limit), B)
    environment.begin(np.arange(B))
    if face is TextGenerationPyEnvironment:
        from tf_agents.environments.tf_py_environment import TFPyEnvironment

        environment = TFPyEnvironment(environment)
    frames = _frames(environment, _policy(worker, environment, limit), [limit])
    first = np.cumsum(frames.step_type == LAST, axis=1) == 0
    at = np.nonzero(first)
    tokens, log_probs = _of_the_full_forward(
        worker.actor_critic.policy, frames, at, Sampler(TEMPERATURE)
    )
    np.testing.assert_array_equal(tokens, frames.action[at])
    np.testing.assert_allclose(
        log_probs, frames.policy_info["log_probability"][at], rtol=1e-5, atol=1e-5
    )
    grown = np.diff(frames.observation["padding_mask"].sum(axis=-1), axis=1)[first[:, 1:]]
    assert {1, 5} <= set(grown), "the seed shows no conversation"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_without_the_state_of_the_step_before_the_text_is_read_once_more(worker, begun):
    frames = _frames(*begun, [2, 1, 3, 1])
    at = np.nonzero(frames.step_type != LAST)
    assert (frames.step_type[:, [2, 3, 6]] == MID).any(axis=0).all()
    _, log_probs = _of_the_full_forward(
        worker.actor_critic.policy, frames, at, Sampler(TEMPERATURE)
    )
    np.testing.assert_allclose(
        log_probs, frames.policy_info["log_probability"][at], rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow  # a second environment and a second policy
def test_an_action_mask_is_obeyed(worker):
    def allowed(state):
        """Only what differs from the last token by 1, 3 or 4."""
        last = last_true_index(state.padding_mask)[:, None]
        token = ops.take_along_axis(state.token_ids, last, axis=1)
        distance = ops.abs(ops.arange(V, dtype="int32")[None, :] - token)
        return (distance == 1) | (distance == 3) | (distance == 4)

    environment = TextGenerationTFEnvironment(_mdp(worker, allowed_tokens=allowed), B)
    step = environment.begin(np.arange(B))
    policy = _policy(worker, environment, sampler=Sampler(2.0))
    (tokens, state, info), seen = policy.action(step, policy.get_initial_state(B)), set()
    for _ in range(R):
        mask = step.observation["action_mask"].numpy().astype("bool")
        assert mask[np.arange(B), tokens].all()
        chosen = policy.distribution(step, policy.get_initial_state(B)).action
        np.testing.assert_allclose(
            chosen.log_prob(tokens), info["log_probability"], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(chosen.probs_parameter().numpy()[~mask], 0.0)
        seen |= set(tokens.numpy())
        step = environment.step(tokens)
        tokens, state, info = policy.action(step, state)
    assert len(seen) > 8


def test_weights_are_the_models_own(worker, begun):
    environment, policy = begun
    step, model = environment.current_time_step(), worker.actor_critic.policy
    start = policy.get_initial_state(B)
    embedding = model.backbone.token_embedding.embeddings
    kept = embedding.numpy()
    (variable,) = (v for v in policy.variables() if v is embedding.value)

    def act():
        policy._episodes.assign(0)
        tokens, _, info = policy.action(step, start)
        logits = model(PROMPTS.token_ids, padding_mask=PROMPTS.mask)[:, -1:]
        expected = token_log_probs(logits, tokens[:, None], TEMPERATURE)[:, 0]
        np.testing.assert_allclose(info["log_probability"], expected, rtol=1e-5, atol=1e-5)
        return info["log_probability"].numpy()

    before = act()
    try:
        embedding.assign(1.5 * kept)
        assert np.abs(act() - before).max() > 1e-3
        variable.assign(kept)
        np.testing.assert_array_equal(act(), before)
    finally:
        embedding.assign(kept)


_FRESH_PROCESS = """
import sys
import numpy as np
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

policy = tf.saved_model.load(sys.argv[1])
columns = np.load(sys.argv[2])
state = policy.get_initial_state() if sys.argv[3] == "static" else policy.get_initial_state(12)
actions = []
for t in range(len(columns["step_type"])):
    names = ("step_type", "reward", "discount")
    observation = {name: columns[name][t] for name in ("token_ids", "padding_mask")}
    step = ts.TimeStep(*(columns[name][t] for name in names), observation)
    action, state, info = policy.action(tf.nest.map_structure(tf.constant, step), state)
    actions.append(np.stack([action, info["log_probability"]]))
np.save(sys.argv[2] + ".out.npy", np.stack(actions))
"""


@pytest.mark.slow  # 15 s each
@pytest.mark.parametrize("batch_size", [B, None], ids=["static", "any"])
def test_a_saved_policy_acts_alike_in_a_fresh_process(begun, tmp_path, batch_size):
    from tf_agents.policies.policy_saver import PolicySaver

    environment, policy = begun
    PolicySaver(policy, batch_size=batch_size).save(str(tmp_path / "policy"))
    step, state = environment.current_time_step(), policy.get_initial_state(B)
    steps, expected = [], []
    for _ in range(R + 2):
        tokens, state, info = policy.action(step, state)
        steps.append({**step._asdict(), **step.observation})
        expected.append(np.stack([tokens, info["log_probability"]]))
        step = environment.step(tokens)
    columns = {
        name: np.stack([s[name] for s in steps]) for name in steps[0] if name != "observation"
    }
    np.savez(tmp_path / "steps.npz", **columns)
    command = [sys.executable, "-c", _FRESH_PROCESS, tmp_path / "policy", tmp_path / "steps.npz"]
    done = subprocess.run(
        [*map(str, command), "static" if batch_size else "any"],
        env=os.environ | {"TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    actual = np.load(tmp_path / "steps.npz.out.npy")
    running = np.stack([s["step_type"] for s in steps]) != LAST
    np.testing.assert_allclose(
        np.moveaxis(actual, 1, -1)[running],
        np.moveaxis(np.stack(expected), 1, -1)[running],
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_positions": P + R - 1}, "may have 9 tokens, the model has positions for 8"),
        ({"vocab_size": V + 1}, "has 17 actions, the model 18 tokens"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(actor, changes, message):
    environment, _ = actor
    with pytest.raises(ValueError, match=message):
        GPTPolicy(
            CausalLM(GPT2.replace(**changes)),
            environment.time_step_spec(),
            environment.action_spec(),
            R,
        )

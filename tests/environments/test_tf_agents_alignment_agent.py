"""AlignmentAgent: what TF-Agents' driver collects becomes the worker's own rollouts and updates."""

import importlib.util

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.decoding import Automaton
from tfalign.decoding.constraints import StateConstraint
from tfalign.environments import ScriptedUser, TextGenerationMDP
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.random import uniform
from tfalign.models import CausalLM, GPTConfig, SeparateActorCritic, SharedActorCritic
from tfalign.models import separate_critic as critic_of
from tfalign.objectives import PPO
from tfalign.training.baselines import MovingBaseline
from tfalign.training.kl_control import AdaptiveKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import one_pass
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Prompts

if importlib.util.find_spec("tf_agents") is None:
    pytest.skip("needs pip install 'tfalign[agents]'", allow_module_level=True)

import tensorflow as tf  # noqa: E402

from tfalign.environments import AlignmentAgent, TextGenerationTFEnvironment  # noqa: E402

FIRST, LAST = 0, 2
B, P, R, V = 8, 3, 5, 11
STOPS, SEED, TEMPERATURE, BETA = (2, 5), 3, 0.8, 0.3
PASSES = {"epochs": 2, "minibatches": 2}
CONFIG = GPTConfig(V, 16, 1, 2, max_positions=P + 2 * R, initializer_range=0.5)
LENGTHS = np.tile([3, 1, 2, 3], 2)
PROMPTS = Prompts(
    np.random.default_rng(0).integers(6, V, size=(B, P)).astype("int32"),
    np.arange(P)[None, :] >= P - LENGTHS[:, None],
)


def _score(token_ids, padding_mask, response_mask):
    """Tells apart every text."""
    weights = ops.cast(ops.arange(token_ids.shape[1]), "float32")
    return ops.sum(ops.where(padding_mask, ops.cast(token_ids, "float32"), 0.0) * weights, axis=1)


def _worker(critic="shared", limit=R, constraint=None, **choices):
    keras.utils.set_random_seed(0)
    policy, reference = CausalLM(CONFIG), CausalLM(CONFIG)
    if critic == "shared":
        model = SharedActorCritic(policy)
        model.value_head.dense.kernel.assign(np.linspace(-1, 1, 16)[:, None])
    else:
        model = SeparateActorCritic(policy, critic_of(policy))
        model.critic.head.dense.kernel.assign(np.linspace(-1, 1, 16)[:, None])
    config = RolloutConfig(
        limit, TEMPERATURE, STOPS, missing_stop_penalty=1.0, constraint=constraint
    )
    return RolloutWorker(model, reference, _score, config, **choices)


def _environment(limit=R, **changes):
    settings = {"score": _score, "vocab_size": V, "stop_tokens": STOPS}
    mdp = TextGenerationMDP(PROMPTS, max_new_tokens=limit, **(settings | changes))
    return TextGenerationTFEnvironment(mdp, B)


def _agent(worker, environment, **choices):
    optimizer = keras.optimizers.Adam(1e-3)
    learner = Learner(worker.actor_critic, PPO(temperature=TEMPERATURE), optimizer)
    specs = environment.time_step_spec(), environment.action_spec()
    settings = {"seed": SEED, "train_step_counter": tf.Variable(0, dtype=tf.int64)}
    return AlignmentAgent(*specs, worker, learner, **(settings | choices))


def _collect(environment, agent, steps):
    """A Trajectory [B, steps] from TF-Agents' driver and buffer."""
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer

    buffer = TFUniformReplayBuffer(agent.collect_data_spec, B, max_length=steps)
    driver = DynamicStepDriver(
        environment, agent.collect_policy, [buffer.add_batch], num_steps=10**6
    )
    tf.function(lambda: driver.run(maximum_iterations=steps))()
    return buffer.gather_all()


@pytest.fixture(scope="module")
def shared():
    worker, environment = _worker(), _environment()
    control = AdaptiveKL(BETA, target=0.01, horizon=100)
    return worker, environment, _agent(worker, environment, kl_control=control, **PASSES)


@pytest.fixture
def begun(shared):
    """(worker, environment, agent) at the beginning of the policy's first episodes."""
    _, environment, agent = shared
    agent.collect_policy._episodes.assign(0)
    agent._kl_coefficient.assign(BETA)
    agent.train_step_counter.assign(0)
    environment.begin(np.arange(B))
    return shared


def _no_repeats():
    """Constraint: no token twice in a row."""
    after = np.tile(np.arange(V) + 1, (V + 1, 1))  # state 1 + token; 0 is the start
    after[np.arange(1, V + 1), np.arange(V)] = -1
    return Automaton(after, np.ones(V + 1, "bool"), STOPS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shared", "separate", "constrained"])
def test_its_rollouts_are_those_of_the_fused_loop(kind, request):
    if kind == "shared":
        worker, environment, agent = request.getfixturevalue("begun")
    else:
        constraint = _no_repeats() if kind == "constrained" else None
        worker = _worker("shared" if constraint else kind, constraint=constraint)
        environment = _environment(allowed_tokens=constraint and StateConstraint(constraint))
        agent = _agent(worker, environment, kl_control=AdaptiveKL(BETA))
        environment.begin(np.arange(B))
    actual = agent.rollouts(_collect(environment, agent, R))
    expected = worker(PROMPTS, SEED, BETA)
    assert {*expected[0].response_mask.numpy().sum(axis=1)} >= {1, R}
    real = np.asarray(expected[0].padding_mask)
    token_ids = [np.where(real, x.token_ids, 0) for x in (actual[0], expected[0])]
    np.testing.assert_array_equal(*token_ids)
    assert (actual[0].constraint_states is None) == (kind != "constrained")
    for name in actual[0]._fields[1:]:
        x, y = (getattr(rollout, name) for rollout in (actual[0], expected[0]))
        if y is None:
            assert x is None, name
            continue
        real = np.asarray(expected[0].response_mask) if name == "constraint_states" else True
        x, y = np.where(real, x, 0), np.where(real, y, 0)
        np.testing.assert_allclose(x, y, atol=2e-5, rtol=1e-5, err_msg=name)
    assert actual[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        np.testing.assert_allclose(actual[1][name], value, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_of_a_window_that_begins_anywhere_it_takes_the_first_episode_to_begin(begun):
    _, environment, agent = begun
    frames = _collect(environment, agent, 6 * R)
    starts = set()
    for start in range(0, 4 * R, 3):
        window = tf.nest.map_structure(lambda x: x[:, start : start + 2 * R], frames)  # noqa: B023
        rollout, _ = agent.rollouts(window)
        for row in range(B):
            (begins,) = np.nonzero(window.step_type[row] == FIRST)
            (ends,) = np.nonzero(window.next_step_type[row] == LAST)
            steps = slice(begins[0], ends[ends >= begins[0]][0] + 1)
            mask = np.asarray(rollout.response_mask[row])
            for per_token, per_step in [
                (rollout.token_ids[row, P:], window.action),
                (rollout.log_probs[row], window.policy_info["log_probability"]),
            ]:
                np.testing.assert_array_equal(per_token[mask], per_step[row, steps])
            missed = mask.all() and rollout.token_ids[row, -1] not in STOPS
            earned = np.sum(window.reward[row, steps]) - missed
            assert float(rollout.scores[row]) == pytest.approx(earned, rel=1e-5)
            starts.add(int(begins[0]))
    assert len(starts) > 3


@pytest.mark.slow  # 15 s
def test_of_a_conversation_it_learns_from_its_own_turns():
    """Credit passes over what the user said; the KL and the loss are of the policy's tokens."""
    limit = 2 * R
    worker = _worker(limit=limit)
    environment = _environment(limit, user=ScriptedUser([[7, 8, 9], [10]]))
    agent = _agent(worker, environment)
    environment.begin(np.arange(B))
    frames = _collect(environment, agent, limit)
    rollout, _ = agent.rollouts(frames)
    rollout = type(rollout)(*map(np.asarray, rollout))
    hidden, _ = worker.actor_critic(rollout.token_ids, rollout.padding_mask, response_length=limit)
    log_probs = token_log_probs(
        worker.actor_critic.policy.logits(hidden), rollout.token_ids[:, -limit:], TEMPERATURE
    )
    mask = rollout.response_mask
    np.testing.assert_allclose(rollout.log_probs, np.where(mask, log_probs, 0.0), atol=1e-5)
    spoken = 0
    for row in range(B):
        own = mask[row]
        columns = np.flatnonzero(own)
        spoken += (np.diff(columns) > 1).sum()
        rewards, values = rollout.rewards[row][own], rollout.values[row][own]
        expected, following = np.zeros(len(values)), 0.0
        for t in reversed(range(len(values))):  # Schulman et al. 2016, eq. 16, lambda 0.95
            next_value = values[t + 1] if t + 1 < len(values) else 0.0
            following = rewards[t] + next_value - values[t] + 0.95 * following
            expected[t] = following
        returns = rollout.returns[row]
        np.testing.assert_allclose(returns[own], expected + values, rtol=1e-4, atol=1e-4)
        assert not returns[~own].any()
    assert spoken > 3, "the seed shows no conversation"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_training_is_the_learners_updates(begun):
    worker, environment, agent = begun
    frames = _collect(environment, agent, R)
    start = worker.actor_critic.get_weights()
    rollout, statistics = agent.rollouts(frames)
    loss, extra = agent.train(frames)
    trained = worker.actor_critic.get_weights()
    assert int(agent.train_step_counter) == 1
    worker.actor_critic.set_weights(start)
    learner = Learner(
        worker.actor_critic, PPO(temperature=TEMPERATURE), keras.optimizers.Adam(1e-3)
    )
    updates = []
    order_seed = np.random.SeedSequence([SEED, 1]).generate_state(1)[0]
    for epoch in range(2):
        order = np.argsort(uniform(order_seed, np.arange(B), epoch)).astype("int32")
        assert (order != np.arange(B)).any()
        updates += one_pass(learner, rollout, order, 2)
    for x, y in zip(trained, worker.actor_critic.get_weights()):
        np.testing.assert_allclose(x, y, atol=1e-6)
    assert float(updates[0]["max_log_ratio"]) < 1e-4
    np.testing.assert_allclose(loss, np.mean([u["loss"] for u in updates]), rtol=1e-4)
    np.testing.assert_allclose(extra["kl_coefficient"], BETA)
    expected = AdaptiveKL(BETA, target=0.01, horizon=100)
    expected.update(float(statistics["kl"]), B)
    assert expected.coefficient > BETA
    _, extra = agent.train(frames)
    np.testing.assert_allclose(extra["kl_coefficient"], expected.coefficient, rtol=1e-6)
    worker.actor_critic.set_weights(start)


@pytest.mark.slow  # 20 s
def test_their_learner_trains_and_restores_it(tmp_path):
    """TF-Agents' Learner, its dataset of a uniform buffer, and its checkpoints."""
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer
    from tf_agents.train.learner import Learner as TheirLearner

    def begin():
        environment, worker = _environment(), _worker()
        control = AdaptiveKL(BETA, target=0.01, horizon=100)
        agent = _agent(worker, environment, kl_control=control, epochs=1, minibatches=1)
        buffer = TFUniformReplayBuffer(
            agent.collect_data_spec, B, max_length=4 * R, dataset_drop_remainder=True
        )
        driver = DynamicStepDriver(
            environment, agent.collect_policy, [buffer.add_batch], num_steps=4 * R * B
        )
        environment.reset()
        driver.run()
        dataset = buffer.as_dataset(sample_batch_size=B, num_steps=2 * R)
        learner = TheirLearner(
            str(tmp_path), agent.train_step_counter, agent, lambda: dataset, checkpoint_interval=1
        )
        return worker, agent, learner

    worker, agent, learner = begin()
    start = worker.actor_critic.get_weights()
    loss = learner.run(iterations=2)
    assert np.isfinite(loss.loss) and int(agent.train_step_counter) == 2
    after = worker.actor_critic.get_weights()
    assert any(np.abs(x - y).max() > 1e-4 for x, y in zip(start, after))
    restored, again, _ = begin()
    for x, y in zip(after, restored.actor_critic.get_weights()):
        np.testing.assert_array_equal(x, y)
    assert int(again.train_step_counter) == 2
    assert float(again._kl_coefficient) == float(agent._kl_coefficient) > BETA


@pytest.mark.parametrize(
    "given", [{"baseline": MovingBaseline()}, {"config": RolloutConfig(R, group_size=2)}], ids=list
)
def test_a_worker_it_has_no_use_for(shared, given):
    worker, environment, _ = shared
    choices = {"reward": None, "config": worker.config} | given
    other = RolloutWorker(worker.actor_critic, worker.reference, **choices)
    with pytest.raises(ValueError, match="no use for a worker's (baseline|group_size)"):
        _agent(other, environment)


def test_an_episode_that_is_not_complete_is_an_error(begun):
    worker, environment, agent = begun
    frames = _collect(environment, agent, R)
    row = int(np.argmax(np.asarray(worker(PROMPTS, SEED, 0.0)[0].response_mask).sum(axis=1)))
    short = tf.nest.map_structure(lambda x: x[:, : R - 1], frames)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=f"The first episode of row {row} is not complete"
    ):
        agent.rollouts(short)
    agent.rollouts(frames)
    masked = _environment(allowed_tokens=lambda state: ops.ones((B, V), "bool"))
    with pytest.raises(ValueError, match="with action_mask, constraint=None"):
        _agent(worker, masked)
    constrained = RolloutConfig(R, TEMPERATURE, STOPS, constraint=_no_repeats())
    other = RolloutWorker(worker.actor_critic, worker.reference, None, constrained)
    with pytest.raises(ValueError, match="without action_mask"):
        _agent(other, environment)

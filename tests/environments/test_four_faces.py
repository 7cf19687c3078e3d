"""Four faces, one truth: under a constraint, with a user or a tool, and with both, the fused rollout, the MDP's core,
Gymnasium and TF-Agents' drivers draw the same tokens with the same log-probs and rewards, token by token, from the same
seed."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, NamedTuple

import numpy as np
import pytest
import tokenizers
from keras import ops

from tfalign import backend
from tfalign.decoding import Automaton, Sampler, StateConstraint
from tfalign.decoding.samplers import allow
from tfalign.environments import (
    KLPenalty,
    ScriptedUser,
    TextGenerationEnv,
    TextGenerationMDP,
    TextGenerationVectorEnv,
)
from tfalign.environments.mdp import State
from tfalign.functional.masking import last_true_index
from tfalign.functional.random import uniform
from tfalign.models import Actor, CausalLM, GPTConfig
from tfalign.text import Tokenizer
from tfalign.tools import FORMATS, Toolbox, ToolUser
from tfalign.training.credit import RewardToGo
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Prompts

B, P, R, V, STOPS = 4, 3, 14, 12, (8, 9, 11)
SEED, TEMPERATURE, BETA = 15, 1.5, 0.3
PROMPTS = Prompts(
    np.array([[1, 2, 3], [0, 5, 3], [4, 5, 6], [0, 0, 7]], "int32"),
    np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1]], "bool"),
)
# an odd number of tokens, those in the odd places below 3, the others below 6, and then a stop token
PAIRS = np.where(np.arange(V) < np.array([[3], [6]]), np.array([[1], [0]]), -1)


def echo(state):
    """A user on the host: says the policy's last word twice, in two turns of a row, one where the prompt is short."""
    text, length = np.asarray(state.token_ids)[:, P:], np.asarray(state.response_length)
    word = np.take_along_axis(text, np.maximum(length - 2, 0)[:, None], axis=1)
    is_short = np.asarray(state.prompt_mask).sum(axis=1) < P
    lengths = np.where(np.asarray(state.user_turns) < 2 - is_short, 2, 0)
    return np.repeat(word, 2, axis=1).astype("int32"), lengths


# what the ids are for a tool's user: calls, an answer, what a result is made of, and the stop tokens
WORDS = ["[twice(n=1)]", "[twice(n=2)]", "no", "2", "4", "\n", "Error", "?", "<eos>", "a", "b", "c"]
# a turn of a tool's user is a call or an answer, which a "2" behind it makes a bad call
CALLS = np.full((3, V), -1)
CALLS[0, :3], CALLS[1, 3] = 1, 2


def twice(n: int) -> int:
    """Doubles.

    Args:
        n: a number.
    """
    return 2 * n


def tool_user(toolbox):
    """Who answers turns of ``WORDS``: a call alone is one, one with more behind it a bad one, and "no" ends the row."""
    core = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="?")
    )
    parts = tokenizers.Regex(r"\[twice\(n=\d\)\]|Error|\d|\n")
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split(parts, "isolated")
    core.decoder = tokenizers.decoders.Fuse()
    core.add_special_tokens(["<eos>"])
    tokenizer = Tokenizer(core, {"eos": "<eos>"})
    return ToolUser(toolbox, tokenizer, call_format=FORMATS["python"], stop_tokens=STOPS)


@pytest.fixture(scope="module")
def users():
    with Toolbox([twice]) as toolbox:
        yield {
            "nobody": None,
            "script": ScriptedUser([[10, 7], [10]]),
            "host": echo,
            "tool": tool_user(toolbox),
        }


SLOW = [("nobody", True), ("script", True), ("script", False), ("host", False), ("host", True)]
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW]
cases = pytest.mark.parametrize(("user", "is_constrained"), [("tool", True), *SLOW])


class Walked(NamedTuple):
    """What was drawn and earned, in the columns of the response: [B, R] each."""

    tokens: Any
    log_probs: Any
    rewards: Any
    mask: Any


def score(token_ids, padding_mask, response_mask):
    """Of the policy's words and of where they stand; it tells every text from every other."""
    words = ops.where(response_mask, ops.cast(token_ids[:, P:], "float32"), 0.0)
    return ops.sum(ops.sin(words + 0.7 * ops.arange(R, dtype="float32")), axis=1)


@pytest.fixture(scope="module")
def models():
    config = GPTConfig(V, 16, 1, 2, max_positions=P + R, rotary_base=1e4, initializer_range=0.6)
    return CausalLM(config), CausalLM(config)


@pytest.fixture(scope="module")
def fused(models, users):
    """``(user, is_constrained) -> Walked`` of the compiled loop's rollout."""

    @functools.cache
    def walked(user, is_constrained):
        config = RolloutConfig(
            R,
            TEMPERATURE,
            STOPS,
            constraint=_constraint(user) if is_constrained else None,
            user=users[user],
        )
        policy, reference = models
        rollout, _ = RolloutWorker(Actor(policy), reference, score, config, RewardToGo())(
            PROMPTS, SEED, BETA
        )
        mask = np.asarray(rollout.response_mask)
        drawn = rollout.token_ids[:, P:], rollout.log_probs, rollout.rewards
        found = Walked(*(np.where(mask, x, 0) for x in drawn), mask)
        _check_shows_something(found, user, is_constrained)
        if user == "tool":
            _check_shows_calls(rollout.token_ids[:, P:])
        return found

    return walked


def _constraint(user):
    table, accepting = (CALLS, [False, True, True]) if user == "tool" else (PAIRS, [False, True])
    return Automaton(table, accepting, STOPS)


def _check_shows_something(found, user, is_constrained):
    assert np.abs(found.rewards).max() > 0.3
    assert len({*found.mask.sum(axis=1)}) > 1, "the seed shows rows of one length"
    stops = np.isin(found.tokens, STOPS) & found.mask
    assert user == "nobody" or stops.sum(axis=1).max() > 1, "the seed shows no second turn"
    assert not is_constrained or found.tokens[found.mask & ~stops].max() < 6


def _check_shows_calls(token_ids):
    texts = ["".join(WORDS[i] for i in row) for row in np.asarray(token_ids)]
    for result in ("\n2\n", "\n4\n", "\nError"):
        assert any(result in text for text in texts), f"the seed shows no {result!r}"


@pytest.fixture(scope="module")
def process(models, users):
    """``(user, is_constrained) -> TextGenerationMDP``."""

    @functools.cache
    def made(user, is_constrained):
        allowed = StateConstraint(_constraint(user)) if is_constrained else None
        penalty = KLPenalty(*models, BETA, TEMPERATURE, allowed)
        rest = {"user": users[user], "allowed_tokens": allowed, "penalty": penalty}
        return TextGenerationMDP(PROMPTS, score, R, V, STOPS, **rest)

    return made


@pytest.fixture(scope="module")
def act(models):
    """``(token_ids, padding_mask, allowed, rows) -> (tokens, log-probs, columns)``, of the full forward pass."""
    policy, _ = models

    @backend.jit
    def choose(token_ids, padding_mask, allowed, rows):
        hidden = policy.backbone(token_ids, padding_mask=padding_mask)
        last = last_true_index(padding_mask)
        logits = policy.logits(ops.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0])
        numbers = uniform(np.uint32(SEED), rows, last + 1 - P)
        drawn = Sampler(TEMPERATURE).choose(allow(logits, allowed), numbers)
        return *drawn, last + 1 - P

    def acted(token_ids, padding_mask, allowed, rows):
        given = np.asarray(token_ids, "int32"), np.asarray(padding_mask, "bool")
        found = choose(*given, np.asarray(allowed, "bool"), np.asarray(rows, "int32"))
        return [np.asarray(x) for x in found]

    return acted


class Record:
    """Collects a walk."""

    def __init__(self):
        self.found = Walked(*(np.zeros((B, R)) for _ in range(3)), np.zeros((B, R), "bool"))

    def add(self, rows, columns, tokens, log_probs, rewards):
        """A step in these rows."""
        for array, values in zip(self.found, (tokens, log_probs, rewards, True)):
            array[rows, columns] = values

    def check(self, wanted, rows=slice(None)):
        """That it is the fused loop's."""
        np.testing.assert_array_equal(self.found.mask[rows], wanted.mask[rows])
        np.testing.assert_array_equal(self.found.tokens[rows], wanted.tokens[rows])
        np.testing.assert_allclose(self.found.log_probs[rows], wanted.log_probs[rows], atol=1e-5)
        np.testing.assert_allclose(self.found.rewards[rows], wanted.rewards[rows], atol=1e-5)


@cases
def test_the_core_is_the_fused_loop(process, fused, act, user, is_constrained):
    mdp, record = process(user, is_constrained), Record()
    state = State(*map(np.asarray, mdp.initial(np.arange(B))))
    while not (over := np.asarray(mdp.terminal(state))).all():
        tokens, log_probs, columns = act(
            *mdp.observation(state), mdp.action_mask(state), np.arange(B)
        )
        step = mdp.step(state, tokens)
        runs = np.flatnonzero(~over)
        drawn = tokens, log_probs, np.asarray(step.rewards)
        record.add(runs, columns[runs], *(x[runs] for x in drawn))
        state = State(*map(np.asarray, step.state))
    record.check(fused(user, is_constrained))


@cases
def test_gymnasiums_vector_is_the_fused_loop(process, fused, act, user, is_constrained):
    env, record = TextGenerationVectorEnv(B, process(user, is_constrained)), Record()
    seen, info = env.reset(options={"prompt_index": np.arange(B)})
    running = np.ones(B, "bool")
    while running.any():
        drawn = act(seen["token_ids"], seen["padding_mask"], info["action_mask"], np.arange(B))
        tokens, log_probs, columns = drawn
        seen, rewards, terminated, truncated, info = env.step(tokens)
        runs = np.flatnonzero(running)
        record.add(runs, columns[runs], tokens[runs], log_probs[runs], rewards[runs])
        running &= ~(terminated | truncated)
    record.check(fused(user, is_constrained))


@pytest.mark.slow
@cases
def test_gymnasiums_single_environment_is_the_fused_loop(process, fused, act, user, is_constrained):
    env, record = TextGenerationEnv(process(user, is_constrained)), Record()
    for row in range(B):
        seen, info = env.reset(options={"prompt_index": row})
        is_over = False
        while not is_over:
            batch = (
                x[None] for x in (seen["token_ids"], seen["padding_mask"], info["action_mask"])
            )
            tokens, log_probs, columns = act(*batch, np.array([row]))
            seen, reward, terminated, truncated, info = env.step(int(tokens[0]))
            record.add(row, columns[0], tokens[0], log_probs[0], reward)
            is_over = terminated or truncated
    record.check(fused(user, is_constrained))


def _policy(models, environment):
    from tfalign.environments import GPTPolicy

    specs = environment.time_step_spec(), environment.action_spec()
    return GPTPolicy(models[0], *specs, R, Sampler(TEMPERATURE), SEED)


def _needs_tf_agents():
    if importlib.util.find_spec("tf_agents") is None:
        pytest.skip("needs pip install 'tfalign[agents]'")


def _first_episodes(frames):
    """Record of each row's first episode, from a trajectory of [B, steps]."""
    first = np.cumsum(frames.step_type == 2, axis=1) == 0
    rows, steps = np.nonzero(first)
    columns = frames.observation["padding_mask"][rows, steps, P:].sum(axis=1)
    drawn = frames.action, frames.policy_info["log_probability"], frames.reward
    record = Record()
    record.add(rows, columns, *(x[rows, steps] for x in drawn))
    return record


@pytest.mark.slow
@pytest.mark.tensorflow
@cases
def test_tf_agents_driver_is_the_fused_loop(models, process, fused, user, is_constrained):
    """On the host: the Python environment, the policy's cache, TF-Agents' own driver."""
    _needs_tf_agents()
    import tensorflow as tf

    from tfalign.environments import TextGenerationPyEnvironment

    environment = TextGenerationPyEnvironment(process(user, is_constrained), B)
    policy = _policy(models, environment)
    from tf_agents.drivers.py_driver import PyDriver
    from tf_agents.policies.py_tf_eager_policy import PyTFEagerPolicy

    frames = []
    acting = PyTFEagerPolicy(policy, batch_time_steps=False)
    driver = PyDriver(environment, acting, [frames.append], max_steps=B * R)
    driver.run(environment.begin(np.arange(B)), policy.get_initial_state(B))
    stacked = tf.nest.map_structure(lambda *x: np.stack(x, axis=1), *frames)
    _first_episodes(stacked).check(fused(user, is_constrained))


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("user", "is_constrained"), [("nobody", True), ("script", True), ("script", False)]
)
def test_tf_agents_driver_in_graph_is_the_fused_loop(models, process, fused, user, is_constrained):
    """Wholly in graph: the environment's variables, the policy's cache, TF-Agents' own driver."""
    _needs_tf_agents()
    import tensorflow as tf

    from tfalign.environments import TextGenerationTFEnvironment

    environment = TextGenerationTFEnvironment(process(user, is_constrained), B)
    policy = _policy(models, environment)
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer

    environment.begin(np.arange(B))
    buffer = TFUniformReplayBuffer(policy.trajectory_spec, B, max_length=R + 1)
    driver = DynamicStepDriver(environment, policy, [buffer.add_batch], num_steps=10**6)
    tf.function(lambda: driver.run(maximum_iterations=tf.constant(R)))()
    frames = tf.nest.map_structure(np.asarray, buffer.gather_all())
    _first_episodes(frames).check(fused(user, is_constrained))


def test_a_penalty_of_other_distributions_is_refused(models, process):
    mdp = process("nobody", True)
    with pytest.raises(ValueError, match="penalty is of distributions restricted to .* Received"):
        TextGenerationMDP(
            PROMPTS,
            score,
            R,
            V,
            STOPS,
            allowed_tokens=mdp.allowed_tokens,
            penalty=KLPenalty(*models, BETA, TEMPERATURE),
        )

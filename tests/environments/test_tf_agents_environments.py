"""The TF-Agents environments: their own checker, one walk for both faces, and what misuse says."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from keras import ops

from tfalign.environments import ScriptedUser, TextGenerationMDP
from tfalign.types import Prompts

if importlib.util.find_spec("tf_agents") is None:
    pytest.skip("needs pip install 'tfalign[agents]'", allow_module_level=True)

import tensorflow as tf  # noqa: E402

from tfalign.environments import (  # noqa: E402
    TextGenerationPyEnvironment,
    TextGenerationTFEnvironment,
)

FIRST, MID, LAST = 0, 1, 2
STOP, V, B = 4, 8, 3
PROMPTS = Prompts(
    np.array([[1, 2, 3], [0, 5, 3], [0, 0, 6]], "int32"),
    np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]], "bool"),
)


def _score(token_ids, padding_mask, response_mask):
    return ops.sum(ops.cast(response_mask, "float32"), axis=1)


def _no_token_twice(state):
    is_token = state.token_ids[..., None] == ops.arange(V)
    said = ops.any(is_token & state.padding_mask[..., None], axis=1)
    return ~said | (ops.arange(V) == STOP)[None, :]


def _mdp(**changes):
    settings = {"score": _score, "max_new_tokens": 4, "vocab_size": V, "stop_tokens": (STOP,)}
    return TextGenerationMDP(PROMPTS, **(settings | changes))


PROCESSES = {
    "single turn": _mdp(),
    "multi-turn": _mdp(user=ScriptedUser([[7], [5, 6]]), max_new_tokens=8),
    "masked": _mdp(allowed_tokens=_no_token_twice),
    "shaped": _mdp(potential=lambda s: ops.cast(s.response_length, "float32"), gamma=0.9),
    "penalised": _mdp(penalty=lambda state, actions: 0.1 * ops.cast(actions, "float32")),
}


@pytest.mark.parametrize("batch_size", [None, 1, 3], ids=["single", "one row", "batched"])
@pytest.mark.parametrize("name", PROCESSES)
def test_tf_agents_finds_nothing_wrong(name, batch_size):
    from tf_agents.environments.utils import validate_py_environment

    from tfalign.environments.tf_agents_common import split_action_mask

    environment = TextGenerationPyEnvironment(PROCESSES[name], batch_size)
    validate_py_environment(environment, 3, split_action_mask if name == "masked" else None)


@pytest.mark.parametrize("name", PROCESSES)
def test_both_faces_walk_alike(name):
    """Twelve steps through ends and automatic resets; new prompts are the other face's."""
    mdp = PROCESSES[name]
    python, graph = TextGenerationPyEnvironment(mdp, B), TextGenerationTFEnvironment(mdp, B)
    steps = [(python.begin(np.arange(B)), graph.begin(np.arange(B)))]
    generator = np.random.default_rng(0)
    for _ in range(12):
        expected, _ = steps[-1]
        allowed = expected.observation.get("action_mask", np.ones((B, V)))
        actions = np.argmax(generator.random((B, V)) * allowed, axis=1).astype("int32")
        if (expected.step_type == LAST).any():  # prompts are drawn: go on together
            steps.append((python.begin(np.arange(B)), graph.begin(np.arange(B))))
        else:
            steps.append((python.step(actions), graph.step(actions)))
    assert {FIRST, MID, LAST} == {int(t) for expected, _ in steps for t in expected.step_type}
    for expected, actual in steps:
        tf.nest.map_structure(
            lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), expected, actual
        )


@pytest.mark.parametrize("face", [TextGenerationPyEnvironment, TextGenerationTFEnvironment])
def test_rows_are_at_their_own_steps(face):
    """Row 0 stops at once and begins anew while the others go on, as worked by hand."""
    environment = face(_mdp(), B)
    environment.begin(np.arange(B))
    types, rewards, discounts = [], [], []
    for actions in ([STOP, 1, 1], [7, 1, 1], [1, STOP, 1], [1, 7, 1], [STOP, 1, 7]):
        step = environment.step(np.array(actions, "int32"))
        types.append([int(x) for x in step.step_type])
        rewards.append([float(x) for x in step.reward])
        discounts.append([float(x) for x in step.discount])
    assert types == [[2, 1, 1], [0, 1, 1], [1, 2, 1], [1, 0, 2], [2, 1, 0]]
    assert rewards == [[1, 0, 0], [0, 0, 0], [0, 3, 0], [0, 0, 4], [3, 0, 0]]
    assert discounts == [[0, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]


@pytest.mark.parametrize("face", [TextGenerationPyEnvironment, TextGenerationTFEnvironment])
def test_prompts_are_drawn_by_seed(face):
    def draws(seed):
        environment = face(_mdp(), 16, seed)
        firsts = [np.asarray(environment.reset().observation["token_ids"]) for _ in range(2)]
        assert (firsts[0] != firsts[1]).any()
        return np.concatenate(firsts)

    np.testing.assert_array_equal(draws(0), draws(0))
    assert (draws(0) != draws(1)).any()
    assert len(np.unique(draws(0), axis=0)) == len(PROMPTS.mask)


def _finishes(environment):
    """The environment is still usable: a whole episode passes."""
    environment.reset()
    for _ in range(4):
        step = environment.step(np.full(B, 1, "int32"))
    return np.all(np.asarray(step.step_type) == LAST) and np.all(np.asarray(step.reward) == 4.0)


FACES = [
    (TextGenerationPyEnvironment, ValueError),
    (TextGenerationTFEnvironment, tf.errors.InvalidArgumentError),
]


@pytest.mark.parametrize("face, error", FACES)
@pytest.mark.parametrize("action", [V, -1, 100])
def test_an_action_outside_the_vocabulary(face, error, action):
    environment = face(_mdp(), B)
    before = np.asarray(environment.reset().observation["padding_mask"]).sum()
    with pytest.raises(error, match=f"row 1 is outside the vocabulary of 8. .*: {action}"):
        environment.step(np.array([1, action, 1], "int32"))
    after = environment.step(np.full(B, 1, "int32"))  # the episodes stand where they stood
    assert np.asarray(after.observation["padding_mask"]).sum() == before + B
    assert _finishes(environment)


@pytest.mark.parametrize("face, error", FACES)
def test_an_action_that_is_not_allowed(face, error):
    environment = face(_mdp(allowed_tokens=_no_token_twice), B)
    environment.begin(np.arange(B))
    with pytest.raises(error, match="row 1 is not allowed in its state. Received: 5"):
        environment.step(np.array([7, 5, 7], "int32"))
    environment.step(np.full(B, 7, "int32"))


@pytest.mark.parametrize("face, error", FACES)
def test_a_reward_that_is_not_a_number(face, error):
    def score(token_ids, padding_mask, response_mask):
        """NaN where a text begins with 7."""
        begins = token_ids[:, 3] == 7
        return ops.where(begins, np.nan, _score(token_ids, padding_mask, response_mask))

    environment = face(_mdp(score=score, max_new_tokens=4), B)
    environment.reset()
    environment.step(np.array([1, 1, 7], "int32"))
    with pytest.raises(error, match="row 2 is not finite. Received: nan"):
        environment.step(np.full(B, STOP, "int32"))
    assert _finishes(environment)


def test_errors_are_raised_within_a_graph():
    environment = TextGenerationTFEnvironment(_mdp(), B)
    before = np.asarray(environment.reset().observation["token_ids"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="The action of row 2 is outside"):
        tf.function(environment.step)(tf.constant([1, 1, V]))
    np.testing.assert_array_equal(environment.current_time_step().observation["token_ids"], before)
    assert _finishes(environment)


def test_a_step_before_the_first_reset():
    """An error in graph; their Python shell makes it a reset, which is its contract."""
    graph = TextGenerationTFEnvironment(_mdp(), B)
    with pytest.raises(tf.errors.InvalidArgumentError, match="call reset first"):
        graph.step(np.ones(B, "int32"))
    assert _finishes(graph)
    python = TextGenerationPyEnvironment(_mdp(), B)
    assert np.all(python.step(np.ones(B, "int32")).step_type == FIRST)
    assert _finishes(python)


def test_the_current_time_step_of_a_fresh_environment_is_a_first_one():
    environment = TextGenerationTFEnvironment(_mdp(), B)
    assert np.all(environment.current_time_step().step_type == FIRST)
    before = environment.step(np.ones(B, "int32"))
    again = environment.current_time_step()
    tf.nest.map_structure(np.testing.assert_array_equal, before, again)


@pytest.mark.slow
def test_their_driver_stays_in_graph():
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.metrics.tf_metrics import AverageReturnMetric, NumberOfEpisodes
    from tf_agents.policies.random_tf_policy import RandomTFPolicy

    environment = TextGenerationTFEnvironment(_mdp(stop_tokens=()), B)
    policy = RandomTFPolicy(environment.time_step_spec(), environment.action_spec())
    returns, episodes = AverageReturnMetric(batch_size=B), NumberOfEpisodes()
    driver = DynamicStepDriver(environment, policy, [returns, episodes], num_steps=5 * 4 * B)
    tf.function(driver.run)()
    assert (float(returns.result()), int(episodes.result())) == (4.0, 5 * B)


@pytest.mark.slow
def test_without_the_extra_one_sentence_says_what_installs_it():
    program = (
        "import sys\n"
        "import tfalign, tfalign.environments\n"
        "assert not {'keras', 'tensorflow', 'tf_agents', 'tf_keras'} & set(sys.modules)\n"
        "sys.modules['tf_agents'] = None\n"
        "for name in ('TextGenerationPyEnvironment', 'TextGenerationTFEnvironment',\n"
        "             'GPTPolicy', 'AlignmentAgent'):\n"
        "    try:\n"
        "        getattr(tfalign.environments, name)\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    said = done.stdout.strip().splitlines()
    assert len(said) == 4, done.stderr
    assert all(line.endswith("pip install 'tfalign[agents]' installs it") for line in said)


@pytest.mark.slow
def test_keras_2_is_what_their_networks_get():
    """Also where TensorFlow and Keras 3 were imported before; Keras 3 stays what it is."""
    program = (
        "import keras, tensorflow as tf\n"
        "from tfalign.environments import TextGenerationTFEnvironment\n"
        "from tf_agents.networks import q_rnn_network, sequential\n"
        "import tf_keras\n"
        "assert issubclass(tf_keras.layers.Dense, tf.keras.layers.Layer)\n"
        "assert keras.version().startswith('3.')\n"
        "network = sequential.Sequential([tf.keras.layers.Dense(2)])\n"
        "print(network(tf.ones((1, 3)))[0].shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 2)", done.stderr[-2000:]

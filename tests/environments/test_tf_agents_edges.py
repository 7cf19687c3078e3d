"""TF-Agents' faces at tiny temperatures, copied, misused, and from two threads."""

import copy
import importlib.util
import pickle
import threading

import numpy as np
import pytest

from tests.sampling import with_slow
from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.environments import TextGenerationMDP
from tfalign.environments.tasks import repeat_prompt
from tfalign.models import CausalLM, GPTConfig
from tfalign.threads import SharedUseError
from tfalign.types import Prompts

if importlib.util.find_spec("tf_agents") is None:
    pytest.skip("needs pip install 'tfalign[agents]'", allow_module_level=True)

import tensorflow as tf  # noqa: E402

from tfalign.environments import (  # noqa: E402
    GPTPolicy,
    TextGenerationPyEnvironment,
    TextGenerationTFEnvironment,
)

V, R = 9, 4
PROMPTS = Prompts(np.array([[3, 4], [5, 6]], "int32"), np.ones((2, 2), "bool"))
FACES = [TextGenerationPyEnvironment, TextGenerationTFEnvironment]


def _score(token_ids, padding_mask, response_mask):
    return np.zeros(len(token_ids), "float32")


@pytest.mark.slow
@pytest.mark.parametrize("temperature", with_slow([1e-30, 1e-38, 1e-45], [1e-38]))
def test_the_policy_says_what_greedy_says_with_log_prob_zero(temperature):
    model = CausalLM(GPTConfig(V, 8, 1, 2, max_positions=8, initializer_range=0.5))
    expected = Generator(model, R, Greedy())(*PROMPTS).tokens
    mdp = TextGenerationMDP(PROMPTS, _score, max_new_tokens=R, vocab_size=V)
    environment = TextGenerationPyEnvironment(mdp, 2)
    specs = environment.time_step_spec(), environment.action_spec()
    policy = GPTPolicy(model, *specs, R, Sampler(temperature))
    step, state = environment.begin([0, 1]), policy.get_initial_state(2)
    for column in range(R):
        step = tf.nest.map_structure(tf.convert_to_tensor, step)
        logits = policy.distribution(step, state).action.logits
        assert not np.isnan(np.asarray(logits)).any()
        action = policy.action(step, state)
        np.testing.assert_array_equal(action.action, expected[:, column])
        np.testing.assert_array_equal(action.info["log_probability"], [0, 0])
        step, state = environment.step(action.action.numpy()), action.state


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_python_environment_is_copied_where_it_stands(again):
    environment = TextGenerationPyEnvironment(repeat_prompt(), 3, seed=4)
    environment.reset()
    environment.step(np.array([2, 3, 1]))
    other = again(environment)
    for actions in ([2, 2, 2], [3, 3, 3], [1, 1, 1], [2, 3, 4]):
        expected, found = (x.step(np.array(actions)) for x in (environment, other))
        tf.nest.map_structure(np.testing.assert_array_equal, expected, found)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("indices", [[0, 4], [-1, 0], [10**6, 1]])
def test_a_prompt_that_there_is_not(face, indices):
    environment = face(repeat_prompt(), 2)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"\[0, 4\)"):
        environment.begin(indices)
    environment.reset()


@pytest.mark.parametrize("face", FACES)
def test_a_batch_size_that_is_no_number(face):
    with pytest.raises(ValueError, match="must be a whole number"):
        face(repeat_prompt(), 1.5)


def test_a_second_thread_is_refused():
    within, leave = threading.Event(), threading.Event()

    def slow(token_ids, padding_mask, response_mask):
        within.set()
        assert leave.wait(60)
        return np.ones(len(token_ids))

    mdp = TextGenerationMDP(PROMPTS, slow, max_new_tokens=R, vocab_size=V, stop_tokens=(1,))
    environment = TextGenerationPyEnvironment(mdp)
    environment.reset()
    earned = []
    first = threading.Thread(target=lambda: earned.append(float(environment.step(1).reward)))
    first.start()
    assert within.wait(60)
    for call in (lambda: environment.step(1), environment.reset, lambda: environment.begin(0)):
        with pytest.raises(SharedUseError, match="Another thread is in the middle of a call"):
            call()
    leave.set()
    first.join()
    assert earned == [1.0]


def test_a_second_thread_is_refused_by_the_environment_in_graph():
    environment = TextGenerationTFEnvironment(repeat_prompt(), 2)
    environment.reset()
    refused = []

    def step():
        try:
            environment.step(tf.constant([2, 3]))
        except SharedUseError as error:
            refused.append(str(error))

    with environment._alone:
        other = threading.Thread(target=step)
        other.start()
        other.join()
    assert len(refused) == 1 and "Another thread" in refused[0]
    environment.step(tf.constant([2, 3]))

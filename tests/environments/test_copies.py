"""An environment goes on from where it stood: copied, pickled, or begun in a process of its own."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign.environments import (
    HostReward,
    KLPenalty,
    LearnedUser,
    ScriptedUser,
    TextGenerationEnv,
    TextGenerationMDP,
    TextGenerationVectorEnv,
)
from tfalign.environments.tasks import repeat_prompt
from tfalign.models import CausalLM, GPTConfig
from tfalign.types import Prompts

V, STOP = 8, 4
CONFIG = GPTConfig(V, 8, 1, 2, max_positions=32, initializer_range=0.5)
PROMPTS = Prompts(np.array([[1, 2], [0, 5]], "int32"), np.array([[1, 1], [0, 1]], "bool"))


def length(token_ids, padding_mask, response_mask):
    """A score that pickle finds."""
    return ops.sum(ops.cast(response_mask, "float32"), axis=1)


def _mdp(**changes):
    settings = {"score": length, "max_new_tokens": 8, "vocab_size": V, "stop_tokens": (STOP,)}
    return TextGenerationMDP(PROMPTS, **(settings | changes))


PROCESSES = {
    "the task": repeat_prompt,
    "a script": lambda: _mdp(user=ScriptedUser([[7], [5, 6]])),
    "models": lambda: _mdp(
        user=LearnedUser(CausalLM(CONFIG), 2, 2, (3,)),
        penalty=KLPenalty(CausalLM(CONFIG), CausalLM(CONFIG), 0.1),
    ),
}


def _pickled(x):
    return pickle.loads(pickle.dumps(x))


def _walk(env, actions, one):
    out = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(one(action))
        out.append((observation["token_ids"], reward, terminated, truncated, info["score"]))
        if np.all(terminated | truncated):
            observation, _ = env.reset()
            out.append(observation["token_ids"])
    return out


FACES = {
    "single": (lambda mdp: TextGenerationEnv(mdp, render_mode="ansi"), int),
    "vector": (lambda mdp: TextGenerationVectorEnv(2, mdp), lambda a: np.array([a, 1])),
    "wrapped": (lambda mdp: HostReward(TextGenerationEnv(mdp), length), int),
}


@pytest.mark.parametrize(
    "again", with_slow([copy.deepcopy, _pickled], [copy.deepcopy]), ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("process", PROCESSES)
def test_a_copy_goes_on_alike_and_by_itself(process, face, again):
    make, one = FACES[face]
    env = make(PROCESSES[process]())
    env.reset(seed=3)
    env.step(one(2))
    other, untouched = again(env), again(env)
    expected = _walk(env, [3, STOP, 1, 1, 2], one)  # to the end, and into the next episode
    for copied in (other, untouched):
        for mine, theirs in zip(expected, _walk(copied, [3, STOP, 1, 1, 2], one), strict=True):
            for x, y in zip(mine, theirs):
                np.testing.assert_allclose(x, y, atol=1e-5)


def test_a_copy_before_the_first_reset():
    env = TextGenerationEnv(repeat_prompt())
    for copied in (copy.deepcopy(env), _pickled(env)):
        np.testing.assert_array_equal(
            copied.reset(seed=1)[0]["token_ids"], env.reset(seed=1)[0]["token_ids"]
        )


SCRIPT = """
import sys, gymnasium, numpy as np, tfalign
from tfalign.environments.tasks import repeat_prompt
if __name__ == "__main__":
    context, warm = sys.argv[1:]
    if warm == "warm":
        import tensorflow as tf
        tf.zeros(3)
    env = gymnasium.make_vec("tfalign/TextGeneration-v0", num_envs=2, vectorization_mode="async",
                             vector_kwargs={"context": context}, mdp=repeat_prompt())
    try:
        observation, _ = env.reset(seed=0, options={"prompt_index": 1})
        print([env.step(np.array([3, 2]))[1].tolist() for _ in range(4)][-1])
    except RuntimeError as error:
        print(error)
    env.close(terminate=True)
"""


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "context, warm, said",
    [
        pytest.param("spawn", "warm", "[4.0, 0.0]", marks=pytest.mark.slow),
        pytest.param("fork", "cold", "[4.0, 0.0]", marks=pytest.mark.slow),
        ("fork", "warm", "forked after TensorFlow had started"),
    ],
)
def test_processes_of_their_own(context, warm, said):
    """Begun anew, or forked before anything ran; a later fork would hang, and says so instead."""
    program = [sys.executable, "-c", SCRIPT, context, warm]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert said in done.stdout, done.stderr[-2000:]

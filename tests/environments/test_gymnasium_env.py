"""The single Gymnasium environment: their own checker, and what it says when it is misused."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from keras import ops

import tfalign  # noqa: F401  (registers the id)
from tfalign.environments import ScriptedUser, TextGenerationEnv, TextGenerationMDP
from tfalign.types import Prompts

ID = "tfalign/TextGeneration-v0"
PROMPTS = Prompts(
    np.array([[1, 2, 3], [0, 5, 3], [0, 0, 6]], "int32"),
    np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]], "bool"),
)
STOP = 4


def _score(token_ids, padding_mask, response_mask):
    return ops.sum(ops.cast(response_mask, "float32"), axis=1)


def _no_token_twice(state):
    """An action mask: what has been said is not said again; the stop token always may be."""
    is_token = state.token_ids[..., None] == ops.arange(8)
    said = ops.any(is_token & state.padding_mask[..., None], axis=1)
    return ~said | (ops.arange(8) == STOP)[None, :]


def _mdp(**changes):
    settings = {"max_new_tokens": 4, "vocab_size": 8, "stop_tokens": (STOP,)}
    return TextGenerationMDP(PROMPTS, **({"score": _score} | settings | changes))


PROCESSES = {
    "single turn": _mdp(),
    "multi-turn": _mdp(user=ScriptedUser([[7], [5, 6]]), max_new_tokens=8),
    "shaped": _mdp(potential=lambda state: ops.cast(state.response_length, "float32"), gamma=0.9),
    "penalised": _mdp(penalty=lambda state, actions: 0.1 * ops.cast(actions, "float32")),
}
NO_TOKEN_TWICE = _mdp(allowed_tokens=_no_token_twice)


def _check(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


@pytest.mark.parametrize("name", PROCESSES)
def test_gymnasium_finds_nothing_wrong(name):
    env = gymnasium.make(ID, mdp=PROCESSES[name], render_mode="ansi")
    assert env.unwrapped.mdp is PROCESSES[name]
    _check(env.unwrapped)


class _Allowed(gymnasium.spaces.Discrete):
    """The checker samples without a mask: here, what every prompt allows."""

    def sample(self, mask=None, probability=None):
        return super().sample(np.array([1, 0, 0, 0, 1, 0, 0, 1], "int8"))


def test_gymnasium_finds_nothing_wrong_with_an_action_mask():
    env = gymnasium.make(ID, mdp=NO_TOKEN_TWICE).unwrapped
    env.action_space = _Allowed(8)
    _check(env)


def test_it_is_made_without_arguments():
    env = gymnasium.make(ID)
    check_env(env.unwrapped, skip_render_check=True)
    observation, info = env.reset(options={"prompt_index": 1})
    np.testing.assert_array_equal(observation["token_ids"], [3, 0, 0, 0, 0])
    for action in (3, 3, 2):
        assert env.step(action)[1:4] == (0.0, False, False)
    observation, reward, terminated, truncated, info = env.step(3)
    assert (reward, terminated, truncated, info["score"]) == (3.0, True, False, 3.0)


def test_import_is_light():
    """The id is known, and no deep-learning framework has been imported."""
    program = (
        "import sys, tfalign, gymnasium\n"
        f"assert {ID!r} in gymnasium.registry\n"
        "print([m for m in ('keras', 'tensorflow', 'tf_agents', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_episode_is_as_worked_by_hand():
    env = TextGenerationEnv(PROCESSES["multi-turn"], render_mode="ansi", decode=_spell)
    observation, info = env.reset(options={"prompt": [2, 6]})
    np.testing.assert_array_equal(observation["token_ids"], [0, 2, 6] + [0] * 8)
    np.testing.assert_array_equal(observation["padding_mask"], [0, 1, 1] + [0] * 8)
    assert observation in env.observation_space
    assert info["response_length"] == 0 and info["score"] == 0.0
    assert env.render() == "prompt:   cg\nresponse: \nreward:   +0.000"
    observation, reward, terminated, truncated, info = env.step(np.int64(3))
    assert (reward, terminated, truncated) == (0.0, False, False)
    observation, reward, terminated, truncated, info = env.step(STOP)
    np.testing.assert_array_equal(observation["token_ids"], [0, 2, 6, 3, 4, 7] + [0] * 5)
    np.testing.assert_array_equal(info["response_mask"], [1, 1, 0, 0, 0, 0, 0, 0])
    assert info["response_length"] == 3 and not terminated
    env.step(STOP)
    observation, reward, terminated, truncated, info = env.step(STOP)
    np.testing.assert_array_equal(observation["token_ids"], [0, 2, 6, 3, 4, 7, 4, 5, 6, 4, 0])
    assert (reward, terminated, truncated, info["score"]) == (4.0, True, False, 4.0)
    assert env.render() == "prompt:   cg\nresponse: dehefge (terminated)\nreward:   +4.000"


def _spell(ids):
    return "".join("abcdefgh"[i] for i in ids)


def test_prompts_are_drawn_by_seed():
    env = TextGenerationEnv(_mdp())

    def draws(seed):
        first = env.reset(seed=seed)[0]["token_ids"]
        return [tuple(first), *(tuple(env.reset()[0]["token_ids"]) for _ in range(9))]

    assert draws(0) == draws(0) != draws(1)
    assert len(set(draws(0))) == 3


def test_the_action_mask_says_what_is_allowed():
    env = TextGenerationEnv(NO_TOKEN_TWICE)
    _, info = env.reset(options={"prompt_index": 1})
    np.testing.assert_array_equal(info["action_mask"], [1, 1, 1, 0, 1, 0, 1, 1])
    *_, info = env.step(7)
    np.testing.assert_array_equal(info["action_mask"], [1, 1, 1, 0, 1, 0, 1, 0])
    assert env.action_space.sample(info["action_mask"]) not in (3, 5, 7)
    with pytest.raises(ValueError, match="row 0 is not allowed in its state. Received: 3"):
        env.step(3)
    env.step(STOP)


def _finishes(env):
    """The environment is still usable: a whole episode passes."""
    env.reset(seed=0)
    while True:
        _, reward, terminated, truncated, _ = env.step(1)
        if terminated or truncated:
            return reward == 4.0


@pytest.mark.parametrize("action", [8, -1, 100])
def test_an_action_outside_the_vocabulary(action):
    env = TextGenerationEnv(_mdp())
    before, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match=f"row 0 is outside the vocabulary of 8. .*: {action}$"):
        env.step(action)
    after, *_ = env.step(1)  # the episode stands where it stood
    assert after["padding_mask"].sum() == before["padding_mask"].sum() + 1
    assert _finishes(env)


@pytest.mark.parametrize("action", [1.5, [1], None])
def test_an_action_that_is_no_integer(action):
    env = TextGenerationEnv(_mdp())
    env.reset()
    with pytest.raises(ValueError, match=r"Actions are int\[1\]"):
        env.step(action)
    assert _finishes(env)


def test_a_step_before_the_first_reset_and_after_the_end():
    env = TextGenerationEnv(_mdp())
    with pytest.raises(gymnasium.error.ResetNeeded, match="before the first reset"):
        env.step(1)
    assert _finishes(env)
    with pytest.raises(gymnasium.error.ResetNeeded, match="The episode of row 0 is over"):
        env.step(1)
    assert _finishes(env)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"prompt": []}, "row 0 must have 1 to 3 tokens. Received: 0"),
        ({"prompt": [1, 2, 3, 5]}, "row 0 must have 1 to 3 tokens. Received: 4"),
        ({"prompt": [1, 8]}, r"row 0 has an id outside the vocabulary of 8. Received: \[1, 8\]"),
        ({"prompt_index": 3}, r"must lie in \[0, 3\)"),
        ({"prompt_index": 0, "prompt": [1]}, "options has"),
        ({"promt": [1]}, "options has"),
    ],
)
def test_a_prompt_that_cannot_begin_an_episode(options, message):
    env = TextGenerationEnv(_mdp())
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)
    assert _finishes(env)


def test_a_prompt_as_long_as_the_limit():
    with pytest.raises(ValueError, match="The prompt of row 0 is too long: 3 tokens"):
        _mdp(max_length=3, max_new_tokens=1)
    env = TextGenerationEnv(_mdp(max_length=7))
    assert _finishes(env)


def test_a_reward_that_is_not_a_number():
    scores = [np.nan, 4.0]

    def score(token_ids, padding_mask, response_mask):
        return np.array([scores.pop(0)], "float32")

    env = TextGenerationEnv(_mdp(score=score))
    env.reset()
    with pytest.raises(ValueError, match="The reward of row 0 is not finite. Received: nan"):
        env.step(STOP)
    assert _finishes(env)


def test_a_render_mode_that_it_lacks():
    """Agents' helpers try "rgb_array" on whatever they make, and must get their environment."""
    with pytest.warns(UserWarning, match="not in the possible render_modes"):
        env = gymnasium.make(ID, render_mode="rgb_array", disable_env_checker=True)
    env.reset()
    assert env.unwrapped.render() is None

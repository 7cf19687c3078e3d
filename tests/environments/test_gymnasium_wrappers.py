"""A host-side reward is added to the last reward of an episode, and to no other."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.sampling import with_slow
from tfalign.environments import (
    HostReward,
    ScriptedUser,
    TextGenerationEnv,
    TextGenerationMDP,
    TextGenerationVectorEnv,
    VectorHostReward,
)
from tfalign.environments.tasks import repeat_prompt
from tfalign.rewards import TextReward
from tfalign.types import Prompts

B, V, STOP = 3, 6, 4
PROMPTS = Prompts(np.array([[1, 2], [0, 5]], "int32"), np.array([[1, 1], [0, 1]], "bool"))


def _hundred_a_token(token_ids, padding_mask, response_mask):
    """Of the policy's own tokens."""
    assert token_ids.shape[1] == padding_mask.shape[1] == 2 + response_mask.shape[1]
    return 100.0 * response_mask.sum(axis=1)


def _mdp():
    return TextGenerationMDP(
        PROMPTS,
        lambda *_: np.ones(len(_[0]), "float32"),
        max_new_tokens=4,
        vocab_size=V,
        stop_tokens=(STOP,),
        user=ScriptedUser([[5]]),
    )


def test_the_last_step_earns_it():
    env = HostReward(TextGenerationEnv(_mdp()), _hundred_a_token)
    env.reset(seed=0)
    assert [env.step(action)[1] for action in (1, STOP, STOP)] == [0.0, 0.0, 301.0]


def test_it_sees_texts():
    asked = []

    def reward(prompt, response):
        asked.append((prompt, response))
        return 0.5

    def decode(ids):
        return "".join("abcdef"[i] for i in ids)

    env = HostReward(TextGenerationEnv(_mdp()), TextReward(reward, decode))
    env.reset(options={"prompt_index": 1})
    rewards = [env.step(action)[1] for action in (1, STOP, STOP)]
    assert rewards == [0.0, 0.0, 1.5] and asked == [("f", "e")]  # what was said last


@pytest.mark.parametrize("mode", with_slow(AutoresetMode, [AutoresetMode.NEXT_STEP]))
def test_the_vector_wrapper_is_the_wrapper_of_every_row(mode):
    ours = VectorHostReward(TextGenerationVectorEnv(B, _mdp(), mode), _hundred_a_token)
    over_sync = VectorHostReward(
        SyncVectorEnv([lambda: TextGenerationEnv(_mdp())] * B, autoreset_mode=mode),
        _hundred_a_token,
    )
    theirs = SyncVectorEnv(
        [lambda: HostReward(TextGenerationEnv(_mdp()), _hundred_a_token)] * B, autoreset_mode=mode
    )
    random, earned = np.random.default_rng(0), 0.0
    for vector in (ours, over_sync, theirs):
        vector.reset(seed=1)
    for _ in range(20):
        actions = random.integers(V, size=B)
        results = [vector.step(actions) for vector in (ours, over_sync, theirs)]
        for _, rewards, terminations, truncations, _ in results:
            np.testing.assert_array_equal(rewards, results[2][1])
            ended = terminations | truncations
            np.testing.assert_array_equal(rewards > 0, ended)
        earned += rewards.sum()
        if mode == AutoresetMode.DISABLED and ended.any():
            for vector in (ours, over_sync, theirs):
                vector.reset(options={"reset_mask": ended})
    assert earned > 1_000


def test_a_reward_that_is_not_a_number_is_named():
    rewards = iter([[np.nan], [1.0]])
    env = HostReward(TextGenerationEnv(repeat_prompt()), lambda *_: next(rewards))
    for expected in (None, 1.0):
        env.reset()
        if expected is None:
            with pytest.raises(ValueError, match="The reward of row 0 is not finite. .* nan"):
                env.step(1)
        else:
            assert env.step(1)[1] == expected
    rewards = iter([[0.0, np.nan]])
    vector = VectorHostReward(TextGenerationVectorEnv(B, repeat_prompt()), lambda *_: next(rewards))
    vector.reset()
    with pytest.raises(ValueError, match="The reward of row 2 is not finite"):
        vector.step(np.array([1, 2, 1]))

"""The vector environment is Gymnasium's own SyncVectorEnv of single ones, in one batch."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.sampling import with_slow
from tfalign.environments import (
    ScriptedUser,
    TextGenerationEnv,
    TextGenerationMDP,
    TextGenerationVectorEnv,
)
from tfalign.types import Prompts

ID = "tfalign/TextGeneration-v0"
B, V, STOP = 3, 6, 4
PROMPTS = Prompts(
    np.array([[1, 2, 3], [0, 5, 3], [0, 0, 5], [2, 2, 2]], "int32"),
    np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]], "bool"),
)


def _score(token_ids, padding_mask, response_mask):
    """Python on the host: a different number for every text."""
    ids = np.where(np.asarray(padding_mask), np.asarray(token_ids), 0)
    return (ids * np.linspace(1, 2, ids.shape[1])).sum(axis=1).astype("float32")


def _mdp(**changes):
    settings = {"score": _score, "max_new_tokens": 4, "vocab_size": V, "stop_tokens": (STOP,)}
    return TextGenerationMDP(PROMPTS, **(settings | changes))


PROCESSES = {
    "single turn": _mdp(),
    "multi-turn": _mdp(user=ScriptedUser([[3], [5, 2]]), max_new_tokens=7),
}


def _same(ours, theirs):
    """Same keys, values, dtypes and shapes, all the way down."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for name in ours:
            _same(ours[name], theirs[name])
    elif isinstance(ours, np.ndarray) and ours.dtype == object:
        for mine, other in zip(ours, theirs):
            _same(mine, other)
    else:
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("mode", with_slow(AutoresetMode, [AutoresetMode.NEXT_STEP]))
def test_equals_gymnasiums_own_vector_of_single_environments(mode, name):
    mdp = PROCESSES[name]
    ours = TextGenerationVectorEnv(B, mdp, mode, render_mode="ansi")
    theirs = SyncVectorEnv(
        [lambda: TextGenerationEnv(mdp, render_mode="ansi")] * B, autoreset_mode=mode
    )
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.metadata == theirs.metadata
    for mine, other in zip(ours.reset(seed=5), theirs.reset(seed=5)):
        _same(mine, other)
    endings, random = 0, np.random.default_rng(0)
    for _ in range(25):
        actions = random.integers(V, size=B)
        results = ours.step(actions), theirs.step(actions)
        for mine, other in zip(*results):
            _same(mine, other)
        assert results[0][0] in ours.observation_space
        assert ours.render() == theirs.render()
        ended = results[0][2] | results[0][3]
        endings += ended.sum()
        if mode == AutoresetMode.DISABLED and ended.any():
            resets = [v.reset(options={"reset_mask": ended}) for v in (ours, theirs)]
            _same(resets[0][0], resets[1][0])
            _same(resets[0][1], resets[1][1])
    assert endings > 5


def test_seeds_may_be_a_list():
    ours = TextGenerationVectorEnv(B, PROCESSES["single turn"])
    theirs = SyncVectorEnv([lambda: TextGenerationEnv(PROCESSES["single turn"])] * B)
    for seed in ([7, 3, 7], [1, None, 2], None):
        _same(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
    with pytest.raises(ValueError, match="seed must have 3 entries. Received: 2"):
        ours.reset(seed=[1, 2])


def test_it_is_made_by_its_id():
    vector = gymnasium.make_vec(ID, num_envs=B, mdp=PROCESSES["single turn"])
    assert isinstance(vector.unwrapped, TextGenerationVectorEnv)
    assert vector.unwrapped.mdp is PROCESSES["single turn"]
    assert gymnasium.make_vec(ID, num_envs=2).reset(seed=0)[0]["token_ids"].shape == (2, 5)
    by_gymnasium = gymnasium.make_vec(ID, num_envs=B, vectorization_mode="sync")
    _same(gymnasium.make_vec(ID, num_envs=B).reset(seed=0)[0], by_gymnasium.reset(seed=0)[0])


def test_gymnasiums_own_wrappers_work_on_it():
    vector = TextGenerationVectorEnv(B, PROCESSES["single turn"])
    vector = gymnasium.wrappers.vector.RecordEpisodeStatistics(vector)
    vector = gymnasium.wrappers.vector.DictInfoToList(vector)
    vector.reset(seed=0)
    *_, infos = vector.step(np.full(B, STOP))
    assert [info["episode"]["l"] for info in infos] == [1, 1, 1]
    assert [info["episode"]["r"] for info in infos] == [info["score"] for info in infos]


def test_prompts_may_be_chosen_by_row():
    vector = TextGenerationVectorEnv(B, PROCESSES["single turn"])
    observations, _ = vector.reset(options={"prompt_index": np.array([3, 0, 1])})
    np.testing.assert_array_equal(observations["token_ids"][:, :3], PROMPTS.token_ids[[3, 0, 1]])


def _finishes(vector):
    vector.reset(seed=0)
    for _ in range(4):
        _, _, terminations, truncations, _ = vector.step(np.full(B, 1))
    return truncations.all()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_errors_name_the_row_and_leave_it_usable(mode):
    vector = TextGenerationVectorEnv(B, PROCESSES["single turn"], mode)
    with pytest.raises(gymnasium.error.ResetNeeded, match="before the first reset"):
        vector.step(np.full(B, 1))
    vector.reset()
    with pytest.raises(ValueError, match="row 2 is outside the vocabulary of 6. Received: 6"):
        vector.step(np.array([0, 5, 6]))
    with pytest.raises(ValueError, match=r"Actions are int\[3\]. Received: int64\[2\]"):
        vector.step(np.array([0, 5]))
    for options in ({"prompt": []}, {"prompt": [1] * 4}, {"reset_mask": np.ones(2, "bool")}):
        with pytest.raises(ValueError, match="Received"):
            vector.reset(options=options)
    assert _finishes(vector)


def test_without_automatic_resets_a_row_that_is_over_is_named():
    vector = TextGenerationVectorEnv(B, PROCESSES["single turn"], AutoresetMode.DISABLED)
    vector.reset()
    vector.step(np.array([1, STOP, 1]))
    with pytest.raises(gymnasium.error.ResetNeeded, match="The episode of row 1 is over"):
        vector.step(np.full(B, 1))
    vector.reset(options={"reset_mask": np.array([False, True, False])})
    vector.step(np.full(B, 1))


def test_a_reward_that_is_not_a_number():
    scores = iter([np.array([1, 2, np.inf], "float32"), np.ones(B, "float32")])
    vector = TextGenerationVectorEnv(B, _mdp(score=lambda *_: next(scores)))
    vector.reset()
    with pytest.raises(ValueError, match="The reward of row 2 is not finite. Received: inf"):
        vector.step(np.full(B, STOP))
    assert _finishes(vector)

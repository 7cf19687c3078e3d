"""What cannot work is said in a sentence, at construction where it can be known."""

import threading

import gymnasium
import numpy as np
import pytest
from keras import ops

from tfalign.environments import (
    HostReward,
    KLPenalty,
    ScriptedUser,
    TextGenerationEnv,
    TextGenerationMDP,
    TextGenerationVectorEnv,
    VectorHostReward,
)
from tfalign.environments.tasks import repeat_prompt
from tfalign.rewards import TextReward
from tfalign.threads import SharedUseError
from tfalign.types import Prompts

V, STOP = 8, 4
PROMPTS = Prompts(
    np.array([[1, 2, 3], [0, 5, 3]], "int32"), np.array([[1, 1, 1], [0, 1, 1]], "bool")
)


def _score(token_ids, padding_mask, response_mask):
    return np.zeros(len(token_ids), "float32")


def _mdp(**changes):
    settings = {"score": _score, "max_new_tokens": 4, "vocab_size": V, "stop_tokens": (STOP,)}
    return TextGenerationMDP(**({"prompts": PROMPTS} | settings | changes))


TWO = np.ones((2, 3), "bool")


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"score": lambda text: 1.0},
            r"score is called as f\(token_ids, padding_mask, response_mask",
        ),
        ({"score": lambda prompt, response: 1.0}, r"Received: <lambda>\(prompt, response\)"),
        ({"score": lambda a, b, c, d: 1.0}, "score is called as"),
        ({"score": lambda *, a: 1.0}, "score is called as"),
        ({"score": 1.0}, "score is called as f.*Received: float"),
        ({"score": None}, "score is called as f.*Received: NoneType"),
        ({"user": lambda: None}, r"user is called as f\(state\)"),
        ({"allowed_tokens": lambda a, b: None}, r"allowed_tokens is called as f\(state\)"),
        ({"penalty": lambda state: 0.0}, r"penalty is called as f\(state, actions\)"),
        ({"potential": 3}, r"potential is called as f\(state\). Received: int"),
        ({"user": ScriptedUser([[1], [2, 9]])}, r"Line 1 .* vocabulary of 8. Received: \[2, 9\]"),
        ({"max_new_tokens": 1.5}, "max_new_tokens must be a whole number.*1.5"),
        ({"max_new_tokens": "4"}, "max_new_tokens must be a whole number"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"vocab_size": None}, "vocab_size must be a whole number"),
        ({"gamma": "1"}, r"gamma must lie in \[0, 1\]"),
        ({"stop_tokens": 4}, "stop_tokens is a sequence"),
        ({"stop_tokens": (1.5,)}, "must be ids of the vocabulary"),
        ({"pad_id": None}, "must be ids of the vocabulary"),
        ({"prompts": [[1, 2]]}, "prompts must be Prompts. Received: list"),
        ({"prompts": Prompts([[1.5, 2, 3]], TWO[:1])}, "row 0 has an id outside"),
        ({"prompts": Prompts([["a", "b", "c"]], TWO[:1])}, "must be token ids, int"),
        ({"prompts": Prompts([1, 2, 3], [True] * 3)}, "must be token ids, int"),
        ({"prompts": Prompts([[1, 2], [3]], TWO)}, "must be token ids, int"),
        ({"prompts": Prompts(np.zeros((0, 3), "int32"), TWO[:0])}, "at least one of each"),
        ({"prompts": Prompts([[1, 2, 3]], TWO)}, r"an entry for every id of the prompts, \[1, 3\]"),
        ({"prompts": Prompts([[1, 2**33, 3]], TWO[:1])}, "row 0 has an id outside"),
    ],
)
def test_a_process_that_cannot_run(changes, message):
    with pytest.raises(ValueError, match=message):
        _mdp(**changes)


@pytest.mark.parametrize("score", [max, repeat_prompt().score, TextReward(lambda p, r: 1.0, str)])
def test_functions_of_any_kind_are_taken(score):
    """Built-in ones that do not say what they take, functions, and objects that can be called."""
    assert _mdp(score=score).score is score


@pytest.mark.parametrize("make", [TextGenerationEnv, TextGenerationVectorEnv])
def test_what_is_no_process(make):
    with pytest.raises(ValueError, match="mdp must be a TextGenerationMDP. Received: Prompts"):
        make(mdp=PROMPTS)
    with pytest.raises(ValueError, match="num_rows must be a whole number. .*1.5"):
        TextGenerationVectorEnv(1.5)


@pytest.mark.parametrize(
    "prompt", [[1.5, 2], ["a"], "abc", 5, None, [[1, 2]], [[1], [2, 3]], {}, [True], [2.0]], ids=str
)
def test_a_prompt_that_is_no_list_of_ids(prompt):
    for env in (TextGenerationEnv(_mdp()), TextGenerationVectorEnv(2, _mdp())):
        with pytest.raises(ValueError, match="The prompt of row 0 must be a list of ids. Received"):
            env.reset(options={"prompt": prompt})
        env.reset()


@pytest.mark.parametrize("prompt", [[8], [-1], [2**31], [2**40], [2**31 + 1, 1]], ids=str)
def test_a_prompt_outside_the_vocabulary(prompt):
    env = TextGenerationEnv(_mdp())
    with pytest.raises(ValueError, match="of row 0 has an id outside the vocabulary of 8"):
        env.reset(options={"prompt": prompt})


@pytest.mark.parametrize(
    "index", ["0", 1.0, None, [0, 1, 1], [[0]], [[0], [1, 0]], {}, True], ids=str
)
def test_a_prompt_index_that_is_none(index):
    for env in (TextGenerationEnv(_mdp()), TextGenerationVectorEnv(2, _mdp())):
        with pytest.raises(ValueError, match="prompt_index must be the number of a prompt"):
            env.reset(options={"prompt_index": index})
        env.reset()


@pytest.mark.parametrize("index", [2, -1, 10**12])
def test_a_prompt_index_out_of_range(index):
    for env in (TextGenerationEnv(_mdp()), TextGenerationVectorEnv(2, _mdp())):
        with pytest.raises(ValueError, match=r"prompt_index must lie in \[0, 2\)"):
            env.reset(options={"prompt_index": index})


@pytest.mark.parametrize("options", [5, "prompt", [("prompt", [1])]])
def test_options_that_are_no_dict(options):
    with pytest.raises(ValueError, match="options has"):
        TextGenerationEnv(_mdp()).reset(options=options)
    with pytest.raises(ValueError, match="options must be a dict"):
        TextGenerationVectorEnv(2, _mdp()).reset(options=options)


@pytest.mark.parametrize("seed", [1.5, "11", {}, [1], [1, 2, 3]])
def test_seeds_of_another_kind(seed):
    with pytest.raises(ValueError, match="seed must (be an int or a list of them|have 2 entries)"):
        TextGenerationVectorEnv(2, _mdp()).reset(seed=seed)


@pytest.mark.parametrize(
    "make", [TextGenerationEnv, lambda **more: TextGenerationVectorEnv(2, **more)]
)
def test_rendering_before_the_first_reset(make):
    env = make(mdp=_mdp(), render_mode="ansi")
    with pytest.raises(gymnasium.error.ResetNeeded, match="render was called before the first"):
        env.render()
    env.reset()
    env.render()


@pytest.mark.parametrize(
    "scores", [1.0, [[1.0]], [1.0, 2.0], ["a"], None, [None], {"score": 1}], ids=str
)
def test_a_score_of_another_shape(scores):
    env = TextGenerationEnv(_mdp(score=lambda *texts: scores))
    env.reset()
    with pytest.raises(ValueError, match=r"A score is a number for every row, float\[1\]"):
        env.step(STOP)


def test_a_score_of_another_shape_in_a_compiled_step():
    from tfalign import backend

    mdp = _mdp(score=lambda ids, mask, response: ops.zeros((ids.shape[0], 1)))
    with pytest.raises(ValueError, match="A score is a number for every row"):
        backend.jit(mdp.step)(mdp.initial(np.array([0, 1])), np.array([1, STOP]))


@pytest.mark.parametrize("function", [lambda text: 1.0, 5, lambda prompt, response: 0.0])
def test_a_host_reward_of_the_wrong_arity(function):
    with pytest.raises(ValueError, match=r"reward is called as f\(token_ids, padding_mask, resp"):
        HostReward(TextGenerationEnv(_mdp()), function)
    with pytest.raises(ValueError, match="reward is called as"):
        VectorHostReward(TextGenerationVectorEnv(2, _mdp()), function)


@pytest.mark.parametrize("function", [lambda text: 1.0, 5, lambda a, b, c, d: 0.0])
def test_a_reward_of_texts_of_the_wrong_arity(function):
    with pytest.raises(ValueError, match=r"A reward is called as \(prompt, response\) or"):
        TextReward(function, str)


def test_a_host_reward_of_another_shape():
    env = HostReward(TextGenerationEnv(_mdp()), lambda *texts: 1.0)
    env.reset()
    with pytest.raises(ValueError, match=r"A reward is a number for every text, float\[1\]"):
        env.step(STOP)


@pytest.mark.parametrize(
    "heard, message",
    [
        ((np.full((1, 1), 8), np.ones(1, "int32")), "user says in row 0 .* of 8. Received: .8."),
        ((np.full((1, 1), -1), np.ones(1, "int32")), "user says in row 0"),
        (np.full((1, 1), 5), "A user returns"),
        (None, "A user returns .*NoneType"),
    ],
)
def test_a_user_who_says_what_cannot_be_read(heard, message):
    env = TextGenerationEnv(_mdp(user=lambda state: heard))
    env.reset()
    before = env.episodes.state
    with pytest.raises(ValueError, match=message):
        env.step(STOP)
    assert env.episodes.state is before


@pytest.mark.parametrize("mask", [np.ones(V, "bool"), np.ones((1, 3), "bool"), np.ones((1, V))])
def test_an_action_mask_of_another_shape(mask):
    env = TextGenerationEnv(_mdp(allowed_tokens=lambda state: mask))
    with pytest.raises(ValueError, match=r"allowed_tokens returns bool\[1, 8\]"):
        env.reset()


def test_a_second_thread_is_refused_in_the_middle_of_a_step():
    within, leave = threading.Event(), threading.Event()

    def slow(token_ids, padding_mask, response_mask):
        within.set()
        assert leave.wait(60)
        return np.ones(len(token_ids))

    for env, action in (
        (TextGenerationEnv(_mdp(score=slow), render_mode="ansi"), STOP),
        (TextGenerationVectorEnv(1, _mdp(score=slow), render_mode="ansi"), np.array([STOP])),
    ):
        within.clear(), leave.clear()
        env.reset(seed=0)
        earned = []
        first = threading.Thread(target=lambda: earned.append(env.step(action)[1]))  # noqa: B023
        first.start()
        assert within.wait(60)
        for call in (lambda: env.step(action), env.reset, env.render):  # noqa: B023
            with pytest.raises(SharedUseError, match="Another thread is in the middle of a call"):
                call()
        leave.set()
        first.join()
        assert float(np.sum(earned)) == 1.0
        env.reset()  # and now it is free


def test_many_threads_get_whole_episodes_or_a_refusal():
    env = TextGenerationEnv(_mdp(score=lambda ids, mask, own: own.sum(axis=1).astype("float32")))
    env.reset(seed=0)
    lengths, refused, wrong = [], [], []

    def walk():
        for _ in range(50):
            try:
                observation, reward, terminated, truncated, info = env.step(1)
            except SharedUseError:
                refused.append(1)
                continue
            except gymnasium.error.ResetNeeded:
                try:
                    env.reset()
                except SharedUseError:
                    refused.append(1)
                continue
            lengths.append(info["response_length"])
            written = observation["padding_mask"][3:].sum()
            if written != info["response_length"] or reward != (4.0 if truncated else 0.0):
                wrong.append((observation, reward, info))

    threads = [threading.Thread(target=walk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and lengths


def test_a_penalty_at_no_temperature():
    with pytest.raises(ValueError, match="temperature must be positive and finite"):
        KLPenalty(None, None, 1.0, temperature=0.0)

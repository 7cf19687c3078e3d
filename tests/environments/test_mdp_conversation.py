"""Several turns: what the user says is read, and carries no action, no log-prob and no KL."""

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.decoding import Greedy, generate
from tfalign.environments import LearnedUser, ScriptedUser, TextGenerationMDP, mdp
from tfalign.functional.masking import last_true_index
from tfalign.models import CausalLM, GPTConfig
from tfalign.types import NumberedPrompts, Prompts

STOP, PAD, R = 9, 0, 7
PROMPTS = Prompts(
    np.array([[1, 2], [5, 3], [4, 5], [6, 0]], "int32"),
    np.array([[1, 1], [0, 1], [1, 1], [1, 0]], "bool"),
)
LINES = [[11, 12], [13]]
# one column a step; what is ignored, because the row is over, is 0
ACTIONS = np.array(
    [
        [9, 3, 9, 9, 0, 0, 0],  # stops three times: two lines, then a silent user ends it
        [1, 2, 3, 4, 9, 0, 0],  # the first line fills the last two columns
        [1, 2, 3, 4, 5, 9, 0],  # one column is left: the line is cut
        [1, 2, 3, 4, 5, 6, 7],  # never stops
    ],
    "int32",
)
WRITTEN = [
    [9, 11, 12, 3, 9, 13, 9],
    [1, 2, 3, 4, 9, 11, 12],
    [1, 2, 3, 4, 5, 9, 11],
    [1, 2, 3, 4, 5, 6, 7],
]
OF_POLICY = np.array(
    [
        [1, 0, 0, 1, 1, 0, 1],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1],
    ],
    "bool",
)
TERMINATED = [True, False, False, False]


def _walk(step, state):
    """The last state and what each step earned, [B, R]."""
    rewards = []
    for actions in ACTIONS.T:
        following = step(state, actions)
        rewards.append(np.asarray(following.rewards))
        state = following.state
    return state, np.stack(rewards, axis=1)


def _score(token_ids, padding_mask, response_mask):
    return ops.sum(ops.cast(response_mask, "float32"), axis=1)


def _process(**changes):
    return TextGenerationMDP(
        **{
            "prompts": PROMPTS,
            "score": _score,
            "max_new_tokens": R,
            "vocab_size": 14,
            "stop_tokens": (STOP,),
            "user": ScriptedUser(LINES),
        }
        | changes
    )


@pytest.mark.parametrize("compile", [lambda f: f, backend.jit], ids=["eager", "compiled"])
def test_a_scripted_conversation_is_as_worked_by_hand(compile):
    process = _process(penalty=lambda state, actions: 0.25 * ops.ones(4))
    step = compile(process.step)
    state, rewards = _walk(step, process.initial(np.arange(4, dtype="int32")))
    np.testing.assert_array_equal(np.asarray(state.token_ids)[:, 2:], WRITTEN)
    np.testing.assert_array_equal(state.response_mask, OF_POLICY)
    np.testing.assert_array_equal(state.response_length, [7, 7, 7, 7])
    np.testing.assert_array_equal(state.terminated, TERMINATED)
    np.testing.assert_array_equal(state.truncated, ~np.array(TERMINATED))
    np.testing.assert_array_equal(state.user_turns, [2, 1, 1, 0])
    # the penalty is paid for the policy's own tokens, and for nothing that the user said
    own = OF_POLICY.sum(axis=1)
    np.testing.assert_allclose(rewards.sum(axis=1), own - 0.25 * own, atol=1e-6)
    if compile is backend.jit:
        assert step.traces == 1


def test_rows_hear_the_user_when_their_own_turn_ends():
    process = _process()
    state = process.initial(np.arange(4, dtype="int32"))
    state = process.step(state, ACTIONS[:, 0]).state
    np.testing.assert_array_equal(state.response_length, [3, 1, 1, 1])
    np.testing.assert_array_equal(np.asarray(state.padding_mask).sum(axis=1), [5, 2, 3, 2])
    assert not np.any(mdp.terminal(state))


def test_the_user_is_asked_in_steps_in_which_a_turn_ends():
    asked = []

    def user(state):
        asked.append(np.asarray(state.response_length).tolist())
        return np.full((4, 1), 11), np.ones(4, "int32")

    if keras.backend.backend() == "jax":
        pytest.skip("JAX traces what is not asked, too")
    _walk(_process(user=user).step, _process().initial(np.arange(4, dtype="int32")))
    assert [lengths[0] for lengths in asked] == [1, 4, 6, 7, 7]  # not in steps 2 and 7


@pytest.mark.parametrize("compile", [lambda f: f, backend.jit], ids=["eager", "compiled"])
def test_user_and_score_know_the_record_and_an_observation_does_not(compile):
    """Each prompt's record is a secret, which the user says and the score counts."""
    records = np.array([4, 8, 6, 2], "int32")

    def user(state):
        return state.records[:, None], ops.ones_like(state.records)

    def score(token_ids, padding_mask, response_mask, rows):
        return ops.where(response_mask, ops.cast(rows, "float32")[:, None], 0.0)

    score.takes_rows = True
    process = _process(prompts=NumberedPrompts(*PROMPTS, records), user=user, score=score)
    state = process.initial(np.arange(4, dtype="int32"))
    unknown = _process().initial(np.arange(4, dtype="int32"))
    assert (np.asarray(unknown.records) == -1).all()
    for x, y in zip(process.observation(state), process.observation(unknown)):
        np.testing.assert_array_equal(x, y)
    state, rewards = _walk(compile(process.step), state)
    response = np.asarray(state.token_ids)[:, 2:]
    users = np.asarray(state.written_mask) & ~np.asarray(state.response_mask)
    assert users.any(axis=1)[:3].all()
    np.testing.assert_array_equal(response[users], np.repeat(records, users.sum(axis=1)))
    own = np.asarray(state.response_mask).sum(axis=1)
    np.testing.assert_allclose(rewards.sum(axis=1), own * records)


@pytest.mark.parametrize("lines", [[], [[1], []]])
def test_a_script_without_words_is_refused(lines):
    with pytest.raises(ValueError, match="Received: lines="):
        ScriptedUser(lines)


CONFIG = GPTConfig(14, 8, 1, 2, max_positions=16, initializer_range=0.9)


@pytest.fixture(scope="module")
def models():
    keras.utils.set_random_seed(3)
    return CausalLM(CONFIG), CausalLM(CONFIG)


def _greedy_actions(policy, state):
    logits = policy(*mdp.observation(state)[:1], padding_mask=state.padding_mask)
    last = last_true_index(state.padding_mask)[:, None, None]
    return Greedy().choose(ops.take_along_axis(logits, last, axis=1)[:, 0], None)[0]


@pytest.mark.slow
def test_two_models_talk_as_the_decode_loop_makes_them(models):
    """Turn by turn, each continues all that has been said: the fused loop, taken in turns."""
    policy, talker = models
    stops = (9, 3, 12, 7, 1, 5)
    user = LearnedUser(talker, max_new_tokens=2, max_turns=2, stop_tokens=stops)
    process = _process(user=user, stop_tokens=stops, vocab_size=14)
    state = process.initial(np.arange(4, dtype="int32"))
    for _ in range(R):
        actions = np.asarray(_greedy_actions(policy, state))
        state = process.step(mdp.State(*map(np.asarray, state)), actions).state
    spoken = 0
    for row in range(4):
        text = PROMPTS.token_ids[row][PROMPTS.mask[row]].tolist()
        own, room, turns = [], R, 0
        while room:
            mine = _continue(policy, text, stops)[:room]
            text, own, room = text + mine, own + [True] * len(mine), room - len(mine)
            if not room or mine[-1] not in stops or turns == 2:
                break
            theirs = _continue(talker, text, stops)[: min(2, room)]
            text, own, room = text + theirs, own + [False] * len(theirs), room - len(theirs)
            turns += 1
        real = np.asarray(state.padding_mask)[row]
        assert np.asarray(state.token_ids)[row][real].tolist() == text
        assert np.asarray(state.response_mask)[row][: len(own)].tolist() == own
        assert int(np.asarray(state.user_turns)[row]) == turns
        spoken += turns
    assert spoken > 2, "the weights show no conversation"


def _continue(model, text, stops):
    prompt = [PAD] * (9 - len(text)) + text
    mask = np.array([[False] * (9 - len(text)) + [True] * len(text)])
    out = generate(model, [prompt], mask, max_new_tokens=R, sampler=Greedy(), stop_tokens=stops)
    return np.asarray(out.tokens)[0][np.asarray(out.mask)[0]].tolist()


def test_a_user_without_positions_says_so(models):
    process = _process(user=LearnedUser(models[1], max_new_tokens=8, max_turns=1))
    with pytest.raises(ValueError, match="needs 17 positions.*has 16"):
        process.step(process.initial(np.arange(4, dtype="int32")), np.full(4, STOP, "int32"))

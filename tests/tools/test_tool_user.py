"""Who answers a policy that calls tools: in published chat templates, and plainly."""

from __future__ import annotations

import numpy as np
import pytest

from tests.text.test_templates import style
from tfalign.functional.text_state import initial
from tfalign.text import Message, Tokenizer, encode_conversation, encode_reply, train_byte_bpe
from tfalign.tools import Call, Toolbox, ToolUser, format_of
from tfalign.types import NumberedPrompts

ASKED = [Message("user", "What is 2 + 2?")]
# those that know a role of tools, and what ends their turns
STYLES = {
    "chatml": "<|im_end|>",
    "llama31": "<|eot_id|>",
    "mistral": "</s>",
    "qwen25": "<|im_end|>",
    "qwen3": "<|im_end|>",
}


def ending(name):
    """The style's tokenizer, whose EOS is what ends a turn."""
    tokenizer = style(name)
    return Tokenizer(
        tokenizer.core, tokenizer.special_tokens | {"eos": STYLES[name]}, tokenizer.chat_template
    )


def add(a: int, b: int) -> int:
    """Adds.

    Args:
        a: a number.
        b: another.
    """
    return a + b


@pytest.fixture(scope="module")
def box():
    with Toolbox([add]) as box:
        yield box


@pytest.mark.parametrize("name", STYLES)
def test_a_conversation_with_results_is_the_template_s(box, name):
    """What was asked, what the policy said and what follows are, one after the other, the whole conversation."""
    tokenizer = ending(name)
    said = {"role": "assistant", "content": "Let me see."}
    results = [{"role": "tool", "name": "add", "content": "4", "tool_call_id": "call00000"}]
    told = {"tools": box.schemas}
    asked = encode_conversation(tokenizer, ASKED, True, **told).token_ids
    whole = encode_conversation(tokenizer, [*ASKED, said, *results], True, **told)
    reply = encode_reply(tokenizer, results, **told)
    turn = [*tokenizer.encode(" " * (name == "mistral") + "Let me see."), tokenizer.eos_id]
    assert whole.token_ids == [*asked, *turn, *reply]


def test_a_template_without_an_end_is_refused(box):
    with pytest.raises(ValueError, match="by no stop token"):
        ToolUser(box, style("chatml"), is_chat=True)


def talk(tokenizer, user, turns, rows=1):
    """What the user says after the turns of rows that all say the same: (texts, lengths)."""
    prompts = NumberedPrompts(np.full((rows, 2), 65), np.ones((rows, 2), "bool"), np.arange(rows))
    ids = sum(([*tokenizer.encode(turn), tokenizer.eos_id] for turn in turns), [])
    state = initial(prompts, 400)
    state = type(state)(*map(np.array, state))
    state.token_ids[:, 2 : 2 + len(ids)] = ids
    state.response_mask[:, : len(ids)] = True
    state.response_length[:] = len(ids)
    token_ids, lengths = user(state)
    return [tokenizer.decode(row[:n]) for row, n in zip(token_ids, lengths)], lengths


def test_calls_are_answered_and_counted(box):
    tokenizer = train_byte_bpe([], 259)
    user = ToolUser(box, tokenizer, max_turns=3)
    call = user.call_format.write([Call("add", {"a": 2, "b": 40})])
    assert talk(tokenizer, user, [call], 2)[0] == ["\n<tool_response>\n42\n</tool_response>\n"] * 2
    assert user.statistics() == {"tool_calls": 1.0, "bad_calls": 0.0}
    two = user.call_format.write([Call("add", {"a": 2}), Call("add", {"a": 1, "b": 1})])
    (text,), _ = talk(tokenizer, user, [call, two])
    assert "Error: Object missing required field `b`" in text and "\n2\n" in text
    assert user.statistics() == {"tool_calls": 2.0, "bad_calls": 0.5}


def test_an_answer_and_the_last_turn_end_the_row(box):
    tokenizer = train_byte_bpe([], 259)
    user = ToolUser(box, tokenizer, max_turns=2)
    call = user.call_format.write([Call("add", {"a": 2, "b": 40})])
    assert talk(tokenizer, user, ["It is 42."])[1].tolist() == [0]
    assert talk(tokenizer, user, [call, "It is 42."])[1].tolist() == [0]
    assert talk(tokenizer, user, [call, call])[1].tolist() == [0]
    assert user.statistics() == {"tool_calls": 0.0}


def test_in_a_chat_template_results_are_a_tool_s_message(box):
    tokenizer = ending("qwen25")
    user = ToolUser(box, tokenizer, is_chat=True)
    assert user.call_format is format_of(tokenizer.chat_template)
    call = user.call_format.write([Call("add", {"a": 2, "b": 40})])
    (text,), _ = talk(tokenizer, user, [call])
    assert text.strip().startswith("user\n<tool_response>\n42\n</tool_response>")
    assert text.endswith("assistant\n")


def test_what_a_tool_says_is_text_and_nothing_else(box):
    tokenizer = ending("qwen25")
    results = [
        {"role": "tool", "name": "add", "content": "<|im_end|>", "tool_call_id": "call00000"}
    ]
    honest = [results[0] | {"content": "x"}]
    special = tokenizer.eos_id
    counts = [encode_reply(tokenizer, said).count(special) for said in (results, honest)]
    assert counts[0] == counts[1]

"""Conversations to tokens, by the chat template a model was trained with.

A template is a Jinja program that comes with the model ("chat_template" in tokenizer_config.json, or
chat_template.jinja beside it). What users, models and tools said, and every other field of a message,
is text and nothing else: ``<|im_end|>`` in it is its letters, not the end of a turn. A special token is
only what the template itself wrote, letter by letter (``text.written``).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfalign.text import templates
from tfalign.text.templates import BEGIN, END
from tfalign.text.tokenizers import Tokenizer
from tfalign.text.written import Written, join, plain, written

ASSISTANT = "assistant"
# Roles by these names are the program's words, which a template may make a special token of, as in
# '<|' + role + '|>'. Any other role is somebody's text.
KNOWN_ROLES = frozenset(
    {
        "system",
        "developer",
        "user",
        ASSISTANT,
        "model",
        "tool",
        "function",
        "ipython",
        "observation",
        "environment",
    }
)
_REASONING = ("reasoning_content", "thinking", "reasoning")  # names of one field; the first counts


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str  # "system", "user", "assistant", or whatever the template knows
    content: str


class DetailedMessage(NamedTuple):
    """A turn that has more fields than two, such as calls of tools, or the call that a tool's result answers.

    >>> message_fields(DetailedMessage("tool", "3", '{"tool_call_id": "a"}'))
    {'role': 'tool', 'content': '3', 'tool_call_id': 'a'}
    """

    role: str
    content: str  # empty where a turn does nothing but call tools
    details: str  # the other fields, a JSON object


Conversation = tuple[Message | DetailedMessage, ...]


def message_fields(message: Message | DetailedMessage) -> dict[str, Any]:
    """The fields of a turn, as chat templates and JSON know it; without a content that is empty, where it calls tools."""
    fields = message._asdict()
    details = json.loads(fields.pop("details", "{}"))
    if not message.content and details.get("tool_calls"):
        del fields["content"]
    return fields | details


class EncodedConversation(NamedTuple):
    """Tokens of a conversation, and which of them the assistant has to say."""

    token_ids: list[int]
    from_assistant: list[bool]  # its words and the token that ends its turn


def render_conversation(
    tokenizer: Tokenizer,
    messages: Sequence[Message | Mapping],
    open_ended: bool = False,
    **variables: Any,
) -> str:
    """The text that a tokenizer's chat template makes of a conversation.

    Args:
        tokenizer: ``Tokenizer`` with a ``chat_template``.
        messages: the turns, in order: ``Message``, or a mapping with "role", "content" and whatever
            else the template knows ("name", "tool_calls" ...).
        open_ended: bool, end with what stands before the assistant's next turn.
        variables: further ones that the template asks for, such as ``tools``, a list of JSON schemas.

    Raises:
        ValueError: if there is no template, it is not one, or it refuses the conversation; or a
            message is not one.
    """
    return re.sub(f"[{BEGIN}{END}]", "", plain(_render(tokenizer, messages, open_ended, variables)))


def encode_conversation(
    tokenizer: Tokenizer,
    messages: Sequence[Message | Mapping],
    open_ended: bool = False,
    **variables: Any,
) -> EncodedConversation:
    """Token ids of a conversation, and which of them a model should learn to say.

    What stands before each of the assistant's turns has the tokens it has when a model is asked for
    that turn, so that learning and answering see the same. Nothing is added to what the template
    writes, a BOS neither.

    Args:
        tokenizer, messages, open_ended, variables: as for ``render_conversation``.

    Returns:
        EncodedConversation; with ``{% generation %}`` in the template what that encloses is the
        assistant's, else what its turns add to the text, up to the special token that ends them. Of a
        conversation that is open-ended nothing is, where the template rewrites its earlier turns.

    Raises:
        ValueError: as ``render_conversation``; or if the template, without ``{% generation %}``,
            writes an earlier turn in another way once the conversation goes on, and it is not open-ended.
    """
    marked = _render(tokenizer, messages, open_ended, variables)
    if BEGIN in marked:
        text, spans = _enclosed(marked)
    else:
        text, spans = marked, _added_by_turns(tokenizer, messages, marked, open_ended, variables)
    ids, starts = _tokens(tokenizer, text, [start for start, _ in spans])
    ending = set(filter(tokenizer.is_special, tokenizer.stop_ids))
    from_assistant = [False] * len(ids)
    for start, end in spans:
        inside = [place for place, at in enumerate(starts) if start <= at < end]
        ends = [place for place in inside if ids[place] in ending]
        for place in inside:
            from_assistant[place] = not ends or place <= ends[-1]
    return EncodedConversation(ids, from_assistant)


def encode_answer(
    tokenizer: Tokenizer, prompt: Sequence[Message | Mapping], answer: str, **variables: Any
) -> tuple[list[int], list[int]]:
    """A conversation that waits for the assistant, and one answer to it.

    Returns:
        (list of int, the prompt's ids, as ``encode_conversation(..., open_ended=True)`` has them;
        list of int, the answer's, up to the EOS where the template writes one).
    """
    asked = encode_conversation(tokenizer, prompt, open_ended=True, **variables).token_ids
    whole = encode_conversation(tokenizer, [*prompt, Message(ASSISTANT, answer)], **variables)
    answered = [at for at, said in enumerate(whole.from_assistant) if said and at >= len(asked)]
    return asked, whole.token_ids[len(asked) : answered[-1] + 1] if answered else []


def encode_reply(
    tokenizer: Tokenizer, replies: Sequence[Message | Mapping], **variables: Any
) -> list[int]:
    """What follows the token that ends an assistant's turn once others have replied, up to its next turn.

    Args:
        tokenizer, variables: as for ``render_conversation``.
        replies: the turns of others: the user's, tools' results.

    Returns:
        list of int.

    Raises:
        ValueError: as ``render_conversation``; or if the template ends the assistant's turn by no stop token.
    """
    asked, said = Message("user", "?"), Message(ASSISTANT, ".")
    before = _ends(tokenizer, encode_conversation(tokenizer, [asked], True, **variables))
    whole = encode_conversation(tokenizer, [asked, said, *replies], True, **variables)
    ends = _ends(tokenizer, whole)
    if len(ends) <= len(before):
        raise ValueError(
            "The chat template ends an assistant's turn by no stop token, so that what follows it cannot be told."
        )
    return whole.token_ids[ends[len(before)] + 1 :]


def tool_template(tokenizer: Tokenizer) -> str | None:
    """The chat template that writes conversations with tools: the one by the name of "tool_use", if there is one."""
    others = getattr(tokenizer, "other_templates", {})
    return others.get("tool_use", tokenizer.chat_template)


def _ends(tokenizer, encoded):
    """Where the tokens stand that end a turn."""
    stops = set(tokenizer.stop_ids)
    return [place for place, token_id in enumerate(encoded.token_ids) if token_id in stops]


def _render(tokenizer, messages, open_ended, variables):
    """What the template writes, with BEGIN and END where it says what the assistant's is."""
    has_tools = variables.get("tools") is not None
    template = tool_template(tokenizer) if has_tools else tokenizer.chat_template
    if template is None:
        raise ValueError(
            "The tokenizer has no chat template; conversations need one ("
            '"chat_template" in tokenizer_config.json).'
        )
    try:
        shown = [_fields(message, number) for number, message in enumerate(messages, start=1)]
        given = {name: _data(value, f"The template's {name}") for name, value in variables.items()}
    except RecursionError:
        raise ValueError("A message or a variable of the template is nested too deeply.") from None
    try:
        return templates.render(
            template,
            tokenizer.template_tokens,
            given | {"messages": shown, "add_generation_prompt": bool(open_ended)},
        )
    except Exception as error:  # noqa: BLE001 (it is a program, and may raise anything)
        said = ", ".join(map(plain, (message["role"] for message in shown)))
        raise ValueError(
            f"The chat template refuses turns of {said or 'nobody'}: {error}"
        ) from None


def _fields(message, number):
    """A message as a template sees it: without fields that are None, as transformers has it."""
    fields = message_fields(message) if isinstance(message, Message | DetailedMessage) else message
    if not isinstance(fields, Mapping):
        raise ValueError(
            f"Message {number} must have a role and a content. Received: {type(message).__name__}"
        )
    fields = {key: value for key, value in fields.items() if value is not None}
    for key in ("role", "content"):
        value = fields.get(key)
        if not isinstance(value, str) and (
            key == "role" or "content" in fields or "tool_calls" not in fields
        ):
            raise ValueError(
                f"The {key} of message {number} must be a str. Received: {type(value).__name__}"
            )
    fields = _data(fields, "A message")
    reasoning = [fields[key] for key in _REASONING if key in fields]
    if reasoning:
        fields = {"thinking": reasoning[0]} | fields | {"reasoning_content": reasoning[0]}
    if fields["role"] in KNOWN_ROLES:
        fields["role"] = written(fields["role"])
    return fields


def _data(value, what):
    """A value that came from outside, made of JSON's types alone; its strings are nobody's own."""
    if isinstance(value, str):
        if BEGIN in value or END in value:
            raise ValueError(f"{what} must not hold the noncharacters U+FDD0 and U+FDD1.")
        return plain(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {_data(key, what): _data(inner, what) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_data(inner, what) for inner in value]
    raise ValueError(
        f"{what} must be made of texts, numbers, lists and objects. Received: {type(value).__name__}"
    )


def _enclosed(marked):
    """The text without the marks of ``{% generation %}``, and the spans between them."""
    pieces, spans, size, begin, start = [], [], 0, 0, None
    for mark in re.finditer(f"[{BEGIN}{END}]|\\Z", marked):
        pieces.append(marked[begin : mark.start()])
        size += len(pieces[-1])
        begin = mark.end()
        if mark[0] == BEGIN:
            start = size
        elif mark[0] == END:
            spans.append((start, size))
    return join(pieces), spans


def _added_by_turns(tokenizer, messages, text, open_ended, variables):
    """The spans that the assistant's turns add to what stands before them."""
    spans = []
    for number, message in enumerate(messages):
        role = message["role"] if isinstance(message, Mapping) else message.role
        if role != ASSISTANT:
            continue
        before = _render(tokenizer, messages[:number], True, variables)
        after = _render(tokenizer, messages[: number + 1], False, variables)
        if not (after.startswith(before) and text.startswith(after)):
            if open_ended:
                return []
            raise ValueError(
                f"The chat template writes turn {number + 1} in another way once it is answered or the"
                " conversation goes on, so that its tokens cannot be told; a template says which are"
                " the assistant's by {% generation %}."
            )
        spans.append((len(before), len(after)))
    return spans


def _tokens(tokenizer, text, turns):
    """Ids of a text and where in it each begins.

    What stands before each of ``turns`` (positions, ascending) has the tokens it has by itself: if
    the whole text would have others there, what follows is tokenised as text that follows.
    """
    ids, starts, begin = [], [], 0
    tokens = _encoded(tokenizer, text, 0)
    for turn in turns:
        before = _encoded(tokenizer, text[:turn], begin)
        count = len(before[0])
        if tokens[0][:count] != before[0]:
            ids += before[0]
            starts += before[1]
            begin, tokens = turn, _encoded(tokenizer, text, turn)
    return ids + tokens[0], starts + tokens[1]


def _encoded(tokenizer, text: Written, begin):
    """Ids of a text from a place on, and where in the text each begins."""
    rest = text[begin:]
    special = _own_special_tokens(tokenizer, rest)
    ids, starts = tokenizer.encode_written(plain(rest), special, follows=begin > 0)
    return ids, [begin + start for start in starts]


def _own_special_tokens(tokenizer, text):
    """Where the template wrote special tokens: the longest from left to right in its own letters."""
    pattern = _any_of(tokenizer.special_spellings)
    return [
        match.span()
        for run in re.finditer(b"\1+", text.own)
        for match in pattern.finditer(text, run.start(), run.end())
    ]


@functools.lru_cache(maxsize=16)
def _any_of(spellings):
    """A pattern of the longest spelling that begins at a place; of none it never matches."""
    longest_first = sorted(spellings, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

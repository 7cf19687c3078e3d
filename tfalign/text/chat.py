"""Conversations to tokens, by the chat template a model was trained with.

A template is a Jinja program that comes with the model ("chat_template" in tokenizer_config.json, or
chat_template.jinja beside it). It runs in Jinja's immutable sandbox. What users and models said is text
and nothing else: ``<|im_end|>`` in a message is its letters, not the end of a turn.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import re
from typing import NamedTuple

import jinja2
import jinja2.ext
import jinja2.sandbox

# Characters that Unicode keeps free for such marks (noncharacters), in what a template writes:
# begin and end of what "{% generation %}" encloses, and a cut within a special token's spelling.
_BEGIN, _END, _CUT = "\ufdd0", "\ufdd1", "\ufdd2"
_MARKS = re.compile(f"[{_BEGIN}{_END}{_CUT}]")
ASSISTANT = "assistant"


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str  # "system", "user", "assistant", or whatever the template knows
    content: str


Conversation = tuple[Message, ...]


class EncodedConversation(NamedTuple):
    """Tokens of a conversation, and which of them the assistant has to say."""

    token_ids: list[int]
    from_assistant: list[bool]  # its words and the token that ends its turn


def render_conversation(tokenizer, messages: Conversation, open_ended=False, **variables) -> str:
    """The text that a tokenizer's chat template makes of a conversation.

    Args:
        tokenizer: ``Tokenizer`` with a ``chat_template``.
        messages: the turns, in order.
        open_ended: bool, end with what stands before the assistant's next turn.
        variables: further ones that the template asks for.

    Raises:
        ValueError: if there is no template, it is not one, or it refuses the conversation.
    """
    return _MARKS.sub("", _render(tokenizer, messages, open_ended, variables))


def encode_conversation(
    tokenizer, messages: Conversation, open_ended=False, **variables
) -> EncodedConversation:
    """Token ids of a conversation, and which of them a model should learn to say.

    What stands before each of the assistant's turns has the tokens it has when a model is asked for
    that turn, so that learning and answering see the same. Nothing is added to what the template
    writes, a BOS neither.

    Args:
        tokenizer, messages, open_ended, variables: as for ``render_conversation``.

    Returns:
        EncodedConversation; with ``{% generation %}`` in the template what that encloses is the
        assistant's, else what its turns add to the text, up to their EOS.

    Raises:
        ValueError: as ``render_conversation``; or if the template, without ``{% generation %}``,
            writes an earlier turn in another way once the conversation goes on.
    """
    marked = _render(tokenizer, messages, open_ended, variables)
    if _BEGIN in marked:
        text, spans = _enclosed(marked)
    else:
        text, spans = marked, _added_by_turns(tokenizer, messages, marked, variables)
    ids, starts = _tokens(tokenizer, text, [start for start, _ in spans])
    from_assistant = [False] * len(ids)
    for start, end in spans:
        inside = [place for place, at in enumerate(starts) if start <= at < end]
        ends = [place for place in inside if ids[place] == tokenizer.eos_id]
        for place in inside:
            from_assistant[place] = not ends or place <= ends[-1]
    return EncodedConversation(ids, from_assistant)


def encode_answer(tokenizer, prompt: Conversation, answer: str, **variables):
    """A conversation that waits for the assistant, and one answer to it.

    Returns:
        (list of int, the prompt's ids, as ``encode_conversation(..., open_ended=True)`` has them;
        list of int, the answer's, up to the EOS where the template writes one).
    """
    asked = encode_conversation(tokenizer, prompt, open_ended=True, **variables).token_ids
    whole = encode_conversation(tokenizer, [*prompt, Message(ASSISTANT, answer)], **variables)
    answered = [at for at, said in enumerate(whole.from_assistant) if said and at >= len(asked)]
    return asked, whole.token_ids[len(asked) : answered[-1] + 1] if answered else []


class _Generation(jinja2.ext.Extension):
    """``{% generation %}...{% endgeneration %}``: what the assistant says, as transformers has it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller):
        return _BEGIN + caller() + _END


@functools.lru_cache(maxsize=16)
def _compiled(source):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _to_json  # Jinja's own escapes HTML
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"The chat template is not Jinja, line {error.lineno}: {error}.") from None


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message):
    raise jinja2.TemplateError(message)


def _render(tokenizer, messages, open_ended, variables):
    """What the template writes, with marks where something is to be told from it."""
    if tokenizer.chat_template is None:
        raise ValueError(
            "The tokenizer has no chat template; conversations need one ("
            '"chat_template" in tokenizer_config.json).'
        )
    roles = {f"{role}_token": spelling for role, spelling in tokenizer.special_tokens.items()}
    try:
        return _compiled(tokenizer.chat_template).render(
            messages=[
                {"role": message.role, "content": _harmless(tokenizer, message.content)}
                for message in messages
            ],
            add_generation_prompt=open_ended,
            **roles,
            **variables,
        )
    except Exception as error:  # noqa: BLE001 (it is a program, and may raise anything)
        said = ", ".join(message.role for message in messages)
        raise ValueError(
            f"The chat template refuses turns of {said or 'nobody'}: {error}"
        ) from None


def _harmless(tokenizer, content):
    """A message in which the spellings of special tokens are cut in two."""
    if _MARKS.search(content):
        raise ValueError("A message must not hold the noncharacters U+FDD0 to U+FDD2.")
    spellings = sorted(tokenizer.special_spellings, key=len, reverse=True)
    pattern = "|".join(map(re.escape, spellings))
    return re.sub(pattern, lambda m: m[0][:1] + _CUT + m[0][1:], content) if pattern else content


def _enclosed(marked):
    """The text without the marks of ``{% generation %}``, and the spans between them."""
    text, spans, start = "", [], None
    for piece in re.split(f"([{_BEGIN}{_END}])", marked):
        if piece == _BEGIN:
            start = len(text)
        elif piece == _END:
            spans.append((start, len(text)))
        else:
            text += piece
    return text, spans


def _added_by_turns(tokenizer, messages, text, variables):
    """The spans that the assistant's turns add to what stands before them."""
    spans = []
    for number, message in enumerate(messages):
        if message.role != ASSISTANT:
            continue
        before = _render(tokenizer, messages[:number], True, variables)
        after = _render(tokenizer, messages[: number + 1], False, variables)
        if not (after.startswith(before) and text.startswith(after)):
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
    the whole text would have others there, it is tokenised in two parts.
    """
    ids, starts, begin = [], [], 0
    tokens = _pieces(tokenizer, text)
    for turn in turns:
        before = _pieces(tokenizer, text[begin:turn])
        count = len(before[0])
        if tokens[0][:count] != before[0]:
            ids += before[0]
            starts += [begin + start for start in before[1]]
            begin, tokens = turn, _pieces(tokenizer, text[turn:])
    return ids + tokens[0], starts + [begin + start for start in tokens[1]]


def _pieces(tokenizer, text):
    """``Tokenizer.encode_located`` of a text that may be cut: a spelling across a cut is none."""
    ids, starts, begin = [], [], 0
    for piece in text.split(_CUT):
        piece_ids, piece_starts = tokenizer.encode_located(piece)
        ids += piece_ids
        starts += [begin + start for start in piece_starts]
        begin += len(piece) + len(_CUT)
    return ids, starts


def read_template(config: dict, file) -> str | None:
    """The chat template of a model: of the file beside its tokenizer, else of tokenizer_config.json.

    Args:
        config: what tokenizer_config.json holds; several templates have names there.
        file: path of chat_template.jinja, which may not exist.
    """
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {one["name"]: one["template"] for one in template}
        return named.get("default")
    return template

"""A request's body, read: what is asked for, or one sentence that says what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tfalign.serving.checks import shown
from tfalign.serving.fields import read_fields, request_fields
from tfalign.text import Message

_DEFAULT_TOKENS = 16  # of a completion, as OpenAI has it
_MOST_NESTED = 32


class RefusedError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: int, HTTP's.
        kind: str, the error's type in OpenAI's sense.
        code: str or None, OpenAI's.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a request's body asks for, checked; its prompt not yet tokenised.

    Attributes:
        prompt: a text, token ids, or the messages of a conversation.
        max_tokens: None for as many as fit, of an answer, or OpenAI's 16, of a completion.
        top_k: 0 for all tokens.
        seed: None for one of the server's.
        stop_tokens: ids that end the response, beside the model's.
        logit_bias: number that is added to a token's logit, by the token.
        schema: str, the JSON schema that the response is to be of; None for any text.
    """

    prompt: str | list[int] | tuple[Message, ...]
    is_chat: bool
    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int | None
    stops: tuple[str, ...]
    stop_tokens: frozenset[int]
    logit_bias: dict[int, float]
    schema: str | None
    stream: bool
    include_usage: bool


def read_body(body: bytes, is_chat: bool, model: str, vocab_size: int) -> Asked:
    """The request in a body.

    Args:
        body: JSON in UTF-8.
        is_chat: whether it has messages instead of a prompt.
        model: the name of the model that is served.
        vocab_size: ids are below it.

    Raises:
        RefusedError: 400, or 404 where it asks for another model.
    """
    try:
        fields = _read_json(body)
        _check_prompt(fields, is_chat)
        fields = read_fields(fields, request_fields(is_chat, vocab_size))
        if fields.get("model", model) != model:
            raise RefusedError(
                404,
                f"There is no model {shown(fields['model'])}; this server has {shown(model)}.",
                code="model_not_found",
            )
        return _asked(fields, is_chat)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None


def tokens_to_write(asked: Asked, prompt_tokens: int, length: int) -> int:
    """How many tokens the response may have.

    Args:
        asked: Asked.
        prompt_tokens: int, the prompt's.
        length: int, tokens of prompt and response at most.

    Raises:
        RefusedError: if both do not fit.
    """
    room = length - prompt_tokens
    wanted = asked.max_tokens
    if wanted is None:
        wanted = max(room, 1) if asked.is_chat else min(_DEFAULT_TOKENS, max(room, 1))
    if wanted > room:
        raise RefusedError(
            400,
            f"The model takes {length} tokens. Received: a prompt of {prompt_tokens} and"
            f" max_tokens={wanted}",
            code="context_length_exceeded",
        )
    return wanted


def _check_prompt(fields, is_chat):
    name = "messages" if is_chat else "prompt"
    if fields.get(name) is None:
        kinds = "a list of messages" if is_chat else "a string or a list of token ids"
        raise ValueError(f"{name} must be {kinds}. Received: no {name}")


def _asked(fields, is_chat):
    prompt = fields["messages" if is_chat else "prompt"]
    if is_chat:
        prompt = tuple(Message(role, content) for role, content in prompt)
    if "max_tokens" in fields and "max_completion_tokens" in fields:
        raise ValueError("max_tokens is the older name of max_completion_tokens; give one of them.")
    stream, options = fields.get("stream", False), fields.get("stream_options")
    if options is not None and not stream:
        raise ValueError("stream_options are those of a stream. Received: stream=false")
    return Asked(
        prompt=prompt,
        is_chat=is_chat,
        max_tokens=fields.get("max_completion_tokens", fields.get("max_tokens")),
        temperature=fields.get("temperature", 1.0),
        top_p=fields.get("top_p", 1.0),
        top_k=max(fields.get("top_k", 0), 0),
        min_p=fields.get("min_p", 0.0),
        seed=fields.get("seed"),
        stops=fields.get("stop", ()),
        stop_tokens=fields.get("stop_token_ids", frozenset()),
        logit_bias=fields.get("logit_bias", {}),
        schema=fields.get("response_format"),
        stream=stream,
        include_usage=(options or {}).get("include_usage", False),
    )


def _read_json(body):
    """The body's object, whose strings are text and whose nesting is shallow."""
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once_each
        )
    except _RepeatedError as error:
        name = shown(error.args[0])
        raise ValueError(f"The body has a name twice in one object: {name}") from None
    except UnicodeDecodeError:
        raise ValueError("The body is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise ValueError("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise ValueError("The body must be a JSON object.")
    _check_texts(value)
    return value


class _RepeatedError(Exception):
    """A name that stands twice in an object, of which one would be dropped."""


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


def _once_each(pairs):
    fields = {}
    for name, value in pairs:
        if name in fields:
            raise _RepeatedError(name)
        fields[name] = value
    return fields


def _check_texts(value: Any) -> None:
    left = [(value, 1)]
    while left:
        part, depth = left.pop()
        if depth > _MOST_NESTED:
            raise ValueError(f"The body is nested more than {_MOST_NESTED} deep.")
        if isinstance(part, dict):
            left += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list):
            left += [(inner, depth + 1) for inner in part]
        elif isinstance(part, str) and not part.isascii():
            try:
                part.encode("utf-8")
            except UnicodeEncodeError as error:
                half = part[error.start : error.start + 1]
                raise ValueError(
                    f"The body holds half a surrogate pair, which is not text. Received: {half!a}"
                ) from None

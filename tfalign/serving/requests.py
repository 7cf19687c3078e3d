"""A request's body, read: what is asked for, or one sentence that says what is wrong with it."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfalign.serving.checks import shown
from tfalign.serving.fields import read_fields
from tfalign.serving.json_texts import read_object
from tfalign.serving.request_fields import request_fields
from tfalign.serving.row_biases import Penalties
from tfalign.serving.tool_fields import ToolUse, tool_use

MOST_CHOICES = 128  # responses to one request, as OpenAI has it
_DEFAULT_TOKENS = 16  # of a completion, as OpenAI has it


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
        prompts: each a text, token ids, or the messages of a conversation, as a chat template sees them; of these but one.
        n: responses to each.
        max_tokens: None for as many as fit, of an answer, or OpenAI's 16, of a completion.
        top_k: 0 for all tokens.
        seed: None for one of the server's.
        stop_tokens: ids that end the response, beside the model's.
        logit_bias: number that is added to a token's logit, by the token.
        penalties: Penalties of tokens that the response has already.
        form: str, what the response is to be, see ``Grammars.of``; None for any text.
        tools: tuple of dict, their schemas, which a chat template shows.
        may_call: whether calls of tools in the response are read.
        user: who asks, for their profile; None if it is not said.
    """

    prompts: tuple[str | list[int] | tuple[dict[str, Any], ...], ...]
    n: int
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
    penalties: Penalties
    form: str | None
    tools: tuple[dict[str, Any], ...]
    may_call: bool
    stream: bool
    include_usage: bool
    user: str | None


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
        fields = read_object(body, "body")
        _check_prompt(fields, is_chat)
        fields = read_fields(fields, request_fields(is_chat, vocab_size))
        if fields.get("model", model) != model:
            raise unknown_model(fields["model"], model)
        return _asked(fields, is_chat)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None


def unknown_model(name: str, served: str) -> RefusedError:
    """What says that a model is not served."""
    message = f"There is no model {shown(name)}; this server has {shown(served)}."
    return RefusedError(404, message, code="model_not_found")


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
    use = tool_use(fields) if is_chat else ToolUse()
    if "max_tokens" in fields and "max_completion_tokens" in fields:
        raise ValueError("max_tokens is the older name of max_completion_tokens; give one of them.")
    count = fields.get("n", 1) * (1 if is_chat else len(fields["prompt"]))
    if count > MOST_CHOICES:
        raise ValueError(f"A request may ask for {MOST_CHOICES} responses. Received: {count}")
    stream, options = fields.get("stream", False), fields.get("stream_options")
    if options is not None and not stream:
        raise ValueError("stream_options are those of a stream. Received: stream=false")
    return Asked(
        prompts=(fields["messages"],) if is_chat else fields["prompt"],
        n=fields.get("n", 1),
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
        penalties=Penalties(
            fields.get("presence_penalty", 0.0), fields.get("frequency_penalty", 0.0)
        ),
        form=use.form or fields.get("response_format"),
        tools=use.tools,
        may_call=use.may_call,
        stream=stream,
        include_usage=(options or {}).get("include_usage", False),
        user=fields.get("user"),
    )

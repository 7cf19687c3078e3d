"""The fields of OpenAI's completions and chat completions requests: each one is done, or refused by name.

A field that is null is absent. A field that this server cannot do is taken at the value at which it
changes nothing, and refused at any other; so is a field that it does not know. What never changes an
answer ("user", "metadata") is taken and not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tfalign.serving.checks import MOST_BIAS, check_ids, check_number, check_whole, shown

Reader = Callable[
    [str, Any], Any
]  # (name, value) -> the value as the server keeps it; or ValueError

_MOST_STOPS = 4  # as OpenAI has it
_ROLES = ("system", "user", "assistant")


def read_fields(fields: Mapping[str, Any], readers: Mapping[str, Reader], where: str = "") -> dict:
    """The fields that are there, checked.

    Args:
        fields: a JSON object.
        readers: the fields that it may have.
        where: str, what its fields' names begin with, such as "messages[0].".

    Returns:
        dict of name to value.

    Raises:
        ValueError: naming the first field that is unknown or wrong.
    """
    chosen = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name not in readers:
            raise ValueError(f"{shown(where + name)} is not a field of this request.")
        chosen[name] = readers[name](where + name, value)
    return chosen


def whole(least: int, most: int | None = None) -> Reader:
    """A whole number."""
    return lambda name, value: check_whole(name, value, least, most)


def number(least: float, most: float, below: bool = False) -> Reader:
    """A number; ``below``, less than ``most``."""

    def read(name, value):
        check_number(name, value, least, most)
        if below and value == most:
            raise ValueError(f"{name} must be below {most}. Received: {name}={shown(value)}")
        return value

    return read


def only(*neutral: Any) -> Reader:
    """A field that is not supported, but for values at which it changes nothing."""

    def read(name, value):
        for one in neutral:
            if isinstance(one, bool) == isinstance(value, bool) and one == value:
                return value
        raise ValueError(f"{name} is not supported. Received: {name}={shown(value)}")

    return read


def flag(name: str, value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false. Received: {name}={shown(value)}")
    return value


def text(name: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string. Received: {name}={shown(value)}")
    return value


def texts_by_name(name: str, value: Any) -> dict[str, str]:
    """An object of strings."""
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError(f"{name} must be an object of strings. Received: {name}={shown(value)}")
    return value


def stops(name: str, value: Any) -> tuple[str, ...]:
    """A string, or a few."""
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(stop, str) for stop in value):
        raise ValueError(f"{name} must be a string or a list of strings. Received: {shown(value)}")
    if len(value) > _MOST_STOPS:
        raise ValueError(f"{name} may have {_MOST_STOPS} strings. Received: {len(value)}")
    if "" in value:
        raise ValueError(f"{name} must not hold an empty string.")
    return tuple(value)


def token_ids(vocab_size: int) -> Reader:
    """A list of ids."""
    return lambda name, value: frozenset(check_ids(name, value, vocab_size))


def logit_bias(vocab_size: int) -> Reader:
    """An object of numbers by tokens' ids: a dict of int to number."""

    def read(name, value):
        if not isinstance(value, dict):
            raise ValueError(f"{name} must be an object. Received: {name}={shown(value)}")
        for key, one in value.items():
            if not key.isascii() or not key.isdecimal() or str(int(key[:20])) != key:
                raise ValueError(
                    f"{name} must have ids of tokens as its names. Received: {shown(key)}"
                )
            check_ids(name, [int(key)], vocab_size)
            check_number(f"{name}[{shown(key)}]", one, -MOST_BIAS, MOST_BIAS)
        return {int(key): one for key, one in value.items()}

    return read


def response_format(name: str, value: Any) -> str | None:
    """An object that says what the response is to be: a JSON schema's text, or None for any text."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object. Received: {name}={shown(value)}")
    is_of_schema = value.get("type") == "json_schema"
    readers = {"type": _format_type} | ({"json_schema": _json_schema} if is_of_schema else {})
    given = read_fields(value, readers, f"{name}.")
    _check_there(given, readers, name)
    return json.dumps(given["json_schema"]["schema"]) if is_of_schema else _SCHEMAS[given["type"]]


def _format_type(name, value):
    kinds = (*_SCHEMAS, "json_schema")
    if value not in kinds:
        raise ValueError(f"{name} must be one of {', '.join(kinds)}. Received: {shown(value)}")
    return value


def _json_schema(name, value):
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object. Received: {name}={shown(value)}")
    readers = {"name": text, "description": text, "schema": _schema, "strict": flag}
    given = read_fields(value, readers, f"{name}.")
    _check_there(given, ("name", "schema"), name)
    return given


def _schema(name, value):
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object. Received: {name}={shown(value)}")
    return value


def _check_there(given, keys, name):
    for key in keys:
        if key not in given:
            raise ValueError(f"{name} must have {' and '.join(keys)}. Received: no {key}")


# of response_format's types that say it all
_SCHEMAS = {"text": None, "json_object": '{"type": "object"}'}


def prompt(vocab_size: int) -> Reader:
    """A string or a list of ids; or a list of one of these."""

    def read(name, value):
        if isinstance(value, list) and value and isinstance(value[0], (str, list)):
            if len(value) > 1:
                raise ValueError(f"{name} must be one prompt. Received: a list of {len(value)}")
            value = value[0]
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise ValueError(
                f"{name} must be a string or a list of token ids. Received: {name}={shown(value)}"
            )
        if not value:
            raise ValueError(f"The {name} is empty.")
        return check_ids(name, value, vocab_size)

    return read


def stream_options(name: str, value: Any) -> dict[str, bool]:
    """An object; "include_usage" is done."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object. Received: {name}={shown(value)}")
    readers = {"include_usage": flag, "include_obfuscation": only(False)}
    return read_fields(value, readers, f"{name}.")


def messages(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    """A list of messages as (role, content) pairs."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} must be a list of messages. Received: {name}={shown(value)}")
    return tuple(_message(f"{name}[{place}]", message) for place, message in enumerate(value))


def _message(name, value):
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object. Received: {name}={shown(value)}")
    fields = read_fields(value, _MESSAGE, f"{name}.")
    _check_there(fields, ("role", "content"), name)
    return fields["role"], fields["content"]


def _role(name, value):
    if value not in _ROLES:
        raise ValueError(f"{name} must be one of {', '.join(_ROLES)}. Received: {shown(value)}")
    return value


def _content(name, value):
    """A string, or a list with one text in it, as some clients write it."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        part = read_fields(value[0], {"type": only("text"), "text": text}, f"{name}[0].")
        if len(part) == 2:
            return part["text"]
    if not isinstance(value, str):
        raise ValueError(
            f"{name} must be a string, or a list of one text. Received: {shown(value)}"
        )
    return value


# what an answer brings along when a client sends it back, at the values that say nothing
_MESSAGE: dict[str, Reader] = {
    "role": _role,
    "content": _content,
    "annotations": only([]),
    "tool_calls": only([]),
}


def request_fields(is_chat: bool, vocab_size: int) -> dict[str, Reader]:
    """What POST /v1/chat/completions takes, or /v1/completions."""
    asked = {"messages": messages} if is_chat else {"prompt": prompt(vocab_size)}
    done = {
        "model": text,
        "max_tokens": whole(1),
        "max_completion_tokens": whole(1),
        "temperature": number(0, 10),
        "top_p": number(1e-6, 1),
        "top_k": whole(-1, 2**31 - 1),  # -1 and 0 for all
        "min_p": number(0, 1, below=True),
        "seed": whole(0, 2**32 - 1),
        "stop": stops,
        "stop_token_ids": token_ids(vocab_size),
        "stream": flag,
        "stream_options": stream_options,
        "logit_bias": logit_bias(vocab_size),
        "response_format": response_format,
    }
    return asked | done | _NOT_SUPPORTED | _WITHOUT_EFFECT


_NOT_SUPPORTED: dict[str, Reader] = {
    # OpenAI's
    "audio": only(),
    "best_of": only(1),
    "echo": only(False),
    "frequency_penalty": only(0),
    "function_call": only("none", "auto"),
    "functions": only([]),
    "logprobs": only(False),
    "modalities": only(["text"]),
    "moderation": only(),
    "n": only(1),
    "prediction": only(),
    "presence_penalty": only(0),
    "prompt_cache_retention": only("in_memory", "in-memory"),
    "reasoning_effort": only("none"),
    "service_tier": only("auto", "default"),
    "store": only(False),
    "suffix": only(""),
    "tool_choice": only("none", "auto"),
    "tools": only([]),
    "top_logprobs": only(0),
    "verbosity": only("medium"),
    "web_search_options": only(),
    # other servers'
    "add_generation_prompt": only(True),
    "continue_final_message": only(False),
    "ignore_eos": only(False),
    "include_stop_str_in_output": only(False),
    "length_penalty": only(1),
    "min_tokens": only(0),
    "repetition_penalty": only(1),
    "skip_special_tokens": only(True),
    "use_beam_search": only(False),
}
# names of whoever asks, hints, and what concerns tools, of which there are none
_WITHOUT_EFFECT: dict[str, Reader] = {
    "metadata": texts_by_name,
    "parallel_tool_calls": flag,
    "prompt_cache_key": text,
    "safety_identifier": text,
    "user": text,
}

"""The fields of OpenAI's completions and chat completions requests: each one is done, or refused by name.

A field that this server cannot do is taken at the value at which it changes nothing, and refused at any other; so is
a field that it does not know. What never changes an answer ("metadata") is taken and not looked at.
"""

from __future__ import annotations

from tfalign.serving.checks import MOST_PENALTY
from tfalign.serving.fields import (
    Reader,
    flag,
    logit_bias,
    number,
    only,
    prompts,
    response_format,
    stops,
    stream_options,
    text,
    texts_by_name,
    token_ids,
    whole,
)
from tfalign.serving.messages import messages
from tfalign.serving.tool_fields import tool_choice, tools


def request_fields(is_chat: bool, vocab_size: int) -> dict[str, Reader]:
    """What POST /v1/chat/completions takes, or /v1/completions.

    Args:
        is_chat: bool, whether it is the former.
        vocab_size: int; tokens' ids are below it.

    Returns:
        dict of name to reader.
    """
    if is_chat:
        asked = {"messages": messages, "tools": tools, "tool_choice": tool_choice}
    else:
        asked = {"prompt": prompts(vocab_size)}
    done = {
        "model": text,
        "n": whole(1),
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
        "presence_penalty": number(-MOST_PENALTY, MOST_PENALTY),
        "frequency_penalty": number(-MOST_PENALTY, MOST_PENALTY),
        "response_format": response_format,
        "user": text,
    }
    return _NOT_SUPPORTED | _WITHOUT_EFFECT | done | asked


_NOT_SUPPORTED: dict[str, Reader] = {
    # OpenAI's
    "audio": only(),
    "best_of": only(1),
    "echo": only(False),
    "function_call": only("none", "auto"),
    "functions": only([]),
    "logprobs": only(False),
    "modalities": only(["text"]),
    "moderation": only(),
    "prediction": only(),
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
# names of whoever asks, and hints
_WITHOUT_EFFECT: dict[str, Reader] = {
    "metadata": texts_by_name,
    "parallel_tool_calls": flag,
    "prompt_cache_key": text,
    "safety_identifier": text,
}

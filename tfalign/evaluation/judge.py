"""A language model as the judge of pairs, asked in both orders: any server that speaks OpenAI's chat completions."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfalign.data.readers import json_object

Messages = Sequence[Mapping[str, str]]
Ask = Callable[[Messages], str]

INSTRUCTION = (
    "You compare two responses to a prompt, and judge which one is the better response: more helpful, correct and to "
    "the point. Its length and its place say nothing. End with one line: [[A]] or [[B]], or [[C]] if neither is better."
)
_VERDICT = re.compile(r"\[\[([ABC])\]\]")
_WINS = {"A": 1.0, "B": 0.0, "C": 0.5}


def judged(
    ask: Ask, prompts: Sequence[str], responses: Sequence[str], baseline: Sequence[str]
) -> np.ndarray:
    """How each response fares against the baseline's, asked in both orders (Zheng et al. 2023, section 3.4).

    Args:
        ask: what a judge answers to messages, such as ``chat_server``'s.
        prompts, responses, baseline: N texts each.

    Returns:
        float64[N]: 1 where the response wins in both orders, 0 where it loses in both, else 0.5; NaN where an answer
        holds no verdict.

    Raises:
        ValueError: if there are not as many of each.

    >>> judged(lambda messages: "Longer. [[A]]", ["Hi."], ["Hello!"], ["What?"])  # always the first: a tie
    array([0.5])
    """
    sizes = {len(prompts), len(responses), len(baseline)}
    if len(sizes) > 1:
        raise ValueError(f"There must be as many prompts as responses. Received: {sorted(sizes)}")
    wins = []
    for prompt, ours, theirs in zip(prompts, responses, baseline):
        first = _win(ask(_messages(prompt, ours, theirs)))
        second = 1 - _win(ask(_messages(prompt, theirs, ours)))
        wins.append(_of_both(first, second))
    return np.array(wins, np.float64)


def chat_server(
    url: str, model: str, key: str | None = None, timeout: float = 60.0, **choices: Any
) -> Ask:
    """A judge behind HTTP.

    Args:
        url: the server's, up to "/v1", such as "http://localhost:8000/v1".
        model: its name there.
        key: API key; None for none.
        timeout: seconds for an answer.
        choices: what else a request says; by default temperature 0.

    Returns:
        ``messages -> text``; it raises a ValueError if the server refuses, fails, or answers something else.
    """
    headers = {"Content-Type": "application/json"}
    headers |= {} if key is None else {"Authorization": f"Bearer {key}"}

    def ask(messages):
        body = json.dumps({"model": model, "messages": list(messages), "temperature": 0} | choices)
        asked = urllib.request.Request(f"{url}/chat/completions", body.encode("utf-8"), headers)
        try:
            with urllib.request.urlopen(asked, timeout=timeout) as answer:
                said = json_object(answer.read(), url)["choices"][0]["message"]["content"]
        except (urllib.error.URLError, TimeoutError) as error:
            raise ValueError(f"The judge at {url} does not answer: {error}") from error
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"The judge at {url} answers no chat completion: {error!r}") from error
        return said or ""

    return ask


def _of_both(first, second):
    """A win of both orders; NaN if either is."""
    if np.isnan(first + second):
        return float("nan")
    return first if first == second else 0.5


def _messages(prompt, first, second):
    shown = f"# Prompt\n{prompt}\n\n# Response A\n{first}\n\n# Response B\n{second}"
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": shown}]


def _win(answer):
    """float, of response A; NaN without a verdict. The last verdict counts."""
    verdicts = _VERDICT.findall(answer)
    return _WINS[verdicts[-1]] if verdicts else float("nan")

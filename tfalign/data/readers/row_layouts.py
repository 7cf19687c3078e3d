"""How the field's data sets spell a record: from their columns to the ones of ``data.records``.

A layout is said by name, before a source ("alpaca:data.json") or by ``--layout``. What a layout does not read
stays beside the columns it makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tfalign.data.readers.transcripts import split_transcripts
from tfalign.data.readers.values import as_list, is_list, names_of, read_text, shown
from tfalign.data.records import BadRecordError
from tfalign.text import ASSISTANT

Row = dict[str, Any]

_WITHOUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
)
_WITH = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
)
_INSTRUCTION, _INPUT, _RESPONSE = "### Instruction:\n", "\n\n### Input:\n", "\n\n### Response:"
_ASKED = re.compile(
    f"(?:{re.escape(_WITH)}{_INSTRUCTION}(.*?){_INPUT}|{re.escape(_WITHOUT)}{_INSTRUCTION})(.*){_RESPONSE}",
    re.DOTALL,
)
_BY_ASSISTANT = ("gpt", ASSISTANT, "function_call")


def alpaca(row: Row, where: str) -> Row:
    """Stanford Alpaca: "instruction", "input" and "output", perhaps "system" and "history" as LLaMA-Factory has them.

    The prompt is written by Stanford's template; "messages" has the same without it. With "chosen" and "rejected"
    instead of "output" the rows are preferences.

    >>> alpaca({"instruction": "Add.", "input": "1, 2", "output": "3"}, "it.json:1")["messages"]
    [{'role': 'user', 'content': 'Add.\\n\\n1, 2'}, {'role': 'assistant', 'content': '3'}]
    """
    instruction = _text(row, "instruction", where)
    given = row.get("input") or ""
    asked = alpaca_prompt(instruction, read_text(given, "input", where) if given else "")
    turns = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for number, pair in enumerate(as_list(row.get("history") or [])):
        if not is_list(pair) or len(pair) != 2:
            raise BadRecordError(
                where,
                f"the field 'history[{number}]' must be a pair of texts. Received: {shown(pair)}",
            )
        turns += [{"role": role, "content": said} for role, said in zip(("user", ASSISTANT), pair)]
    turns.append({"role": "user", "content": alpaca_asked(asked)})
    laid_out = {**row, "prompt": asked if len(turns) == 1 else turns}
    if "output" not in row:
        return laid_out
    answer = _text(row, "output", where)
    more = {"completion": answer, "messages": [*turns, {"role": ASSISTANT, "content": answer}]}
    return laid_out | more | ({"text": asked + answer} if len(turns) == 1 else {})


def alpaca_prompt(instruction: str, given: str = "") -> str:
    """An instruction as Stanford's template writes it (Taori et al. 2023, ``train.py``)."""
    if given:
        return f"{_WITH}{_INSTRUCTION}{instruction}{_INPUT}{given}{_RESPONSE}"
    return f"{_WITHOUT}{_INSTRUCTION}{instruction}{_RESPONSE}"


def alpaca_asked(text: str) -> str | None:
    """What a text by Stanford's template asks for: the instruction and, after a blank line, the input; None of another.

    >>> alpaca_asked(alpaca_prompt("Add.", "1, 2")), alpaca_asked("Add.")
    ('Add.\\n\\n1, 2', None)
    """
    match = _ASKED.fullmatch(text)
    return match and "\n\n".join(filter(None, match.groups()))


def sharegpt(row: Row, where: str) -> Row:
    """ShareGPT: "conversations" of "from" and "value", perhaps "system", "tools", "chosen" and "rejected", "kto_tag".

    The last turn, if it is the assistant's, is the response to the others.

    >>> said = [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Yes?"}]
    >>> sharegpt({"conversations": said}, "it.json:1")["prompt"]
    [{'from': 'human', 'value': 'Hi.'}]
    """
    turns = as_list(row.get("conversations"))
    if not is_list(turns) or not turns:
        raise BadRecordError(
            where,
            "the layout sharegpt has a list of turns in 'conversations'. "
            f"Received fields: {names_of(row)}",
        )
    if row.get("system") and _speaker(turns[0]) != "system":
        turns = [{"role": "system", "content": row["system"]}, *turns]
    laid_out = {name: value for name, value in row.items() if name != "conversations"}
    laid_out |= {"messages": list(turns), "prompt": list(turns)}
    if _speaker(turns[-1]) in _BY_ASSISTANT and "chosen" not in row:
        laid_out |= {"prompt": list(turns[:-1]), "completion": [turns[-1]]}
    return laid_out | ({"label": row["kto_tag"]} if "kto_tag" in row else {})


def stepwise(row: Row, where: str) -> Row:
    """TRL's stepwise supervision (PRM800K, Math-Shepherd): "completions" are the steps that "labels" judge."""
    if "completions" not in row:
        raise BadRecordError(
            where,
            f"the layout stepwise has the steps in 'completions'. Received fields: {names_of(row)}",
        )
    rest = {name: value for name, value in row.items() if name != "completions"}
    return rest | {"steps": row["completions"]}


def anthropic(row: Row, where: str) -> Row:
    """hh-rlhf: "chosen" and "rejected" are whole transcripts, see ``split_transcripts``."""
    return {**row, **split_transcripts(row, where)}


LAYOUTS: Mapping[str, Callable[[Row, str], Row]] = {
    "alpaca": alpaca,
    "sharegpt": sharegpt,
    "stepwise": stepwise,
    "anthropic": anthropic,
}


def laid_out(row: Row | BadRecordError, layout: str | None, where: str) -> Row:
    """A row's columns as the record classes call them.

    Args:
        row: as it was read.
        layout: one of ``LAYOUTS``; None where the columns are called that already.
        where: "file:line".

    Raises:
        BadRecordError: the row itself if it is one; if it is of another layout.
        ValueError: if there is no such layout.
    """
    if isinstance(row, BadRecordError):
        raise row
    if layout is None:
        return row
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}. Received: layout={layout!r}")
    return LAYOUTS[layout](row, where)


def _text(row, column, where):
    if column not in row:
        raise BadRecordError(
            where, f"the layout alpaca has a column {column!r}. Received fields: {names_of(row)}"
        )
    return read_text(row[column], column, where)


def _speaker(turn):
    return turn.get("from", turn.get("role")) if isinstance(turn, Mapping) else None

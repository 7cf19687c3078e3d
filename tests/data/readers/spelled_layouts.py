"""Fifty records in every layout that is read, spelled by hand or, Parquet and ``datasets``, written by their own libraries."""

from __future__ import annotations

import csv
import json

import pytest

from tfalign.data.readers import alpaca_prompt

COUNT = 50
QUESTIONS = [f"What is {n} + {n}?" for n in range(COUNT)]
GOOD = [f"It is {2 * n}." for n in range(COUNT)]
BAD = [f"It is {2 * n + 1}." for n in range(COUNT)]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            },
        },
    }
]


def talk(question, answer, keys=("role", "content"), names=("user", "assistant")):
    return [dict(zip(keys, (name, said))) for name, said in zip(names, (question, answer))]


def _each(make):
    return [make(n, *said) | {"id": n} for n, said in enumerate(zip(QUESTIONS, GOOD, BAD))]


SHARED = ("from", "value"), ("human", "gpt")
ROWS = {
    "completions": _each(lambda n, q, good, bad: {"prompt": q, "completion": good}),
    "pairs": _each(lambda n, q, good, bad: {"prompt": q, "chosen": good, "rejected": bad}),
    "texts": _each(lambda n, q, good, bad: {"text": f"{q} {good}"}),
    "alpaca": _each(lambda n, q, good, bad: {"instruction": q, "input": "", "output": good}),
    "sharegpt": _each(lambda n, q, good, bad: {"conversations": talk(q, good, *SHARED)}),
    "ultrafeedback": _each(
        lambda n, q, good, bad: {
            "prompt": q,
            "prompt_id": str(n),
            "chosen": talk(q, good),
            "rejected": talk(q, bad),
            "messages": talk(q, good),
            "score_chosen": 8.0,
            "score_rejected": 2.5,
        }
    ),
    "parts": _each(
        lambda n, q, good, bad: {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": q[:6]}, {"type": "text", "text": q[6:]}],
                },
                {"role": "assistant", "content": [{"type": "text", "text": good}]},
            ]
        }
    ),
    "tools": _each(
        lambda n, q, good, bad: {
            "messages": [
                {"role": "user", "content": q},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": f"call_{n}",
                            "type": "function",
                            "function": {"name": "add", "arguments": json.dumps({"a": n, "b": n})},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": f"call_{n}", "content": str(2 * n)},
                {"role": "assistant", "content": good},
            ],
            "tools": TOOLS,
        }
    ),
    "kto": _each(
        lambda n, q, good, bad: {
            "prompt": q,
            "completion": bad if n % 2 else good,
            "label": not n % 2,
        }
    ),
    "steps": _each(
        lambda n, q, good, bad: {"prompt": q, "steps": [good, bad], "labels": [True, False]}
    ),
    "stepwise": _each(
        lambda n, q, good, bad: {"prompt": q, "completions": [good, bad], "labels": [True, False]}
    ),
    "transcripts": _each(
        lambda n, q, good, bad: {
            name: f"\n\nHuman: {q}\n\nAssistant: {said}"
            for name, said in (("chosen", good), ("rejected", bad))
        }
    ),
}
SCRIPTS = {name: alpaca_prompt(q) for name, q in enumerate(QUESTIONS)}


def json_lines(rows, folder):
    return _written(folder / "it.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def json_array(rows, folder):
    return _written(folder / "it.json", json.dumps(rows, indent=1))


def table(rows, folder):
    with open(folder / "it.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(folder / "it.csv")


def parquet(rows, folder):
    tables, files = map(pytest.importorskip, ("pyarrow", "pyarrow.parquet"))
    files.write_table(tables.Table.from_pylist(rows), folder / "it.parquet", 16)
    return str(folder / "it.parquet")


def dataset(rows, folder):
    return pytest.importorskip("datasets").Dataset.from_list(rows)


def saved(rows, folder):
    dataset(rows, folder).save_to_disk(folder / "saved")
    return str(folder / "saved")


def splits(rows, folder):
    """A DatasetDict, whose training split has all of them."""
    whole = dataset(rows, folder)
    return pytest.importorskip("datasets").DatasetDict(train=whole, test=whole.select(range(5)))


def hub(rows, folder):
    """A folder of data files, which ``load_dataset`` reads as it reads the hub's."""
    (folder / "hub").mkdir()
    json_lines(rows, folder / "hub")
    pytest.importorskip("datasets")
    return f"hf://{folder / 'hub'}"


def _written(path, text):
    path.write_text(text)
    return str(path)

"""Alignment of a policy that calls tools: a model with random weights, whose turns are constrained to calls and digits."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfalign
from tests.trainers.runs import assert_same_run, lines_of
from tfalign.models import CausalLM
from tfalign.pretrained import Pretrained
from tfalign.text import train_byte_bpe
from tfalign.training.algorithms import ALGORITHMS

CALL = r'<tool_call>\{"name": "(twice|half)", "arguments": \{"x": [0-9]\}\}</tool_call>'
FEW = {"batch_size": 8, "steps": 2, "max_prompt_tokens": 4, "max_new_tokens": 96, "max_turns": 6}
PROMPTS = [{"prompt": "?", "answer": str(4 + i % 2)} for i in range(16)]


def twice(x: int) -> int:
    """Doubles.

    Args:
        x: a number.
    """
    return 2 * x


def right(prompt, response, record):
    return float(response == record["answer"])


@pytest.fixture
def small():
    """A model whose vocabulary has a call's parts as tokens."""
    keras.utils.set_random_seed(0)
    parts = ['<tool_call>{"name": "twice", "arguments": {"x": 1}}</tool_call>'] * 9
    parts += [
        f'<tool_call>{{"name": "half", "arguments": {{"x": {i}}}}}</tool_call>' for i in range(9)
    ]
    results = ["\n<tool_response>\n", "\n</tool_response>\n", "Error: there is no tool 'half'"] * 9
    tokenizer = train_byte_bpe(parts + results, 340)
    return Pretrained(
        CausalLM.from_preset(
            "mini_llama", vocab_size=340, width=16, num_layers=1, max_positions=128
        ),
        tokenizer,
    )


def trainer_of(small, run_dir, algorithm="rloo", **options):
    choices = FEW | {"constraint": f"regex:({CALL}|[45])"} | options
    given = small, right, PROMPTS, algorithm
    return tfalign.OnPolicyTrainer(*given, tools=[twice], run_dir=run_dir, **choices)


def test_a_conversation_with_tools(small, tmp_path):
    trainer = trainer_of(small, tmp_path)
    rollout, statistics = trainer.worker(next(trainer.prompts), 5, 0.0)
    tokenizer, stops = trainer.tokenizer, trainer.tokenizer.stop_ids
    calls = bad = 0
    rows = zip(
        np.asarray(rollout.token_ids)[:, -96:],
        np.asarray(rollout.response_mask),
        np.asarray(rollout.padding_mask)[:, -96:],
        np.asarray(rollout.scores),
    )
    for ids, own, written, _ in rows:
        heard = tokenizer.decode(ids[written & ~own])
        ends = np.nonzero(own & np.isin(ids, stops))[0]
        turns = [
            tokenizer.decode(part[mask])
            for part, mask in zip(np.split(ids, ends + 1), np.split(own, ends + 1))
        ][: len(ends)]
        expected = ""
        for turn in turns:
            if not turn.startswith("<tool_call>"):
                continue
            x = turn.split('"x": ')[1][0]
            good = '"twice"' in turn
            text = str(2 * int(x)) if good else "Error: there is no tool 'half'"
            expected += f"\n<tool_response>\n{text}\n</tool_response>\n"
            if turn is not turns[-1] or len(turns) < 6:
                calls, bad = calls + 1, bad + (not good)
        assert expected.startswith(heard) and (heard or not expected or len(turns) == 6)
        assert all(turn.isdigit() for turn in turns[-1:]) or len(turns) == 6 or written.all()
    assert calls and statistics["tool_calls"] == pytest.approx(calls / 8)
    assert statistics["bad_calls"] == pytest.approx(bad / calls)


OFTEN = {"grpo": (), "ppo": pytest.mark.slow, "remax": pytest.mark.slow, "dapo": pytest.mark.slow}


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(name, marks=OFTEN.get(name, (pytest.mark.slow, pytest.mark.exhaustive)))
        for name in ALGORITHMS
        if name not in ("online_dpo", "rejection_sampling", "vtrace")
    ],
)
def test_the_first_ratio_is_one(small, tmp_path, algorithm):
    metrics = trainer_of(small, tmp_path, algorithm, steps=1, minibatch_size=8).train()
    assert metrics["first_max_log_ratio"] <= 1e-5
    assert metrics["tool_calls"] > 0


@pytest.mark.slow
def test_the_last_turn_is_rewarded(small, tmp_path):
    """Not the calls before it, nor the results."""
    seen = []

    def reward(prompt, response):
        seen.append(response)
        return 0.0

    trainer = tfalign.OnPolicyTrainer(
        small,
        reward,
        PROMPTS,
        "rloo",
        tools=[twice],
        run_dir=tmp_path,
        **FEW,
        constraint=f"regex:({CALL}|[45])",
    )
    trainer.train()
    assert any(text.isdigit() for text in seen)
    assert all("tool_response" not in text for text in seen)


DEADLY = """import os, pathlib, signal

def twice(x: int) -> int:
    \'\'\'Doubles; the call of a number kills who asked.

    Args:
        x: a number.
    \'\'\'
    left = pathlib.Path("left")
    if left.exists():
        calls = int(left.read_text()) - 1
        left.write_text(str(calls))
        if not calls:
            left.unlink()
            os.kill(os.getppid(), signal.SIGKILL)
    return 2 * x


def right(prompt, response, record):
    return float(response == record["answer"])
"""


@pytest.mark.slow
def test_killed_while_a_tool_is_called_a_run_ends_as_if_it_had_not_been(small, tmp_path):
    """By the command, SIGKILL in the middle of a turn."""
    small.save(tmp_path / "policy")
    (tmp_path / "own.py").write_text(DEADLY)
    lines = (json.dumps(prompt) + "\n" for prompt in PROMPTS)
    (tmp_path / "prompts.jsonl").write_text("".join(lines))
    flags = {
        "model": "policy",
        "reward": "own.py:right",
        "tools": "own.py:twice",
        "data": "prompts.jsonl",
    }
    flags |= FEW | {"algorithm": "rloo", "constraint": f"regex:({CALL}|[45])"}
    flags |= {"steps": 6, "save_every": 1, "log_every": 1}

    def align(run_dir):
        given = [f"--{name}={value}" for name, value in (flags | {"run_dir": run_dir}).items()]
        command = [sys.executable, "-m", "tfalign", "align", *given]
        paths = {"PYTHONPATH": str(pathlib.Path(tfalign.__file__).parent.parent)}
        return subprocess.run(command, cwd=tmp_path, env=os.environ | paths).returncode

    assert align("whole") == 0
    calls = [line["tool_calls"] * FEW["batch_size"] for line in lines_of(tmp_path / "whole")]
    (tmp_path / "left").write_text(str(round(sum(calls[:4])) - 2))  # in the fourth batch
    assert align("cut") == -signal.SIGKILL
    assert not (tmp_path / "left").exists()
    assert len(lines_of(tmp_path / "cut")) < 6
    assert align("cut") == 0
    assert_same_run(tmp_path / "cut", tmp_path / "whole", "rloo")


class Silly:
    def reset(self, record):
        pass

    def step(self, action):
        return "", 0.0, True


@pytest.mark.parametrize(
    ("reward", "tools", "options", "message"),
    [
        (Silly, [twice], {}, "An environment answers by itself, without tools"),
        (right, [], {"max_turns": 2}, "max_turns is of conversations"),
        (right, ["nowhere.py:twice"], {}, "The tool nowhere.py:twice cannot be imported"),
        (right, [len], {}, "Received: len"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    small, tmp_path, reward, tools, options, message
):
    choices = {"batch_size": 8, "steps": 1, "max_prompt_tokens": 4, "max_new_tokens": 8} | options
    with pytest.raises(ValueError, match=message):
        tfalign.OnPolicyTrainer(
            small, reward, PROMPTS, "rloo", tools=tools, run_dir=tmp_path / "run", **choices
        )
    assert not (tmp_path / "run").exists()

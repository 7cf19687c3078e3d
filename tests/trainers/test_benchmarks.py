"""Published tasks: log-probabilities of answers are the model's own, and a task runs from its files."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.cli.measuring_records import BenchmarkJob
from tfalign.cli.run import benchmark
from tfalign.models import CausalLM, GPTConfig
from tfalign.pretrained import Pretrained
from tfalign.text import train_byte_bpe
from tfalign.trainers.benchmarks import answer_log_probs
from tfalign.trainers.saving import save_model


@pytest.fixture(scope="module")
def pretrained():
    keras.utils.set_random_seed(0)
    tokenizer = train_byte_bpe(["Question: Answer: yes no"], 280)
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2, "max_positions": 1600}
    return Pretrained(CausalLM(GPTConfig(tokenizer.vocab_size, **sizes)), tokenizer)


def test_log_probs_of_answers_are_the_models(pretrained):
    pairs = [("Q: a\nA:", " yes."), ("Q: longer\nA:", " no, never.")]
    found = answer_log_probs(pretrained, rows=2)(pairs)
    for (prompt, answer), log_prob in zip(pairs, found):
        ids = [*pretrained.tokenizer.head_ids, *pretrained.tokenizer.encode(prompt + answer)]
        start = len(pretrained.tokenizer.head_ids) + len(pretrained.tokenizer.encode(prompt))
        logits = pretrained.model(np.array([ids]))[0]
        expected = ops.convert_to_numpy(keras.ops.log_softmax(logits))
        by_hand = sum(expected[at - 1, ids[at]] for at in range(start, len(ids)))
        assert log_prob == pytest.approx(by_hand, abs=1e-4)


@pytest.mark.slow
def test_tasks_run_from_their_files(pretrained, tmp_path, capsys):
    save_model(tmp_path / "model", pretrained.model, pretrained.tokenizer)
    table = tmp_path / "TruthfulQA.csv"
    head = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
    table.write_text(head + 'a,b,Why?,Because,"Because; So",No; Never,-\n' * 3)
    rows = [{"question": f"{n} + 1?", "answer": f"#### {n + 1}"} for n in range(3)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"model": str(tmp_path / "model"), "batch_size": 2}
    benchmark(BenchmarkJob(data=str(table), **given))
    problems = {"data": str(tmp_path / "test.jsonl"), "examples": str(tmp_path / "test.jsonl")}
    benchmark(BenchmarkJob(task="gsm8k", shots=1, max_new_tokens=8, **problems, **given))
    names = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert names[-3:] == ["mc1", "mc2", "exact_match"]
    with pytest.raises(ValueError, match="shots need examples"):
        BenchmarkJob(task="gsm8k", shots=1)

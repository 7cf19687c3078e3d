"""``MaskedPretrainer``: both tasks, every form of text, runs that go on, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfalign
from tfalign.models import BERTPretrainer, MaskedLM
from tfalign.options import changed
from tfalign.trainers.bert_pretraining import split_documents
from tfalign.trainers.options import DataOptions

SMALL = {
    "preset": "tiny",
    "num_layers": 1,
    "width": 16,
    "length": 16,
    "batch_size": 8,
    "held_out_batches": 2,
    "vocab_size": 120,
    "steps": 4,
    "warmup_steps": 1,
    "log_every": 1,
    "save_every": 2,
}
TEXTS = [f"Topic {d} is here. So is {d} again.\nAnd {d} ends." for d in range(60)]


@pytest.fixture
def source(tmp_path):
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS))
    return f"{tmp_path}/text.txt::{tmp_path}/text.txt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "kind"),
    [
        pytest.param(
            {"optimizer": "lamb", "whole_words": True, "ramp": "1:8x12"},
            BERTPretrainer,
            marks=[pytest.mark.slow, pytest.mark.exhaustive],
        ),
        ({"next_sentence": False}, MaskedLM),
    ],
)
def test_both_tasks_leave_a_model_and_what_it_is_worth(tmp_path, source, choices, kind):
    run = tmp_path / "run"
    trainer = tfalign.MaskedPretrainer(source, run_dir=run, **SMALL | choices)
    metrics = trainer.train()
    results = trainer.results
    assert 0 <= results["masked_accuracy"] <= 1 and 0 < results["masked_majority"] < 1
    assert results["masked_accuracy"] == metrics["eval_masked_accuracy"]
    assert ("next_accuracy" in results) == (kind is BERTPretrainer)
    assert json.loads((run / "pretrain_bert.json").read_text()) == results
    assert type(tfalign.load(run / "models" / "pretrain_bert").model) is kind


def test_the_majority_by_hand():
    """Of masked tokens 5, 5, 7 (and one that does not count) two are 5; of three rows two are random."""
    from types import SimpleNamespace

    batch = SimpleNamespace(
        hidden_ids=np.array([[5, 5], [7, 9], [9, 9]]),
        is_hidden=np.array([[True, True], [True, False], [False, False]]),
        is_random=np.array([1, 1, 0]),
    )
    trainer = tfalign.MaskedPretrainer(TEXTS, **SMALL)
    trainer.held_out = [batch]
    majority = trainer._majority()
    assert majority == {
        "masked_majority": pytest.approx(2 / 3),
        "next_majority": pytest.approx(2 / 3),
    }


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_if_it_had_not_been(resumed):
    def make(run_dir, callbacks):
        return tfalign.MaskedPretrainer(
            TEXTS, held_out=TEXTS, run_dir=run_dir, callbacks=callbacks, eval_every=2, **SMALL
        )

    again, whole = resumed(make, cut=3)
    assert again.results == whole.results


def test_every_form_of_text_is_the_same_documents(tmp_path, source):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (tmp_path / "text.jsonl").write_text(lines)
    options = DataOptions()
    (both, _), (train, test) = (
        split_documents(source, options),
        split_documents(source.partition("::")[0], options),
    )
    assert both[3] == ["Topic 3 is here.", "So is 3 again.", "And 3 ends."]
    assert len(train) + len(test) == 60 and 0 < len(test) < 20
    records = f"{tmp_path}/text.jsonl"
    assert split_documents(f"{records}::{records}", options)[0] == both
    assert split_documents(TEXTS, options, held_out=source.partition("::")[0]) == (both, both)
    few = split_documents(TEXTS, changed(options, test_fraction=0.5))
    assert sorted([*few[0], *few[1]]) == sorted(both)


@pytest.mark.parametrize(
    ("data", "choices", "message"),
    [
        (TEXTS, {"length": 129}, "the 128 positions of preset=tiny. Received: length=129"),
        (TEXTS, {"ramp": "5:8x129"}, "the 128 positions of preset=tiny. Received: length=129"),
        (TEXTS, {"preset": "tinny"}, "tinny"),
        ("nowhere.txt::nowhere.txt", {}, "nowhere.txt"),
        (["One document."], {}, "two documents or more. Received: 1"),
        (TEXTS, {"share": 1.0}, "--share must be above 0 and below 1. Received: share=1.0"),
    ],
)
def test_mistakes_are_told_and_nothing_is_left(tmp_path, data, choices, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tfalign.MaskedPretrainer(data, run_dir=tmp_path / "run", **SMALL | choices)
    assert not any(tmp_path.iterdir())

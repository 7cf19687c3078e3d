"""BERT's pretraining in a few steps: both choices, and what it says of a bad corpus."""

from __future__ import annotations

import json

import pytest

from experiments.pretrain_bert import PretrainBertConfig, main
from tfalign.models import BERTPretrainer, MaskedLM, from_pretrained

SMALL = {
    "preset": "tiny",
    "num_layers": 1,
    "length": 16,
    "ramp": "1:8x12",
    "batch_size": 8,
    "held_out_batches": 2,
}


def corpus(tmp_path):
    text = "\n\n".join(f"Topic {d} is here. So is {d} again.\nAnd {d} ends." for d in range(60))
    (tmp_path / "text.txt").write_text(text)
    return f"{tmp_path}/text.txt::{tmp_path}/text.txt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "kind"),
    [
        ({"optimizer": "lamb", "whole_words": True}, BERTPretrainer),
        ({"next_sentence": False}, MaskedLM),
    ],
)
def test_a_small_run(tmp_path, choices, kind):
    config = PretrainBertConfig(
        run_dir=str(tmp_path / "run"),
        data=corpus(tmp_path),
        vocab_size=120,
        steps=3,
        warmup_steps=1,
        log_every=1,
        **SMALL | choices,
    )
    main(config)
    results = json.loads((tmp_path / "run" / "pretrain_bert.json").read_text())
    assert 0 <= results["masked_accuracy"] <= 1 and 0 < results["masked_majority"] < 1
    assert ("next_accuracy" in results) == (kind is BERTPretrainer)
    assert type(from_pretrained(tmp_path / "run" / "models" / "pretrain_bert")) is kind


def test_rows_have_the_presets_positions_at_most():
    for choice in ({"length": 129}, {"ramp": "5:8x129"}):
        with pytest.raises(ValueError, match="the 128 positions of --preset=tiny.*length=129"):
            PretrainBertConfig(data="a::b", preset="tiny", **choice)


def test_one_file_is_not_two():
    with pytest.raises(ValueError, match="TRAIN::TEST, two text files. Received: 'a.txt'"):
        PretrainBertConfig(data="a.txt")

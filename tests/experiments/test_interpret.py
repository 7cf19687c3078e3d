"""The page about a model: what it shows, and that it stands alone."""

from __future__ import annotations

import re

import pytest

from experiments.studies.interpret import InterpretConfig, main
from tfalign.models import BERTConfig, CausalLM, GPTConfig, MaskedLM, SequenceClassifier
from tfalign.text import train_byte_bpe, train_word_piece

TEXT = "<b>bold & brave</b>"


def models():
    bytes_, pieces = train_byte_bpe([], 259), train_word_piece([TEXT], 60)
    bert = BERTConfig(pieces.vocab_size, 8, 1, 2, max_positions=64)
    return {
        "gpt": (CausalLM(GPTConfig(259, 8, 2, 2, max_positions=64)), bytes_),
        "bert": (MaskedLM(bert), pieces),
        "classifier": (SequenceClassifier(bert, 3), pieces),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "bert", "classifier"])
def test_a_page_stands_alone(tmp_path, name):
    model, tokenizer = models()[name]
    model.save_pretrained(tmp_path / "model")
    tokenizer.save(tmp_path / "model")
    main(
        InterpretConfig(
            run_dir=str(tmp_path / "run"), model=str(tmp_path / "model"), text=TEXT, steps=8
        )
    )
    page = (tmp_path / "run" / "interpret.html").read_text(encoding="utf-8")
    pictures = {file.stem for file in (tmp_path / "run" / "plots").glob("*.png")}
    expected = {"attention", "attributions"} | ({"logit_lens"} if name != "classifier" else set())
    assert pictures == expected
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == len(expected)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<b>bold" not in page and "&lt;" in page
    score, baseline, total = map(
        float,
        re.search(
            r"log-probability: (\S+) nats, (\S+) on .*?add up to (\S+) \(", page, re.S
        ).groups(),
    )
    assert abs(score - baseline - total) < 5e-3


def test_a_model_must_be_named():
    with pytest.raises(ValueError, match="--model must be given"):
        main(InterpretConfig())

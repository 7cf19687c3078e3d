"""``tfalign ngram``: the same numbers as KenLM's and the library's, from a text and from the file it writes."""

from __future__ import annotations

import json
import math
import pathlib
import re

import numpy as np
import pytest

from tfalign.cli import main
from tfalign.cli.ngram import ngram
from tfalign.cli.records import NGramJob

KENLM = pathlib.Path(__file__).parents[1] / "language_models" / "kenlm.json"


def test_the_command_has_kenlms_perplexity(tmp_path, capsys):
    """Of held-out lines with unknown words, by the model estimated and by the ARPA file read again."""
    case = json.loads(KENLM.read_text("utf-8"))
    for split in ("train", "held_out"):
        (tmp_path / f"{split}.txt").write_text("\n".join(case[split]) + "\n")
    arpa, test = str(tmp_path / "out.arpa"), str(tmp_path / "held_out.txt")
    ngram(NGramJob(text=str(tmp_path / "train.txt"), order=case["order"], arpa=arpa, test=test))
    ngram(NGramJob(model=arpa, test=test))
    said = capsys.readouterr().out
    log10 = np.concatenate(case["log10_probs"])
    found = re.findall(r"perplexity ([\d.]+) of ([\d,]+) tokens", said)
    assert len(found) == 2 and said.count("unknown words") == 2
    for perplexity, tokens in found:
        assert int(tokens.replace(",", "")) == len(log10)
        assert float(perplexity) == pytest.approx(10 ** -log10.mean(), rel=1e-4)


def test_every_smoothing_estimates(tmp_path, capsys):
    text = tmp_path / "it.txt"
    text.write_text("a b a c\nb a\n" * 30 + "d\n")
    with np.testing.suppress_warnings() as silence:
        silence.filter(UserWarning)
        for smoothing in ("kneser_ney", "katz", "add_k"):
            ngram(NGramJob(text=str(text), order=2, smoothing=smoothing, test=str(text)))
    found = [float(x) for x in re.findall(r"perplexity ([\d.]+)", capsys.readouterr().out)]
    assert len(found) == 3 and all(1 < x < math.inf for x in found)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--test=a.txt"], "One of text and model must be given"),
        (["--text=a.txt"], "nothing to do without test or arpa"),
        (["--text=nowhere.txt", "--test=a.txt"], "There is no file nowhere.txt"),
    ],
)
def test_mistakes_are_told_in_a_sentence(flags, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["tfalign", "ngram", *flags])
    assert message in capsys.readouterr().err

"""The table of perplexities: filled bit by bit, true where it can be counted by hand."""

from __future__ import annotations

import collections
import gzip
import json

import numpy as np
import pytest

from experiments.studies import language_models
from experiments.studies.language_models import LanguageModelsConfig, main
from tfalign.cli.records import GenerateJob, SamplingOptions
from tfalign.cli.talk import generate
from tfalign.models import RecurrentConfig, from_pretrained
from tfalign.pretrained import load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Counts of counts")
LINES = [f" the {noun} sat on the {place} . \n" for noun in ["cat", "dog", "hen"] for place in "mn"]


@pytest.fixture
def data(tmp_path):
    words, characters = tmp_path / "data" / "wikitext-2", tmp_path / "data" / "tinyshakespeare"
    words.mkdir(parents=True)
    characters.mkdir()
    train = "".join(LINES * 20).encode()
    (words / "wiki.train.shuffled.tokens.gz").write_bytes(gzip.compress(train))
    (words / "wiki.test.tokens").write_text(" the cow sat . \n")
    (characters / "input.txt").write_text("to be or not to be\n" * 60)
    return tmp_path / "data"


@pytest.fixture
def small(monkeypatch):
    network = language_models._network(
        RecurrentConfig(0, 8), columns=9, window=8, batch_size=4, steps=30, warmup_steps=5
    )
    for networks in language_models.NETWORKS.values():
        monkeypatch.setitem(networks, "LSTM", network)


@pytest.mark.slow
def test_the_table_is_filled_bit_by_bit(data, small, tmp_path, capsys):
    options = {"data_dir": str(data), "run_dir": str(tmp_path / "run")}
    main(LanguageModelsConfig(models=("ngram",), texts=("wikitext-2",), **options))
    first = tmp_path / "run" / "wikitext-2" / "1-gram, maximum likelihood.json"
    first.write_text(first.read_text().replace('"tokens": 5', '"tokens": 55'))  # kept as it is
    main(LanguageModelsConfig(models=("ngram", "LSTM"), **options))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(report["wikitext-2"]) == len(report["tinyshakespeare"]) == 5 * 4 + 1
    assert report["wikitext-2"]["1-gram, maximum likelihood"]["tokens"] == 55
    assert report["wikitext-2"]["2-gram, add 0.01"]["unknown"] == 1
    characters = report["tinyshakespeare"]
    assert all(result["parameters"] > 0 for result in characters.values())
    assert characters["LSTM"]["nats"] < np.log(15)  # as good as knowing nothing
    text = (tmp_path / "run" / "report.md").read_text()
    assert text.count("| LSTM |") == 2 and text.count("bits per character") == 1
    model = tmp_path / "run" / "wikitext-2" / "LSTM" / "models" / "LSTM"
    capsys.readouterr()
    prompt = "the cat sat on the"
    generate(
        GenerateJob(
            str(model), prompt=prompt, max_new_tokens=1, sampling=SamplingOptions(greedy=True)
        )
    )
    words = load_tokenizer(model)
    best = int(np.argmax(from_pretrained(model)(np.array([words.encode(prompt)]))[0, -1]))
    assert capsys.readouterr().out.strip() == words.decode([best]) != ""
    main(LanguageModelsConfig(models=("ngram", "LSTM"), **options))
    assert "train" not in capsys.readouterr().out.split("#")[0]


def test_a_unigram_by_hand(data, tmp_path):
    options = {"data_dir": str(data), "run_dir": str(tmp_path / "run")}
    main(LanguageModelsConfig(models=("ngram",), texts=("tinyshakespeare",), **options))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    whole = "to be or not to be\n" * 60
    cut = len(whole) * 9 // 10
    counts = collections.Counter(whole[:cut])
    bits = -np.mean([np.log2(counts[c] / cut) for c in whole[cut:]])
    found = report["tinyshakespeare"]["1-gram, maximum likelihood"]
    assert found["bits_per_character"] == pytest.approx(bits)
    assert found["tokens"] == len(whole) - cut


def test_what_is_wrong_is_said(data, tmp_path):
    with pytest.raises(
        ValueError, match="--texts must be one of wikitext-2, .* Received: .*'bible'"
    ):
        LanguageModelsConfig(texts=("bible",))
    with pytest.raises(ValueError, match="--models must be one of ngram, .* Received: .*'RNN'"):
        LanguageModelsConfig(models=("RNN",))
    (data / "wikitext-2" / "wiki.test.tokens").write_text(" \n")
    with pytest.raises(ValueError, match="wiki.test.tokens: a corpus needs text"):
        main(LanguageModelsConfig(data_dir=str(data), run_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()

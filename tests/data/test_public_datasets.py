"""The builders of public datasets, on the files where they are; one small one without them."""

from __future__ import annotations

import json

import pytest

from tfalign.data import (
    ClassRecord,
    CompletionRecord,
    PreferenceRecord,
    TextRecord,
    files,
    read_records,
)

pytestmark = pytest.mark.tensorflow  # TensorFlow datasets


@pytest.fixture
def manual(tmp_path, monkeypatch):
    """A folder of manual files in the place --data_dir has for them."""
    monkeypatch.delenv("TFALIGN_DATA_DIR", raising=False)
    (tmp_path / "manual").mkdir()
    return tmp_path / "manual"


def problems(count):
    rows = ({"question": f"{n} + 1?", "answer": f"It is #### {n + 1}"} for n in range(count))
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_files_are_found_in_the_folder_or_one_below(manual):
    (manual / "train.jsonl").write_text(problems(3))
    (manual / "gsm8k").mkdir()
    (manual / "gsm8k" / "test.jsonl").write_text(problems(2))
    columns = "?prompt=question&completion=answer"
    for split, count in (("train", 3), ("test", 2)):
        source = f"tfds:gsm8k:{split}{columns}"
        records = read_records(source, CompletionRecord, data_dir=str(manual.parent))
        assert len(records) == count
        assert records[1].prompt == "1 + 1?" and records[1].completion == "It is #### 2"


def test_a_folder_with_half_of_the_files_is_told(manual):
    (manual / "train.jsonl").write_text(problems(3))
    with pytest.raises(ValueError, match="has 1 of 2 files and lacks test.jsonl"):
        read_records("tfds:gsm8k?text=question", TextRecord, data_dir=str(manual.parent))


def test_without_files_they_are_asked_for_where_they_are_published():
    class Manager:
        @property
        def manual_dir(self):
            raise AssertionError("there is none")

        def download(self, urls):
            return {name: f"/downloads/{name}" for name, url in urls.items() if url == "http://a"}

    assert files.locate(Manager(), {"a.txt": "http://a"})["a.txt"].as_posix() == "/downloads/a.txt"


@pytest.mark.parametrize(
    "source, kind, count",
    [
        ("tfds:gsm8k:train?prompt=question&completion=answer", CompletionRecord, 7_473),
        ("tfds:hh_rlhf/helpful_base:test", PreferenceRecord, 2_348),
        ("tfds:movie_reviews:train", ClassRecord, 1_600),
        ("tfds:movie_reviews:test", ClassRecord, 400),
        ("tfds:bitext?prompt=instruction&completion=response", CompletionRecord, 4_514),
        ("tfds:bitext?text=instruction&label=intent", ClassRecord, 4_514),
        ("tfds:ukp_conv_arg:part0+part1+part2+part3", PreferenceRecord, 11_650),
    ],
)
def test_public_datasets(shared_data, monkeypatch, tmp_path_factory, source, kind, count):
    monkeypatch.setenv("TFALIGN_DATA_DIR", str(shared_data))
    folder = tmp_path_factory.getbasetemp() / "prepared"
    assert len(read_records(source, kind, on_bad="skip", data_dir=str(folder))) == count


def test_no_debate_is_in_two_parts(shared_data, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("TFALIGN_DATA_DIR", str(shared_data))
    folder = str(tmp_path_factory.getbasetemp() / "prepared")
    debates = [
        {
            record.prompt.partition(":")[0]
            for record in read_records(
                f"tfds:ukp_conv_arg:part{part}", PreferenceRecord, data_dir=folder
            )
        }
        for part in range(4)
    ]
    assert sum(map(len, debates)) == len(set().union(*debates)) == 16

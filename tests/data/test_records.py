"""Sources of every kind, and what is said about records that are no good."""

from __future__ import annotations

import gzip
import json
import sys
import textwrap
import zipfile

import pytest

from tfalign.data import (
    BadRecordError,
    CompletionRecord,
    PreferenceRecord,
    PromptRecord,
    TextRecord,
    read_records,
    split_by_prompt,
)

PAIR = {"prompt": "你好吗？", "chosen": " 很好。", "rejected": " 不好。"}


def write_lines(path, lines):
    """Writes dicts as JSON, bytes as they are."""
    data = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode()) + b"\n"
        for line in lines
    )
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


@pytest.mark.parametrize("name", ["it.jsonl", "it.jsonl.gz"])
def test_json_lines_of_every_kind(tmp_path, name):
    path = write_lines(tmp_path / name, [PAIR | {"text": "t", "completion": "c"}, b"  ", PAIR])
    assert list(read_records(path, PreferenceRecord)) == [
        PreferenceRecord("你好吗？", " 很好。", " 不好。", 0.0, f"{path}:1"),
        PreferenceRecord("你好吗？", " 很好。", " 不好。", 0.0, f"{path}:3"),
    ]
    assert read_records(path, PromptRecord)[1] == PromptRecord("你好吗？", f"{path}:3")
    one = read_records(path, TextRecord, on_bad="skip")
    assert list(one) == [TextRecord("t", f"{path}:1")]
    one = read_records(path, CompletionRecord, on_bad="skip")
    assert list(one) == [CompletionRecord("你好吗？", "c", f"{path}:1")]


def test_margin_columns_and_byte_order_mark(tmp_path):
    row = json.dumps({"query": "q", "chosen": "a", "rejected": "b", "margin": 2})
    path = write_lines(tmp_path / "it.jsonl", [b"\xef\xbb\xbf" + row.encode()])
    record = read_records(f"{path}?prompt=query", PreferenceRecord)[0]
    assert record == PreferenceRecord("q", "a", "b", 2.0, f"{path}:1")


BAD_LINES = {
    "missing": ({"prompt": "p", "chosen": "a"}, "'rejected' is missing. Received fields: prompt"),
    "empty": (PAIR | {"chosen": " \n"}, "the field 'chosen' is empty"),
    "same": (PAIR | {"chosen": "x", "rejected": "x"}, "chosen == rejected"),
    "type": (PAIR | {"prompt": 7}, "the field 'prompt' must be text. Received: 7 (int)"),
    "margin": (PAIR | {"margin": "l"}, "'margin' must be a finite number. Received: 'l' (str)"),
    "infinite": (PAIR | {"margin": float("inf")}, "'margin' must be a finite number"),
    "truth": (PAIR | {"margin": True}, "must be a finite number. Received: True (bool)"),
    "array": (["p"], "must be a JSON object. Received: ['p'] (list)"),
    "json": (b'{"prompt": "p",', "not JSON (Expecting property name"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "latin": (b'{"prompt": "caf\xe9"}', "the line is not UTF-8 (byte 0xe9 at byte 15)"),
    "surrogate": (
        b'{"prompt": "\\ud83d", "chosen": "a", "rejected": "b"}',
        "the field 'prompt' is not Unicode text: half a surrogate pair",
    ),
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_bad_line(tmp_path, line, reason):
    path = write_lines(tmp_path / "it.jsonl", [PAIR, PAIR, line, PAIR])
    with pytest.raises(BadRecordError) as caught:
        read_records(path, PreferenceRecord)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert reason in str(caught.value)

    records = read_records(path, PreferenceRecord, on_bad="skip")
    assert [record.source for record in records] == [f"{path}:{line}" for line in (1, 2, 4)]
    assert [bad.source for bad in records.bad] == [f"{path}:3"]
    assert reason in records.bad[0].reason


def test_summary_counts_and_names_the_first_few(tmp_path):
    same = PAIR | {"chosen": "x", "rejected": "x"}
    path = write_lines(tmp_path / "it.jsonl", [PAIR, same, same, PAIR, same, same])
    records = read_records(path, PreferenceRecord, on_bad="skip")
    assert records.summary(shown=2) == (
        "2 read, 4 skipped (it.jsonl:2: chosen == rejected; it.jsonl:3: chosen == rejected; ...)"
    )
    good = read_records(write_lines(tmp_path / "good.jsonl", [PAIR]), PreferenceRecord)
    assert good.summary() == "1 read, 0 skipped"


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.jsonl", FileNotFoundError, "There is no file nowhere.jsonl"),
        ("text:nowhere", FileNotFoundError, "There is no file nowhere"),
        ("table.xls", ValueError, "A source is a .jsonl.* Received: table.xls"),
        ("it.jsonl?review=text", ValueError, "has the fields text. Received: review=text"),
    ],
)
def test_source_that_cannot_be(source, error, message):
    with pytest.raises(error, match=message):
        read_records(source, TextRecord)


def test_settings_that_cannot_be(tmp_path):
    path = write_lines(tmp_path / "it.jsonl", [PAIR])
    with pytest.raises(ValueError, match="Received: on_bad='ignore'"):
        read_records(path, PromptRecord, on_bad="ignore")
    with pytest.raises(ValueError, match="one of the record classes. Received: kind=<class 'dict'"):
        read_records(path, dict)
    with pytest.raises(ValueError, match="no usable TextRecord: 0 read, 1 skipped"):
        read_records(path, TextRecord, on_bad="skip")


def test_damaged_gzip_is_never_skipped(tmp_path):
    path = tmp_path / "it.jsonl.gz"
    write_lines(path, [PAIR | {"text": str(number)} for number in range(1000)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"it.jsonl.gz: damaged gzip file after line \d+"):
        read_records(str(path), TextRecord, on_bad="skip")


def transcript(*turns):
    speakers = ("\n\nHuman: ", "\n\nAssistant: ")
    return "".join(speakers[number % 2] + turn for number, turn in enumerate(turns))


def test_transcripts_split_at_the_last_shared_assistant_turn(tmp_path):
    rows = [
        {"chosen": transcript("a", "b", "c", "good"), "rejected": transcript("a", "b", "c", "god")},
        {"chosen": transcript("a", "b"), "rejected": "\n\nHuman: a\n\nAssistant:"},
        {"chosen": transcript("a", "b"), "rejected": transcript("x", "b")},
    ]
    source = "anthropic:" + write_lines(tmp_path / "it.jsonl.gz", rows)
    records = read_records(source, PreferenceRecord, on_bad="skip")
    prompt = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert [(r.prompt, r.chosen, r.rejected) for r in records] == [(prompt, " good", " god")]
    assert [bad.reason for bad in records.bad] == [
        "the field 'rejected' is empty",
        "the transcripts share no 'Assistant:' turn",
    ]
    completion = read_records(source, CompletionRecord, on_bad="skip")[1]
    assert (completion.prompt, completion.completion) == ("\n\nHuman: a\n\nAssistant:", " b")
    assert read_records(source, TextRecord, on_bad="skip")[0].text == rows[0]["chosen"]


def test_real_transcripts(shared_data):
    source = f"anthropic:{shared_data}/hh-rlhf/helpful-base.test.jsonl.gz"
    records = read_records(source, PreferenceRecord, on_bad="skip")
    reasons = [bad.reason for bad in records.bad]
    assert len(records) == 2348
    assert reasons.count("chosen == rejected") == 2
    assert reasons.count("the field 'rejected' is empty") == 4
    for record in records:
        assert record.prompt.startswith("\n\nHuman:") and record.prompt.endswith("\n\nAssistant:")
        assert "\n\nHuman:" not in record.chosen + record.rejected
    assert len(read_records(source, PromptRecord)) == 2354  # all of their prompts are usable

    train, test = split_by_prompt(records, 0.1)
    assert len(train) + len(test) == 2348
    assert 190 < len(test) < 280
    assert not {r.prompt for r in train} & {r.prompt for r in test}


def test_split_by_prompt_is_the_same_everywhere():
    records = [PromptRecord(f"prompt {number}") for number in range(20)]
    _, test = split_by_prompt(records + records[:5], 0.3)
    assert [int(record.prompt.split()[1]) for record in test] == [0, 2, 6, 7, 14, 15, 19, 0, 2]
    _, documents = split_by_prompt([TextRecord(r.prompt) for r in records + records[:5]], 0.3)
    assert [document.text for document in documents] == [record.prompt for record in test]
    assert split_by_prompt(records, 0.0) == (records, [])
    assert split_by_prompt(records, 1.0) == ([], records)
    with pytest.raises(ValueError, match="Received: test_fraction=2"):
        split_by_prompt(records, 2)


def test_documents_of_a_text_file(tmp_path):
    path = tmp_path / "it.txt"
    path.write_bytes(b"\n\none\r\ntwo\r\n \r\n\r\nthree\n\ncaf\xe9\n\n" + "四".encode())
    records = read_records(f"text:{path}", TextRecord, on_bad="skip")
    assert [(r.text, r.source) for r in records] == [
        ("one\r\ntwo", f"{path}:3"),
        ("three", f"{path}:7"),
        ("四", f"{path}:11"),
    ]
    assert [(b.source, b.reason) for b in records.bad] == [
        (f"{path}:9", "the document is not UTF-8 (byte 0xe9 at byte 3)")
    ]


def test_documents_of_a_folder_and_of_a_zip(tmp_path):
    folder = tmp_path / "texts"
    for name, text in {"neg/2.txt": "no", "neg/1.txt": "meh", "pos/1.txt": "yes\n\n!"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "README").write_text("not a document")
    (folder / "pos" / "empty.txt").write_text(" ")
    archive = tmp_path / "texts.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for document in folder.rglob("*"):
            file.write(document, document.relative_to(folder))
    for place in (folder, archive):
        records = read_records(f"text:{place}", TextRecord, on_bad="skip")
        assert [record.text for record in records] == ["meh", "no", "yes\n\n!"]
        assert records[0].source == f"{place}/neg/1.txt:1"
        assert [bad.source for bad in records.bad] == [f"{place}/pos/empty.txt:1"]


def test_real_film_reviews(shared_data):
    records = read_records(f"text:{shared_data}/movie_reviews/movie_reviews.zip", TextRecord)
    assert len(records) == 2000
    assert sum("/pos/" in record.source for record in records) == 1000


BUILDER = """
    import numpy as np
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("rude", "kind")]

        def _info(self):
            text, margin = tfds.features.Text(), tfds.features.Tensor(shape=(), dtype=np.float32)
            return tfds.core.DatasetInfo(builder=self, disable_shuffling=True,
                features=tfds.features.FeaturesDict(
                    {"query": text, "chosen": text, "rejected": text, "margin": margin}))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(5), "test": self._generate_examples(2)}

        def _generate_examples(self, count):
            for i in range(count):
                rejected = "same" if i == 1 else self.builder_config.name
                yield i, {"query": f"问 {i}", "chosen": "same", "rejected": rejected, "margin": i}
"""


@pytest.mark.tensorflow
def test_any_tfds_builder(tmp_path, monkeypatch):
    folder = tmp_path / "some_package" / "tiny_pairs"
    folder.mkdir(parents=True)
    (tmp_path / "some_package" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "tiny_pairs_dataset_builder.py").write_text(textwrap.dedent(BUILDER))
    monkeypatch.syspath_prepend(tmp_path)
    data_dir = tmp_path / "datasets"
    source = "tfds:some_package.tiny_pairs/kind"
    try:
        records = read_records(
            f"{source}?prompt=query", PreferenceRecord, on_bad="skip", data_dir=data_dir
        )
        assert records[1] == PreferenceRecord("问 2", "same", "kind", 2.0, f"{source}:train:3")
        assert records.summary() == f"4 read, 1 skipped ({source}:train:2: chosen == rejected)"
        # Once built, its name is enough.
        named = "tfds:tiny_pairs/kind:test[:1]?prompt=query"
        assert len(read_records(named, PreferenceRecord, data_dir=data_dir)) == 1
        with pytest.raises(ValueError, match="has the splits train, test"):
            read_records(f"{source}:dev", TextRecord, data_dir=data_dir)
        with pytest.raises(BadRecordError, match="'text' is missing. Received fields: chosen"):
            read_records(source, TextRecord, data_dir=data_dir)
    finally:
        for name in [name for name in sys.modules if name.startswith("some_package")]:
            del sys.modules[name]


@pytest.mark.tensorflow
def test_the_embedded_dataset_by_its_short_name(tmp_path):
    records = read_records("tfds:customer_service/prompts_zh:test", PromptRecord, data_dir=tmp_path)
    assert records[0].prompt.startswith("顾客：")
    assert records[0].source == "tfds:customer_service/prompts_zh:test:1"

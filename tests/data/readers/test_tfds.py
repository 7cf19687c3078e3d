"""TensorFlow datasets, as their features give conversations and as they are spelled."""

from __future__ import annotations

import sys
import textwrap

import numpy as np
import pytest

from tfalign.data import (
    BadFileError,
    BadRecordError,
    ConversationRecord,
    PreferenceRecord,
    StepsRecord,
    TextRecord,
    read_records,
)
from tfalign.data.readers import fields, tfds
from tfalign.text import Message

TALK = (Message("user", "Hi."), Message("assistant", "Yes?"))


@pytest.mark.parametrize(
    "messages",
    [
        {
            "role": np.array([b"user", b"assistant"], object),
            "content": np.array([b"Hi.", b"Yes?"], object),
        },
        {"role": ["user", "assistant"], "content": ["Hi.", "Yes?"]},
        {"from": ["human", "gpt"], "value": ["Hi.", "Yes?"]},
        [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"}],
        np.array([{"role": "user", "content": "Hi."}, {"from": "gpt", "value": "Yes?"}], object),
    ],
)
def test_a_conversation_may_be_a_dict_of_lists(messages):
    row = {"messages": messages, "prompt": messages}
    record = fields.make_record(ConversationRecord, row, {}, "it:1")
    assert record.messages == TALK
    whole = {
        "chosen": messages,
        "rejected": [*map(_turn, TALK[:1]), _turn(Message("assistant", "No."))],
    }
    record = fields.make_record(PreferenceRecord, whole, {}, "it:1")
    assert record == PreferenceRecord(TALK[:1], "Yes?", "No.", source="it:1")


def _turn(message):
    return {"role": message.role, "content": message.content}


@pytest.mark.parametrize(
    "messages",
    [{"role": ["user"], "content": []}, {"role": [], "content": []}, {"role": ["user"]}, {}],
)
def test_a_dict_of_lists_that_do_not_fit_is_told(messages):
    with pytest.raises(BadRecordError, match="it:1: the field 'messages"):
        fields.make_record(ConversationRecord, {"messages": messages}, {}, "it:1")


@pytest.mark.parametrize(
    "address, parts",
    [
        ("a", ("a", None, "train")),
        ("a/b:test", ("a/b", None, "test")),
        ("a:1.0.0", ("a", "1.0.0", "train")),
        ("a/b:1.*.*:train[:80%]", ("a/b", "1.*.*", "train[:80%]")),
        ("a:train[10:20]", ("a", None, "train[10:20]")),
        ("a:1.0.0x", ("a", None, "1.0.0x")),
    ],
)
def test_versions_of_datasets_are_spelled_as_tensorflow_datasets_does(address, parts):
    assert tfds.parts(address) == parts


BUILDER = """
    import numpy as np
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.2.0")

        def _info(self):
            text = tfds.features.Text()
            turns = {"role": text, "content": text}
            return tfds.core.DatasetInfo(builder=self, disable_shuffling=True,
                features=tfds.features.FeaturesDict({
                    "messages": tfds.features.Sequence(turns),
                    "nested": tfds.features.Dataset(turns),
                    "steps": tfds.features.Sequence(text),
                    "labels": tfds.features.Sequence(tfds.features.Scalar(np.bool_)),
                    "text": text}))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(3), "test": self._generate_examples(1)}

        def _generate_examples(self, count):
            for i in range(count):
                talk = [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "茶"}]
                yield i, {"messages": talk, "nested": talk, "steps": ["a", "b"],
                    "labels": [True, False], "text": str(self.version)}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a dataset, and a folder to prepare it in."""
    folder = tmp_path / "a_package" / "talks"
    folder.mkdir(parents=True)
    (tmp_path / "a_package" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "talks_dataset_builder.py").write_text(textwrap.dedent(BUILDER), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "datasets"
    for name in [name for name in sys.modules if name.startswith("a_package")]:
        del sys.modules[name]


@pytest.mark.tensorflow
def test_conversations_of_a_dataset(package):
    source, where = "tfds:a_package.talks", {"data_dir": package}
    talk = (Message("user", "2?"), Message("assistant", "茶"))
    for column in ("messages", "nested"):
        records = read_records(f"{source}?messages={column}", ConversationRecord, **where)
        assert records[2] == ConversationRecord(talk, f"{source}:train:3")
    steps = read_records(f"{source}?prompt=text", StepsRecord, **where)[0]
    assert (steps.steps, steps.labels) == (("a", "b"), (True, False))
    for spelled, version, count in (
        (":1.2.0", "1.2.0", 3),
        (":1.2.0:test", "1.2.0", 1),
        (":1.*.*:train[1:]", "1.2.0", 2),
    ):
        records = read_records(source + spelled, TextRecord, **where)
        assert [record.text for record in records] == [version] * count
    assert len(read_records("tfds:talks:1.2.0:test", TextRecord, **where)) == 1  # once prepared
    for wrong in (
        f"{source}:3.0.0",
        "tfds:talks:3.0.0",
        "tfds:no_such_dataset",
        "tfds:",
        "tfds:a..b",
    ):
        with pytest.raises(ValueError, match="cannot be had from TensorFlow Datasets"):
            read_records(wrong, TextRecord, **where)
    with pytest.raises(ValueError, match="a_package.talks has the splits train, test"):
        read_records(f"{source}:1.2.0:dev", TextRecord, **where)
    shard = next((package / "talks" / "1.2.0").glob("*train.tfrecord*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(BadFileError, match="tfds:talks:train: damaged after example 2"):
        read_records("tfds:talks", TextRecord, on_bad="skip", **where)

"""Data larger than memory: records and token ids in files that are mapped, beside a few numbers a record in memory.

The files have no names: they are gone with the process, however it ends.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tfalign.data.examples import Examples, Ragged
from tfalign.data.records import BadRecord, Record, is_held_out, summarise
from tfalign.files import local_path
from tfalign.text import DetailedMessage, Message

AT_ONCE = 4096  # records in memory while they are encoded, up to twice as many at the end


class DiskRecords(Sequence):
    """Records of one kind in a file, each read when it is asked for.

    Args:
        records: what is written, one after the other.
        folder: where the file is, which has no name there.
        bad: those skipped on the way.

    Attributes:
        bad: list of BadRecord.
        folder: str.

    >>> from tfalign.data import PromptRecord
    >>> records = DiskRecords([PromptRecord("a", row={"id": 1}), PromptRecord("b")], tempfile.gettempdir())
    >>> records[0], records[0].row, len(records.subset([1]))
    (PromptRecord(prompt='a', source=''), {'id': 1}, 1)
    """

    def __init__(
        self,
        records: Iterable[Record],
        folder: str | os.PathLike,
        bad: list[BadRecord] | None = None,
    ) -> None:
        self.folder = os.fspath(folder)
        self._file = _nameless(self.folder)
        self._kind: type = Record
        places = array.array("q", [0])
        for record in records:
            self._kind = type(record)
            self._file.write(_line(record))
            places.append(self._file.tell())
        self._file.flush()
        self._places = np.frombuffer(places, np.int64)
        self._indices = np.arange(len(places) - 1)
        self.bad = [] if bad is None else bad

    def subset(self, indices: Sequence[int]) -> DiskRecords:
        """Some of the records, of the same file."""
        part = object.__new__(DiskRecords)
        part.__dict__ |= self.__dict__ | {"_indices": self._indices[np.asarray(indices, np.int64)]}
        return part

    def split(self, test_fraction: float) -> tuple[DiskRecords, DiskRecords]:
        """(train, test), as ``split_by_prompt`` has them."""
        held_out = np.fromiter(
            (is_held_out(record, test_fraction) for record in self), bool, len(self)
        )
        return self.subset(np.flatnonzero(~held_out)), self.subset(np.flatnonzero(held_out))

    @property
    def weights(self) -> np.ndarray:
        """float64[N], 1 each."""
        return np.ones(len(self))

    def summary(self, shown: int = 3) -> str:
        """str, as ``Records.summary``."""
        return summarise(len(self), self.bad, shown)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.subset(np.arange(len(self))[index])
        place = self._indices[index]
        begin, end = self._places[place : place + 2].tolist()
        return _record(self._kind, os.pread(self._file.fileno(), end - begin, begin))


def encode_on_disk(encode: Callable, records: DiskRecords, **limits: Any) -> Examples:
    """Records encoded some thousands at a time, their arrays in files.

    Args:
        encode: one of the functions ``encode_...``, which encodes each record by itself; ``encode_labelled``
            finds other prompts' responses among those that are encoded together.
        records: DiskRecords.
        limits: what ``encode`` takes besides.

    Returns:
        Examples as ``encode`` returns them, with DiskRecords.

    Raises:
        BadRecordError, ValueError: as ``encode``; also if some thousands of records one after the other do not fit.
    """
    parts, bad, kept = {}, [], []
    for start, stop in _portions(len(records)):
        portion = list(records[start:stop])
        examples = encode(portion, **limits)
        bad += examples.bad
        known = {id(record): start + at for at, record in enumerate(portion)}
        kept += [known[id(record)] for record in examples.records]
        for field in _arrays(examples):
            part = parts.setdefault(field, _Part(records.folder))
            part.add(getattr(examples, field))
    whole = {field: part.mapped() for field, part in parts.items()}
    return dataclasses.replace(examples, records=records.subset(kept), bad=tuple(bad), **whole)


def _portions(count):
    """(start, stop) pairs of ``AT_ONCE`` each, the last with the rest."""
    starts = range(0, max(count - AT_ONCE, 0) + 1, AT_ONCE)
    return itertools.pairwise([*starts, count])


def _arrays(examples):
    names = [field.name for field in dataclasses.fields(examples)]
    return [name for name in names if isinstance(getattr(examples, name), Ragged | np.ndarray)]


class _Part:
    """One field of Examples, added to a file."""

    def __init__(self, folder):
        self._file = _nameless(folder)
        self._lengths = None
        self._shape, self._dtype = None, None

    def add(self, value):
        rows = value
        if isinstance(value, Ragged):
            rows = value.tokens
            self._lengths = [*(self._lengths or []), value.lengths]
        if self._shape is not None and self._shape != rows.shape[1:]:
            raise ValueError(
                "Records with different numbers of responses are kept in memory only. "
                f"Received: {self._shape[0]} and {rows.shape[1]} responses"
            )
        self._shape, self._dtype = rows.shape[1:], rows.dtype
        rows.tofile(self._file)

    def mapped(self):
        self._file.flush()
        count = self._file.tell() // (self._dtype.itemsize * int(np.prod(self._shape, dtype=int)))
        if not count:
            rows = np.zeros((0, *self._shape), self._dtype)
        else:
            rows = np.memmap(self._file, self._dtype, "r+", shape=(count, *self._shape))
        return rows if self._lengths is None else Ragged.of(rows, np.concatenate(self._lengths))


def _nameless(folder):
    path = local_path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=path)


def _line(record):
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    try:
        return json.dumps(fields, ensure_ascii=False, default=_plain).encode("utf-8") + b"\n"
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{record.source}: columns that are kept in a file must be made of JSON's types ({error})"
        ) from None


def _plain(value):
    """NumPy's values as Python's."""
    return value.decode() if isinstance(value, bytes) else value.tolist()


def _record(kind, line):
    fields = json.loads(line)
    for name, read in _readers(kind).items():
        fields[name] = read(fields[name])
    return kind(**fields)


@functools.cache
def _readers(kind):
    """Fields that JSON does not give back as they were."""
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    return {
        name: functools.partial(_value, "Conversation" in type_)
        for name, type_ in types.items()
        if "Conversation" in type_ or "tuple" in type_ or type_ == "Words"
    }


def _value(may_be_turns, value):
    if not isinstance(value, list):
        return value
    if not may_be_turns:
        return tuple(value)
    return tuple((Message if len(turn) == 2 else DetailedMessage)(*turn) for turn in value)

"""Records of text from files, and what is wrong with those that are no good.

A source is one string:

    path.jsonl, path.jsonl.gz      a JSON object a line, with the fields of the kind asked for
    anthropic:path.jsonl[.gz]      pairs of whole transcripts, as in hh-rlhf
    text:path                      documents: a folder or zip of .txt files, or one .txt file
                                   whose documents are separated by blank lines
    csv:path, csv:path.tsv         a table with a header, columns separated by commas or by tabs
    cells:path                     the same without a header; the columns are called 0, 1, 2 ...
    conll:path                     a word and its tag a line, sentences separated by blank lines
    tfds:name[/config][:split]     any TensorFlow dataset; name may also be the Python module
                                   that holds its builder

``?text=review&prompt=query`` after any of them says which column a field is read from.

A prompt is a text or a conversation: a list of messages, ``{"role": "user", "content": "..."}`` or
``{"from": "human", "value": "..."}``, up to what the assistant shall answer. An answer may be written as the
assistant's message, and two whole conversations that differ in it as chosen and rejected.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import hashlib
import importlib
import importlib.util
import itertools
import json
import math
import numbers
import os
import urllib.parse
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfalign.text import ASSISTANT, Conversation, Message

Label, Score = str, float  # a class's name or number; a number, in a table as text

_ASSISTANT_TURN = "\n\nAssistant:"
_SHOWN = 60  # characters of a value that a message repeats
_MESSAGE_KEYS = (("role", "content"), ("from", "value"))  # as OpenAI and as ShareGPT write one
_ROLES = {"human": "user", "gpt": ASSISTANT}  # ShareGPT's names


@dataclasses.dataclass(frozen=True)
class TextRecord:
    """A document to learn the language from. ``source`` is "file:line", here and below."""

    text: str
    source: str = ""


@dataclasses.dataclass(frozen=True)
class PromptRecord:
    """What a policy shall answer; ``row`` has the data's other columns, for rewards."""

    prompt: str | Conversation
    source: str = ""
    row: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class CompletionRecord:
    """A prompt and the answer to imitate; their texts are joined as they stand."""

    prompt: str | Conversation
    completion: str
    source: str = ""


@dataclasses.dataclass(frozen=True)
class PreferenceRecord:
    """Two answers to one prompt. ``margin`` says how much better the chosen one is, 0 if unknown."""

    prompt: str | Conversation
    chosen: str
    rejected: str
    margin: float = 0.0
    source: str = ""


@dataclasses.dataclass(frozen=True)
class LabelledRecord:
    """An answer by itself that was liked (``label`` is true) or not."""

    prompt: str | Conversation
    completion: str
    label: bool
    source: str = ""


@dataclasses.dataclass(frozen=True)
class RankedRecord:
    """Two answers to one prompt, or more, the best first."""

    prompt: str | Conversation
    completions: tuple[str, ...]
    source: str = ""


@dataclasses.dataclass(frozen=True)
class StepsRecord:
    """An answer in steps; ``labels`` says of each whether it is right."""

    prompt: str | Conversation
    steps: tuple[str, ...]
    labels: tuple[bool, ...]
    source: str = ""


@dataclasses.dataclass(frozen=True)
class ConversationRecord:
    """A whole conversation; the assistant's turns are to be imitated."""

    messages: Conversation
    source: str = ""


@dataclasses.dataclass(frozen=True)
class ClassRecord:
    """A text and the class it belongs to."""

    text: str
    label: Label
    source: str = ""


@dataclasses.dataclass(frozen=True)
class TaggedRecord:
    """A sentence and a tag for every word: "O", or "B-" and "I-" with the kind of a name."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    source: str = ""


@dataclasses.dataclass(frozen=True)
class SimilarityRecord:
    """Two sentences, and how much they mean the same."""

    first: str
    second: str
    score: Score
    source: str = ""


KINDS = (
    TextRecord,
    PromptRecord,
    CompletionRecord,
    PreferenceRecord,
    LabelledRecord,
    RankedRecord,
    StepsRecord,
    ConversationRecord,
    ClassRecord,
    TaggedRecord,
    SimilarityRecord,
)


class BadRecordError(ValueError):
    """A record that cannot be used; the message is "file:line: reason"."""

    def __init__(self, source, reason):
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A record that was skipped, and why."""

    source: str
    reason: str


class Records(Sequence):
    """The usable records of a source, in its order.

    Attributes:
        bad: list of BadRecord, those skipped.
    """

    def __init__(self, records, bad=()):
        self._records = list(records)
        self.bad = list(bad)

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        return self._records[index]

    def summary(self, shown=3):
        """str such as "12 read, 2 skipped (a.jsonl:4: chosen == rejected; ...)"."""
        return summarise(len(self), self.bad, shown)


def summarise(num_good, bad, shown=3):
    """One line on what was read and what was skipped.

    >>> summarise(2, [BadRecord("a.jsonl:4", "the text is empty")])
    '2 read, 1 skipped (a.jsonl:4: the text is empty)'
    """
    if not bad:
        return f"{num_good} read, 0 skipped"
    reasons = [f"{_short(one.source)}: {one.reason}" for one in bad[:shown]]
    if len(bad) > shown:
        reasons.append("...")
    return f"{num_good} read, {len(bad)} skipped ({'; '.join(reasons)})"


def _short(source):
    return source if source.startswith("tfds:") else os.path.basename(source)


class BadRecordPolicy:
    """Stops at a bad record, or counts it: one place for reading and for encoding.

    Args:
        on_bad: "stop" or "skip".
    """

    def __init__(self, on_bad):
        if on_bad not in ("stop", "skip"):
            raise ValueError(f'on_bad must be "stop" or "skip". Received: on_bad={on_bad!r}')
        self._stops = on_bad == "stop"
        self.bad = []

    def handle(self, error):
        """Raises the BadRecordError, or notes it in ``bad``."""
        if self._stops:
            raise error
        self.bad.append(BadRecord(error.source, error.reason))


def read_records(source, kind, on_bad="stop", data_dir=None):
    """Reads every record of a source.

    Args:
        source: str, see the module's docstring.
        kind: one of the record classes of this module, ``KINDS``.
        on_bad: "stop" raises at the first bad record, "skip" counts it and goes on.
        data_dir: where TensorFlow datasets are kept; by default where they always are.

    Returns:
        Records.

    Raises:
        BadRecordError: a missing field, a wrong type, empty text, equal answers, steps without
            labels, a line that is not JSON or not UTF-8; the message begins with file and line.
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be understood, is damaged, or holds no usable record.
    """
    policy = BadRecordPolicy(on_bad)
    address, columns = _split_columns(source, kind)
    good = []
    for where, row in _rows(address, data_dir):
        try:
            if isinstance(row, BadRecordError):
                raise row
            good.append(_record(kind, row, columns, where))
        except BadRecordError as error:
            policy.handle(error)
    records = Records(good, policy.bad)
    if not records:
        raise ValueError(f"{source} holds no usable {kind.__name__}: {records.summary()}")
    return records


def records_of_rows(rows, kind, on_bad="stop"):
    """Records of what a program has: texts, dicts with the kind's fields, or records.

    Args:
        rows: iterable of str (where a text or prompt is all that is asked for), mappings or records.
        kind, on_bad: as for ``read_records``.

    Returns:
        Records; their sources are "record 0", "record 1" ...

    Raises:
        BadRecordError, ValueError: as ``read_records``.

    >>> records_of_rows([{"prompt": "1 + 1 =", "answer": 2}], PromptRecord)[0].row
    {'answer': 2}
    """
    policy = BadRecordPolicy(on_bad)
    good = []
    for index, row in enumerate(rows):
        try:
            good.append(_record_of_row(kind, row, f"record {index}"))
        except BadRecordError as error:
            policy.handle(error)
    records = Records(good, policy.bad)
    if not records:
        raise ValueError(f"There is no usable {kind.__name__}: {records.summary()}")
    return records


def _record_of_row(kind, row, where):
    if isinstance(row, kind):
        return row
    first = _fields(kind)[0].name
    if isinstance(row, str) and first in ("text", "prompt"):
        row = {first: row}
    if not isinstance(row, Mapping):
        raise BadRecordError(
            where, f"it must be a dict or a {kind.__name__}. Received: {_shown(row)}"
        )
    return _record(kind, row, {}, where)


def split_by_prompt(records, test_fraction):
    """Splits records so that no prompt is on both sides, the same way in every process.

    Args:
        records: sequence of records of one kind; a document counts as its own prompt, and of a
            conversation what stands before the assistant's first turn.
        test_fraction: float in [0, 1], about how much of the prompts is held out.

    Returns:
        (train, test), lists in the order given.
    """
    if not 0 <= test_fraction <= 1:
        raise ValueError(
            f"test_fraction must be between 0 and 1. Received: test_fraction={test_fraction}"
        )
    train, test = [], []
    for record in records:
        digest = hashlib.sha256(_asked(record).encode("utf-8")).digest()
        held_out = int.from_bytes(digest[:8], "big") < test_fraction * 2**64
        (test if held_out else train).append(record)
    return train, test


def _asked(record):
    """str, what a record answers; equal for records that must stay on one side of a split."""
    if isinstance(record, TextRecord):
        return record.text
    if isinstance(record, ClassRecord):
        return record.text
    if isinstance(record, (TaggedRecord, SimilarityRecord)):
        return json.dumps(dataclasses.astuple(record)[:-2])
    if isinstance(record, ConversationRecord):
        roles = [message.role for message in record.messages]
        turns = roles.index(ASSISTANT) if ASSISTANT in roles else len(roles)
        return json.dumps(record.messages[:turns])
    return record.prompt if isinstance(record.prompt, str) else json.dumps(record.prompt)


def _split_columns(source, kind):
    address, _, query = source.partition("?")
    columns = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    names = [field.name for field in _fields(kind)]
    unknown = sorted(set(columns) - set(names))
    if unknown:
        raise ValueError(
            f"A {kind.__name__} has the fields {', '.join(names)}. "
            f"Received: {unknown[0]}={columns[unknown[0]]} in {source}"
        )
    return address, columns


def _fields(kind):
    if kind not in KINDS:
        raise ValueError(f"kind must be one of the record classes. Received: kind={kind!r}")
    return [field for field in dataclasses.fields(kind) if field.name not in ("source", "row")]


def _record(kind, row, columns, where):
    values = {}
    row = _with_prompt(kind, row, columns, where)
    for field in _fields(kind):
        column = columns.get(field.name, field.name)
        if column in row:
            values[field.name] = _READERS[field.type](row[column], column, where)
        elif field.default is dataclasses.MISSING:
            known = ", ".join(map(str, row)) or "none"
            raise BadRecordError(
                where, f"the field {column!r} is missing. Received fields: {known}"
            )
    if kind is PromptRecord:
        prompt = columns.get("prompt", "prompt")
        values["row"] = {name: value for name, value in row.items() if name != prompt}
    record = kind(**values, source=where)
    reason = _contradiction(record)
    if reason:
        raise BadRecordError(where, reason)
    return record


def _with_prompt(kind, row, columns, where):
    """The row; of two whole conversations without a prompt, that and the two answers."""
    prompt, *answers = (columns.get(name, name) for name in ("prompt", "chosen", "rejected"))
    pair = [row.get(answer) for answer in answers]
    if kind is not PreferenceRecord or prompt in row or not all(isinstance(p, list) for p in pair):
        return row
    chosen, rejected = (_conversation(turns, name, where) for turns, name in zip(pair, answers))
    if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
        raise BadRecordError(
            where, f"{answers[0]!r} and {answers[1]!r} must differ in their last message alone"
        )
    ends = {name: list(turns[-1:]) for name, turns in zip(answers, (chosen, rejected))}
    return row | {prompt: list(chosen[:-1])} | ends


def _contradiction(record):
    """What is wrong with a record whose fields are right one by one; None for nothing."""
    if isinstance(record, PreferenceRecord) and record.chosen == record.rejected:
        return "chosen == rejected"
    if isinstance(record, RankedRecord):
        if len(record.completions) < 2:
            return f"a ranking needs two completions. Received: {len(record.completions)}"
        if len(set(record.completions)) < len(record.completions):
            return "two completions are equal"
    if isinstance(record, TaggedRecord) and len(record.words) != len(record.tags):
        return (
            f"every word needs a tag. Received: {len(record.words)} words and"
            f" {len(record.tags)} tags"
        )
    if isinstance(record, StepsRecord) and len(record.steps) != len(record.labels):
        return (
            "every step needs a label. "
            f"Received: {len(record.steps)} steps and {len(record.labels)} labels"
        )
    return None


def _text(value, column, where):
    if isinstance(value, bytes):
        value = _decode(value, where, f"the field {column!r}")
    if not isinstance(value, str):
        raise BadRecordError(where, f"the field {column!r} must be text. Received: {_shown(value)}")
    if not value.strip():
        raise BadRecordError(where, f"the field {column!r} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # JSON may spell half a surrogate pair, which is no character
        raise BadRecordError(
            where, f"the field {column!r} is not Unicode text: half a surrogate pair"
        ) from None
    return value


def _message(value, column, where):
    if isinstance(value, Message):
        return value
    for role, content in _MESSAGE_KEYS if isinstance(value, dict) else ():
        if role in value and content in value:
            said_by = _text(value[role], f"{column}.{role}", where)
            words = _text(value[content], f"{column}.{content}", where)
            return Message(_ROLES.get(said_by, said_by), words)
    raise BadRecordError(
        where,
        f"the field {column!r} must be a message with role and content. Received: {_shown(value)}",
    )


def _prompt(value, column, where):
    is_list = isinstance(value, (list, tuple, np.ndarray))
    return (_conversation if is_list else _text)(value, column, where)


def _answer(value, column, where):
    if not isinstance(value, (list, np.ndarray)):
        return _text(value, column, where)
    turns = _conversation(value, column, where)
    if len(turns) != 1 or turns[0].role != ASSISTANT:
        raise BadRecordError(
            where, f"the field {column!r} must be text or one message of the assistant"
        )
    return turns[0].content


def _number(value, column, where):
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(float(value)):
        raise BadRecordError(
            where, f"the field {column!r} must be a finite number. Received: {_shown(value)}"
        )
    return float(value)


def _label(value, column, where):
    is_number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return str(int(value)) if is_number else _text(value, column, where)


def _score(value, column, where):
    if isinstance(value, str):  # a cell of a table
        with contextlib.suppress(ValueError):
            value = float(value)
    return _number(value, column, where)


def _truth(value, column, where):
    if isinstance(value, (bool, np.bool_, numbers.Integral)) and value in (0, 1):
        return bool(value)
    raise BadRecordError(
        where, f"the field {column!r} must be true or false. Received: {_shown(value)}"
    )


def _several(read_one):
    """A reader of lists whose members ``read_one`` reads."""

    def read(value, column, where):
        if not isinstance(value, (list, tuple, np.ndarray)):
            raise BadRecordError(
                where, f"the field {column!r} must be a list. Received: {_shown(value)}"
            )
        if not len(value):
            raise BadRecordError(where, f"the field {column!r} is empty")
        return tuple(
            read_one(member, f"{column}[{index}]", where) for index, member in enumerate(value)
        )

    return read


_conversation = _several(_message)
_READERS = {  # by a field's annotation
    "str": _answer,
    "str | Conversation": _prompt,
    "Conversation": _conversation,
    "float": _number,
    "Label": _label,
    "Score": _score,
    "bool": _truth,
    "tuple[str, ...]": _several(_text),
    "tuple[bool, ...]": _several(_truth),
}


def _decode(data, where, what):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecordError(
            where, f"{what} is not UTF-8 (byte 0x{data[error.start]:02x} at byte {error.start})"
        ) from None


def _shown(value):
    text = repr(value)
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return f"{text} ({type(value).__name__})"


def _rows(address, data_dir):
    """Pairs of a place and what is there: a dict of fields, or a BadRecordError."""
    for prefix, reader in _READERS_OF_FILES.items():
        if address.startswith(prefix):
            return reader(address.removeprefix(prefix))
    if address.startswith("tfds:"):
        return _tfds_rows(address, data_dir)
    if address.endswith((".jsonl", ".jsonl.gz", ".json", ".json.gz")):
        return json_rows(address)
    raise ValueError(
        "A source is a .jsonl or .jsonl.gz file, or begins with "
        f"{', '.join(_READERS_OF_FILES)} or tfds:. Received: {address}"
    )


def json_rows(path):
    """Pairs of a place and the object of each line of a file, or a BadRecordError."""
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                yield where, _json_object(line, where)
            except BadRecordError as error:
                yield where, error


def text_lines(path):
    """The lines of a UTF-8 file, gzip or not, one after the other as str with their ends.

    Raises:
        FileNotFoundError: if there is no such file.
        BadRecordError: naming the first line that is not UTF-8.
        ValueError: if a gzip file is damaged.
    """
    for number, line in enumerate(_lines(path), start=1):
        yield _decode(line, f"{path}:{number}", "the line")


def _lines(path):
    """The lines of a file, gzip or not, as bytes without a byte-order mark."""
    _require(path)
    opener = gzip.open if str(path).endswith(".gz") else open
    number = 0
    with opener(path, "rb") as file:
        try:
            for number, line in enumerate(file, start=1):
                yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file after line {number}: {error}") from None


def _require(path):
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file {path}.")


def _json_object(line, where):
    text = _decode(line, where, "the line")
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRecordError(where, f"not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise BadRecordError(where, "not usable JSON (nested too deeply)") from None
    if not isinstance(row, dict):
        raise BadRecordError(where, f"must be a JSON object. Received: {_shown(row)}")
    return row


def _transcript_rows(path):
    for where, row in json_rows(path):
        if not isinstance(row, BadRecordError):
            try:
                row = split_transcripts(row, where)
            except BadRecordError as error:
                row = error
        yield where, row


def split_transcripts(row, where):
    """Two transcripts to prompt and answers, and the chosen one as text and completion too.

    The prompt ends with the last "Assistant:" of what the two have in common.
    """
    for name in ("chosen", "rejected"):
        if name not in row:
            raise BadRecordError(where, f"the field {name!r} is missing")
        _text(row[name], name, where)
    chosen, rejected = row["chosen"], row["rejected"]
    shared = os.path.commonprefix([chosen, rejected])
    start = shared.rfind(_ASSISTANT_TURN)
    if start < 0:
        raise BadRecordError(where, "the transcripts share no 'Assistant:' turn")
    end = start + len(_ASSISTANT_TURN)
    return {
        "text": chosen,
        "prompt": chosen[:end],
        "completion": chosen[end:],
        "chosen": chosen[end:],
        "rejected": rejected[end:],
    }


def _document_rows(path):
    _require(path)
    if os.path.isdir(path):
        documents = _folder_documents(path)
    elif zipfile.is_zipfile(path):
        documents = _zip_documents(path)
    elif path.endswith(".txt"):
        documents = _paragraphs(path)
    else:
        raise ValueError(f"text: takes a folder, a zip or a .txt file. Received: {path}")
    for where, data in documents:
        try:
            yield where, {"text": _decode(data, where, "the document")}
        except BadRecordError as error:
            yield where, error


def _folder_documents(path):
    files = [file for file in Path(path).rglob("*.txt") if file.is_file()]
    for file in sorted(files, key=lambda file: file.relative_to(path).as_posix()):
        yield f"{file}:1", file.read_bytes()


def _zip_documents(path):
    with zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".txt")):
            yield f"{path}/{name}:1", archive.read(name)


def _paragraphs(path):
    """Runs of lines that are not blank, with the place of the first."""
    first, block = 0, []
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            first = first if block else number
            block.append(line)
        elif block:
            yield f"{path}:{first}", b"".join(block).rstrip(b"\r\n")
            block = []
    if block:
        yield f"{path}:{first}", b"".join(block).rstrip(b"\r\n")


def _table_rows(path):
    header, *cells = _cells(path)
    for where, row in cells:
        yield where, dict(zip(header[1], row))


def _cell_rows(path):
    for where, row in _cells(path):
        yield where, {str(number): cell for number, cell in enumerate(row)}


def _cells(path):
    """Pairs of a place and a list of str; quoted cells may span lines in a table with commas."""
    lines = text_lines(path)
    if path.endswith((".tsv", ".tsv.gz")):
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines)
    start = 1
    for row in reader:
        if row:
            yield f"{path}:{start}", row
        start = reader.line_num + 1


def _tagged_rows(path):
    """Sentences of words with tags, the last column; a line without a word ends one."""
    first, words, tags = 0, [], []
    for number, line in enumerate(itertools.chain(_lines(path), [b""]), start=1):
        columns = _decode(line, f"{path}:{number}", "the line").rstrip("\r\n").split("\t")
        if columns[0].strip():
            first = first if words else number
            words.append(columns[0])
            tags.append(columns[-1])
        elif words:
            yield f"{path}:{first}", {"words": words, "tags": tags}
            words, tags = [], []


_READERS_OF_FILES = {
    "anthropic:": _transcript_rows,
    "text:": _document_rows,
    "csv:": _table_rows,
    "cells:": _cell_rows,
    "conll:": _tagged_rows,
}


def _tfds_rows(address, data_dir):
    name, _, split = address.removeprefix("tfds:").partition(":")
    split = split or "train"
    import tensorflow_datasets as tfds  # seconds to import, and most sources do without

    builder = _tfds_builder(name, data_dir)
    builder.download_and_prepare(download_config=_manual_files(tfds, data_dir))
    try:
        dataset = builder.as_dataset(split=split, shuffle_files=False)
    except ValueError as error:
        known = ", ".join(builder.info.splits) or "none"
        raise ValueError(f"{address}: {name} has the splits {known}. {error}") from None
    for number, row in enumerate(tfds.as_numpy(dataset), start=1):
        where = f"tfds:{name}:{split}:{number}"
        if isinstance(row, dict):
            yield where, row
        else:
            yield where, BadRecordError(where, f"must be a dict. Received: {_shown(row)}")


def _manual_files(tfds, data_dir):
    """Where files lie that were put there by hand: TFALIGN_DATA_DIR, or "manual" in ``data_dir``."""
    folder = os.environ.get("TFALIGN_DATA_DIR") or os.path.join(data_dir or "", "manual")
    return tfds.download.DownloadConfig(manual_dir=folder if os.path.isdir(folder) else None)


def _tfds_builder(name, data_dir):
    """The builder called ``name[/config]``, registered, or in the module of that name.

    A builder of this package, ``tfalign.data.<name>``, goes by its last name alone.
    """
    import tensorflow_datasets as tfds

    module, _, config = name.partition("/")
    folder = module if "." in module else f"{__package__}.{module}"
    if not _is_module(folder):
        return tfds.builder(name, data_dir=data_dir)
    short = folder.rpartition(".")[2]
    builders = importlib.import_module(f"{folder}.{short}_dataset_builder")
    return builders.Builder(config=config or None, data_dir=data_dir)


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a package above it is not there
        return False

"""Records of text from files, and what is wrong with those that are no good.

A source is one string:

    path.jsonl, path.jsonl.gz      a JSON object a line, with the fields of the kind asked for
    path.json[.gz]                 the same, or one array of objects
    path.csv, path.tsv[.gz]        a table with a header, columns separated by commas or by tabs
    path.parquet                   a Parquet file (pip install tfalign[datasets])
    folder                         what ``Dataset.save_to_disk`` of Hugging Face's datasets wrote
    hf://org/name[/config][:split] a data set of their hub
    tfds:name[/config][:version][:split]
                                   any TensorFlow dataset; name may also be the Python module
                                   that holds its builder
    text:path                      documents: a folder or zip of .txt files, or one .txt file
                                   whose documents are separated by blank lines
    csv:path                       a table by another name than .csv
    cells:path                     a table without a header; the columns are called 0, 1, 2 ...
    conll:path                     a word and its tag a line, sentences separated by blank lines

A * in a path stands for any characters of a name: all such files, in the order of their names. The name of a layout in
front (``readers.row_layouts``) says how rows are spelled: ``alpaca:path.json``, ``sharegpt:path.json``,
``stepwise:path.parquet``, and ``anthropic:path.jsonl`` for pairs of whole transcripts, as in hh-rlhf.

``?text=review&prompt=query`` after any of them says which column a field is read from; every record must
have such a column. Hidden files, and what operating systems put into archives, are no documents.

A prompt is a text or a conversation: a list of messages, ``{"role": "user", "content": "..."}`` or
``{"from": "human", "value": "..."}``, up to what the assistant shall answer. An answer may be written as the
assistant's message, and two whole conversations that differ in it as chosen and rejected.
"""

from __future__ import annotations

import glob
import itertools
import os
import urllib.parse
from collections.abc import Iterator
from typing import Any

from tfalign.data.readers.conll import tagged_rows
from tfalign.data.readers.documents import document_rows
from tfalign.data.readers.fields import fields_of, make_record
from tfalign.data.readers.hugging_face import HUB, hub_rows, is_saved, saved_rows
from tfalign.data.readers.json_arrays import json_file_rows
from tfalign.data.readers.json_lines import json_rows
from tfalign.data.readers.parquet import parquet_rows
from tfalign.data.readers.row_layouts import LAYOUTS, laid_out
from tfalign.data.readers.tables import cell_rows, csv_rows
from tfalign.data.readers.tfds import tfds_rows
from tfalign.data.records import BadFileError, BadRecordError, BadRecordPolicy, Records
from tfalign.files import as_path

_READERS_OF_FILES = {
    "text:": document_rows,
    "csv:": csv_rows,
    "cells:": cell_rows,
    "conll:": tagged_rows,
}
_READERS_BY_ENDING = {
    (".jsonl", ".jsonl.gz"): json_rows,
    (".json", ".json.gz"): json_file_rows,
    (".csv", ".csv.gz", ".tsv", ".tsv.gz"): csv_rows,
    (".parquet",): parquet_rows,
}
_LAYOUTS = tuple(f"{name}:" for name in LAYOUTS)


def read_records(
    source: str | os.PathLike,
    kind: type,
    on_bad: str = "stop",
    data_dir: str | os.PathLike | None = None,
    layout: str | None = None,
) -> Records:
    """Reads every record of a source.

    Args:
        source: see the module's docstring.
        kind: one of the record classes, ``data.records.KINDS``.
        on_bad: "stop" raises at the first bad record, "skip" counts it and goes on.
        data_dir: where TensorFlow datasets are kept; by default where they always are.
        layout: how rows are spelled, one of ``row_layouts.LAYOUTS``, where the source does not say so itself; None: as
            the kind has it.

    Returns:
        Records.

    Raises:
        BadRecordError: a missing field, a wrong type, empty text, equal answers, steps without
            labels, a line that is not JSON or not UTF-8, a row of too many cells; the message begins
            with file and line. Or, whatever ``on_bad``, a BadFileError: the file is damaged or no file,
            or holds no usable record.
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be understood, or is not on this machine.
    """
    policy = BadRecordPolicy(on_bad)
    records = Records(iter_records(source, kind, policy, data_dir, layout), policy.bad)
    if not records:
        raise BadFileError(os.fspath(source), f"no usable {kind.__name__}: {records.summary()}")
    return records


def iter_records(
    source: str | os.PathLike,
    kind: type,
    policy: BadRecordPolicy,
    data_dir: str | os.PathLike | None = None,
    layout: str | None = None,
) -> Iterator[Any]:
    """The usable records of a source, one after the other, each when it is asked for: see ``read_records``.

    Args:
        source, kind, data_dir, layout: as for ``read_records``.
        policy: what is done about bad records, and where they are noted.
    """
    address, columns = _split_columns(os.fspath(source), kind)
    own, colon, rest = address.partition(":")
    if colon and own in LAYOUTS:
        address, layout = rest, own
    for where, row in _rows(address, data_dir):
        try:
            yield make_record(kind, laid_out(row, layout, where), columns, where)
        except BadRecordError as error:
            policy.handle(error)


def is_source(address: str) -> bool:
    """Whether ``read_records`` knows from its name how it is read.

    >>> is_source("csv:table.csv?text=review"), is_source("records.jsonl"), is_source("wiki.tokens")
    (True, True, False)
    """
    name = address.partition("?")[0]
    endings = tuple(itertools.chain(*_READERS_BY_ENDING))
    return name.startswith((*_READERS_OF_FILES, *_LAYOUTS, HUB, "tfds:")) or name.endswith(endings)


def _rows(address, data_dir):
    """Pairs of a place and what is there: a dict of fields, or a BadRecordError."""
    for prefix, reader in _READERS_OF_FILES.items():
        if address.startswith(prefix):
            return reader(address.removeprefix(prefix))
    if address.startswith("tfds:"):
        return tfds_rows(address.removeprefix("tfds:"), data_dir)
    if address.startswith(HUB):
        return hub_rows(address.removeprefix(HUB))
    if "://" in address:
        as_path(address)
    if "*" in address:
        return _rows_of_files(address)
    for endings, reader in _READERS_BY_ENDING.items():
        if address.endswith(endings):
            return reader(address)
    if is_saved(address):
        return saved_rows(address)
    endings = ", ".join(itertools.chain(*_READERS_BY_ENDING))
    begins = ", ".join((*_READERS_OF_FILES, *_LAYOUTS, "tfds:"))
    raise ValueError(
        f"A source is a {endings} file, a folder of Hugging Face's save_to_disk, or begins with {begins} or {HUB}. "
        f"Received: {address}"
    )


def _rows_of_files(address):
    """The rows of all files that a pattern names, which must not begin with a dot."""
    paths = _fitting(address)
    if not paths:
        raise FileNotFoundError(f"There is no file {address}.")
    return itertools.chain.from_iterable(_rows(path, None) for path in paths)


def _fitting(pattern):
    """The paths that fit a pattern, in their order."""
    if "://" not in pattern:
        return sorted(glob.glob(pattern))
    folder, _, _ = pattern.partition("*")[0].rpartition("/")
    found = as_path(folder).glob(pattern.removeprefix(f"{folder}/"))
    return sorted(str(path) for path in found if not path.name.startswith("."))


def _split_columns(source, kind):
    """(address, field -> column)."""
    names = [field.name for field in fields_of(kind)]
    address, _, query = source.partition("?")
    columns = {}
    for name, column in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if name not in names:
            raise ValueError(
                f"A {kind.__name__} has the fields {', '.join(names)}. "
                f"Received: {name}={column} in {source}"
            )
        if not column or name in columns:
            raise ValueError(
                f"A field is read from one column, as in ?{name}=COLUMN. Received: {source}"
            )
        columns[name] = column
    return address, columns

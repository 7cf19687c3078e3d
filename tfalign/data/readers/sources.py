"""Records of text from files, and what is wrong with those that are no good.

A source is one string:

    path.jsonl, path.jsonl.gz      a JSON object a line, with the fields of the kind asked for
    anthropic:path.jsonl[.gz]      pairs of whole transcripts, as in hh-rlhf
    text:path                      documents: a folder or zip of .txt files, or one .txt file
                                   whose documents are separated by blank lines
    csv:path, csv:path.tsv         a table with a header, columns separated by commas or by tabs
    cells:path                     the same without a header; the columns are called 0, 1, 2 ...
    conll:path                     a word and its tag a line, sentences separated by blank lines
    tfds:name[/config][:version][:split]
                                   any TensorFlow dataset; name may also be the Python module
                                   that holds its builder

``?text=review&prompt=query`` after any of them says which column a field is read from; every record must
have such a column. Hidden files, and what operating systems put into archives, are no documents.

A prompt is a text or a conversation: a list of messages, ``{"role": "user", "content": "..."}`` or
``{"from": "human", "value": "..."}``, up to what the assistant shall answer. An answer may be written as the
assistant's message, and two whole conversations that differ in it as chosen and rejected.
"""

from __future__ import annotations

import os
import urllib.parse

from tfalign.data.readers.conll import tagged_rows
from tfalign.data.readers.documents import document_rows
from tfalign.data.readers.fields import fields_of, make_record
from tfalign.data.readers.json_lines import json_rows
from tfalign.data.readers.tables import cell_rows, csv_rows
from tfalign.data.readers.tfds import tfds_rows
from tfalign.data.readers.transcripts import transcript_rows
from tfalign.data.records import BadFileError, BadRecordError, BadRecordPolicy, Records
from tfalign.files import local_path

_READERS_OF_FILES = {
    "anthropic:": transcript_rows,
    "text:": document_rows,
    "csv:": csv_rows,
    "cells:": cell_rows,
    "conll:": tagged_rows,
}
_JSON_LINES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


def read_records(
    source: str | os.PathLike,
    kind: type,
    on_bad: str = "stop",
    data_dir: str | os.PathLike | None = None,
) -> Records:
    """Reads every record of a source.

    Args:
        source: see the module's docstring.
        kind: one of the record classes, ``data.records.KINDS``.
        on_bad: "stop" raises at the first bad record, "skip" counts it and goes on.
        data_dir: where TensorFlow datasets are kept; by default where they always are.

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
    address, columns = _split_columns(os.fspath(source), kind)
    good = []
    for where, row in _rows(address, data_dir):
        try:
            if isinstance(row, BadRecordError):
                raise row
            good.append(make_record(kind, row, columns, where))
        except BadRecordError as error:
            policy.handle(error)
    records = Records(good, policy.bad)
    if not records:
        raise BadFileError(address, f"no usable {kind.__name__}: {records.summary()}")
    return records


def is_source(address: str) -> bool:
    """Whether ``read_records`` knows from its name how it is read.

    >>> is_source("csv:table.csv?text=review"), is_source("records.jsonl"), is_source("wiki.tokens")
    (True, True, False)
    """
    name = address.partition("?")[0]
    return name.startswith((*_READERS_OF_FILES, "tfds:")) or name.endswith(_JSON_LINES)


def _rows(address, data_dir):
    """Pairs of a place and what is there: a dict of fields, or a BadRecordError."""
    for prefix, reader in _READERS_OF_FILES.items():
        if address.startswith(prefix):
            return reader(address.removeprefix(prefix))
    if address.startswith("tfds:"):
        return tfds_rows(address.removeprefix("tfds:"), data_dir)
    if "://" in address:
        local_path(address)
    if address.endswith(_JSON_LINES):
        return json_rows(address)
    raise ValueError(
        "A source is a .jsonl or .jsonl.gz file, or begins with "
        f"{', '.join(_READERS_OF_FILES)} or tfds:. Received: {address}"
    )


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

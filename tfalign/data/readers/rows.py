"""What a program has in memory, as records: texts, dicts, or records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tfalign.data.readers.fields import fields_of, make_record
from tfalign.data.readers.row_layouts import laid_out
from tfalign.data.readers.values import shown
from tfalign.data.records import BadRecordError, BadRecordPolicy, Records


def records_of_rows(
    rows: Iterable[Any], kind: type, on_bad: str = "stop", layout: str | None = None
) -> Records:
    """Records of one kind.

    Args:
        rows: texts (where a text or a prompt is all that is asked for), dicts with the kind's fields, or
            records; a Hugging Face ``Dataset`` is one.
        kind: one of the record classes.
        on_bad: "stop" raises at the first bad record, "skip" counts it and goes on.
        layout: how dicts are spelled, as for ``read_records``.

    Raises:
        BadRecordError: as ``read_records``; a record is named by its place, "record 0".
        ValueError: if no record is left.

    >>> from tfalign.data import PromptRecord
    >>> records_of_rows([{"prompt": "1 + 1 =", "answer": 2}], PromptRecord)[0].row
    {'answer': 2}
    """
    policy = BadRecordPolicy(on_bad)
    records = Records(iter_rows(rows, kind, policy, layout), policy.bad)
    if not records:
        raise ValueError(f"There is no usable {kind.__name__}: {records.summary()}")
    return records


def iter_rows(
    rows: Iterable[Any], kind: type, policy: BadRecordPolicy, layout: str | None = None
) -> Iterator[Any]:
    """The usable records of ``records_of_rows``, one after the other, each when it is asked for."""
    for index, row in enumerate(rows):
        try:
            yield _record(kind, row, layout, f"record {index}")
        except BadRecordError as error:
            policy.handle(error)


def _record(kind, row, layout, where):
    if isinstance(row, kind):
        return row
    first = fields_of(kind)[0].name
    if isinstance(row, str) and first in ("text", "prompt"):
        row = {first: row}
    if not isinstance(row, Mapping):
        raise BadRecordError(
            where, f"it must be a dict or a {kind.__name__}. Received: {shown(row)}"
        )
    return make_record(kind, laid_out(row, layout, where), {}, where)

"""Files as a test writes them, and what a reader that skips makes of them."""

from __future__ import annotations

from tfalign.data import TextRecord, read_records


def write(path, data):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def skipped(source, kind=TextRecord):
    """(records that were read, (line, reason) of those that were not)."""
    records = read_records(source, kind, on_bad="skip")
    return list(records), [(bad.source.rpartition(":")[2], bad.reason) for bad in records.bad]

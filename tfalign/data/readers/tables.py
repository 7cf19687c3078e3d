"""Tables: a row a line, cells separated by commas (RFC 4180) or by tabs.

With commas a cell may stand in quotes, and then hold commas, line breaks and, doubled, quotes. A row that
breaks the rule is one bad record: reading goes on with the line behind the one it begins in, so that a
quote that never closes costs its own line and no more.
"""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterator

from tfalign.data.readers.files import LONGEST, numbered_lines
from tfalign.data.readers.json_lines import Row
from tfalign.data.records import BadFileError, BadRecordError

PATIENCE = 100_000  # lines that may be read once more because of quotes, besides two for each line


def csv_rows(path: str) -> Iterator[Row]:
    """As ``table_rows``, of tabs where the file's name ends in .tsv or .tsv.gz."""
    return table_rows(path, _has_tabs(path))


def table_rows(path: str | os.PathLike, tabs: bool) -> Iterator[Row]:
    """Rows as dicts; the first line names the columns, a column without a name is left out.

    Raises:
        BadFileError: if there is no header, or it names a column twice.
    """
    rows = _rows(path, tabs)
    where, header = next(rows, (f"{path}:1", None))
    if isinstance(header, BadRecordError):
        raise BadFileError(where, f"the header cannot be read: {header.reason}")
    counts = collections.Counter(header or ())
    twice = [name for name in counts if name and counts[name] > 1]
    if not any(counts) or twice:
        received = f"two columns called {twice[0]!r}" if twice else "none"
        raise BadFileError(
            where, f"a table needs a header with distinct names. Received: {received}"
        )
    for where, cells in rows:
        if not isinstance(cells, BadRecordError):
            cells = {name: cell for name, cell in zip(header, cells) if name}
        yield where, cells


def cell_rows(path: str) -> Iterator[Row]:
    """Rows of a table without a header as dicts, the columns called "0", "1", "2" ..."""
    for where, cells in _rows(path, _has_tabs(path)):
        if not isinstance(cells, BadRecordError):
            cells = {str(number): cell for number, cell in enumerate(cells)}
        yield where, cells


def _has_tabs(path):
    return path.endswith((".tsv", ".tsv.gz"))


def _rows(path, tabs):
    """Pairs of a place and a list of str, as many as in the first, or a BadRecordError; lines without a
    character are none."""
    lines, width = _Lines(path), None
    while (line := lines.take()) is not None:
        where = lines.where
        lines.mark()
        if line == "":
            continue
        if isinstance(line, BadRecordError):
            yield where, line
            continue
        try:
            cells = _tab_cells(line) if tabs else _comma_cells(line, lines)
            width = width or len(cells)
            if len(cells) != width:
                raise _Broken(f"the first row has {width} cells. Received: {len(cells)} cells")
            yield where, cells
        except _Broken as error:
            lines.back()
            yield where, BadRecordError(where, str(error))


class _Broken(ValueError):
    """A row that breaks the format's rules."""


class _Lines:
    """Lines without their ends, which can be taken again.

    Attributes:
        where: "file:line" of the line taken last.
        end: str, its line end.
    """

    def __init__(self, path):
        self._path = path
        self._source = numbered_lines(path)
        self._ahead = collections.deque()
        self._taken = []
        self._patience = PATIENCE
        self.where = self.end = ""

    def take(self):
        """str, a BadRecordError, or None at the end of the file."""
        if not self._ahead:
            self._ahead.extend(itertools.islice(self._source, 1))
            self._patience += 2
        if not self._ahead:
            return None
        self._taken.append(self._ahead.popleft())
        self.where, line = self._taken[-1]
        if isinstance(line, BadRecordError):
            return line
        text = line.removesuffix("\n").removesuffix("\r")
        self.end = line[len(text) :]
        return text

    def mark(self):
        self._taken.clear()

    def back(self):
        """The lines taken since ``mark`` will be taken again.

        Raises:
            BadFileError: if that has been so for most of them, time and again.
        """
        self._patience -= len(self._taken)
        if self._patience < 0:
            raise BadFileError(self._path, f"quotes open and do not close, up to {self.where}")
        self._ahead.extendleft(reversed(self._taken))
        self._taken.clear()


def _tab_cells(line):
    _check_plain(line)
    return line.split("\t")


def _comma_cells(line, lines):
    if '"' not in line:
        _check_plain(line)
        return line.split(",")
    cells, at = [], 0
    while True:
        if line.startswith('"', at):
            cell, line, at = _quoted(line, at + 1, lines)
        else:
            start, at = at, line.find(",", at)
            at = len(line) if at < 0 else at
            cell = line[start:at]
            _check_plain(cell)
        cells.append(cell)
        if at == len(line):
            return cells
        if line[at] != ",":
            raise _Broken("a quote closes before the end of its cell")
        at += 1


def _quoted(line, at, lines):
    """(cell whose text begins at ``at``, the line in which it ends, where what follows stands)."""
    parts, size = [], 0
    while True:
        end = line.find('"', at)
        if end < 0:
            parts.append(line[at:] + lines.end)
            size += len(parts[-1])
            line, at = lines.take(), 0
            if not isinstance(line, str) or size > LONGEST:
                raise _Broken("a quote never closes")
        elif line.startswith('"', end + 1):  # doubled
            parts.append(line[at : end + 1])
            at = end + 2
        else:
            parts.append(line[at:end])
            return "".join(parts), line, end + 1


def _check_plain(text):
    if "\r" in text:
        raise _Broken("a carriage return without a line feed stands outside of quotes")

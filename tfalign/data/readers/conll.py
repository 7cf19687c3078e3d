"""A word and its tag a line, sentences separated by blank lines, as in the CoNLL shared tasks.

Columns are separated by tabs, or, in a file whose first line has none, by spaces; the word is the first
and the tag the last of them. A line that is ``-DOCSTART-`` is no word (Tjong Kim Sang and De Meulder 2003).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from tfalign.data.readers.files import is_blank, numbered_lines
from tfalign.data.readers.json_lines import Row
from tfalign.data.readers.values import shown
from tfalign.data.records import BadRecordError
from tfalign.files import ASCII_SPACE

_DOCUMENT = "-DOCSTART-"


def tagged_rows(path: str) -> Iterator[Row]:
    """Sentences as {"words": list, "tags": list}; one with a bad line is a BadRecordError, once."""
    split, width = None, None
    first, rows, wrong = None, [], None
    for where, line in itertools.chain(numbered_lines(path), [("", "")]):
        if isinstance(line, str) and (is_blank(line) or line.startswith(_DOCUMENT)):
            if first is not None:
                words, tags = [row[0] for row in rows], [row[-1] for row in rows]
                yield wrong.source if wrong else first, wrong or {"words": words, "tags": tags}
            first, rows, wrong = None, [], None
            continue
        first = first or where
        if isinstance(line, str):
            columns = (split or _splitter(line))(line)
            if width is None and len(columns) > 1:
                split, width = _splitter(line), len(columns)
            if len(columns) == width and columns[0].strip(ASCII_SPACE):
                rows.append(columns)
                continue
            needed = f"a word and a tag in {width or 'two or more'} columns"
            line = BadRecordError(where, f"a line needs {needed}. Received: {shown(line)}")
        wrong = wrong or line


def _splitter(line):
    if "\t" in line:
        return lambda line: line.rstrip("\r\n").split("\t")
    return lambda line: re.split(f"[{ASCII_SPACE}]+", line.strip(ASCII_SPACE))

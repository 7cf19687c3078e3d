"""One JSON array of objects, element by element: a file of any size needs the memory of its largest element."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterator

from tfalign.data.readers.files import LONGEST, raw_pieces
from tfalign.data.readers.json_lines import Row, json_object, json_rows
from tfalign.data.records import BadFileError, BadRecordError

_NO_SPACE = re.compile(r"[^ \t\r\n]|\Z")
_NUMBERS = {"parse_int": str, "parse_float": str}  # where an element ends is all that is asked for


def json_file_rows(path: str | os.PathLike) -> Iterator[Row]:
    """The rows of a .json file: of an array if it begins as one, else of JSON lines."""
    head = b""
    for piece in raw_pieces(path):
        head += piece
        text = head.removeprefix(codecs.BOM_UTF8).lstrip()
        if len(head) >= len(codecs.BOM_UTF8) and text:
            return array_rows(path) if text.startswith(b"[") else json_rows(path)
    return json_rows(path)


def array_rows(path: str | os.PathLike) -> Iterator[Row]:
    """Pairs of a place, "file[0]" for the first element, and the object there or a BadRecordError.

    Raises:
        BadFileError: where the array breaks JSON's rules, so that nothing tells where the next element begins.
    """
    text = _Text(path)
    text.expect("[", "an array must begin with [")
    number = 0
    while text.next_character() != "]":
        if number:
            text.expect(",", "a comma must follow an element")
        where = f"{path}[{number}]"
        element = text.element(where)
        try:
            yield where, json_object(element, where)
        except BadRecordError as error:
            yield where, error
        number += 1
    text.expect("]", "")
    if text.next_character():
        raise BadFileError(f"{path}[{number}]", "something follows the array")


class _Text:
    """The characters of a file, of which only those are in memory that have not been taken."""

    def __init__(self, path):
        self._path = str(path)
        self._pieces = raw_pieces(path)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._ahead, self._at, self._ended = "", 0, False
        self._plain = json.JSONDecoder(**_NUMBERS)

    def next_character(self):
        """str, the next one that is no space; empty at the end of the file."""
        while True:
            self._at = _NO_SPACE.search(self._ahead, self._at).start()
            if self._at < len(self._ahead):
                return self._ahead[self._at]
            if self._ended:
                return ""
            self._read()

    def expect(self, character, rule):
        found = self.next_character()
        if found != character:
            received = repr(found) if found else "the end of the file"
            raise BadFileError(self._path, f"{rule}. Received: {received}")
        self._at += 1

    def element(self, where):
        """str, the JSON of the next value; more is read until it is whole."""
        self.next_character()
        while True:
            try:
                _, end = self._plain.raw_decode(self._ahead, self._at)
                if end < len(self._ahead) or self._ended:  # a number might go on
                    value = self._ahead[self._at : end]
                    self._at = end
                    return value
            except RecursionError:
                raise BadFileError(where, "not usable JSON (nested too deeply)") from None
            except json.JSONDecodeError as error:
                if self._ended:
                    raise BadFileError(where, f"not JSON ({error.msg})") from None
            if len(self._ahead) - self._at > LONGEST:
                raise BadFileError(where, f"not JSON, or more than {LONGEST} characters")
            self._read()

    def _read(self):
        """Reads as much again as is in memory, a piece at least, so that a long element costs no more than twice."""
        kept = self._ahead[self._at :]
        pieces, size = [kept], 0
        while not self._ended and size <= len(kept):
            data = next(self._pieces, b"")
            self._ended = not data
            try:
                pieces.append(self._decoder.decode(data, final=self._ended))
            except UnicodeDecodeError:
                raise BadFileError(self._path, "the file is not UTF-8") from None
            size += len(pieces[-1])
        self._ahead, self._at = "".join(pieces), 0

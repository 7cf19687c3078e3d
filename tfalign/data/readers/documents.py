"""Documents: the .txt files of a folder or of a zip, or the paragraphs of one .txt file."""

from __future__ import annotations

import itertools
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tfalign.data.readers.files import (
    BYTE_ORDER_MARK,
    LONGEST,
    check_unpacked,
    decoded,
    is_blank,
    is_folder,
    numbered_lines,
    read_document,
    reason_of,
    regular_file,
)
from tfalign.data.readers.json_lines import Row
from tfalign.data.records import BadFileError, BadRecordError, printable
from tfalign.files import RemotePath, as_path

_TEXT_FILES = (".txt", ".txt.gz")
_JUNK = {"__macosx", "thumbs.db", "desktop.ini"}  # what systems put beside people's files
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # a password is needed
    struct.error,
    OSError,
    ValueError,
)


def document_rows(path: str) -> Iterator[Row]:
    """Pairs of a place and {"text": document}, or a BadRecordError."""
    if is_folder(path):
        return _folder_documents(path)
    if path.lower().endswith(_TEXT_FILES):
        return _paragraphs(path)
    file = regular_file(path)
    if path.lower().endswith(".zip") or zipfile.is_zipfile(file):
        return _zip_documents(file)
    raise ValueError(f"text: takes a folder, a zip or a .txt file. Received: {path}")


def is_junk(name: str) -> bool:
    """Whether a file, or a folder it is in, is hidden or was left there by an operating system.

    Args:
        name: str, its path within the folder or the archive.

    >>> [is_junk(n) for n in ("a/b.txt", "__MACOSX/a/b.txt", "a/._b.txt", ".git/b.txt", "a/Thumbs.db")]
    [False, True, True, True, True]
    """
    parts = [part for part in _parts(name) if part not in ("", ".", "..")]
    return any(part.startswith(".") or part.lower() in _JUNK for part in parts)


def _parts(name):
    return re.split(r"[/\\]", name)


def _is_document(name):
    return name.lower().endswith(".txt") and not is_junk(name)


def _folder_documents(path):
    folder = as_path(path)

    def stop(error):
        raise BadFileError(str(path), f"a folder cannot be read: {reason_of(error)}") from error

    if isinstance(folder, RemotePath):
        names = [file.relative_to(folder).as_posix() for file in folder.rglob()]
    else:
        names = [
            (Path(place) / name).relative_to(folder).as_posix()
            for place, _, files in os.walk(folder, onerror=stop)
            for name in files
        ]
    for name in sorted(filter(_is_document, names)):
        where = printable(f"{folder / name}:1")
        yield _document(where, read_document, folder / name)


def _zip_documents(file):
    try:
        archive = zipfile.ZipFile(file if isinstance(file, Path) else file.open("rb"))
    except _DAMAGE as error:
        raise BadFileError(str(file), f"damaged zip archive: {reason_of(error)}") from None
    with archive:
        members = [member for member in archive.infolist() if _is_document(member.filename)]
        unpacked = sum(member.file_size for member in members)
        check_unpacked(str(file), unpacked, file.stat().st_size)
        members.sort(key=lambda member: member.filename)
        for name, group in itertools.groupby(members, lambda member: member.filename):
            where = printable(f"{file}/{name}:1")
            yield _document(where, _read_member, archive, list(group), where)


def _document(where, read, *place):
    """The pair of a document that ``read(*place)`` returns as bytes."""
    try:
        data = read(*place).removeprefix(BYTE_ORDER_MARK)
        return where, {"text": decoded(data, where, "the document")}
    except BadRecordError as error:
        return where, error


def _read_member(archive, members, where):
    """The bytes of a member of a zip archive."""
    member, name = members[0], members[0].filename
    if len(members) > 1:
        raise BadRecordError(where, f"the archive has {len(members)} members of this name")
    if name.startswith(("/", "\\")) or ".." in _parts(name) or re.match(r"[A-Za-z]:", name):
        raise BadRecordError(where, "the member's name leads out of the archive")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise BadRecordError(where, "the member is a link")
    if member.file_size > LONGEST:
        raise BadRecordError(where, f"the document has more than {LONGEST} bytes")
    try:
        with archive.open(member) as stream:
            return stream.read(member.file_size + 1)  # more may be packed than the header says
    except _DAMAGE as error:
        raise BadRecordError(where, f"damaged member: {reason_of(error)}") from None


def _paragraphs(path):
    """Runs of lines that are not blank, with the place of the first; one with a bad line is bad."""
    first, block, wrong = "", [], None
    lines = numbered_lines(path, "the document")
    for where, line in itertools.chain(lines, [("", "")]):
        if isinstance(line, str) and is_blank(line):
            if wrong:
                yield wrong.source, wrong
            elif block:
                yield first, {"text": "".join(block).rstrip("\r\n")}
            block, wrong = [], None
            continue
        if isinstance(line, BadRecordError):
            wrong = wrong or line
            continue
        first = first if block else where
        block.append(line)

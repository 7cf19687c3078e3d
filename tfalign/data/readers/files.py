"""Files as lines of text: what may be opened, how much may come out of it, and what a line may be.

Formats of text are made of ASCII: their lines end in a line feed, with or without a carriage return
before it, and ``files.ASCII_SPACE`` is all their white space. A no-break space, a line separator or a next line
(U+0085) belongs to the words.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import zlib
from collections.abc import Iterator

from tfalign.data.records import BadFileError, BadRecordError
from tfalign.files import ASCII_SPACE, AnyPath, as_path

LONGEST = 1 << 28  # bytes of a line or of a document
UNPACKED_FREELY = 1 << 20  # bytes that may come out of any archive,
MOST_RATIO = 200  # and more only if they were less compressible than this

_PIECE = 1 << 20  # bytes that are read at once
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def regular_file(path: str | os.PathLike) -> AnyPath:
    """A file that can be opened without waiting for somebody to write into it.

    Raises:
        FileNotFoundError: if there is none.
        BadFileError: if it is a folder, a pipe, a device, or a link that leads nowhere.
        ValueError: if it is neither on this machine nor in a bucket.
    """
    file = as_path(path)
    mode = _mode(file)
    if stat.S_ISREG(mode):
        return file
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise BadFileError(str(path), f"a file is needed. Received: {kind}")


def is_folder(path: str | os.PathLike) -> bool:
    """Whether a path, which must be there, is a folder's."""
    return stat.S_ISDIR(_mode(as_path(path)))


def _mode(file: AnyPath) -> int:
    try:
        return file.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {file}.") from None
    except (OSError, ValueError) as error:  # a loop of links, no permission; NUL in the name
        raise BadFileError(str(file), f"cannot be opened: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """An error in words, without its number and file."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check_unpacked(where: str, unpacked: int, packed: int) -> None:
    """Stops at an archive that grows as only one made for it does.

    Args:
        where: the archive.
        unpacked: bytes that came or would come out of it.
        packed: bytes of the archive.

    Raises:
        BadFileError: if they are more than ``UNPACKED_FREELY`` and ``MOST_RATIO`` times as many.
    """
    if unpacked > max(UNPACKED_FREELY, MOST_RATIO * packed):
        raise BadFileError(
            where,
            f"the archive grows to more than {MOST_RATIO} times its size."
            f" Received: {packed} bytes, which are {unpacked} or more unpacked",
        )


def decoded(data: bytes, where: str, what: str) -> str:
    """Bytes as text.

    Raises:
        BadRecordError: if they are not UTF-8, or there is a NUL among them, which is no text.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecordError(
            where, f"{what} is not UTF-8 (byte 0x{data[error.start]:02x} at byte {error.start})"
        ) from None
    if "\0" in text:
        raise BadRecordError(where, f"{what} is not text: NUL at character {text.index(chr(0))}")
    return text


def numbered_lines(
    path: str | os.PathLike, what: str = "the line"
) -> Iterator[tuple[str, str | BadRecordError]]:
    """Pairs of "file:line" and a line of a file, gzip or not.

    Args:
        path: the file; ending in .gz, it is decompressed.
        what: what a line is called where it is wrong.

    Yields:
        str with its line end, the first without a byte-order mark; or what is wrong with that line.

    Raises:
        FileNotFoundError, ValueError: as ``regular_file``.
        BadFileError: if a gzip file is damaged or grows beyond all measure.
    """
    for number, line in enumerate(_raw_lines(path), start=1):
        where = f"{path}:{number}"
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        try:
            if len(line) > LONGEST:
                raise BadRecordError(where, f"{what} has more than {LONGEST} bytes")
            yield where, decoded(line, where, what)
        except BadRecordError as error:
            yield where, error


def text_lines(path: str | os.PathLike) -> Iterator[str]:
    """The lines of a UTF-8 file, gzip or not, one after the other as str with their ends.

    Raises:
        FileNotFoundError: if there is no such file.
        BadRecordError: naming the first line that is not text, or the file if it is damaged.
    """
    for _, line in numbered_lines(path):
        if isinstance(line, BadRecordError):
            raise line
        yield line


def is_blank(line: str) -> bool:
    """Whether a line has nothing but ASCII white space.

    >>> is_blank(" \\t\\r\\n"), is_blank("\\u3000")
    (True, False)
    """
    return not line.strip(ASCII_SPACE)


def read_document(file: AnyPath) -> bytes:
    """All of a file.

    Raises:
        BadRecordError: if it cannot be read, or is longer than ``LONGEST``.
    """
    where = f"{file}:1"
    try:
        with regular_file(file).open("rb") as stream:
            data = stream.read(LONGEST + 1)
    except BadFileError as error:
        raise BadRecordError(where, error.reason) from None
    except OSError as error:
        raise BadRecordError(where, f"cannot be read: {reason_of(error)}") from None
    if len(data) > LONGEST:
        raise BadRecordError(where, f"the document has more than {LONGEST} bytes")
    return data


def raw_pieces(path: str | os.PathLike) -> Iterator[bytes]:
    """A file as it is or decompressed, in pieces of about a megabyte.

    Raises:
        FileNotFoundError, ValueError, BadFileError: as ``numbered_lines``.
    """
    size = 0
    with _opened(path) as stream:
        while piece := stream.read(_PIECE):
            yield piece
            size += len(piece)
            stream.place = f"byte {size}"


def _raw_lines(path):
    """Lines as bytes; of one that is longer than ``LONGEST`` its beginning, which is longer, too."""
    number, pieces, size = 0, [], 0
    with _opened(path) as stream:
        while piece := stream.readline(_PIECE):
            if size <= LONGEST:
                pieces.append(piece)
            size += len(piece)
            if piece.endswith(b"\n"):
                number += 1
                stream.place = f"line {number}"
                yield b"".join(pieces)
                pieces, size = [], 0
        if pieces:
            yield b"".join(pieces)


class _Stream:
    """The bytes of a file, gzip or not.

    Attributes:
        place: str, how far it was read, for messages.
    """

    def __init__(self, path, packed, stream):
        self._path, self._packed, self._stream = str(path), packed, stream
        self._unpacked = 0
        self.place = "line 0"

    def readline(self, size):
        return self._checked(self._stream.readline(size))

    def read(self, size):
        return self._checked(self._stream.read(size))

    def _checked(self, piece):
        self._unpacked += len(piece)
        if self._stream is not self._packed:
            check_unpacked(
                self._path, self._unpacked, self._packed.tell()
            )  # of what is read so far
        return piece


@contextlib.contextmanager
def _opened(path):
    """A _Stream, whose errors become BadFileErrors."""
    file = regular_file(path)
    opened = None
    try:
        with (
            file.open("rb") as packed,
            gzip.open(packed) if str(path).endswith(".gz") else packed as stream,
        ):
            opened = _Stream(path, packed, stream)
            yield opened
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFileError(str(path), f"damaged gzip file after {opened.place}: {error}") from None
    except OSError as error:
        place = opened.place if opened else "line 0"
        raise BadFileError(str(path), f"cannot be read after {place}: {reason_of(error)}") from None

"""JSON documents, as they are or as the one member of a zip archive."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

from tfalign.data.readers import is_junk
from tfalign.data.readers.files import check_unpacked, decoded, read_document, regular_file
from tfalign.data.records import BadFileError


def read_json(file: str | os.PathLike) -> Any:
    """The value of a JSON document; of a file that ends in .zip that of its one member ending in .json.

    Raises:
        FileNotFoundError: if there is no such file.
        BadRecordError: if it is not JSON, or the archive is not such a one.
    """
    file = regular_file(file)
    data = _member(file) if file.suffix == ".zip" else read_document(file)
    try:
        return json.loads(decoded(data, str(file), "the document"))
    except json.JSONDecodeError as error:
        raise BadFileError(str(file), f"not JSON ({error})") from None


def _member(file):
    try:
        with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            members = [
                member
                for member in archive.infolist()
                if member.filename.endswith(".json") and not is_junk(member.filename)
            ]
            if len(members) != 1:
                raise BadFileError(
                    str(file), f"one JSON member is needed. Received: {len(members)} of them"
                )
            check_unpacked(str(file), members[0].file_size, file.stat().st_size)
            return archive.read(members[0])
    except (zipfile.BadZipFile, EOFError) as error:
        raise BadFileError(str(file), f"damaged zip archive: {error}") from None

"""Where every path of the project goes through: local ones, and objects in buckets (``gs://``, ``s3://``).

``as_path``                a local ``pathlib.Path``, or a ``RemotePath`` with the same methods
``local_path``             a path of this machine; one of a bucket is refused
``write_bytes_atomically`` and ``..._text_...``, ``..._json_...``: a file that a kill cannot halve
``append_line``, ``open_log``  lines at the end of a file
``new_directory``, ``new_file``  a folder to fill, or a file, which takes its place when it is whole
``folder_beside``, ``move``  the same for files that are added to a directory
``is_whole``               whether such a directory is there
``local_copy``             a file or folder of a bucket on this machine, for libraries that open files themselves
``upload``                 a local file or folder into a bucket
``remove``                 a file, or a folder with all in it

No other module opens a file by itself; ``tests/test_dependencies.py`` checks it. Buckets need fsspec and a
package that it names (``pip install 'tfalign[gcs]'`` or ``'tfalign[s3]'``), imported when a path first asks for it.
"""

from tfalign.files.appending import Log, append_line, open_log
from tfalign.files.copies import download, local_copy, upload
from tfalign.files.directories import (
    folder_beside,
    hidden,
    is_whole,
    move,
    new_directory,
    new_file,
    remove,
    replace_directory,
)
from tfalign.files.finite import check_finite
from tfalign.files.paths import AnyPath, as_path, local_path
from tfalign.files.remote import RemotePath
from tfalign.files.retrying import UnreachableError
from tfalign.files.writing import (
    WRITING,
    sync_directory,
    sync_file,
    to_json,
    write_bytes_atomically,
    write_json_atomically,
    write_synced,
    write_text_atomically,
)

ASCII_SPACE = (
    " \t\n\r\v\f"  # what separates words in formats of text: no other space of Unicode does
)

__all__ = [
    "ASCII_SPACE",
    "WRITING",
    "AnyPath",
    "Log",
    "RemotePath",
    "UnreachableError",
    "append_line",
    "as_path",
    "check_finite",
    "download",
    "folder_beside",
    "hidden",
    "is_whole",
    "local_copy",
    "local_path",
    "move",
    "new_directory",
    "new_file",
    "open_log",
    "remove",
    "replace_directory",
    "sync_directory",
    "sync_file",
    "to_json",
    "upload",
    "write_bytes_atomically",
    "write_json_atomically",
    "write_synced",
    "write_text_atomically",
]

import os
import stat

import pytest

from tfalign.files import write_bytes_atomically, write_json_atomically


def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    write_json_atomically(file, {"old": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json_atomically(file, {"new": 2})
    assert os.listdir(tmp_path) == ["config.json"]
    assert "old" in file.read_text()


def test_a_file_has_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes_atomically(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640

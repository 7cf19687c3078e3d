"""Buckets: the same answers as a disk's, whole objects only, and what happens when the wire breaks."""

from __future__ import annotations

import itertools
import os
import pathlib
import uuid

import pytest

from tests import buckets
from tfalign import files
from tfalign.files import RemotePath, UnreachableError, as_path, retrying


@pytest.fixture
def memory():
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def port():
    with buckets.server() as number:
        yield number


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(retrying, "DELAYS", (0.01,) * 4)


@pytest.mark.parametrize("path", ["gs:/bucket/a", "hdfs://host/c", "file:///tmp/run"])
def test_a_path_of_another_file_system_is_refused(path):
    with pytest.raises(ValueError, match=f"Only local paths .*Received: {path}"):
        as_path(path)


@pytest.mark.parametrize("path", ["gs://", "s3:///", "gs://bucket/../other"])
def test_a_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(ValueError, match="needs a bucket"):
        as_path(path)


@pytest.mark.parametrize("path", ["runs/a", "/tmp/x", "a:b", "C:\\runs"])
def test_a_local_path_is_itself(path):
    assert str(as_path(path)) == str(files.local_path(path)) == path
    with pytest.raises(ValueError, match="Only local paths"):
        files.local_path("gs://bucket/a")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(ValueError, match=r"gs://bucket/a .*pip install 'tfalign\[gcs\]'"):
        as_path("gs://bucket/a").read_bytes()


def answers(root):
    """What a folder says of itself while things happen in it; paths are relative to it."""

    def shown(paths):
        return sorted(path.relative_to(root).as_posix() for path in paths if path.is_file())

    said = [root.exists(), (root / "a").is_dir()]
    (root / "a" / "b").mkdir(parents=True, exist_ok=True)
    (root / "a" / "one.txt").write_bytes(b"0123456789")
    (root / "a" / "b" / "two.jsonl").write_text("zwei\nü\n", encoding="utf-8")
    (root / "a" / "empty").write_bytes(b"")
    said += [(root / "a").is_dir(), (root / "a").is_file(), (root / "a" / "one.txt").is_file()]
    said += [(root / "a" / "one.txt").stat().st_size, (root / "a" / "none").exists()]
    said += [shown(root.rglob("*")), shown((root / "a").iterdir()), shown(root.glob("a/*.txt"))]
    said += [shown(root.glob("*")), shown(root.glob("*/b/*"))]
    with (root / "a" / "one.txt").open("rb") as stream:
        said += [stream.read(2), stream.seek(-3, os.SEEK_END), stream.read(), stream.read()]
    with (root / "a" / "b" / "two.jsonl").open("r", encoding="utf-8") as lines:
        said += list(lines)
    files.write_json_atomically(root / "a" / "one.txt", {"new": 1})
    said += [(root / "a" / "one.txt").read_text(encoding="utf-8")]
    files.append_line(root / "log", b"first")
    (root / "log").write_bytes((root / "log").read_bytes() + b"half")
    files.append_line(root / "log", b"last")
    said += [(root / "log").read_bytes(), (root / "a" / "empty").read_bytes()]
    (root / "log").unlink()
    (root / "log").unlink(missing_ok=True)
    for call in ((root / "log").read_bytes, (root / "log").stat):
        try:
            said += [call()]
        except FileNotFoundError as error:
            said += [error.strerror, pathlib.PurePosixPath(error.filename).name]
    files.remove(root / "a")
    return said + [shown(root.rglob("*")), (root / "a").exists()]


def test_a_bucket_answers_as_a_disk(memory, tmp_path):
    (tmp_path / "disk").mkdir()
    expected = answers(tmp_path / "disk")
    assert answers(as_path(memory) / "deep" / "folder")[2:] == expected[2:]


@pytest.mark.slow
def test_a_server_answers_as_a_disk(port, tmp_path):
    (tmp_path / "disk").mkdir()
    with buckets.reached(port):
        ours = answers(as_path(f"{buckets.BUCKET}/{uuid.uuid4().hex}"))
    assert ours[2:] == answers(tmp_path / "disk")[2:]


@pytest.mark.slow
def test_a_wire_that_breaks_changes_nothing(port, tmp_path, hasty):
    """Every second connection ends before its answer, or within it."""
    wire = buckets.Wire(port, lambda number: (number // 2 % 2) * 40 if number % 2 else None)
    (tmp_path / "disk").mkdir()
    with buckets.reached(wire.port):
        ours = answers(as_path(f"{buckets.BUCKET}/{uuid.uuid4().hex}"))
    assert ours[2:] == answers(tmp_path / "disk")[2:]
    assert wire.connections > 4
    wire.close()


@pytest.mark.slow
def test_a_wire_that_stays_broken_ends_in_a_sentence(port, hasty):
    wire = buckets.Wire(port, lambda number: 0)
    with buckets.reached(wire.port), pytest.raises(UnreachableError) as caught:
        as_path("s3://bucket/run/config.json").read_bytes()
    assert str(caught.value).startswith("s3://bucket/run/config.json cannot be reached: 5 attempts")
    assert "\n" not in str(caught.value)
    wire.close()


def test_what_is_lost_for_a_moment_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(retrying.time, "sleep", lambda seconds: waited.append(seconds))
    waited, answers_to_come = [], itertools.chain([ConnectionError("a"), TimeoutError("b")], [7])

    def ask():
        answer = next(answers_to_come)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retrying.retried("gs://b/x", ask) == 7
    assert waited == list(retrying.DELAYS[:2])


def failing(error, count):
    def ask():
        count.append(1)
        raise error

    return ask


def test_what_stays_lost_is_asked_for_so_often(monkeypatch):
    monkeypatch.setattr(retrying.time, "sleep", lambda seconds: None)
    count = []
    with pytest.raises(
        UnreachableError, match="^gs://b/x cannot be reached: 6 attempts in .*: a.$"
    ):
        retrying.retried("gs://b/x", failing(ConnectionError("a.\nmore"), count))
    assert len(count) == len(retrying.DELAYS) + 1


class Forbidden(Exception):
    code = 403


@pytest.mark.parametrize("error", [FileNotFoundError("x"), PermissionError("x"), Forbidden("no")])
def test_what_is_certain_is_not_asked_again(error):
    count = []
    with pytest.raises((type(error), UnreachableError)):
        retrying.retried("gs://b/x", failing(error, count))
    assert len(count) == 1


class Killed(BaseException):
    pass


def test_a_directory_is_whole_or_said_not_to_be(memory, monkeypatch):
    """Broken off before each of its objects, over an old one and over none."""
    upload = RemotePath.upload
    for old, last in itertools.product([False, True], range(4)):
        final = as_path(memory) / f"model-{old}-{last}"
        if old:
            with files.new_directory(final) as folder:
                (folder / "stale").write_text("old")
        left = iter(range(last))

        def limited(path, file, left=left):
            if next(left, None) is None:
                raise Killed
            upload(path, file)

        monkeypatch.setattr(RemotePath, "upload", limited)
        try:
            with files.new_directory(final) as folder:
                for name in ("a", "b", "sub/c"):
                    (folder / name).parent.mkdir(exist_ok=True)
                    (folder / name).write_text(name)
        except Killed:
            pass
        monkeypatch.setattr(RemotePath, "upload", upload)
        assert files.is_whole(final) == (last == 3)
        if last == 3:
            assert sorted(path.name for path in final.rglob()) == ["a", "b", "c"]


def test_a_directory_that_fails_is_not_begun(memory):
    final = as_path(memory) / "model"
    with pytest.raises(RuntimeError), files.new_directory(final) as folder:
        (folder / "a").write_text("a")
        raise RuntimeError
    assert not final.exists() and not files.is_whole(final)


def test_lines_of_a_log_are_there_when_it_is_synced(memory):
    path = as_path(memory) / "metrics.jsonl"
    path.write_bytes(b"before\n")
    log = files.open_log(path)
    log.write(b"one\n")
    log.write(b"two\n")
    assert path.read_bytes() == b"before\n"
    log.sync()
    assert path.read_bytes() == b"before\none\ntwo\n"
    log.write(b"three\n")
    log.close()
    assert path.read_bytes() == b"before\none\ntwo\nthree\n"


def test_a_copy_of_a_folder_is_on_this_machine(memory):
    (as_path(memory) / "model" / "sub" / "a").write_bytes(b"a")
    with files.local_copy(f"{memory}/model") as folder:
        assert (folder / "sub" / "a").read_bytes() == b"a"
    assert not folder.exists()
    with pytest.raises(FileNotFoundError, match="none"), files.local_copy(f"{memory}/none"):
        pass

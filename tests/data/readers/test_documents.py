"""Documents of folders and archives, and the junk and traps among them."""

from __future__ import annotations

import gzip
import json
import stat
import zipfile

import pytest

from tests.data.readers.reading import skipped, write
from tfalign.data import (
    BadFileError,
    BadRecordError,
    TextRecord,
    read_records,
)
from tfalign.data.readers import files

JUNK = ("__MACOSX/neg/._1.txt", "neg/._1.txt", ".DS_Store", "neg/.2.txt", ".git/a.txt", "Thumbs.db")
JUNK += (".ipynb_checkpoints/1.txt", "__MACOSX/plain.txt", "README.md")


def test_junk_in_folders_and_archives_is_no_document(tmp_path):
    members = {"neg/1.txt": "no", "pos/2.TXT": "yes", **dict.fromkeys(JUNK, "junk\0")}
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
            place = tmp_path / ".hidden above" / "it" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
    for place in (tmp_path / "it.zip", tmp_path / ".hidden above" / "it"):
        records = read_records(f"text:{place}", TextRecord)
        assert [(r.text, r.source) for r in records] == [
            ("no", f"{place}/neg/1.txt:1"),
            ("yes", f"{place}/pos/2.TXT:1"),
        ]


def test_traps_in_an_archive_are_bad_records(tmp_path):
    path = tmp_path / "it.zip"
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.txt", b"\xef\xbb\xbfgood")
        for name in ("../up.txt", "a/../../up.txt", "/etc/root.txt", "C:/x.txt", "..\\up.txt"):
            archive.writestr(name, "x")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("latin.txt", b"caf\xe9")
        with pytest.warns(UserWarning, match="Duplicate name"):
            for text in "ab":
                archive.writestr("twice.txt", text)
    records = read_records(f"text:{path}", TextRecord, on_bad="skip")
    assert [r.text for r in records] == ["good"]
    reasons = {bad.source.removeprefix(f"{path}/"): bad.reason for bad in records.bad}
    out = "the member's name leads out of the archive"
    assert reasons == {
        **dict.fromkeys(("../up.txt:1", "a/../../up.txt:1", "/etc/root.txt:1", "C:/x.txt:1"), out),
        "..\\up.txt:1": out,
        "link.txt:1": "the member is a link",
        "latin.txt:1": "the document is not UTF-8 (byte 0xe9 at byte 3)",
        "twice.txt:1": "the archive has 2 members of this name",
    }


def test_a_damaged_member_is_one_bad_record(tmp_path):
    path = tmp_path / "it.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in "abc":
            archive.writestr(f"{name}.txt", f"the text {name}")
    path.write_bytes(path.read_bytes().replace(b"the text b", b"the texT b"))
    records = read_records(f"text:{path}", TextRecord, on_bad="skip")
    assert [r.text for r in records] == ["the text a", "the text c"]
    assert records.bad[0].reason.startswith("damaged member: Bad CRC-32")
    write(path, path.read_bytes()[:-30])
    with pytest.raises(BadFileError, match="it.zip: damaged zip archive"):
        read_records(f"text:{path}", TextRecord, on_bad="skip")


@pytest.mark.slow
def test_archives_that_grow_beyond_measure_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "UNPACKED_FREELY", 1 << 18)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}.txt", bytes(1 << 20))
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb") as file:
        file.write(bytes(8 << 20))
    with gzip.open(tmp_path / "lines.jsonl.gz", "wb") as file:
        file.write(b"{}\n" * (1 << 19))
    lying = (tmp_path / "lines.jsonl.gz").read_bytes()[:-4] + bytes(4)  # as if nothing were in it
    (tmp_path / "lying.jsonl.gz").write_bytes(lying)
    for source in (
        "{}/lying.jsonl.gz",
        "text:{}/bomb.zip",
        "{}/bomb.jsonl.gz",
        "{}/lines.jsonl.gz",
        "csv:{}/bomb.jsonl.gz",
    ):
        with pytest.raises(
            BadFileError, match=r"grows to more than 200 times its size. Received: \d+ b"
        ):
            read_records(source.format(tmp_path), TextRecord, on_bad="skip")


def test_a_member_of_more_than_it_says_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "it.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"x" * 10_000)
    data = (tmp_path / "it.zip").read_bytes()
    size = (10_000).to_bytes(4, "little")
    assert data.count(size) == 2
    write(tmp_path / "it.zip", data.replace(size, (5).to_bytes(4, "little")))
    with pytest.raises(BadRecordError, match="it.zip/a.txt:1: damaged member"):
        read_records(f"text:{tmp_path / 'it.zip'}", TextRecord)


def test_lines_and_documents_beyond_the_longest_are_bad_records(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST", 100)
    rows = [{"text": "a"}, {"text": "b" * 1000}, {"text": "c"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name, data in (
        ("it.jsonl", lines.encode()),
        ("it.jsonl.gz", gzip.compress(lines.encode())),
    ):
        good, bad = skipped(write(tmp_path / name, data))
        assert [r.text for r in good] == ["a", "c"]
        assert bad == [("2", "the line has more than 100 bytes")]
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "a.txt", "x" * 101)
    write(tmp_path / "folder" / "b.txt", "x" * 100)
    good, bad = skipped(f"text:{tmp_path / 'folder'}")
    assert len(good) == 1 and bad == [("1", "the document has more than 100 bytes")]

"""``tfalign search`` finds, saves, and tells what it was not given."""

from __future__ import annotations

import builtins

import pytest

from tfalign.applications.search import Index
from tfalign.cli import main
from tfalign.cli.records import SearchJob
from tfalign.cli.search import search


def test_a_saved_index_is_asked_line_by_line(tmp_path, capsys, monkeypatch):
    texts = tmp_path / "texts.txt"
    texts.write_text("包裹在哪里\n\n今天天气很好\nwhere is the parcel\n", encoding="utf-8")
    folder = str(tmp_path / "index")
    search(SearchJob(index=str(texts), query="the parcel", k=1, save=folder))
    assert capsys.readouterr().out.endswith("  where is the parcel\n")
    lines = iter(["天气", "我的包裹", ""])
    monkeypatch.setattr(builtins, "input", lambda _: next(lines))
    search(SearchJob(index=folder, k=1))
    about, first, second = capsys.readouterr().out.splitlines()
    assert about == "3 texts; encoder: character n-grams"
    assert first.endswith("  今天天气很好") and second.endswith("  包裹在哪里")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--index=embedded:fr"], "The embedded corpus is in en and zh. Received: 'fr'"),
        (["--index={}/empty.txt"], "There is no text to search in. Received: .*empty.txt"),
        (["--index={}/nothing.txt"], "nothing.txt"),
        (["--model=nowhere"], "There is no model directory nowhere"),
        (["--index={}/index", "--model=other"], "made with ours. Received: model='other'"),
        (["--k=0"], "k"),
    ],
)
def test_mistakes_are_told_in_a_sentence(tmp_path, capsys, flags, message):
    (tmp_path / "empty.txt").write_text("\n")
    Index([[1.0]], ["a"], encoder="ours").save(tmp_path / "index")
    with pytest.raises(SystemExit) as ended:
        main(["tfalign", "search", "--query=a", *(flag.format(tmp_path) for flag in flags)])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert __import__("re").search(message, told) and told.startswith("error: ")

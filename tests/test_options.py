"""Options: what they take is checked in one place, whether a constructor, a file or a flag gives it."""

from __future__ import annotations

import ast
import json
import math
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfalign import options
from tfalign.cli.config_files import read_file
from tfalign.cli.flags import help_of
from tfalign.options import Range, build, leaves, option, option_record

ROOT = pathlib.Path(__file__).resolve().parent.parent
WITH_OPTIONS = [
    *sorted((ROOT / "experiments").rglob("*.py")),
    ROOT / "tfalign" / "trainers" / "options.py",
    ROOT / "tfalign" / "trainers" / "on_policy_options.py",
    ROOT / "tfalign" / "trainers" / "pipeline_options.py",
    ROOT / "tfalign" / "cli" / "records.py",
    ROOT / "tfalign" / "types.py",
]
_BOUNDS = {"at_least", "above", "at_most", "below", "list_of"}


@option_record
class Inner:
    steps: int = option(10, "updates", at_least=1)
    rate: float = option(0.5, "a rate", above=0, at_most=1, also=(-1,))
    kind: str = option("a", "a choice", ["a", "b"])
    shift: float = option(0.0, "any number")


@option_record
class Outer:
    name: str = option("x", "a name")
    fast: bool = option(False, "a switch")
    seeds: str = option("0,1", "several", list_of=int, at_least=0, also=("all",))
    loggers: str = option("", "several", ["tape", "paper"], list_of=str)
    inner: Inner = option(Inner(), "nested")


@option_record
class Derived(Inner):
    more: int = option(3, "updates", at_least=2)

    def __post_init__(self):
        super().__post_init__()
        if 10 % self.steps:
            raise ValueError(f"--steps must divide 10. Received: steps={self.steps}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nam": 1}, "There is no option nam; did you mean name"),
        ({"inner": {"step": 1}}, "There is no option inner.step; did you mean inner.steps"),
        ({"inner": {"steps": "many"}}, "inner.steps must be of type int. Received: 'many'"),
        ({"inner": {"steps": True}}, "inner.steps must be of type int. Received: True"),
        ({"inner": {"steps": None}}, "inner.steps must be of type int. Received: None"),
        ({"inner": 3}, "inner must be an object of options. Received: 3"),
        ({"inner": [1]}, r"inner must be an object of options. Received: \[1\]"),
        ([1], r"options must be an object of options. Received: \[1\]"),
        ({"fast": 1}, "fast must be of type bool"),
        ({"inner": {"steps": 0}}, "--inner.steps must be at least 1. Received: steps=0"),
        (
            {"inner": {"rate": 0}},
            "--inner.rate must be above 0 and at most 1, or -1. Received: rate=0",
        ),
        ({"inner": {"rate": math.nan}}, "above 0 and at most 1, or -1. Received: rate=nan"),
        ({"inner": {"rate": 10**400}}, "above 0 and at most 1, or -1. Received: rate=inf"),
        (
            {"inner": {"shift": math.inf}},
            "--inner.shift must be a finite number. Received: shift=inf",
        ),
        ({"inner": {"kind": "c"}}, "--inner.kind must be one of a, b. Received: kind=c"),
        (
            {"seeds": "0,x"},
            "--seeds must be values separated by commas, each at least 0, or all.",
        ),
        ({"seeds": "0,-1"}, "each at least 0, or all. Received: seeds=0,-1"),
        ({"seeds": "1,,2"}, "Received: seeds=1,,2"),
        ({"loggers": "paper,stone"}, "each one of tape, paper. Received: loggers=paper,stone"),
    ],
)
def test_a_wrong_value_is_told_by_its_name(values, message):
    with pytest.raises(ValueError, match=message):
        build(Outer, values)


def test_what_is_right_is_taken():
    values = {"seeds": "all,3", "loggers": "paper", "inner": {"rate": -1, "steps": 2**70}}
    built = build(Outer, values)
    assert built == Outer("x", False, "all,3", "paper", Inner(2**70, -1.0))
    assert type(built.inner.rate) is float
    changed = options.changed(built, **{"inner.steps": 7, "fast": True})
    assert changed.inner == Inner(7, -1.0) and changed.fast and changed.name == "x"


def test_constructors_check_as_files_do():
    with pytest.raises(ValueError, match="--steps must be at least 1. Received: steps=0"):
        Inner(steps=0)
    with pytest.raises(ValueError, match="--more must be at least 2. Received: more=1"):
        Derived(more=1)
    with pytest.raises(ValueError, match="--steps must be at least 1"):  # before it divides
        Derived(steps=0)
    with pytest.raises(ValueError, match="--steps must divide 10. Received: steps=3"):
        Derived(steps=3)


def test_a_records_own_sentence_on_a_choice_comes_first():
    @option_record
    class Named:
        kind: str = option("a", "a choice", ["a", "b"])

        def __post_init__(self):
            if self.kind == "c":
                raise ValueError("There is no c any more.")

    with pytest.raises(ValueError, match="There is no c any more"):
        Named(kind="c")
    with pytest.raises(ValueError, match="--kind must be one of a, b. Received: kind=d"):
        Named(kind="d")

    @option_record
    class Below(Inner):
        def __post_init__(self):
            super().__post_init__()
            if self.kind == "c":
                raise ValueError("There is no c any more.")

    with pytest.raises(ValueError, match="There is no c any more"):
        Below(kind="c")


def test_what_is_wrong_between_options_is_told_with_the_record():
    @option_record
    class Whole:
        part: Derived = option(Derived(), "nested")

    with pytest.raises(ValueError, match="^part: --steps must divide 10. Received: steps=3$"):
        build(Whole, {"part": {"steps": 3}})


@given(
    value=st.one_of(st.integers(), st.floats()),
    least=st.integers(-5, 5),
    width=st.integers(1, 5),
    also=st.integers(-9, 9),
)
def test_a_range_is_its_bounds(value, least, width, also):
    most = least + width
    inside = isinstance(value, int) or math.isfinite(value)
    assert (value in Range(at_least=least, below=most)) == (inside and least <= value < most)
    assert (value in Range(above=least, at_most=most, also=(also,))) == (
        value == also or (inside and least < value <= most)
    )


def test_help_says_the_range():
    fields = {field.name: field for field in Inner.__dataclass_fields__.values()}
    assert help_of(fields["rate"]) == "a rate (above 0 and at most 1, or -1)"
    assert help_of(fields["shift"]) == "any number"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n"name": }', r"c\.json:2: not JSON"),
        (b"\xff\xfe", r"c\.json: not JSON"),
        (b"[" * 100_000, r"c\.json: not JSON"),
        (b'{"steps": ' + b"9" * 5000 + b"}", r"c\.json: not JSON"),
    ],
    ids=["half", "no text", "deep", "long"],
)
def test_a_file_that_is_not_json_is_told(tmp_path, content, message):
    file = tmp_path / "c.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_file(file)


def test_a_file_is_read(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"name": "客服"}))
    assert build(Outer, read_file(file)).name == "客服"


@pytest.mark.parametrize("file", WITH_OPTIONS, ids=lambda file: file.stem)
def test_every_whole_number_of_an_experiment_says_its_range(file):
    """So that a size of 0 or -1 is refused by the flag's name wherever it is none."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Call):
            continue
        if ast.unparse(node.value.func) == "option" and ast.unparse(node.annotation) in (
            "int",
            "int | None",
        ):
            bounds = {keyword.arg for keyword in node.value.keywords}
            assert bounds & _BOUNDS, f"{file.name}:{node.lineno}: {ast.unparse(node.target)}"


@option_record
class Demanding:
    data: str = option("", "Data.")
    steps: int = option(1, "Steps.")

    def __post_init__(self):
        if not self.data:
            raise ValueError("--data must be given")


def test_a_record_may_ask_for_an_option():
    """It is listed without being made, and made once, of a file's values and those that replace them."""
    assert [leaf.name for leaf in leaves(Demanding)] == ["data", "steps"]
    file = {"steps": 2, "data": "b"}
    assert build(Demanding, file, over={"data": "a"}) == Demanding("a", 2)
    assert build(Demanding, {"steps": 2}, over={"data": "a"}) == Demanding("a", 2)
    with pytest.raises(ValueError, match="--data must be given"):
        build(Demanding, {"steps": 2})

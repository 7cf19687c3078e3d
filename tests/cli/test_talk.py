"""``tfalign generate`` and ``tfalign chat`` on a tiny model; what is typed, and what is printed."""

import builtins
import json

import pytest

import tfalign
from tfalign.cli import records, talk
from tfalign.models import CausalLM
from tfalign.text import train_byte_bpe

TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
GREEDY = records.SamplingOptions(greedy=True)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    tokenizer = train_byte_bpe([], 259)
    tokenizer.chat_template = TEMPLATE
    sizes = {"vocab_size": 259, "num_layers": 1, "max_positions": 64}
    model = CausalLM.from_preset("tiny_llama", initializer_range=0.3, **sizes)
    folder = tmp_path_factory.mktemp("talk") / "model"
    tfalign.Pretrained(model, tokenizer).save(folder)
    return str(folder)


def typing(monkeypatch, *lines):
    given = iter([*lines, ""])
    monkeypatch.setattr(builtins, "input", lambda mark: next(given))


@pytest.mark.slow
def test_an_answer_is_the_next_ones_context(directory, monkeypatch, capsys):
    typing(monkeypatch, "hi", "you?")
    talk.chat(records.ChatJob(directory, system="S", max_new_tokens=6, sampling=GREEDY))
    model, messages = tfalign.load(directory), [{"role": "system", "content": "S"}]
    expected = []
    for line in ("hi", "you?"):
        messages.append({"role": "user", "content": line})
        expected.append(model.chat(messages, max_new_tokens=6, top_k=1))
        messages.append({"role": "assistant", "content": expected[-1]})
    assert capsys.readouterr().out == "".join(f"model: {said}\n" for said in expected)


def test_a_conversation_that_does_not_fit_is_said(directory, monkeypatch):
    typing(monkeypatch, "x" * 70)
    with pytest.raises(ValueError, match="tokens; with max_new_tokens=6 the model takes 58"):
        talk.chat(records.ChatJob(directory, max_new_tokens=6, sampling=GREEDY))


@pytest.mark.slow
def test_lines_are_continued_until_an_empty_one(directory, monkeypatch, capsys):
    typing(monkeypatch, "a\\nb")
    talk.generate(records.GenerateJob(directory, max_new_tokens=6, sampling=GREEDY))
    expected = tfalign.load(directory).generate("a\nb", max_new_tokens=6, top_k=1)
    assert capsys.readouterr().out == f"{expected}\n"


def test_greedy_excludes_sampling():
    with pytest.raises(ValueError, match="greedy excludes temperature, top_k, top_p and min_p"):
        records.SamplingOptions(greedy=True, top_k=3)


TOOL = '''def twice(x: int) -> int:
    """Doubles.

    Args:
        x: a number.
    """
    return 2 * x
'''
CALL = r'<tool_call>\{"name": "twice", "arguments": \{"x": 4\}\}</tool_call>'


def test_tools_are_called_and_their_results_shown(tmp_path, monkeypatch, capsys):
    tokenizer = train_byte_bpe([], 259)
    tokenizer.chat_template = TEMPLATE
    sizes = {"vocab_size": 259, "num_layers": 1, "max_positions": 512}
    model = CausalLM.from_preset("tiny_llama", **sizes)
    tfalign.Pretrained(model, tokenizer).save(tmp_path / "model")
    (tmp_path / "tools.py").write_text(TOOL)
    typing(monkeypatch, "hi")
    talk.chat(
        records.ChatJob(
            str(tmp_path / "model"),
            max_new_tokens=80,
            constraint=f"regex:{CALL}",
            tools=(f"{tmp_path}/tools.py:twice",),
            turns=records.TurnOptions(max_turns=2),
        )
    )
    call = CALL.replace("\\", "")
    assert capsys.readouterr().out == f"model: {call}\ntwice: 8\nmodel: {call}\n"


def test_what_was_said_is_taken_back_and_saved(directory, tmp_path, monkeypatch, capsys):
    file = tmp_path / "talk.jsonl"
    typing(
        monkeypatch,
        "hi",
        "oh",
        "/undo",
        f"/save {file}",
        "/undo",
        "/undo",
        f"/save {file}",
        "/no",
        "/save",
    )
    talk.chat(records.ChatJob(directory, system="S", max_new_tokens=6, sampling=GREEDY))
    first, second = (json.loads(line)["messages"] for line in file.read_text().splitlines())
    assert [message["content"] for message in first[:2]] == ["S", "hi"] and len(first) == 3
    assert second == [{"role": "system", "content": "S"}]
    printed = capsys.readouterr().out.splitlines()[-2:]
    assert printed == [
        "commands are /undo and /save FILE. Received: /no",
        "/save needs the name of a file",
    ]


def test_a_file_that_cannot_be_written_ends_nothing(directory, tmp_path, monkeypatch, capsys):
    typing(monkeypatch, f"/save {tmp_path}/none/talk.jsonl", "hi")
    talk.chat(records.ChatJob(directory, max_new_tokens=6, sampling=GREEDY))
    printed = capsys.readouterr().out
    assert "cannot be written" in printed and "model: " in printed

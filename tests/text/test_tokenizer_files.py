"""A tokenizer's directory: each setting used, kept or refused, and never half written."""

from __future__ import annotations

import errno
import json
import random
import shutil
import time

import numpy as np
import pytest
from tokenizers import Tokenizer as Core
from tokenizers import models, processors

from tfalign import files
from tfalign.data import TextRecord, encode_texts
from tfalign.text import (
    Message,
    Tokenizer,
    encode_conversation,
    render_conversation,
    train_byte_bpe,
    train_word_piece,
    train_words,
)
from tfalign.text.cores import MOST_TOKENS

ROLES = {"pad": "<|pad|>", "bos": "<|bos|>", "eos": "<|eos|>"}


@pytest.fixture
def folder(tmp_path):
    train_byte_bpe(["a b"], 259).save(tmp_path)
    return tmp_path


def change(folder, name, **entries):
    file = folder / name
    held = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(held | entries), encoding="utf-8")


def core_file(folder, change_entries):
    file = folder / "tokenizer.json"
    entries = json.loads(file.read_text(encoding="utf-8"))
    change_entries(entries)
    file.write_text(json.dumps(entries), encoding="utf-8")


# ---- what ends a response


@pytest.mark.parametrize(
    ("generation", "model", "wanted"),
    [
        (None, None, (2,)),
        ([2, 7], None, (2, 7)),
        (None, [2, 7], (2, 7)),
        ([7, 2, 7], [9], (7, 2)),
        (7, [2, 9], (7,)),
        (None, 50_256, (2,)),  # a class' default, no token of this tokenizer
        ([50_256, 9], 2, (9,)),
    ],
)
def test_stop_ids_are_the_directorys(folder, generation, model, wanted):
    for name, value in (("generation_config.json", generation), ("config.json", model)):
        if value is not None:
            change(folder, name, eos_token_id=value, kept="x")
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.stop_ids == wanted and tokenizer.eos_id == 2
    end = encode_texts([TextRecord("a")], tokenizer).tokens[0][-1]
    assert end in wanted  # what a model learns to end with stops it
    for place in (folder, folder / "elsewhere"):
        tokenizer.save(place)
        assert Tokenizer.load(place).stop_ids == wanted
    if generation is not None:
        entries = json.loads((folder / "generation_config.json").read_text())
        assert entries == {"eos_token_id": generation, "kept": "x"}


def test_stop_ids_of_other_kinds():
    assert train_word_piece(["a"], 40).stop_ids == (3,)  # SEP
    assert train_words(["a"], None, {"unk": "<unk>"}).stop_ids == ()


@pytest.mark.parametrize("value", ["2", [2, "7"], -1, 2.0, True, [[2]], {"id": 2}])
def test_stop_ids_of_other_types_are_refused(folder, value):
    change(folder, "generation_config.json", eos_token_id=value)
    with pytest.raises(
        ValueError, match="generation_config.json: eos_token_id must be an id or a list"
    ):
        Tokenizer.load(folder)


def test_an_answer_ends_with_any_special_stop(folder):
    change(folder, "generation_config.json", eos_token_id=[0, 2, 99])
    template = "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ pad_token }}\n{% endfor %}"
    template += "{% if add_generation_prompt %}assistant:{% endif %}"
    change(folder, "tokenizer_config.json", chat_template=template)
    tokenizer = Tokenizer.load(folder)
    letter = tokenizer.token(99)
    talk = [Message("user", "hi"), Message("assistant", f"a{letter}b")]
    encoded = encode_conversation(tokenizer, talk)
    said = [at for at, its in zip(encoded.token_ids, encoded.from_assistant) if its]
    assert said == [*tokenizer.encode(f"a{letter}b"), 0]


# ---- what begins a text


def _with(core, post_processor):
    core.post_processor = post_processor
    return core


_BOS = processors.TemplateProcessing(
    single="<|bos|> $A", pair="<|bos|> $A $B", special_tokens=[("<|bos|>", 1)]
)
_BERT = processors.BertProcessing(("<|eos|>", 2), ("<|bos|>", 1))


@pytest.mark.parametrize(
    ("post_processor", "add_bos_token", "head"),
    [
        (processors.ByteLevel(), None, ()),  # GPT-2
        (processors.ByteLevel(), False, ()),
        (processors.ByteLevel(), True, ()),  # as transformers 5: tokenizer.json says it
        (_BOS, None, (1,)),
        (_BOS, False, (1,)),
        (processors.Sequence([processors.ByteLevel(), _BOS]), None, (1,)),  # Llama 3
        (_BERT, None, (1,)),
        (None, None, ()),
        (None, False, ()),
        (None, True, (1,)),
    ],
)
def test_the_head_is_the_post_processors(folder, post_processor, add_bos_token, head):
    core = Core.from_file(str(folder / "tokenizer.json"))
    _with(core, post_processor).save(str(folder / "tokenizer.json"))
    if add_bos_token is not None:
        change(folder, "tokenizer_config.json", add_bos_token=add_bos_token)
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.head_ids == head and tokenizer.bos_id == 1
    assert encode_texts([TextRecord("a")], tokenizer).tokens[0].tolist() == [
        *head,
        *tokenizer.encode("a"),
        2,
    ]
    tokenizer.save(folder / "again")
    assert Tokenizer.load(folder / "again").head_ids == head


def test_what_is_trained_here_says_its_head_in_its_file(tmp_path):
    for name, trained, ids in (
        ("bytes", train_byte_bpe([], 259), [1]),
        ("pieces", train_word_piece(["a"], 40), [2, 3]),
        ("words", train_words(["a"]), []),
        ("odd", train_byte_bpe([], 257, {"bos": "<b:1 $A>"}), [0]),
    ):
        trained.save(tmp_path / name)
        core = Core.from_file(str(tmp_path / name / "tokenizer.json"))
        inside = trained.encode("a")
        around = core.encode("a").ids
        assert around == ids[:1] + inside + ids[1:]
        assert Tokenizer.load(tmp_path / name).head_ids == trained.head_ids == tuple(ids[:1])
    assert core.encode("a", "b").ids.count(0) == 2


# ---- settings


def test_unknown_settings_survive(folder):
    settings = {
        "model_max_length": 7,
        "tokenizer_class": "GPT2Tokenizer",
        "x": {"y": [1]},
        "padding_side": "left",
        "bos_token": {"__type": "AddedToken", "content": "<|bos|>", "lstrip": False},
        "additional_special_tokens": ["<|pad|>"],
    }
    change(folder, "tokenizer_config.json", **settings)
    Tokenizer.load(folder).save(folder / "again")
    again = json.loads((folder / "again" / "tokenizer_config.json").read_text())
    assert again == again | settings


def test_a_pad_that_is_eos_is_no_pad_but_a_templates_variable(folder):
    change(folder, "tokenizer_config.json", pad_token="<|eos|>", chat_template="{{ pad_token }}")
    for place in (folder, folder / "again"):
        tokenizer = Tokenizer.load(place)
        assert tokenizer.pad_id is None
        assert render_conversation(tokenizer, [Message("user", "a")]) == "<|eos|>"
        tokenizer.save(folder / "again")


def test_older_files_beside_it(folder):
    """special_tokens_map.json comes later than tokenizer_config.json; where that has an
    added_tokens_decoder it does not count."""
    change(folder, "special_tokens_map.json", eos_token={"content": "<|pad|>"}, pad_token=None)
    change(folder, "added_tokens.json", **{"<|eos|>": 2})
    tokenizer = Tokenizer.load(folder)
    assert (tokenizer.eos_id, tokenizer.pad_id) == (0, None)
    shutil.copytree(folder, folder / "again")
    tokenizer.save(folder / "again")
    assert not (folder / "again" / "special_tokens_map.json").exists()
    assert Tokenizer.load(folder / "again").eos_id == 0
    decoder = {"2": {"content": "<|eos|>", "special": True}}
    change(folder, "tokenizer_config.json", added_tokens_decoder=decoder)
    assert Tokenizer.load(folder).eos_id == 2


def test_added_tokens_of_the_configuration_are_special(folder):
    letter = Tokenizer.load(folder).token(99)
    change(
        folder,
        "tokenizer_config.json",
        added_tokens_decoder={"99": {"content": letter, "special": True, "normalized": False}},
    )
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.is_special(99) and tokenizer.decode([99]) == ""


def test_templates_by_name(folder):
    named = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    change(folder, "tokenizer_config.json", chat_template=named)
    talk = [Message("user", "a")]
    for place in (folder, folder / "again"):
        tokenizer = Tokenizer.load(place)
        assert render_conversation(tokenizer, talk) == "d"
        assert render_conversation(tokenizer, talk, tools=[{"name": "f"}]) == "t"
        tokenizer.save(folder / "again")
    (folder / "chat_templates").mkdir()
    (folder / "chat_templates" / "tool_use.jinja").write_text("file")
    (folder / "chat_template.jinja").write_text("default file")
    tokenizer = Tokenizer.load(folder)
    assert render_conversation(tokenizer, talk) == "default file"
    assert render_conversation(tokenizer, talk, tools=[]) == "file"
    tokenizer.save(folder)
    assert not list(folder.glob("**/*.jinja"))
    assert render_conversation(Tokenizer.load(folder), talk, tools=[]) == "file"


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"eos_token": 5}, "eos_token must be a token's spelling. Received: 5"),
        ({"bos_token": {"lstrip": True}}, "bos_token must be a token's spelling"),
        ({"pad_token": ["a"]}, r"pad_token must be a token's spelling. Received: \['a'\]"),
        ({"chat_template": 3}, "chat_template must be a text, or a list of objects .*: 3"),
        ({"chat_template": [{"name": "a"}]}, "chat_template must be a text, or a list"),
        ({"chat_template": {"default": "a"}}, "chat_template must be a text, or a list"),
        (
            {"clean_up_tokenization_spaces": "no"},
            "clean_up_tokenization_spaces must be true or false. Received: 'no'",
        ),
        ({"add_bos_token": 1}, "add_bos_token must be true or false. Received: 1"),
        ({"added_tokens_decoder": []}, r"added_tokens_decoder must be an object. Received: \[\]"),
        (
            {"added_tokens_decoder": {"5": {"content": "<|eos|>"}}},
            "'<|eos|>' has id 2. Received: 5",
        ),
        ({"added_tokens_decoder": {"5": "x"}}, "added_tokens_decoder must agree"),
        ({"additional_special_tokens": "<|a|>"}, "additional_special_tokens must be a list of"),
        ({"extra_special_tokens": [3]}, "extra_special_tokens must be a list of tokens"),
        ({"extra_special_tokens": ["<|none|>"]}, "must be in the vocabulary. Received: '<|none|>'"),
        ({"split_special_tokens": True}, "split_special_tokens is not supported"),
        (
            {"add_prefix_space": True},
            "add_prefix_space contradicts tokenizer.json, whose ByteLevel",
        ),
    ],
)
def test_settings_of_other_types_or_that_contradict_are_refused(folder, entries, sentence):
    change(folder, "tokenizer_config.json", **entries)
    with pytest.raises(ValueError, match=f"tokenizer_config.json: {sentence}"):
        Tokenizer.load(folder)


def test_lower_case_that_contradicts_is_refused(tmp_path):
    train_word_piece(["a"], 40).save(tmp_path)
    change(tmp_path, "tokenizer_config.json", do_lower_case=True)
    Tokenizer.load(tmp_path)
    change(tmp_path, "tokenizer_config.json", do_lower_case=False)
    with pytest.raises(
        ValueError, match="do_lower_case contradicts .* BertNormalizer has lowercase=True"
    ):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("content", [b"[]", b"3", b"{", b"\xff{}", b"[" * 100_000, b"null", b'"a"'])
@pytest.mark.parametrize(
    "name",
    [
        "tokenizer.json",
        "tokenizer_config.json",
        "config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ],
)
def test_files_that_are_no_objects_are_refused(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        Tokenizer.load(folder)


def test_a_remote_directory_is_refused(folder):
    with pytest.raises(ValueError, match="Only local paths"):
        Tokenizer.load("hdfs://bucket/model")
    with pytest.raises(ValueError, match="Only local paths"):
        Tokenizer.load(folder).save("hdfs://bucket/model")


_WRONG = [None, 0, -1, 10**9, 1e300, "", "x", [], {}, [None], {"a": 1}, True, "\ud83d"]


def test_mutated_files_give_one_sentence(tmp_path, fuzz_cases):
    """Any value of any entry replaced by one of another type."""
    train_word_piece(["a b"], 40).save(tmp_path / "pieces")
    train_byte_bpe(["a b"], 259).save(tmp_path / "bytes")
    draw = random.Random(0)
    for _ in range(fuzz_cases(60)):
        kind = draw.choice(["pieces", "bytes"])
        shutil.rmtree(tmp_path / "it", ignore_errors=True)
        shutil.copytree(tmp_path / kind, tmp_path / "it")
        name = draw.choice(["tokenizer.json", "tokenizer_config.json"])
        entries = json.loads((tmp_path / "it" / name).read_text(encoding="utf-8"))
        _mutate(entries, draw)
        (tmp_path / "it" / name).write_text(json.dumps(entries), encoding="utf-8")
        try:
            tokenizer = Tokenizer.load(tmp_path / "it")
            tokenizer.decode(tokenizer.encode("a b"))
        except ValueError as error:
            assert str(error)


def _mutate(value, draw):
    """Goes down to a random entry and replaces it."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw.choice(keys)
        inner = value[key]
        if isinstance(inner, (dict, list)) and inner and draw.random() < 0.8:
            value = inner
            continue
        value[key] = draw.choice(_WRONG)
        return


@pytest.mark.parametrize("token_id", [10**9, MOST_TOKENS, 2**32 - 2])
@pytest.mark.parametrize("place", ["vocab", "added_tokens"])
def test_huge_ids_are_refused_before_anything_is_built(folder, token_id, place):
    def add(entries):
        if place == "vocab":
            entries["model"]["vocab"]["zz"] = token_id
        else:
            entries["added_tokens"][0]["id"] = token_id

    core_file(folder, add)
    before = time.process_time()
    with pytest.raises(ValueError, match="tokenizer.json"):
        Tokenizer.load(folder)
    assert time.process_time() - before < 20  # not the minutes of counting up to it
    if place == "vocab":
        core = Core(models.WordLevel({"a": 0, "b": token_id}, "a"))
        with pytest.raises(ValueError, match=f"ids must be under .* Received: id {token_id} in a"):
            Tokenizer(core, {})


# ---- ids to text


@pytest.mark.parametrize("wrong", [-1, 259, 10**6, 2**40, 1.5, "1", None])
def test_ids_that_are_none_are_refused(wrong):
    tokenizer = train_byte_bpe([], 259)
    for row in ([wrong], [5, wrong, 5]):
        with pytest.raises(ValueError, match=r"whole number in \[0, 259\). Received: "):
            tokenizer.decode(row)
    with pytest.raises(ValueError, match="Received: 259"):
        tokenizer.decode(np.array([259, 5]))


def test_rows_of_an_embedding_without_a_token_have_no_text(folder):
    change(folder, "config.json", vocab_size=300)
    tokenizer = Tokenizer.load(folder)
    ids = tokenizer.encode("ab")
    assert tokenizer.decode([ids[0], 299, ids[1]]) == "ab" and tokenizer.vocab_size == 259
    with pytest.raises(ValueError, match=r"\[0, 300\). Received: 300"):
        tokenizer.decode([300])


# ---- a full disk


@pytest.mark.parametrize("full_after", [0, 1])
def test_a_full_disk_leaves_the_old_files_whole(folder, monkeypatch, full_after):
    (folder / "chat_template.jinja").write_text("old")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    written = []

    def write(file, data):
        if len(written) == full_after:
            file.write_bytes(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(file)
        file.write_bytes(data)

    monkeypatch.setattr(files, "write_synced", write)
    other = train_byte_bpe(["other"] * 3, 262)
    with pytest.raises(OSError, match="The tokenizer was not written to .*: No space left"):
        other.save(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    monkeypatch.undo()
    other.save(folder)
    assert Tokenizer.load(folder).vocab_size == other.vocab_size

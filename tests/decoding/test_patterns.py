"""Constraints that people write, sampled from a random model: everything matches, judged by other libraries."""

from __future__ import annotations

import json
import re

import jsonschema
import numpy as np
import pytest

from tests.sampling import with_slow
from tfalign.decoding import Sampler, generate
from tfalign.decoding.patterns import (
    json_schema,
    named_constraint,
    regular_expression,
    with_words,
    without_words,
)
from tfalign.models import CausalLM, GPTConfig
from tfalign.text import train_byte_bpe
from tfalign.text.token_bytes import token_bytes

R = 32
PATTERNS = ["[0-9]{2,5}(,[0-9]+)*", "(the|a) (cat|mat|好的)+[.!]?", "(no){3}pe|.*好", "[^a-z]{4}"]
TEXTS = ['{"name": "Anna", "age": 31}', "the cat sat on the mat, 好的 好吧 no no nope", "12 345 67"]
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Rom", "北京"]},
        "age": {"type": "integer"},
        "ok": {"type": "boolean"},
    },
    "required": ["city", "age", "ok"],
}


@pytest.fixture(scope="module")
def tokenizer():
    return train_byte_bpe(TEXTS * 4, 300)


@pytest.fixture(scope="module")
def model(tokenizer):
    size = tokenizer.vocab_size + 5  # ids beyond the tokenizer's, as padded vocabularies have them
    return CausalLM(GPTConfig(size, 16, 1, 2, max_positions=R + 16, initializer_range=0.3))


@pytest.fixture(scope="module")
def said(model, tokenizer):
    """``constraint -> texts`` that were sampled under it, all of which ended."""

    def sample(constraint, rows, limit=R):
        found = generate(
            model,
            np.full((rows, 2), 70, "int32"),
            max_new_tokens=limit,
            sampler=Sampler(1.5),
            stop_tokens=tokenizer.stop_ids,
            constraint=constraint,
        )
        tokens, mask = np.asarray(found.tokens), np.asarray(found.mask)
        last = tokens[np.arange(rows), mask.sum(axis=1) - 1]
        assert np.isin(last, tokenizer.stop_ids).all()
        rows = [row[m][:-1].tolist() for row, m in zip(tokens, mask)]
        return tokenizer.decode_batch(rows)

    return sample


@pytest.mark.parametrize("pattern", with_slow(PATTERNS, PATTERNS[1:2]))
def test_a_regular_expression(pattern, tokenizer, model, said, fuzz_cases):
    constraint = regular_expression(pattern, tokenizer, model.config.vocab_size, R)
    for text in said(constraint, fuzz_cases(100)):
        assert re.fullmatch(pattern, text), text


def test_a_json_schema(tokenizer, model, said, fuzz_cases):
    constraint = json_schema(SCHEMA, tokenizer, model.config.vocab_size, R)
    values = [json.loads(text) for text in said(constraint, fuzz_cases(100))]
    for value in values:
        jsonschema.validate(value, SCHEMA)
    assert {value["city"] for value in values} == {"Rom", "北京"}


@pytest.mark.slow
def test_words_that_must_not_occur_in_whatever_tokens(tokenizer, model, said, fuzz_cases):
    words = ["no", "e", "好"]
    constraint = without_words(words, tokenizer, model.config.vocab_size, R)
    texts = said(constraint, fuzz_cases(200))
    assert not [text for text in texts if any(word in text for word in words)]


def test_words_that_must_occur(tokenizer, model, said, fuzz_cases):
    words = ["cat", "好吧"]
    constraint = with_words(words, tokenizer, model.config.vocab_size, 12)
    for text in said(constraint, fuzz_cases(100), limit=12):
        assert all(word in text for word in words), text


def test_both_at_once(tokenizer, model, said):
    size = model.config.vocab_size
    both = regular_expression("[a-z ]+", tokenizer, size) & with_words(["cat"], tokenizer, size)
    both = (both & without_words(["t "], tokenizer, size)).within(R)
    for text in said(both, 100):
        assert re.fullmatch("[a-z ]+", text) and "cat" in text and "t " not in text


def test_tokens_are_the_bytes_of_their_text(tokenizer):
    pieces = token_bytes(tokenizer)
    for text in (*TEXTS, "ünï 🙂\n\t", "  two"):
        ids = tokenizer.encode(text)
        assert b"".join(pieces[token_id] for token_id in ids) == text.encode("utf-8")


def test_what_is_written_on_a_command_line(tokenizer, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    size, limit = tokenizer.vocab_size, 40
    for name, made in (
        ("regex:[0-9]+", regular_expression("[0-9]+", tokenizer, size, limit)),
        (f"json:{tmp_path / 's.json'}", json_schema(SCHEMA, tokenizer, size, limit)),
        (f"json:{json.dumps(SCHEMA)}", json_schema(SCHEMA, tokenizer, size, limit)),
        ("with:cat,mat", with_words(["cat", "mat"], tokenizer, size, limit)),
        ("without:no", without_words(["no"], tokenizer, size, limit)),
    ):
        found = named_constraint(name, tokenizer, size, limit)
        assert found.next_states.shape == made.next_states.shape


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("[0-9]", r"A constraint is regex:PATTERN.* Received: '\[0-9\]'"),
        ("regex:(", "The pattern is refused"),
        ("json:nowhere.json", "There is no file nowhere.json"),
        ("json:{", "The JSON schema is refused"),
        ('json:{"type": "nothing"}', "The JSON schema is refused"),
        ("regex:[0-9]{30}", "shortest text .* Received: max_new_tokens=8"),
        ("with:cat,,mat", "list of words, none empty"),
    ],
)
def test_mistakes_are_told(name, message, tokenizer):
    with pytest.raises(ValueError, match=message):
        named_constraint(name, tokenizer, max_new_tokens=8)


def test_a_pattern_that_no_text_matches(tokenizer):
    with pytest.raises(ValueError, match=r"The pattern is refused: .* Received: '\[a&&b\]'"):
        regular_expression("[a&&b]", tokenizer)


def test_tokens_that_are_no_pieces_of_text_are_refused():
    from tokenizers import Tokenizer as Core
    from tokenizers import decoders, models

    from tfalign.text import Tokenizer

    core = Core(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2, "<|e|>": 3}, unk_token="[UNK]"))
    core.decoder = decoders.WordPiece()
    wordpiece = Tokenizer(core, {"eos": "<|e|>"})
    with pytest.raises(ValueError, match="a tokenizer whose decoder is WordPiece"):
        regular_expression("a", wordpiece)

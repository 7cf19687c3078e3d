"""Streamed text adds up to the whole, for every kind of tokenizer, and comes as soon as it is certain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfalign.text import StreamDecoder, Tokenizer

PARTS = [
    "茶",
    "水",
    "t",
    "he ",
    " the",
    "  ",
    "'s",
    " 's",
    " n't",
    " .",
    " ' ",
    "\ufffd",
    "é",
    "🙂",
]
PARTS += ["\n", "<tool>", "</s>", ".", ","]


def streamed(tokenizer, ids):
    stream = StreamDecoder(tokenizer)
    return [*map(stream.push, ids), stream.flush()]


@given(data=st.data())
def test_pushes_and_flush_are_the_text_of_any_ids(any_tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, any_tokenizer.vocab_size - 1), max_size=24))
    assert "".join(streamed(any_tokenizer, ids)) == any_tokenizer.decode(ids)


@given(data=st.data())
def test_pushes_and_flush_are_the_text_of_any_bytes(any_tokenizer, data):
    """Runs of byte tokens, whole and broken, between others."""
    bytes_first = [*range(3, 259), 1, 2] if any_tokenizer.vocab_size > 260 else [0, 1]
    others = st.integers(0, any_tokenizer.vocab_size - 1)
    ids = data.draw(st.lists(st.one_of(st.sampled_from(bytes_first), others), max_size=12))
    assert "".join(streamed(any_tokenizer, ids)) == any_tokenizer.decode(ids)


@given(parts=st.lists(st.sampled_from(PARTS), max_size=10))
def test_pushes_and_flush_are_the_text_of_texts(any_tokenizer, parts):
    ids = any_tokenizer.encode("".join(parts))
    assert "".join(streamed(any_tokenizer, ids)) == any_tokenizer.decode(ids)


@pytest.mark.parametrize(
    "kind", ["Llama 2", "Gemma", "Llama, Metaspace first", "Unigram with bytes"]
)
def test_characters_of_bytes_come_whole(tokenizer_named, kind):
    tokenizer = tokenizer_named(kind)
    ids = tokenizer.encode("茶水")
    assert len(ids) >= 6  # no piece has them: three bytes each
    assert "".join(streamed(tokenizer, ids)) == "茶水"
    ids = tokenizer.encode("a茶th水")
    pieces = streamed(tokenizer, ids)
    assert (
        pieces[ids.index(tokenizer.core.token_to_id("th"))] == "茶th"
    )  # as soon as the run is over


def test_a_broken_byte_breaks_its_run_as_decode_has_it(tokenizer_named):
    tokenizer = tokenizer_named("Llama 2")
    ids = [*tokenizer.encode("茶"), tokenizer.core.token_to_id("<0xE6>")]
    assert tokenizer.decode(ids) == "\ufffd" * 4  # the library's rule
    assert "".join(streamed(tokenizer, ids)) == "\ufffd" * 4


def test_text_is_not_held_back_without_need(tokenizer_named):
    for kind in ("byte BPE", "Llama 2", "llama2.c", "Gemma"):
        tokenizer = tokenizer_named(kind)
        for token_id in (ids := tokenizer.encode("the other")):
            assert not 3 <= token_id < 259 or kind == "byte BPE"
        assert streamed(tokenizer, ids)[-1] == "" and all(streamed(tokenizer, ids)[1:-1])


def test_special_tokens_and_gaps_have_no_text(tokenizer_named):
    tokenizer = tokenizer_named("Llama 2")
    stream = StreamDecoder(tokenizer)
    first, *_ = tokenizer.encode_following([" the"])[0]
    assert stream.push(tokenizer.eos_id) == ""
    assert stream.push(first) == "the" and stream.push(tokenizer.bos_id) == ""
    assert stream.push(first) == " the"
    with pytest.raises(ValueError, match=r"id must be a whole number in \[0, \d+\). Received: -1"):
        stream.push(-1)


def test_cleaned_up_text_streams(tokenizer_named):
    trained = tokenizer_named("byte BPE")
    tokenizer = Tokenizer(trained.core, trained.special_tokens, clean_up=True)
    ids = tokenizer.encode("it 's what we do n't say , is it ? a ' b")
    assert tokenizer.decode(ids) == "it's what we don't say, is it? a'b"
    assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)

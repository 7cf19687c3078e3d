"""Documents, pairs and hidden tokens: boundaries, shares, balance, and what a bad corpus is told."""

import gzip

import numpy as np
import pytest

from tfalign.data import (
    MaskedTextStream,
    encode_documents,
    read_documents,
    sentence_pairs,
    single_texts,
)
from tfalign.data.masking import choose_hidden
from tfalign.text import train_byte_bpe, train_word_piece

ROWS, T = 16, 48
PAIR, SINGLE = sentence_pairs, single_texts


def written(number):
    """A document whose words say which it is, and whose sentences are numbered."""
    return [f"d{number} s{sentence} w" + "orda" * (sentence % 4) + " ." for sentence in range(30)]


DOCUMENTS = [written(number) for number in range(40)]


def trained(vocab_size):
    return train_word_piece([sentence for d in DOCUMENTS for sentence in d], vocab_size)


@pytest.fixture(scope="module")
def tokenizer():
    """Every word is a token."""
    return trained(400)


@pytest.fixture(scope="module")
def examples(tokenizer):
    return encode_documents(DOCUMENTS, tokenizer)


def epoch(examples, seed=3, **choices):
    return list(MaskedTextStream(examples, ROWS, T, epochs=1, seed=seed, **choices))


def original(batch):
    """The token ids with nothing hidden."""
    token_ids = batch.token_ids.copy()
    rows, places = np.nonzero(batch.is_hidden)
    token_ids[rows, batch.hidden_columns[rows, places]] = batch.hidden_ids[rows, places]
    return token_ids


def test_wikitext_is_read_by_its_titles(tmp_path):
    text = (
        " \n = First one = \n \n = = A heading = = \n \n One @-@ two . Three ? Four \n"
        " Five costs 1 @,@ 000 . \n = Second = \n \n Six <unk> . \n = Empty = \n"
    )
    expected = [["One-two .", "Three ?", "Four", "Five costs 1,000 ."], ["Six <unk> ."]]
    (tmp_path / "plain.txt").write_text(text)
    with gzip.open(tmp_path / "packed.gz", "wt") as file:
        file.write(text)
    assert read_documents(tmp_path / "plain.txt") == expected
    assert read_documents(tmp_path / "packed.gz") == expected


def test_other_texts_are_read_by_their_blank_lines(tmp_path):
    (tmp_path / "a.txt").write_text("One. Two!\nThree\n\n\nFour\n")
    assert read_documents(tmp_path / "a.txt") == [["One.", "Two!", "Three"], ["Four"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a corpus needs text"),
        (b" \n\n", "a corpus needs text"),
        (b" = Title = \n = = Heading = = \n", "a corpus needs sentences"),
        (b"fine\nnot \xff fine\n", r"corpus.txt:2: .*not UTF-8"),
    ],
)
def test_a_useless_corpus_is_told(tmp_path, content, message):
    (tmp_path / "corpus.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_documents(tmp_path / "corpus.txt")


def test_a_damaged_or_missing_corpus_is_told(tmp_path):
    whole = gzip.compress(b"A line of text.\n" * 5000)
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut.gz: damaged gzip file"):
        read_documents(tmp_path / "cut.gz")
    with pytest.raises(FileNotFoundError, match="no file .*absent.txt"):
        read_documents(tmp_path / "absent.txt")


@pytest.mark.parametrize("texts", [PAIR, SINGLE])
def test_a_text_is_of_one_document_and_in_its_order(examples, tokenizer, texts):
    batches = epoch(examples, texts=texts)
    seen = set()
    for batch in batches:
        for ids, mask, types, is_random in zip(
            original(batch), batch.padding_mask, batch.token_type_ids, batch.is_random
        ):
            assert ids[0] == tokenizer.cls_id and ids[mask][-1] == tokenizer.sep_id
            assert not types[~mask].any() and (ids[~mask] == tokenizer.pad_id).all()
            sides = [ids[mask & (types == side)] for side in (0, 1)]
            assert [(side == tokenizer.sep_id).sum() for side in sides] == [1, int(texts is PAIR)]
            words = [tokenizer.decode(side.tolist()).split() for side in sides]
            of = [{w for w in side if w.startswith("d")} for side in words]
            numbers = [[int(w[1:]) for w in s if w[0] == "s" and w[1:].isdigit()] for s in words]
            assert all(len(names) <= 1 for names in of)
            assert all(np.diff(side).tolist() == [1] * (len(side) - 1) for side in numbers if side)
            if all(of):
                assert (of[0] != of[1]) == bool(is_random)
            if all(numbers) and not is_random:
                assert numbers[1][0] - numbers[0][-1] in (1, 2)  # a number may have been cut off
            seen |= of[0] | of[1]
    assert seen == {f"d{number}" for number in range(40)}


def test_half_of_the_pairs_are_random_and_lengths_do_not_tell(examples):
    batches = [batch for seed in range(6) for batch in epoch(examples, seed=seed)]
    is_random = np.concatenate([batch.is_random for batch in batches])
    lengths = np.concatenate([batch.padding_mask.sum(axis=1) for batch in batches])
    assert len(is_random) > 500
    assert abs(is_random.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(is_random))
    assert lengths.max() == T
    assert abs(lengths[is_random == 1].mean() - lengths[is_random == 0].mean()) < 0.04 * T


@pytest.mark.parametrize("whole_words", [False, True])
def test_shares_of_what_is_hidden(examples, tokenizer, whole_words):
    batches = epoch(examples, whole_words=whole_words)
    special = list(tokenizer.special_ids.values())
    real = hidden = masked = same = 0
    for batch in batches:
        ids = original(batch)
        ordinary = batch.padding_mask & ~np.isin(ids, special)
        counts = batch.is_hidden.sum(axis=1)
        assert not np.isin(batch.hidden_ids[batch.is_hidden], special).any()
        wanted = 0.15 * ordinary.sum(axis=1)
        assert (counts <= np.maximum(np.ceil(wanted), 1)).all()
        assert whole_words or (counts >= np.maximum(np.floor(wanted), 1)).all()
        shown = np.take_along_axis(batch.token_ids, batch.hidden_columns, axis=1)[batch.is_hidden]
        real, hidden = real + ordinary.sum(), hidden + counts.sum()
        masked += (shown == tokenizer.mask_id).sum()
        same += (shown == batch.hidden_ids[batch.is_hidden]).sum()
        unchanged = batch.token_ids == ids
        places = np.zeros(ids.shape, bool)
        np.put_along_axis(places, batch.hidden_columns, batch.is_hidden, axis=1)
        assert unchanged[~places].all()
    assert 0.145 < hidden / real < 0.155
    spread = 4 * np.sqrt(0.25 / hidden)
    assert abs(masked / hidden - 0.8) < spread
    by_chance = 0.1 / (tokenizer.vocab_size - len(special))
    assert abs(same / hidden - (0.1 + by_chance)) < spread


@pytest.mark.parametrize("columns", [32, 64])
@pytest.mark.parametrize("texts", [PAIR, SINGLE])
def test_short_rows_hide_as_much_of_whole_words(shared_data, columns, texts):
    documents = read_documents(shared_data / "wikitext-2" / "wiki.valid.tokens")[:20]
    tokenizer = train_word_piece([s for document in documents for s in document], 2000)
    examples = encode_documents(documents, tokenizer)
    stream = MaskedTextStream(examples, 16, columns, texts=texts, whole_words=True, epochs=1)
    hidden = real = 0
    for batch in stream:
        hidden += batch.is_hidden.sum()
        real += (batch.padding_mask & np.isin(original(batch), examples.ordinary)).sum()
    assert real > 10_000 and 0.143 < hidden / real < 0.1505


def test_a_word_that_does_not_fit_is_passed_over():
    """Ten tokens, 40%: after word 4 (two tokens) word 0 (four) does not fit, and the next ones do."""
    word_ids = np.array([[0, 0, 0, 0, 4, 4, 6, 6, 6, 9]])
    keys = np.array([[0.2, 0.0, 0.0, 0.0, 0.1, 0.0, 0.3, 0.0, 0.0, 0.4]])
    hidden = choose_hidden(word_ids, keys, share=0.4, most=10)
    assert hidden.astype(int).tolist() == [[0, 0, 0, 0, 1, 1, 0, 0, 0, 1]]
    assert choose_hidden(word_ids, keys, share=0.4, most=2).sum() == 2


def test_whole_words_are_hidden_whole():
    tokenizer = trained(60)  # words are several tokens
    examples = encode_documents(DOCUMENTS, tokenizer)
    inner = ~examples.begins_word
    assert inner.sum() > 10
    parts = 0
    for batch in epoch(examples, whole_words=True):
        ids, hidden = original(batch), np.zeros(batch.token_ids.shape, bool)
        np.put_along_axis(hidden, batch.hidden_columns, batch.is_hidden, axis=1)
        goes_on = inner[ids[:, 1:]] & ~np.isin(ids[:, :-1], [tokenizer.cls_id, tokenizer.sep_id])
        assert (hidden[:, 1:] == hidden[:, :-1])[goes_on].all()
        parts += (hidden[:, 1:] & goes_on).sum()
    assert parts > 50


def test_chosen_words_by_hand():
    """Keys order the words 3, 0, 1; of 10 tokens three may go, so word 1 (two tokens) does not fit."""
    word_ids = np.array([[-1, 0, 1, 1, 3, 3, -1, -1, -1, -1, -1, -1]])
    keys = np.array([[0.5, 0.6, 0.9, 0.1, *[0.0] * 8]])
    hidden = choose_hidden(word_ids, keys, share=0.6, most=12)
    assert hidden.astype(int).tolist() == [[0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]]
    assert not choose_hidden(np.full((1, 4), -1), np.zeros((1, 4)), 0.5, 4).any()


def test_masking_is_dynamic_and_goes_on_where_it_stood(examples):
    stream = MaskedTextStream(examples, ROWS, T, seed=1)
    first = [next(stream) for _ in range(stream.num_batches)]
    state, second = stream.state(), next(stream)
    again = MaskedTextStream(examples, ROWS, T, seed=1)
    np.testing.assert_array_equal(next(again).token_ids, first[0].token_ids)
    again.restore(state)
    for left, right in zip(second, next(again)):
        np.testing.assert_array_equal(left, right)
    assert any((second.token_ids != batch.token_ids).any() for batch in first)
    assert (first[0].hidden_columns != first[1].hidden_columns).any()


@pytest.mark.tensorflow
def test_a_pass_over_the_tf_dataset_is_an_epoch(examples):
    stream = MaskedTextStream(examples, ROWS, T, seed=1)
    dataset = stream.as_tf_dataset()
    assert dataset.element_spec.token_ids.shape == (ROWS, T)
    assert dataset.element_spec.hidden_ids.shape == (ROWS, round(0.15 * T))
    first, second = (list(dataset.as_numpy_iterator()) for _ in range(2))
    for batch, expected in zip(first + second, stream):
        np.testing.assert_array_equal(batch.token_ids, expected.token_ids)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"share": 0.0}, "share=0.0"),
        ({"length": 7}, "length=7"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 10_000}, "do not fill a batch"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_impossible_settings(examples, choices, message):
    with pytest.raises(ValueError, match=message):
        MaskedTextStream(examples, **{"batch_size": 4, "length": T} | choices)


def test_what_pairs_and_masks_need(tokenizer):
    one = encode_documents(DOCUMENTS[:1], tokenizer)
    with pytest.raises(ValueError, match="two documents or more. Received: 1"):
        MaskedTextStream(one, 4, T)
    with pytest.raises(ValueError, match="a tokenizer with a cls token"):
        encode_documents(DOCUMENTS, train_byte_bpe([], 259))


def test_the_unknown_word_is_the_unknown_token_and_never_hidden(tokenizer):
    examples = encode_documents([["d1 <unk> s1 <unk> .", "<unk> d1 ."]] * 20, tokenizer)
    batch = next(MaskedTextStream(examples, 8, 24, texts=SINGLE, share=0.9))
    assert (original(batch) == tokenizer.unk_id).any()
    assert not (batch.hidden_ids[batch.is_hidden] == tokenizer.unk_id).any()

"""llama2.c files: a real trained model says what it must say."""

import json
import os
import struct

import numpy as np
import pytest

from tfalign.decoding import Greedy, generate
from tfalign.models.llama2c import Llama2cTokenizer, load_llama2c, load_llama2c_tokenizer

HEADER = (8, 12, 2, 4, 2, 11, 6)  # width, hidden, layers, heads, key-value heads, vocabulary, T


@pytest.fixture(scope="module")
def stories(shared_data):
    return shared_data / "stories260K"


@pytest.fixture(scope="module")
def expected(stories):
    return json.loads((stories / "expected_greedy.json").read_text())


@pytest.fixture(scope="module")
def model(stories):
    return load_llama2c(stories / "stories260K.bin")


@pytest.fixture(scope="module")
def tokenizer(stories):
    return load_llama2c_tokenizer(stories / "tok512.bin")


def test_200_greedy_steps_by_full_forward(model, expected):
    """The forward is causal: each argmax after the true prefix is what a greedy loop would say."""
    ids = np.array(expected["ids"])
    logits = np.asarray(model(ids[None, :-1]))[0]
    assert len(ids) == 201
    assert logits.argmax(axis=-1).tolist() == expected["ids"][1:]


def test_200_greedy_steps_by_the_cached_loop(model, expected):
    prompt = np.array([expected["ids"][:1]], "int32")
    generation = generate(model, prompt, max_new_tokens=200, sampler=Greedy())
    assert np.asarray(generation.tokens)[0].tolist() == expected["ids"][1:]


def test_tokenizer_reads_and_writes_the_story(tokenizer, expected):
    assert tokenizer.vocab_size == 512
    assert tokenizer.decode(expected["ids"]) == expected["text"]
    assert tokenizer.encode(expected["text"], bos=True) == expected["ids"]


@pytest.mark.parametrize("text", ["", "a", " two  spaces ", "naïve 你好 🙂", "<s>", "\n\n"])
def test_tokenizer_round_trip_with_byte_fall_back(tokenizer, text):
    ids = tokenizer.encode(text, bos=True, eos=True)
    assert (ids[0], ids[-1]) == (1, 2)
    assert tokenizer.decode(ids) == text


def test_merges_go_by_score_and_then_by_place():
    """Of "ab", "bc" and "aa": the best score merges first, the leftmost of equal ones."""
    pieces = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % byte for byte in range(256)]
    pieces += [b" ", b"a", b"b", b"c", b"ab", b"bc", b"aa"]
    scores = [0.0] * 263 + [1.0, 2.0, 3.0]
    tokenizer = Llama2cTokenizer(pieces, scores)
    space, a, ab, bc, aa = (pieces.index(p) for p in (b" ", b"a", b"ab", b"bc", b"aa"))
    assert tokenizer.encode("abc") == [space, a, bc]
    assert tokenizer.encode("aaa") == [space, aa, a]
    assert tokenizer.encode("aba") == [space, ab, a]


def _file(tmp_path, header=HEADER, classifier_gain=None, seed=0):
    """A random legacy model file; ``classifier_gain`` writes that multiple of the embeddings."""
    width, hidden, layers, heads, groups, vocab, positions = header
    vocab, head_dim = abs(vocab), width // heads
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(vocab, width))
    per_layer = width * (2 + 2 * width + 2 * groups * head_dim + 3 * hidden)
    rest = random.normal(size=layers * per_layer + width + positions * head_dim)
    parts = [embeddings.ravel(), rest]
    if classifier_gain is not None:
        parts.append(classifier_gain * embeddings.ravel())
    file = tmp_path / "model.bin"
    file.write_bytes(struct.pack("<7i", *header) + np.concatenate(parts).astype("<f4").tobytes())
    return file


def test_negative_vocabulary_means_an_untied_readout(tmp_path):
    ids = np.array([[1, 5, 2, 10]])
    tied = load_llama2c(_file(tmp_path))
    assert tied.config.tied
    untied_header = (*HEADER[:5], -HEADER[5], HEADER[6])
    untied = load_llama2c(_file(tmp_path, untied_header, classifier_gain=3.0))
    assert not untied.config.tied
    np.testing.assert_allclose(untied(ids), 3 * np.asarray(tied(ids)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", [-1, 4], ids=["truncated", "oversized"])
def test_file_of_another_size_is_refused(tmp_path, change):
    file = _file(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(ValueError, match=f"asks for {len(data)} bytes.*: {len(data) + change} "):
        load_llama2c(file)


def test_what_is_no_model_is_refused(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"short")
    with pytest.raises(ValueError, match="28 bytes of header. Received: 5 bytes"):
        load_llama2c(file)
    file.write_bytes(struct.pack("<7i", *(7, *HEADER[1:])) + bytes(100))
    with pytest.raises(ValueError, match="not a legacy llama2.c model. Received: header=.7, 12"):
        load_llama2c(file)


@pytest.mark.parametrize(
    "header",
    [
        (
            2**31 - 2,
            2**31 - 1,
            2**31 - 1,
            1,
            1,
            2**31 - 1,
            2**31 - 1,
        ),  # more bytes than int64 counts
        (8, 12, 10**9, 4, 2, 11, 6),
        (8, 12, 2, 4, 2, -(2**31), 6),
    ],
)
def test_a_header_of_any_size_is_refused_unread(tmp_path, header):
    file = tmp_path / "model.bin"
    file.write_bytes(struct.pack("<7i", *header) + bytes(100))
    with pytest.raises(ValueError, match="its header asks for .* Received: 128 bytes"):
        load_llama2c(file)


def test_an_odd_head_cannot_be_rotated(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(struct.pack("<7i", 12, 12, 2, 4, 2, 11, 6) + bytes(100))
    with pytest.raises(ValueError, match="not a legacy llama2.c model"):
        load_llama2c(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    file = _file(tmp_path)
    data = bytearray(file.read_bytes())
    data[-4 * 100 : -4 * 99] = struct.pack("<f", value)
    file.write_bytes(data)
    with pytest.raises(ValueError, match="model.bin: every weight must be finite. Received: "):
        load_llama2c(file)


def test_what_is_no_file_is_told_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for load in (load_llama2c, load_llama2c_tokenizer):
        for place in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(ValueError, match="a file is needed. Received: a folder, a pipe"):
                load(place)
        with pytest.raises(FileNotFoundError, match="no file .*absent"):
            load(tmp_path / "absent.bin")
        with pytest.raises(ValueError, match="Only local paths"):
            load("hdfs://bucket/model.bin")


def test_ids_and_texts_that_cannot_be(tmp_path):
    pieces = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % byte for byte in range(256)]
    tokenizer = Llama2cTokenizer(pieces, [0.0] * 259)
    for outside in (-1, 259, 10**9):
        with pytest.raises(ValueError, match=rf"in \[0, 259\). Received: {outside}"):
            tokenizer.decode([5, outside])
    with pytest.raises(ValueError, match="must be Unicode"):
        tokenizer.encode("a\ud83d")


def test_truncated_tokenizer_is_refused_with_the_token(tmp_path, stories):
    data = (stories / "tok512.bin").read_bytes()
    file = tmp_path / "tok.bin"
    file.write_bytes(data[:-1])
    with pytest.raises(ValueError, match="truncated or damaged at token 511"):
        load_llama2c_tokenizer(file)
    file.write_bytes(data[:200])
    with pytest.raises(ValueError, match="truncated|at least 259"):
        load_llama2c_tokenizer(file)

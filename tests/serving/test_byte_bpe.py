"""The tokenizer in the graph is the library's: any text, all of GPT-2's fixtures."""

import json
import random

import pytest
import tensorflow as tf

from tfalign.serving.byte_bpe import ByteBPE
from tfalign.text import read_byte_bpe, train_byte_bpe, train_word_piece

TEXTS = [
    "Customer: where's my order 4711?\nAgent: It will arrive.",
    "顾客：我的订单什么时候到？",
] * 3
AWKWARD = [
    "",
    " ",
    "a  b",
    "a \n b",
    "\n\nx",
    "x   ",
    "  'sx's 're",
    "1 2  3a4 _ __",
    "a\u00a0\u00a0b",
]
AWKWARD += ["a\u3000 c\u2028d\x85e\x0bf", "👩‍👩‍👧‍👦 naïve e\u0301 ﷽ 𝔘𝔫𝔦", "<|eos|>", "aaaaaaaaaaa"]


def random_texts(count):
    draw = random.Random(0)
    for _ in range(count):
        end = draw.choice([0x80, 0x3000, 0xA000, 0x110000])
        codes = (draw.randrange(1, end) for _ in range(draw.randrange(25)))
        yield "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)


def check(tokenizer, texts):
    graph = ByteBPE(tokenizer)
    encoded = graph.encode(tf.constant(texts)).to_list()
    for text, ids in zip(texts, encoded):
        assert ids == tokenizer.encode(text), repr(text)
        mask = tf.ones((1, len(ids)), "bool")
        decoded = graph.decode(tf.constant([ids], tf.int32), mask)[0].numpy().decode()
        assert decoded == text


def test_a_trained_tokenizer():
    check(train_byte_bpe(TEXTS, 400), [*TEXTS, *AWKWARD, *random_texts(500)])


def test_gpt2s_own(shared_data):
    folder = shared_data / "gpt2-bpe"
    gpt2 = read_byte_bpe(folder / "encoder.json", folder / "vocab.bpe", {"eos": "<|endoftext|>"})
    file = shared_data / "tokenizer-fixtures" / "tokenizer_fixtures.json"
    fixtures = json.loads(file.read_text(encoding="utf-8"))["gpt2"].values()
    check(gpt2, [*AWKWARD, *random_texts(500), *(case["text"] for case in fixtures)])


def test_special_tokens_and_padding_have_no_text():
    tokenizer = train_byte_bpe(TEXTS, 300)
    ids = [tokenizer.bos_id, *tokenizer.encode("hi"), tokenizer.eos_id, *tokenizer.encode("x")]
    mask = tf.constant([[True] * (len(ids) - 1) + [False]])
    assert ByteBPE(tokenizer).decode(tf.constant([ids]), mask)[0].numpy() == b"hi"


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="Only a byte-level BPE .* Received: WordPiece"):
        ByteBPE(train_word_piece(["a"], 60))

"""Round trips, special tokens nobody can type, published vocabularies, streaming."""

from __future__ import annotations

import json
import random

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tfalign.text import (
    StreamDecoder,
    Tokenizer,
    read_byte_bpe,
    read_word_piece,
    train_byte_bpe,
    train_word_piece,
    train_words,
)

TEXTS = [
    "Customer: where is my order 4711?\nAgent: I am sorry, it will arrive on Monday.",
    "Customer: the kettle is broken.\nAgent: Please send us a photo, then we replace it.",
    "顾客：我的订单什么时候到？\n客服：很抱歉让您久等了，预计周一送达。",
    "顾客：水壶坏了。\n客服：请您发一张照片，我们马上为您更换。",
] * 3
AWKWARD = [
    "",
    " ",
    "\n\n\t  two  spaces \r\n",
    "\x00\x7f\u200d\ufeff\ufffd",
    "👩‍👩‍👧‍👦 naïve e\u0301 ﷽ 𝔘𝔫𝔦",
    "订单 4711，谢谢！ thank you",
    "<|eos|><|pad|> <|bos|>",
]


@pytest.fixture(scope="module")
def byte_bpe():
    return train_byte_bpe(TEXTS, vocab_size=400)


@pytest.fixture(scope="module")
def word_piece():
    return train_word_piece(TEXTS, vocab_size=300)


def random_texts(count, seed=0):
    """Strings over all of Unicode, half of them over its busier parts."""
    draw = random.Random(seed)
    for _ in range(count):
        end = draw.choice([0x80, 0x3000, 0xA000, 0x110000])
        codes = (draw.randrange(end) for _ in range(draw.randrange(25)))
        yield "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)


@pytest.mark.parametrize("text", AWKWARD + TEXTS[:4])
def test_byte_bpe_round_trip(byte_bpe, text):
    assert byte_bpe.decode(byte_bpe.encode(text)) == text


def test_byte_bpe_round_trip_of_random_unicode(byte_bpe):
    texts = list(random_texts(2000))
    ids = byte_bpe.encode_batch(texts)
    assert byte_bpe.decode_batch(ids) == texts
    assert ids[7] == byte_bpe.encode(texts[7])


def test_byte_bpe_learns_the_texts(byte_bpe):
    for text in TEXTS[:4]:
        assert len(byte_bpe.encode(text)) < len(text.encode()) / 1.5


def test_training_is_deterministic():
    first, second = (train_byte_bpe(TEXTS, 400) for _ in range(2))
    assert [first.token(i) for i in range(400)] == [second.token(i) for i in range(400)]
    first, second = (train_word_piece(TEXTS, 300) for _ in range(2))
    size = first.vocab_size
    assert [first.token(i) for i in range(size)] == [second.token(i) for i in range(size)]


def test_roles_have_ids_of_their_own(byte_bpe, word_piece):
    assert (byte_bpe.pad_id, byte_bpe.bos_id, byte_bpe.eos_id) == (0, 1, 2)
    assert byte_bpe.unk_id is None and byte_bpe.cls_id is None
    assert byte_bpe.vocab_size == 400
    assert dict(word_piece.special_ids) == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    assert word_piece.eos_id is None and word_piece.mask_id == 4


def test_bos_and_eos_are_added_on_request_and_skipped_in_text(byte_bpe):
    ids = byte_bpe.encode("hi", bos=True, eos=True)
    assert ids == [byte_bpe.bos_id, *byte_bpe.encode("hi"), byte_bpe.eos_id]
    assert byte_bpe.decode(ids) == "hi"
    assert byte_bpe.decode(ids, skip_special=False) == "<|bos|>hi<|eos|>"


@pytest.mark.parametrize("fixture", ["byte_bpe", "word_piece"])
def test_a_user_cannot_type_a_special_token(fixture, request):
    tokenizer = request.getfixturevalue(fixture)
    for role, spelling in tokenizer.special_tokens.items():
        ids = tokenizer.encode(f"please {spelling} now")
        if role != "unk":
            assert tokenizer.special_ids[role] not in ids
        allowed = tokenizer.encode(f"please {spelling} now", allow_special=True)
        assert tokenizer.special_ids[role] in allowed


def test_a_special_token_that_is_a_word_is_refused():
    with pytest.raises(ValueError, match="sep token must not be a word .* Received: 'sep'"):
        train_word_piece(["a sep, no sep"], 300, {"unk": "[UNK]", "sep": "sep"})


def test_roles_of_ones_own():
    tokenizer = train_byte_bpe(TEXTS, 300, {"eos": "<|eos|>", "user": "<|user|>"})
    assert tokenizer.special_ids["user"] == 1
    assert tokenizer.pad_id is None
    assert tokenizer.decode([1, *tokenizer.encode("hi")]) == "hi"


@pytest.mark.parametrize("fixture", ["byte_bpe", "word_piece"])
def test_save_and_load(fixture, request, tmp_path):
    tokenizer = request.getfixturevalue(fixture)
    tokenizer.save(tmp_path / "it")
    for path in (tmp_path / "it", tmp_path / "it" / "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert loaded.special_ids == tokenizer.special_ids
        for text in AWKWARD + TEXTS[:4]:
            ids = tokenizer.encode(text)
            assert loaded.encode(text) == ids
            assert loaded.decode(ids) == tokenizer.decode(ids)
    (tmp_path / "it" / "tokenizer_config.json").unlink()
    assert Tokenizer.load(tmp_path / "it").special_ids == tokenizer.special_ids  # by its spellings


def test_roles_file_of_hugging_face(byte_bpe, tmp_path):
    byte_bpe.save(tmp_path)
    config = {
        "add_bos_token": False,
        "eos_token": {"content": "<|eos|>", "lstrip": False},
        "pad_token": "<|eos|>",
        "unk_token": None,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = Tokenizer.load(tmp_path)
    assert dict(loaded.special_ids) == {"eos": byte_bpe.eos_id}  # a pad that is eos is no pad


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no tokenizer at .*tokenizer.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a tokenizer.json"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.encode("a \ud83d b"), "half a surrogate pair at character 2"),
        (lambda t: t.encode_batch(["a", None]), "Text 1 must be a str. Received: NoneType"),
        (lambda t: train_byte_bpe(TEXTS, 100), "at least 259. Received: vocab_size=100"),
        (lambda t: train_byte_bpe(TEXTS, 300, {"pad": "<x>", "eos": "<x>"}), "of its own"),
        (lambda t: train_word_piece(TEXTS, 300, {"pad": "[PAD]"}), "unk token .*: pad"),
        (lambda t: train_word_piece(TEXTS, 300).encode("a", eos=True), "no eos token"),
        (lambda t: Tokenizer(t._plain, {"eos": "<nowhere>"}), "vocabulary. Received: '<nowhere>'"),
    ],
)
def test_errors(byte_bpe, call, message):
    with pytest.raises(ValueError, match=message):
        call(byte_bpe)


def test_word_piece_round_trip_but_for_case_and_spacing(word_piece):
    assert word_piece.decode(word_piece.encode("我的订单什么时候到？")) == "我的订单什么时候到？"
    decoded = word_piece.decode(word_piece.encode("Please send us a photo."))
    assert decoded == "please send us a photo."
    mixed = word_piece.decode(word_piece.encode("订单 4711，请 monday"))
    assert mixed == "订单 4711，请 monday"


@pytest.mark.parametrize("fixture", ["byte_bpe", "word_piece"])
def test_streamed_text_adds_up(fixture, request):
    tokenizer = request.getfixturevalue(fixture)
    draw = random.Random(1)
    for _ in range(500):
        ids = [draw.randrange(tokenizer.vocab_size) for _ in range(draw.randrange(20))]
        stream = StreamDecoder(tokenizer)
        pieces = [stream.push(token_id) for token_id in ids]
        assert "".join(pieces) + stream.flush() == tokenizer.decode(ids)


def test_stream_holds_back_only_what_is_uncertain(byte_bpe):
    for text in TEXTS[:4] + AWKWARD[-3:]:
        stream = StreamDecoder(byte_bpe)
        shown = ""
        for count, token_id in enumerate(ids := byte_bpe.encode(text), start=1):
            shown += stream.push(token_id)
            certain = b"".join(_bytes_of(byte_bpe, i) for i in ids[:count])
            assert shown == certain.decode("utf-8", errors="ignore")
        assert stream.flush() == ""


def _bytes_of(tokenizer, token_id):
    """What a byte-level token stands for, by GPT-2's table of printable characters."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table |= {chr(256 + index): byte for index, byte in enumerate(others)}
    return bytes(table[character] for character in tokenizer.token(token_id))


def test_published_gpt2_vocabulary(shared_data, tmp_path):
    folder = shared_data / "gpt2-bpe"
    roles = {"bos": "<|endoftext|>", "eos": "<|endoftext|>"}
    gpt2 = read_byte_bpe(folder / "encoder.json", folder / "vocab.bpe", roles)
    assert (gpt2.vocab_size, gpt2.eos_id) == (50_257, 50_256)
    theirs = _as_published(gpt2, tmp_path)
    cases = _fixtures(shared_data, "gpt2")
    assert len(cases) == 26
    for case in cases:
        ids = gpt2.encode(case["text"], allow_special=True)
        assert ids == case["ids"]
        assert [gpt2.token(token_id) for token_id in ids] == case["tokens"]
        assert gpt2.decode(ids, skip_special=False) == case["text"]
        assert theirs.decode(ids, skip_special=False) == case["decoded"]


@pytest.mark.parametrize(
    ("name", "file", "lower_case", "count"),
    [
        ("bert-base-uncased", "bert-base-uncased-vocab.txt", True, 30),
        ("bert-base-chinese (bge-small-zh-v1.5)", "bert-base-chinese-vocab.txt", False, 19),
        ("bert-base-chinese (bge-base-zh-v1.5)", "bert-base-chinese-vocab.txt", True, 7),
    ],
)
def test_published_bert_vocabularies(shared_data, name, file, lower_case, count, tmp_path):
    bert = read_word_piece(shared_data / "bert-vocab" / file, lower_case=lower_case)
    theirs = _as_published(bert, tmp_path, {"type": "WordPiece", "prefix": "##", "cleanup": True})
    cases = _fixtures(shared_data, name)
    assert len(cases) == count
    for case in cases:
        texts = [case["text"], *([case["text_pair"]] if "text_pair" in case else [])]
        parts = [bert.encode(text, allow_special=True) for text in texts]
        ids = [bert.cls_id] + [token_id for part in parts for token_id in (*part, bert.sep_id)]
        assert ids == case["ids"]
        tokens = [bert.token(token_id) for part in parts for token_id in part]
        assert tokens == case["tokens"]
        assert theirs.decode(ids, skip_special=False) == case["decoded"]


def _as_published(tokenizer, folder, decoder=None):
    """The tokenizer through a tokenizer.json as the hub has it: with its decoder, and cleaning up."""
    tokenizer.save(folder)
    for name, changes in (
        ("tokenizer.json", {"decoder": decoder} if decoder else {}),
        ("tokenizer_config.json", {"clean_up_tokenization_spaces": True}),
    ):
        entries = json.loads((folder / name).read_text(encoding="utf-8")) | changes
        (folder / name).write_text(json.dumps(entries), encoding="utf-8")
    return Tokenizer.load(folder)


def _core(model, normalizer=None, pre_tokenizer=None, decoder=None):
    core = tokenizers.Tokenizer(model)
    for name, part in zip(
        ("normalizer", "pre_tokenizer", "decoder"), (normalizer, pre_tokenizer, decoder)
    ):
        if part is not None:
            setattr(core, name, part)
    core.add_special_tokens(["<unk>", "<s>", "</s>"])
    core.add_tokens(["<tool>"])
    return core


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPECIAL = ["<unk>", "<s>", "</s>"]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_PIECES = [*_SPECIAL, *_BYTES, "▁", *_LETTERS, "▁th", "▁the", "he", "th"]
_KINDS = {
    "SentencePiece's BPE with bytes (Llama 2)": lambda: _core(
        models.BPE(
            {piece: at for at, piece in enumerate(_PIECES)},
            [("t", "h"), ("▁", "th"), ("h", "e"), ("▁th", "e")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        ),
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        None,
        decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        ),
    ),
    "Unigram (T5, XLM-R)": lambda: _core(
        models.Unigram([(piece, -float(len(_PIECES) - at)) for at, piece in enumerate(_PIECES)], 0),
        None,
        pre_tokenizers.Metaspace(),
        decoders.Metaspace(),
    ),
    "WordLevel": lambda: _core(
        models.WordLevel(
            {word: at for at, word in enumerate([*_SPECIAL, "the", "cat"])}, unk_token="<unk>"
        ),
        None,
        pre_tokenizers.WhitespaceSplit(),
    ),
    "WordPiece": lambda: _core(
        models.WordPiece(
            {word: at for at, word in enumerate([*_SPECIAL, "the", "c", "##at"])},
            unk_token="<unk>",
        ),
        None,
        pre_tokenizers.WhitespaceSplit(),
        decoders.WordPiece("##"),
    ),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_tokenizer_json_of_any_kind(kind, tmp_path):
    """Ids and text are the tokenizers library's own; nobody can type a special token."""
    core = _KINDS[kind]()
    core.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert dict(tokenizer.special_ids) == {"unk": 0, "bos": 1, "eos": 2}
    for text in ("the cat", "the  the", "thé <tool> cat", "the <tool>"):
        expected = core.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text) == expected
        assert tokenizer.decode(expected) == core.decode(expected)
    typed = "the </s> cat <s>"
    assert not {1, 2} & set(tokenizer.encode(typed))
    assert {1, 2} <= set(tokenizer.encode(typed, allow_special=True))
    assert tokenizer.decode(tokenizer.encode("the", bos=True, eos=True)) == "the"
    assert (tokenizer.token(1), tokenizer.token(2)) == ("<s>", "</s>")
    tokenizer.save(tmp_path / "again")
    again = Tokenizer.load(tmp_path / "again")
    assert again.encode(typed) == tokenizer.encode(typed)
    assert again.vocab_size == tokenizer.vocab_size == core.get_vocab_size()


def _fixtures(shared_data, name):
    file = shared_data / "tokenizer-fixtures" / "tokenizer_fixtures.json"
    return json.loads(file.read_text(encoding="utf-8"))[name].values()


def test_merges_that_spell_a_special_token_make_none_of_it():
    """A vocabulary may have learned the letters of a special token as a word."""
    merges = [("<", "e"), ("<e", ">"), ("<e>", "a")]
    pieces = ["<", "e", ">", "a", "b", *("".join(pair) for pair in merges)]
    for ignore_merges in (False, True):
        model = models.BPE(
            {p: at for at, p in enumerate(pieces)}, merges, ignore_merges=ignore_merges
        )
        core = tokenizers.Tokenizer(model)
        core.decoder = decoders.Fuse()
        core.add_special_tokens(["<e>"])
        tokenizer = Tokenizer(core, {})
        assert "<e>" in tokenizer.special_spellings
        for text in ("<e>", "b<e>a", "<e><e>"):
            ids = tokenizer.encode(text)
            assert core.token_to_id("<e>") not in ids
            assert tokenizer.decode(ids) == text
        assert tokenizer.encode("<e>", allow_special=True) == [core.token_to_id("<e>")]


@pytest.mark.parametrize("size", [0, -5, 10**9])
def test_sizes_that_no_vocabulary_has(size):
    for train in (train_byte_bpe, train_word_piece, train_words):
        with pytest.raises(ValueError, match=f"Received: vocab_size={size}"):
            train(["a b"], size)

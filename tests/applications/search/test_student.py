"""A student's vocabulary and first embeddings, and what distillation makes of it."""

from __future__ import annotations

import numpy as np
import pytest

import tfalign
from tfalign.applications.search import (
    DistillationTrainer,
    NGramEncoder,
    TextEncoder,
    VectorDistillation,
    bitext_retrieval,
    embedded_translations,
    student_of,
    word_translations,
)
from tfalign.data import CompletionRecord
from tfalign.models import BERT, BERTConfig, SentenceEncoder
from tfalign.text import train_word_piece

PAIRS = [
    CompletionRecord("the kettle is broken", "水壶坏了"),
    CompletionRecord("the lamp is broken", "台灯坏了"),
    CompletionRecord("where is the kettle", "水壶在哪里"),
    CompletionRecord("where is the lamp", "台灯在哪里"),
] * 5


@pytest.fixture(scope="module")
def teacher():
    tokenizer = train_word_piece([pair.prompt for pair in PAIRS], vocab_size=120)
    config = BERTConfig(tokenizer.vocab_size, 16, 2, 2, max_positions=32, initializer_range=0.3)
    return tfalign.Pretrained(BERT(config), tokenizer)


def test_translations_are_found_by_model_1_by_hand():
    """One step from the uniform start: of (a b -> x) and (a -> y) counts are x: a 1/3, b 1/3, none 1/3; y: a and none
    1/2. So p(x | a) = (1/3) / (1/3 + 1/2) = 0.4, p(x | b) = 1, p(x | none) = 0.4."""
    found = word_translations([[0, 1], [0]], [[0], [1]], steps=1)
    likely = {(s, t): p for s, t, p in zip(*found)}
    assert likely == pytest.approx(
        {(0, 0): 0.4, (0, 1): 0.6, (1, 0): 1.0, (-1, 0): 0.4, (-1, 1): 0.6}
    )
    mixed = found.mixtures(np.array([[1.0, 0.0], [0.0, 2.0]]), 3)
    np.testing.assert_allclose(mixed, [[0.4, 1.2], [1, 0], [0, 0]], rtol=1e-6)


def test_a_student_begins_with_what_its_teacher_knows(teacher, tmp_path):
    """Words translate each other, tokens in ASCII and blocks are the teacher's."""
    student = student_of(teacher, PAIRS, num_layers=1, least=10)
    core = student.tokenizer.core
    assert core.encode("水壶龘在哪里").tokens[1:-1] == ["水壶", "[UNK]", "在哪里"]  # one, not all
    assert core.encode("水壶坏了 the").tokens[1:-1] == ["水壶", "##坏了", "the"]
    student.save(tmp_path / "student")
    saved = tfalign.pretrained.load_tokenizer(tmp_path / "student")
    texts = ["水壶龘在哪里？", "台灯 the lamp坏了"]
    assert saved.encode_batch(texts) == student.tokenizer.encode_batch(texts)
    old = np.asarray(teacher.model.token_embedding.embeddings)
    new = np.asarray(student.model.token_embedding.embeddings)
    known, ours = teacher.tokenizer.core.get_vocab(), core.get_vocab()
    np.testing.assert_array_equal(new[ours["the"]], old[known["the"]])
    np.testing.assert_array_equal(new[ours["##台灯"]], new[ours["台灯"]])
    cosines = {
        word: new[ours["水壶"]] @ old[known[word]] / np.linalg.norm(old[known[word]])
        for word in ("kettle", "lamp")
    }
    assert cosines["kettle"] > cosines["lamp"]
    first, second = (m.blocks[0].get_weights() for m in (teacher.model, student.model))
    assert all(np.array_equal(*pair) for pair in zip(first, second))


def test_the_loss_is_the_squared_distance(teacher):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(2, 16)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    trainer_batch = _examples(teacher, vectors)
    model = SentenceEncoder(teacher.model)
    loss, weight, metrics = VectorDistillation()(model, trainer_batch, training=False)
    ours = TextEncoder(teacher, length=32)(["the kettle", "where is the lamp"])
    assert float(loss) == pytest.approx(np.square(ours - vectors).sum(), rel=1e-4)
    assert float(metrics["cosine"][0]) == pytest.approx((ours * vectors).sum(), abs=1e-4)
    assert float(weight) == 2


def _examples(teacher, vectors):
    from tfalign.applications.search.distillation import TextsWithVectors

    rows = teacher.tokenizer.encode_batch(["the kettle", "where is the lamp"])
    head, tail = list(teacher.tokenizer.head_ids), [teacher.tokenizer.stop_ids[0]]
    rows = [head + row + tail for row in rows]
    token_ids, mask = np.zeros((2, 12), "int32"), np.zeros((2, 12), "bool")
    for at, row in enumerate(rows):
        token_ids[at, : len(row)], mask[at, : len(row)] = row, True
    return TextsWithVectors(token_ids, mask, vectors)


def test_encoding_does_not_depend_on_the_batch(teacher):
    texts = ["the kettle is broken", "the lamp", "where"] * 3
    encode = TextEncoder(teacher, length=32, rows=4)
    together = encode(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(encode(texts[4:5])[0], together[4], atol=1e-5)


@pytest.mark.slow  # trains for a minute
def test_a_student_learns_to_find_translations(teacher):
    """From the n-gram vectors of the English texts; held-out translations find their texts."""
    english = NGramEncoder(width=64)
    pairs = embedded_translations()
    tokenizer = train_word_piece([pair.prompt for pair in pairs], vocab_size=300)
    config = BERTConfig(tokenizer.vocab_size, 64, 1, 2, max_positions=64, initializer_range=0.1)
    start = student_of(tfalign.Pretrained(BERT(config), tokenizer), pairs, least=2)
    trainer = DistillationTrainer(
        start,
        pairs[::2] + pairs[1::4],
        held_out=pairs[3::4],
        teacher=english,
        epochs=20,
        batch_size=16,
        learning_rate=3e-3,
        sources=False,
        length=32,
    )
    before = trainer.measure()
    trainer.train()
    assert before["cosine"] < 0.5 and trainer.results["cosine"] > 0.8
    assert trainer.results["to_source"] > before["to_source"] + 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: student_of(t, PAIRS, num_layers=3), "2 blocks. Received: num_layers=3"),
        (lambda t: TextEncoder(t, length=64), "takes 32 tokens. Received: length=64"),
        (lambda t: TextEncoder("nowhere"), "There is no model directory nowhere"),
        (
            lambda t: DistillationTrainer(t, PAIRS, held_out=PAIRS, teacher=NGramEncoder(8)),
            r"finite, float\[N, 16\] as the student's. Received: shape \(20, 8\)",
        ),
        (lambda t: word_translations([[1]], []), "Received: 1 and 0"),
    ],
)
def test_bad_input_is_told(teacher, call, message):
    with pytest.raises(ValueError, match=message):
        call(teacher)


def test_retrieval_of_translations_by_hand():
    """Row 0 finds its own both ways; row 1 finds source 0, and source 1 finds it."""
    found = bitext_retrieval([[1.0, 0.0], [0.8, 0.6]], [[1.0, 0.0], [0.6, 0.8]])
    assert (found["to_source"], found["to_translation"]) == (1.0, 1.0)
    found = bitext_retrieval([[1.0, 0.0], [0.8, 0.6]], [[1.0, 0.0], [0.0, 1.0]])
    assert (found["to_source"], found["to_translation"]) == (0.5, 1.0)
    assert found["cosine"] == pytest.approx(0.8)

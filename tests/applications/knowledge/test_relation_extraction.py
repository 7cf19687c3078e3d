"""Texts with marked entities, encoded and classified; names found in texts; triples, on texts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from tfalign.applications.knowledge import (
    Gazetteer,
    RelationClassifier,
    RelationExtractor,
    RelationRecord,
    RelationTrainer,
    encode_relations,
)
from tfalign.applications.knowledge.relation_examples import train_marked_word_piece
from tfalign.models import BERTConfig

TEXT = "Ann saw New York"
CLASSES = ["Saw", "unknown"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_marked_word_piece([TEXT, "Bob [E1] met 幽兰在山谷"], vocab_size=80)


@pytest.fixture(scope="module")
def model(tokenizer):
    config = BERTConfig(tokenizer.vocab_size, 8, 1, 2, max_positions=40, num_token_types=4)
    return RelationClassifier(config, num_classes=2)


def test_tokens_know_their_entity(tokenizer):
    """Kinds and places of markers, worked out by hand; a marker's spelling in the text itself is plain text."""
    ids, ends = tokenizer.special_ids, ("head", "head_end", "tail", "tail_end")
    record = RelationRecord("幽兰在山谷", (3, 5), (0, 2), "Located")
    examples = encode_relations([record], tokenizer, ["Located"], 20)
    row = examples.tokens[0].tolist()
    assert [row.index(ids[role]) for role in ends] == [5, 8, 0, 3]
    assert examples.kinds[0].tolist() == [2, 2, 2, 2, 0, 1, 1, 1, 1]
    assert examples.starts.tolist() == [[5, 0]]
    inner = encode_relations(
        [RelationRecord("幽兰", (0, 2), (0, 1), "")], tokenizer, ["Located"], 20
    )
    assert inner.kinds[0].tolist() == [1, 3, 3, 3, 1, 1]
    spelled = encode_relations(
        [RelationRecord("Bob [E1] met", (0, 3), (9, 12), "")], tokenizer, [], 30
    )
    assert spelled.tokens[0].tolist().count(ids["head"]) == 1


def test_a_long_text_keeps_what_lies_around_the_entities(tokenizer):
    record = RelationRecord("在" * 30 + "山谷" + "在" * 30, (30, 31), (31, 32), "Near")
    whole = encode_relations([record], tokenizer, ["Near"], 100)
    cut = encode_relations([record], tokenizer, ["Near"], 12)
    first = int(whole.starts[0, 0] - cut.starts[0, 0])
    assert cut.lengths.tolist() == [12] and cut.starts.tolist() == [[3, 6]]
    np.testing.assert_array_equal(cut.tokens[0], whole.tokens[0][first : first + 12])
    with pytest.raises(ValueError, match="fit into 5 tokens. Received: 6 tokens, '在"):
        encode_relations([record], tokenizer, ["Near"], 5)


def test_padding_and_other_rows_do_not_matter(tokenizer, model):
    records = [
        RelationRecord(TEXT, (0, 3), (8, 16), ""),
        RelationRecord("在山", (0, 1), (1, 2), ""),
    ]
    examples = encode_relations(records, tokenizer, CLASSES, 40)
    alone = examples.batch(np.array([1]), int(examples.lengths[1]))
    both = examples.batch(np.array([0, 1]), 30)
    given = [
        model(b.token_ids, padding_mask=b.padding_mask, kinds=b.kinds, starts=b.starts)
        for b in (alone, both)
    ]
    np.testing.assert_allclose(given[0][0], given[1][1], atol=1e-5)
    other_way = both._replace(starts=both.starts[:, ::-1])
    swapped = model(both.token_ids, both.padding_mask, kinds=both.kinds, starts=other_way.starts)
    assert float(ops.max(ops.abs(swapped - given[1]))) > 1e-4  # the direction is seen


def test_names_are_found_as_whole_words():
    gazetteer = Gazetteer(["New_York", "York", "Ann", "法国", "中国"])
    assert gazetteer.find("ANN saw new york, Anna not") == [
        ("Ann", (0, 3)),
        ("New_York", (8, 16)),
    ]
    assert gazetteer.find("法国和中国的York") == [
        ("法国", (0, 2)),
        ("中国", (3, 5)),
        ("York", (6, 10)),
    ]
    with pytest.raises(ValueError, match="A gazetteer has a name"):
        Gazetteer(["", " "])


def test_triples_are_the_surer_direction_and_no_relation_is_none(tokenizer, model):
    """The classifier's own numbers, pair by pair."""
    extractor = RelationExtractor(
        model, tokenizer, CLASSES, gazetteer=Gazetteer(["Ann", "New York"])
    )
    ways = [RelationRecord(TEXT, *spans, "") for spans in ([(0, 3), (8, 16)], [(8, 16), (0, 3)])]
    log_probs = extractor.log_probs(ways)
    row, column = np.unravel_index(np.argmax(log_probs), log_probs.shape)
    expected = [] if CLASSES[column] == "unknown" else [(ways[row].entities[0], "Saw")]
    found = extractor.extract(TEXT)
    assert [triple[:2] for triple in found] == expected
    assert extractor.extract(TEXT, [(0, 3), (8, 16)]) == found
    only_saw = RelationExtractor(model, tokenizer, ["Saw", "Met"], gazetteer=extractor.gazetteer)
    (triple,) = only_saw.extract(TEXT)
    assert (triple.head, triple.tail) == ways[row].entities
    assert triple.probability == pytest.approx(np.exp(log_probs.max()), abs=1e-5)
    assert extractor.extract("no name") == []
    with pytest.raises(ValueError, match=r"of 16 characters. Received: \(8, 17\)"):
        extractor.extract(TEXT, [(0, 3), (8, 17)])
    with pytest.raises(ValueError, match="Received: neither"):
        RelationExtractor(model, tokenizer, CLASSES).extract(TEXT)


@pytest.mark.slow
def test_a_relation_that_can_be_learned_is(tmp_path):
    """ "a likes b" and "b is liked by a": the direction is in the words between."""
    names = [f"n{letter}" for letter in "abcdefgh"]
    records = []
    for one in names:
        for other in names:
            active, passive = f"{one} likes {other}", f"{one} pleases {other}"
            spans = (0, 2), (len(active) - 2, len(active))
            records.append(RelationRecord(active, *spans, "Likes"))
            spans = (0, 2), (len(passive) - 2, len(passive))
            records.append(RelationRecord(passive, *spans, "unknown"))
    trainer = RelationTrainer(
        records[::2] + records[1::2],
        records[:20],
        run_dir=tmp_path,
        epochs=12,
        batch_size=16,
        width=16,
        warmup_steps=5,
        learning_rate=5e-3,
        vocab_size=100,
    )
    trainer.train()
    assert trainer.scores(records)["f1"] > 0.95
    kept = RelationExtractor.load(trainer.model_directory, Gazetteer(names))
    np.testing.assert_allclose(
        kept.log_probs(records[:5]), trainer.extractor.log_probs(records[:5]), atol=1e-6
    )
    assert kept.extract("na likes nb")[0].relation == "Likes"


def test_an_encoder_of_other_token_types_is_told():
    with pytest.raises(ValueError, match="num_token_types=2, n=3"):
        RelationClassifier(BERTConfig(20, 8, 0, 1), num_classes=2)

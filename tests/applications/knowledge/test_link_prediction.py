"""Scores, ranks and objectives of link prediction, against sums over complex numbers and hand-worked cases."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfalign.applications.knowledge import (
    KnowledgeEmbedding,
    KnowledgeGraph,
    LinkPrediction,
    LinkPredictionTrainer,
    LinkPredictor,
    Questions,
    SampledLinkPrediction,
    filtered_ranks,
    ranking_metrics,
    scores,
)


def by_definition(name, h, r, t):
    """The papers' formulas for one triple, with NumPy's complex numbers."""
    if name == "transe":
        return -np.linalg.norm(h + r - t)
    if name == "distmult":
        return np.sum(h * r * t)
    half = len(h) // 2
    h, t = h[:half] + 1j * h[half:], t[:half] + 1j * t[half:]
    if name == "rotate":
        return -np.abs(h * np.exp(1j * r) - t).sum()
    return np.real(np.sum(h * (r[:half] + 1j * r[half:]) * np.conj(t)))


@pytest.mark.parametrize("name", scores.SCORES)
def test_scores_are_the_papers(name):
    random = np.random.default_rng(0)
    heads, tails = random.normal(size=(2, 4, 6)).astype("float32")
    relations = random.normal(size=(4, 3 if name == "rotate" else 6)).astype("float32")
    expected = [[by_definition(name, h, r, t) for t in tails] for h, r in zip(heads, relations)]
    shared = scores.SCORES[name](heads, relations, tails)
    np.testing.assert_allclose(shared, expected, atol=1e-5)
    of_each_row = np.broadcast_to(tails, (4, 4, 6))
    np.testing.assert_allclose(
        scores.SCORES[name](heads, relations, of_each_row), expected, atol=1e-5
    )


def test_scores_by_hand():
    """(1 + 2i)(3 - i) = 5 + 5i; Re((5 + 5i) conj(2 + i)) = 15."""
    h, r, t = (np.array([pair], "float32") for pair in ([1, 2], [3, -1], [2, 1]))
    assert float(scores.complex(h, r, t)[0, 0]) == pytest.approx(15, abs=1e-5)
    assert float(scores.distmult(h, r, t)[0, 0]) == pytest.approx(4, abs=1e-5)  # 6 - 2
    assert float(scores.transe(h, r, t)[0, 0]) == pytest.approx(-2, abs=1e-5)  # |(4, 1) - (2, 1)|
    quarter = np.array([[np.pi / 2]], "float32")  # (1 + 2i) i = -2 + i, and 4 away from 2 + i
    assert float(scores.rotate(h, quarter, t)[0, 0]) == pytest.approx(-4, abs=1e-5)


def test_ranks_by_hand():
    given = [[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0]]
    assert filtered_ranks(given, [2, 1, 0], [[], [], []]).tolist() == [3.0, 2.0, 2.5]
    assert filtered_ranks(given, [2, 1, 0], [[0, 2], [2], [1, 2, 3]]).tolist() == [2.0, 1.5, 1.0]
    unfound = np.full((1, 5), -np.inf)
    assert filtered_ranks(unfound, [3], [[]]).tolist() == [3.0]


def test_a_model_that_scores_all_alike_is_no_good():
    """The unfair rule would give it a mean reciprocal rank of 1."""
    ranks = filtered_ranks(np.zeros((2, 99)), [0, 98], [[], []])
    assert ranks.tolist() == [50.0, 50.0]
    assert ranking_metrics(ranks) == {
        **{"mrr": pytest.approx(0.02), "hits_at_1": 0.0, "hits_at_3": 0.0, "hits_at_10": 0.0}
    }


def test_the_objective_is_the_softmax_and_its_regulariser():
    model = KnowledgeEmbedding(5, 2, width=4)
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    entities, relations = model.get_weights()
    batch = Questions(*np.array([[0, 3], [1, 0], [2, 2]], "int32"))
    table = np.array(
        [
            [by_definition("complex", entities[h], relations[r], t) for t in entities]
            for h, r, _ in zip(*batch)
        ]
    )
    expected = np.sum(np.log(np.exp(table).sum(axis=1)) - table[[0, 1], batch.tails])
    vectors = [entities[batch.heads], relations[batch.relations], entities[batch.tails]]
    cubes = sum((np.hypot(x[:, :2], x[:, 2:]) ** 3).sum() for x in vectors)
    plain, weight, _ = LinkPrediction()(model, batch)
    assert (float(plain), float(weight)) == (pytest.approx(expected, abs=1e-4), 2.0)
    assert float(LinkPrediction(0.3)(model, batch)[0]) == pytest.approx(
        expected + 0.3 * cubes, rel=1e-5
    )
    assert float(LinkPrediction(0.3)(model, batch, training=False)[0]) == float(plain)


def test_the_sampled_normaliser_is_right_on_average():
    model = KnowledgeEmbedding(6, 1, width=4, score="distmult")
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    asked = Questions(*np.array([[0], [0], [3]], "int32"))
    exact = np.exp(float(LinkPrediction()(model, asked)[0]))
    losses = [
        float(SampledLinkPrediction(negatives=20, seed=seed)(model, asked)[0]) for seed in range(60)
    ]
    estimates = np.exp(losses)
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - exact) < 3.5 * error < 0.1 * exact


def test_training_finds_what_can_be_inferred(tmp_path):
    """A ring read clockwise: the two steps that are left out follow from the others."""
    ring = [(f"n{i}", "next", f"n{(i + 1) % 8}") for i in range(8)]
    twice = [(f"n{i}", "next_but_one", f"n{(i + 2) % 8}") for i in range(8)]
    graph = KnowledgeGraph.of([*ring, *twice[2:]], test=twice[:2])
    options = {"epochs": 300, "batch_size": 14, "width": 32, "n3": 0.02}
    trainer = LinkPredictionTrainer(graph, run_dir=tmp_path, **options)
    trainer.train()
    assert ranking_metrics(LinkPredictor(trainer.model).ranks(graph, "test"))["mrr"] > 0.9
    kept = keras.models.load_model(trainer.model_directory / "embedding.keras")
    questions = graph.questions("test")
    np.testing.assert_array_equal(
        LinkPredictor(kept).scores(questions), LinkPredictor(trainer.model).scores(questions)
    )


def test_a_stream_goes_on_where_it_stood():
    graph = KnowledgeGraph.of([("a", "r", f"b{i}") for i in range(5)])
    streams = [LinkPredictionTrainer(graph, epochs=1, batch_size=4, width=4).batches for _ in "12"]
    batches = [next(streams[0]) for _ in range(7)]
    streams[1].restore(streams[0].state())
    np.testing.assert_array_equal(next(streams[0]), next(streams[1]))
    assert len({tuple(map(tuple, batch)) for batch in batches}) == 7
    other = LinkPredictionTrainer(graph, epochs=1, batch_size=4, width=4, seed=9).batches
    with pytest.raises(ValueError, match="not those of the stream to be continued"):
        other.restore(streams[0].state())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"score": "hole"}, "Scores are transe, .*score='hole'"),
        ({"width": 5}, "even width. Received: width=5"),
    ],
)
def test_mistakes_are_told(how, message):
    with pytest.raises(ValueError, match=message):
        KnowledgeEmbedding(3, 2, **how)

"""Walks in graphs: against all walks of random small graphs, listed one by one."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tests.walks import walks_of
from tfalign.decoding import BeamSearch, GraphWalk, HiddenAnswerWalk, OtherAnswersWalk, generate
from tfalign.decoding.constraints import ConstraintError
from tfalign.models import CausalLM, GPTConfig
from tfalign.types import Prompts

ENTITIES, RELATIONS, STOP, V = 5, 3, 11, 12
# entities 0 to 4, relations 5 to 7, their inverses 8 to 10
INVERSE = {5: 8, 6: 9, 7: 10, 8: 5, 9: 6, 10: 7}


def random_graph(seed, edges=8):
    """Random edges in both directions."""
    random = np.random.default_rng(seed)
    sources, targets = random.integers(0, ENTITIES, (2, edges))
    relations = random.integers(ENTITIES, ENTITIES + RELATIONS, edges)
    there = np.stack([sources, relations, targets], axis=1)
    back = np.stack([targets, relations + RELATIONS, sources], axis=1)
    return np.concatenate([there, back, there[:2]])


def walks_by_hand(edges, source, most, least=0, query=None):
    """All walks from an entity, as tuples of tokens; without the answers to (relation, source) ``query``."""
    edges = {tuple(map(int, edge)) for edge in edges}
    if query is not None:
        hidden = {edge for edge in edges if edge[:2] == (source, query)}
        edges -= hidden | {(y, INVERSE[r], s) for s, r, y in hidden}
    walks, found = {()}, set()
    for hops in range(most + 1):
        found |= {(*walk, STOP) for walk in walks if hops >= least}
        walks = {
            (*walk, r, y)
            for walk in walks
            for s, r, y in edges
            if s == (walk[-1] if walk else source)
        }
    return found


@pytest.mark.parametrize("seed", range(3))
def test_it_allows_the_walks_of_the_graph(seed):
    edges = random_graph(seed)
    walk = GraphWalk(edges, V, STOP, max_hops=2, min_hops=seed % 3)
    for source in np.unique(edges[:, 0]):
        assert walks_of(walk, [source], STOP) == walks_by_hand(edges, source, 2, seed % 3)


@pytest.mark.parametrize("seed", range(2))
def test_it_hides_the_answers_both_ways(seed):
    edges = random_graph(seed)
    walk = HiddenAnswerWalk(edges, V, STOP, max_hops=2, inverse=INVERSE)
    hides = False
    for source, query in np.unique(edges[:, :2], axis=0):
        expected = walks_by_hand(edges, source, 2, query=query)
        assert walks_of(walk, [query, source], STOP) == expected
        hides |= expected != walks_by_hand(edges, source, 2)
    assert hides
    unasked = next(r for r in range(5, 11) if [0, r] not in edges[:, :2].tolist())
    if 0 in edges[:, 0]:
        assert walks_of(walk, [unasked, 0], STOP) == walks_by_hand(edges, 0, 2)


def walks_over_other_answers(edges, source, query, most):
    """Of all walks those with at most one edge that answers, which end elsewhere than this edge."""
    found = set()
    back = {
        (y, INVERSE[r], s) for s, r, y in map(tuple, edges.tolist()) if (s, r) == (source, query)
    }
    for walk in walks_by_hand(edges, source, most, least=1):
        here, answers, hidden = source, [], False
        for relation, entity in zip(walk[:-1:2], walk[1::2]):
            if (here, relation) == (source, query):
                answers.append(entity)
            hidden |= (here, relation, entity) in back or (
                (here, relation) == (source, query) and entity == source
            )
            here = entity
        if not hidden and (not answers or len(answers) == 1 and here != answers[0]):
            found.add(walk)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_it_walks_over_other_answers(seed):
    """No dead ends: what begins as one of the walks ends as one."""
    edges = random_graph(seed, edges=6)
    walk = OtherAnswersWalk(edges, V, STOP, max_hops=3, min_hops=1, inverse=INVERSE)
    over = 0
    for source, query in {tuple(edge[:2]) for edge in edges.tolist()}:
        expected = walks_over_other_answers(edges, source, query, 3)
        assert walks_of(walk, [query, source], STOP) == expected
        over += sum(found[0] == query for found in expected)
    assert over  # some do
    again = pickle.loads(pickle.dumps(walk))
    assert walks_of(again, [query, source], STOP) == expected


def test_padding_makes_no_difference():
    walk = HiddenAnswerWalk(random_graph(0), V, STOP, max_hops=2, inverse=INVERSE)
    source, query = walk.edges[0, :2]
    rows = np.array([[query, source, 0, 0], [0, 0, query, source], [0, query, 0, source]])
    mask = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]], "bool")
    states = np.asarray(walk.start(Prompts(rows, mask)))
    assert (states == states[0]).all()


def test_every_loop_keeps_to_it():
    edges = random_graph(1)
    walk = GraphWalk(edges, V, STOP, max_hops=2, min_hops=1)
    model = CausalLM(GPTConfig(V, 8, 1, 2, max_positions=8, initializer_range=0.5))
    source = int(edges[0, 0])
    walks = walks_by_hand(edges, source, 2, 1)
    prompts = np.full((100, 1), source)
    how = {"max_new_tokens": walk.max_new_tokens, "stop_tokens": [STOP]}
    sampled = generate(model, prompts, constraint=pickle.loads(pickle.dumps(walk)), **how)
    rows = zip(np.asarray(sampled.tokens), np.asarray(sampled.mask))
    said = {tuple(row[mask].tolist()) for row, mask in rows}
    assert said <= walks
    assert len(said) > 5
    best = BeamSearch(model, width=3, constraint=walk, **how)(prompts[:1])
    assert tuple(np.asarray(best.tokens)[0][np.asarray(best.mask)[0]].tolist()) in walks


def test_what_allows_nothing_is_told():
    with pytest.raises(ConstraintError, match="the graph has no edge"):
        GraphWalk(np.zeros((0, 3)), V, STOP, 2)
    walk = GraphWalk([[0, 5, 1]], V, STOP, max_hops=2)
    model = CausalLM(GPTConfig(V, 8, 1, 2, max_positions=8))
    how = {"max_new_tokens": walk.max_new_tokens, "stop_tokens": [STOP], "constraint": walk}
    with pytest.raises(ConstraintError, match=r"no token in state \d+, before token 0 .* prompt 1"):
        generate(model, np.array([[0], [4]]), **how)
    walk = HiddenAnswerWalk([[0, 5, 1]], V, STOP, max_hops=2, min_hops=1)
    assert not np.asarray(walk.allowed(walk.start(Prompts(np.array([[5, 0]]), None)))).any()


@pytest.mark.parametrize(
    ("edges", "changes", "message"),
    [
        ([[0, 5]], {}, r"int\[N, 3\].*shape \[1, 2\]"),
        ([[0, 5, 12]], {}, "ids of 0 to 12"),
        ([[0, 5, 5]], {}, "Received: 5 as two"),
        ([[0, 5, 11]], {}, "Received: 11 as two"),
        ([[0, 5, 1]], {"min_hops": 3}, "max_hops=2.*min_hops=3"),
        ([[0, 5, 1]], {"max_hops": 0}, "max_hops"),
        ([[0, 5, 1]], {"max_hops": 2**30}, "int32"),
    ],
)
def test_mistakes_are_told(edges, changes, message):
    with pytest.raises(ValueError, match=message):
        GraphWalk(edges, V, STOP, **{"max_hops": 2} | changes)

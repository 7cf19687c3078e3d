"""Language models that walk in a graph: what they read, imitate, earn and answer, on graphs small enough to list."""

from __future__ import annotations

import xml.dom.minidom

import numpy as np
import pytest

from tests.walks import walks_of
from tfalign.applications.knowledge import (
    EMBEDDED_CUES,
    Answer,
    GraphVocabulary,
    KnowledgeGraph,
    QuestionReader,
    WalkDemonstrations,
    Walker,
    WalkReward,
    answer_page,
    answer_question,
    answers_of,
    embedded_graph,
    rule_confidences,
)
from tfalign.models import CausalLM, GPTConfig

TRIPLES = [
    *[("ann", "mother of", "bob"), ("bob", "father of", "cleo"), ("bob", "father of", "dan")],
    *[("ann", "grandmother of", "cleo"), ("ann", "grandmother of", "dan")],
]


@pytest.fixture(scope="module")
def vocabulary():
    return GraphVocabulary(KnowledgeGraph.of(TRIPLES))


def test_a_token_for_everything(vocabulary):
    graph = vocabulary.graph
    assert vocabulary.size == len(graph.entities) + graph.num_relations + 5
    question = np.array([[0, 1], [2, 4]])  # ann, grandmother of; cleo, grandmother of, backwards
    texts = vocabulary.prompt_texts(question)
    assert [text.replace("\u00a0", " ") for text in texts] == [
        "-grandmother of-> ann",
        "<-grandmother of- cleo",
    ]
    ids = [vocabulary.tokenizer.encode(text, bos=True) for text in texts]
    np.testing.assert_array_equal(ids, vocabulary.prompts(question).token_ids)
    np.testing.assert_array_equal(vocabulary.questions_of(np.array(ids)), question)
    with pytest.raises(ValueError, match=r"in its own way. Received: '-r->'"):
        GraphVocabulary(KnowledgeGraph.of([("-r->", "r", "b")]))


def test_the_walk_hides_what_answers_the_question(vocabulary):
    """Of ann's grandchildren only the walk over bob is left."""
    walk = vocabulary.walk(max_hops=2, min_hops=2)
    (prompt,) = vocabulary.prompts(np.array([[0, 1]])).token_ids
    texts = {vocabulary.text(text[:-1]) for text in walks_of(walk, prompt, vocabulary.stop)}
    assert texts == {
        "-mother of-> bob -father of-> cleo",
        "-mother of-> bob -father of-> dan",
        "-mother of-> bob <-mother of- ann",
    }
    free = vocabulary.walk(max_hops=1, hides_answers=False)
    allowed = np.asarray(free.allowed(free.start(vocabulary.prompts(np.array([[0, 1]])))))[0]
    assert vocabulary.text(np.flatnonzero(allowed)) == "-grandmother of-> -mother of->"


def test_demonstrations_walk_to_answers_and_keep_to_the_constraint(vocabulary):
    stream = WalkDemonstrations(vocabulary, batch_size=40, max_hops=3, facts=0.3, seed=1)
    walk = vocabulary.walk(max_hops=3)
    answers = answers_of(vocabulary.graph.questions("train"))
    walks = {}
    entity_of, facts, lengths = vocabulary.entity_of(), 0, set()
    for ids, mask in zip(*next(stream)[:2]):
        ((head, relation),) = vocabulary.questions_of(ids[None, :3])
        text = ids[3:][mask[3:]]
        if ids[0] == vocabulary.tell:
            facts += 1
            assert entity_of[text[0]] in answers[head, relation] and text[1] == vocabulary.stop
            continue
        lengths.add(len(text))
        if not len(text):
            continue  # there is no other way than the hidden one
        assert entity_of[text[-2]] in answers[head, relation]
        if (head, relation) not in walks:
            walks[head, relation] = walks_of(walk, ids[:3], vocabulary.stop)
        assert tuple(text.tolist()) in walks[head, relation]
    assert 4 < facts < 24
    assert lengths == {0, 5, 7}  # a hop alone would be the hidden edge
    other = WalkDemonstrations(vocabulary, batch_size=40, max_hops=3, facts=0.3, seed=1)
    other.restore(stream.state())
    np.testing.assert_array_equal(next(other).token_ids, next(stream).token_ids)


def test_demonstrations_over_other_answers_keep_to_their_constraint():
    """A country lies in a region and in a continent, and the region in the continent."""
    triples = [(f"c{i}", "in", f"r{i % 2}") for i in range(4)] + [
        (f"c{i}", "in", "k") for i in range(4)
    ]
    vocabulary = GraphVocabulary(
        KnowledgeGraph.of([*triples, ("r0", "in", "k"), ("r1", "in", "k")])
    )
    stream = WalkDemonstrations(vocabulary, 400, max_hops=2, facts=0.0, seed=0, over_answers=True)
    ids, mask = next(stream)[:2]
    rows = [row[real].tolist() for row, real in zip(ids, mask)]
    texts = {vocabulary.text(row[1:-1]) for row in rows if len(row) > 3}
    assert "-in-> c0 -in-> r0 -in-> k" in texts
    assert "-in-> c0 -in-> k" not in texts
    country, walk = ids[:, 1:3].tolist().index(rows[0][1:3]), vocabulary.walk_over_answers(2)
    allowed = walks_of(walk, ids[country, :3], vocabulary.stop)
    same = [tuple(row[3:]) for row in rows if row[:3] == rows[country][:3] and len(row) > 3]
    assert same and set(same) <= allowed


def test_demonstrations_take_all_walks_of_a_length_alike():
    """From a to c lead three walks of two hops: two over b1, one over b2."""
    graph = KnowledgeGraph.of(
        [
            *[("a", "r", "b1"), ("a", "s", "b1"), ("b1", "r", "c")],
            *[("a", "r", "b2"), ("b2", "s", "c"), ("a", "t", "c")],
        ]
    )
    stream = WalkDemonstrations(GraphVocabulary(graph), 1, max_hops=2, seed=0)
    asked = np.tile([graph.entities.index("a"), graph.relations.index("t"), 3], (3000, 1))
    relations, entities, hops = stream.sampled(asked, np.random.default_rng(0))
    walks = np.concatenate([relations, entities], axis=1)[hops == 2]
    _, counts = np.unique(walks, axis=0, return_counts=True)
    assert len(counts) == 3
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.04)


def test_rules_are_counted_by_hand(vocabulary):
    """Mother's child's child is a grandchild, always; a grandchild is a child's child, so is nothing else."""
    father, grandmother, mother = range(3)
    one, two = rule_confidences(vocabulary.graph, max_hops=2)
    assert (one.shape, two.shape) == ((6, 6), (36, 6))
    assert one[grandmother].tolist() == [0, 1, 0, 0, 0, 0]
    assert two[6 * mother + father].tolist() == [0, 1, 0, 0, 0, 0]
    # ann -grandmother-> cleo, dan <-father- bob: the one pair (ann, bob), whom mother joins
    assert two[6 * grandmother + father + 3].tolist() == [0, 0, 1, 0, 0, 0]
    # bob -father-> cleo, dan <-grandmother- ann: bob's mother
    assert two[6 * father + grandmother + 3].tolist() == [0, 0, 0, 0, 0, 1]


def test_demonstrations_prefer_walks_that_would_be_right_again():
    """Two ways from a to c: over r and r, which joins nobody else, and over s and s, which also joins a to d."""
    triples = [("a", "r", "b"), ("b", "r", "c"), ("a", "s", "e"), ("e", "s", "c"), ("e", "s", "d")]
    graph = KnowledgeGraph.of([*triples, ("a", "t", "c")])
    stream = WalkDemonstrations(GraphVocabulary(graph), 1, 2, 0.0, 0, candidates=64, sharpness=2.0)
    asked = np.tile([0, graph.relations.index("t"), 2], (2000, 1))
    relations, _, hops = stream.chosen(asked, np.random.default_rng(0))
    assert (hops == 2).all()
    np.testing.assert_allclose((relations[:, 0] == 0).mean(), 1 / (1 + 0.5**2), atol=0.04)


def rolled_out(vocabulary, question, *walks):
    """What a reward is given for walks, as lists of names and relation numbers."""
    prompts = vocabulary.prompts(np.tile(question, (len(walks), 1)))
    ids = np.full((len(walks), 5), vocabulary.pad)
    mask = np.zeros(ids.shape, "bool")
    for row, tokens in enumerate(walks):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, True
    whole = np.concatenate([prompts.token_ids, ids], axis=1)
    return whole, np.concatenate([prompts.mask, mask], axis=1), mask


def test_a_walk_earns_its_end_and_shaping_adds_up_to_nothing(vocabulary):
    ann, bob, cleo, _ = vocabulary.entity_ids
    father, _, mother, *_ = vocabulary.relation_ids
    stop, answers = vocabulary.stop, {(0, 1): [2, 3]}
    given = rolled_out(
        *[vocabulary, [0, 1], [mother, bob, father, cleo, stop], [mother, bob, stop], [stop]]
    )
    plain = WalkReward(vocabulary, answers)(*given)
    np.testing.assert_array_equal(plain, [[0, 0, 0, 0, 1], [0] * 5, [0] * 5])
    potential = np.array([[0.1, 0.3, 0.8, 0.6]])
    shaped = WalkReward(vocabulary, answers, potential, np.array([[0, 1]]), scale=2.0)(*given)
    np.testing.assert_allclose(
        shaped, [[0, 0.6, 0, 1.0, 1 - 1.6], [0, 0.6, -0.6, 0, 0], [0] * 5], atol=1e-6
    )
    np.testing.assert_allclose(shaped.sum(axis=1), plain.sum(axis=1), atol=1e-6)
    with pytest.raises(ValueError, match="1 rows, no questions"):
        WalkReward(vocabulary, answers, potential)


def test_the_start_is_an_answer_where_it_is_one(vocabulary):
    given = rolled_out(vocabulary, [0, 1], [vocabulary.stop])
    assert WalkReward(vocabulary, {(0, 1): [0]})(*given).sum() == 1


def test_answers_are_sums_over_walks(vocabulary):
    """Against the probabilities of all walks, one by one, from full forward passes."""
    model = CausalLM(GPTConfig(vocabulary.size, 16, 1, 2, max_positions=9, initializer_range=0.5))
    walk = vocabulary.walk(max_hops=2)
    walker = Walker(model, vocabulary, walk, width=64, chunk=2)
    question = np.array([[0, 1]])
    prompt = vocabulary.prompts(question)
    expected = np.zeros(4)
    texts = [((), walk.start(prompt), 0.0)]
    entity_of = vocabulary.entity_of()
    while texts:
        text, state, total = texts.pop()
        ids = np.concatenate([prompt.token_ids, np.array([text], "int32").reshape(1, -1)], axis=1)
        logits = np.asarray(model(ids))[0, -1]
        allowed = np.flatnonzero(np.asarray(walk.allowed(state))[0])
        chances = np.exp(logits[allowed]) / np.exp(logits[allowed]).sum()
        for token, chance in zip(allowed.tolist(), chances):
            if token == vocabulary.stop:
                expected[entity_of[text[-1]]] += chance * np.exp(total)
            else:
                following = walk.follow(state, np.array([token], "int32"))
                texts.append(((*text, token), following, total + np.log(chance)))
    np.testing.assert_allclose(np.exp(walker.log_probs(question))[0], expected, atol=1e-5)
    answers = walker.answers("ann", "grandmother of", count=2)
    assert answers[0].probability == pytest.approx(expected.max(), abs=1e-5)
    assert answers[0].path.startswith("ann -mother of-> bob")
    with pytest.raises(ValueError, match="no such relation. Received: 'aunt of'"):
        walker.answers("ann", "aunt of")
    backwards = walker.answers("cleo", "~father of")
    assert all(answer.path.startswith("cleo <-") for answer in backwards)
    reader = QuestionReader(
        vocabulary.graph, {"mother of": [["mother"]], "father of": [["father"]]}
    )
    (known,) = answer_question("Whose mother is Ann?", reader, walker)
    assert known == Answer("bob", 1.0, "ann -mother of-> bob", ((2, 1),))
    walked = answer_question("Whose father is Ann?", reader, walker)  # the graph has none
    assert walked == walker.answers("ann", "father of", count=3)


def test_a_page_draws_the_walks_and_loads_nothing():
    graph = KnowledgeGraph.of([("a<b", "r&s", "c"), ("c", "r&s", "d"), ("d", "t", "e")])
    number = graph.entities.index
    steps = ((0, number("c")), (0, number("d")))
    answers = [
        Answer("d", 0.75, "a<b -r&s-> c -r&s-> d", steps),
        Answer("c", 0.1, "...", steps[:1]),
    ]
    page = answer_page(graph, "a<b", "r&s", answers)
    tree = xml.dom.minidom.parseString(page[page.index("<svg") : page.index("</svg>") + 6])
    texts = [node.lastChild.data for node in tree.getElementsByTagName("text")]
    assert sorted(texts) == sorted(
        [*["a<b", "c", "d", "c", "e"], *["r&s →", "r&s →", "← r&s", "t →"]]
    )
    widths = [p.getAttribute("stroke-width") for p in tree.getElementsByTagName("path")]
    assert widths == [
        "4.8",
        "4.8",
        "1.0",
        "1.0",
    ]  # two hops, the first of both, and two neighbours of d
    kinds = [box.getAttribute("class") for box in tree.getElementsByTagName("rect")]
    assert kinds == ["node", "other", "answer", "near", "near"]
    assert "a&lt;b, r&amp;s, ?" in page and "http" not in page and "<script" not in page
    with pytest.raises(ValueError, match="Received: none"):
        answer_page(graph, "a<b", "r&s", [])


def test_questions_in_words_are_read(vocabulary):
    cues = {
        "mother of": [["mother"]],
        "~grandmother of": [["whose", "grandmother"], ["grandmother of whom"]],
        "grandmother of": [["grandmother"]],
    }
    reader = QuestionReader(vocabulary.graph, cues)
    assert reader.read("Whose mother is ANN?") == ("ann", "mother of")
    assert reader.read("Is Ann a grandmother?") == ("ann", "grandmother of")
    assert reader.read("Cleo: whose grandmother ...") == ("cleo", "~grandmother of")
    for question, message in (
        ("Who is Eve's mother?", r"one entity of the graph. Received: \[\], \"Who is Eve"),
        ("Is Ann Bob's mother?", r"Received: \['ann', 'bob'\]"),
        ("Who is Ann?", "a relation by one of its cues. Received: 'Who is Ann"),
    ):
        with pytest.raises(ValueError, match=message):
            reader.read(question)
    with pytest.raises(ValueError, match="no such relation. Received: cues of 'aunt'"):
        QuestionReader(vocabulary.graph, {"aunt": [["aunt"]]})


@pytest.mark.parametrize(
    ("language", "question", "asked"),
    [
        ("en", "What is the capital of Mexico?", ("Mexico", "capital")),
        ("en", "What is spoken in Laos?", ("Laos", "language")),
        ("en", "Which countries border on Mali?", ("Mali", "neighbour")),
        ("zh", "新德里这个城市在哪个洲？", ("新德里", "城市所在洲")),
        ("zh", "墨西哥城是哪个国家的首都？", ("墨西哥城", "~首都")),
        ("zh", "中国和哪些国家接壤？", ("中国", "邻国")),
    ],
)
def test_the_embedded_graph_is_asked_in_two_languages(language, question, asked):
    reader = QuestionReader(embedded_graph(language), EMBEDDED_CUES[language])
    assert reader.read(question) == asked

"""Counted language models: against dictionaries, by enumeration, and against KenLM."""

from __future__ import annotations

import collections
import itertools
import json
import math
import pathlib
import warnings

import numpy as np
import pytest

from tfalign.data import encode_lines
from tfalign.language_models import add_k, count_ngrams, katz, kneser_ney, maximum_likelihood
from tfalign.language_models.smoothing import good_turing_ratios, kneser_ney_discounts
from tfalign.text import train_words

VOCAB_SIZE = 6


def padded(token_ids, boundary):
    """(context, token) pairs of a text, the context back to the last boundary."""
    pairs, start = [], 0
    for position in range(1, len(token_ids)):
        if token_ids[position - 1] == boundary:
            start = position - 1
        pairs.append((tuple(token_ids[start:position]), token_ids[position]))
    return pairs


class Oracle:
    """A smoothing said once more, slowly: dictionaries, and a recursion from the longest context."""

    def __init__(self, token_ids, order, vocab_size, boundary):
        self.order, self.vocab_size, self.boundary = order, vocab_size, boundary
        self.counts = [collections.Counter() for _ in range(order)]
        for context, word in padded(token_ids, boundary):
            for length in range(min(order - 1, len(context)) + 1):
                self.counts[length][context[len(context) - length :] + (word,)] += 1

    def visible(self, context):
        """The part of a context that the model looks at."""
        context = tuple(context)
        for position in range(len(context) - 1, -1, -1):
            if context[position] == self.boundary:
                context = context[position:]
                break
        return context[max(len(context) - self.order + 1, 0) :]

    def children(self, counts, context):
        found = {w: counts[len(context)][context + (w,)] for w in range(self.vocab_size)}
        return {w: count for w, count in found.items() if count}


class MaximumLikelihood(Oracle):
    def probability(self, context, word):
        context = self.visible(context)
        seen = self.children(self.counts, context)
        return (
            seen.get(word, 0) / sum(seen.values()) if seen else self.probability(context[1:], word)
        )


class AddK(Oracle):
    k = 0.5

    def probability(self, context, word):
        context = self.visible(context)
        seen = self.children(self.counts, context)
        return (seen.get(word, 0) + self.k) / (sum(seen.values()) + self.k * self.vocab_size)


def quietly(adjusted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kneser_ney_discounts(np.array(adjusted)).tolist()


class KneserNey(Oracle):
    def __init__(self, *args):
        super().__init__(*args)
        self.adjusted = [collections.Counter(self.counts[-1])]
        for counts, longer in zip(self.counts[-2::-1], self.counts[:0:-1]):
            follows = collections.Counter(ngram[1:] for ngram in longer)
            self.adjusted.insert(0, collections.Counter())
            for ngram in counts:
                whole = len(ngram) > 1 and ngram[0] == self.boundary
                self.adjusted[0][ngram] = counts[ngram] if whole else follows[ngram]
        self.discounts = [quietly(list(counts.values())) for counts in self.adjusted]

    def probability(self, context, word):
        return self.interpolated(self.visible(context), word)

    def interpolated(self, context, word):
        seen = self.children(self.adjusted, context)
        lower = self.interpolated(context[1:], word) if context else 1 / self.vocab_size
        if not seen:
            return lower
        discounts, total = self.discounts[len(context)], sum(seen.values())
        taken = sum(discounts[min(count, 3)] for count in seen.values())
        count = seen.get(word, 0)
        return (count - discounts[min(count, 3)]) / total + taken / total * lower


class Katz(Oracle):
    cutoff = 5

    def ratio(self, counts, r):
        n = collections.Counter(counts.values())
        if r > self.cutoff or not n[1] or not n[r]:
            return 1.0
        common = (self.cutoff + 1) * n[self.cutoff + 1] / n[1]
        if common == 1:
            return 1.0
        d = ((r + 1) * n[r + 1] / (r * n[r]) - common) / (1 - common)
        return d if 0 < d <= 1 else 1.0

    def probability(self, context, word):
        return self.backed_off(self.visible(context), word)

    def backed_off(self, context, word):
        counts = self.counts[len(context)]
        seen = self.children(self.counts, context)
        kept = {w: count * self.ratio(counts, count) for w, count in seen.items()}
        total = sum(seen.values())
        if len(seen) == self.vocab_size:
            total = sum(kept.values())
        elif math.isclose(sum(kept.values()), total):
            total += 1
        if word in seen:
            return kept[word] / total

        def lower(w):
            return self.backed_off(context[1:], w) if context else 1 / self.vocab_size

        left = 1 - sum(kept.values()) / total
        return left * lower(word) / (1 - sum(lower(w) for w in seen))


SMOOTHINGS = {
    "maximum_likelihood": (maximum_likelihood, MaximumLikelihood),
    "add_k": (lambda counts: add_k(counts, 0.5), AddK),
    "katz": (katz, Katz),
    "kneser_ney": (kneser_ney, KneserNey),
}
EVERY = [
    pytest.param(*SMOOTHINGS[name], order, boundary, id=f"{name}-{order}-{boundary}")
    for name, order, boundary in itertools.product(SMOOTHINGS, (1, 2, 3, 4), (0, None))
]


def text(length=400, seed=0):
    """Tokens of very different frequencies; 0 ends sentences, 5 occurs once."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(5, size=length, p=[0.15, 0.5, 0.2, 0.1, 0.05])
    drawn[length // 2] = 5
    return np.array([0, *drawn])


def contexts(length):
    return np.array(list(itertools.product(range(VOCAB_SIZE), repeat=length)), np.int64)


def estimated(smoothing, order, boundary, token_ids=None):
    counts = count_ngrams(text() if token_ids is None else token_ids, order, VOCAB_SIZE, boundary)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return smoothing(counts)


@pytest.mark.parametrize(("smoothing", "oracle", "order", "boundary"), EVERY)
def test_every_distribution_sums_to_one(smoothing, oracle, order, boundary):
    model = estimated(smoothing, order, boundary)
    for length in range(order + 1):
        sums = np.exp(model.next_log_probs(contexts(length))).sum(axis=1)
        np.testing.assert_allclose(sums, 1.0, atol=1e-6)


@pytest.mark.parametrize(("smoothing", "oracle", "order", "boundary"), EVERY)
def test_equals_the_formula(smoothing, oracle, order, boundary):
    model = estimated(smoothing, order, boundary)
    slow = oracle(text().tolist(), order, VOCAB_SIZE, boundary)
    seen = contexts(order - 1)
    expected = [[slow.probability(c, w) for w in range(VOCAB_SIZE)] for c in seen.tolist()]
    np.testing.assert_allclose(np.exp(model.next_log_probs(seen)), expected, atol=1e-9)


@pytest.mark.parametrize(("smoothing", "oracle", "order", "boundary"), EVERY)
def test_a_text_is_scored_by_the_distributions(smoothing, oracle, order, boundary):
    model = estimated(smoothing, order, boundary)
    rows = np.stack([text(30, seed) for seed in (1, 2)])
    scored = model.token_log_probs(rows)
    assert scored.shape == (2, 30)
    for end in range(1, 31):
        whole = model.next_log_probs(rows[:, :end])
        expected = np.take_along_axis(whole, rows[:, end, None], axis=1)[:, 0]
        np.testing.assert_array_equal(scored[:, end - 1], expected)


def test_counts_of_a_sentence_by_hand():
    # <s> 1 2 </s> 1 2 2 </s>, the boundary being 0
    counts = count_ngrams([0, 1, 2, 0, 1, 2, 2, 0], order=3, vocab_size=3, boundary=0)
    spelled = [dict(zip(spell(counts.levels, i), counts.counts[i].tolist())) for i in range(3)]
    assert spelled[0] == {(0,): 2, (1,): 2, (2,): 3}
    assert spelled[1] == {(0, 1): 2, (1, 2): 2, (2, 0): 2, (2, 2): 1}
    assert spelled[2] == {(0, 1, 2): 2, (1, 2, 0): 1, (1, 2, 2): 1, (2, 2, 0): 1}  # no (2, 0, 1)
    assert dict(zip(spell(counts.levels, 1), counts.continuations(1).tolist())) == {
        **{(0, 1): 2, (1, 2): 1, (2, 0): 2, (2, 2): 1}
    }
    assert counts.continuations(0).tolist() == [1, 1, 2]


def spell(levels, index):
    rows = [(w,) for w in range(levels[0].vocab_size)]
    for level in levels[1 : index + 1]:
        rows = [rows[p] + (w,) for p, w in zip(level.prefixes, level.words.tolist())]
    return rows


def test_kneser_ney_discounts_are_those_of_the_paper():
    adjusted = np.repeat([1, 2, 3, 4, 7], [40, 20, 10, 6, 5])
    y = 40 / (40 + 2 * 20)
    expected = [0, 1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 6 / 10]
    np.testing.assert_allclose(kneser_ney_discounts(adjusted), expected)


def test_good_turing_ratios_are_those_of_the_paper():
    occurrences = np.repeat([1, 2, 3, 9], [60, 20, 10, 2])
    common = 3 * 10 / 60
    one, two = (2 * 20 / 60 - common) / (1 - common), (3 * 10 / (2 * 20) - common) / (1 - common)
    np.testing.assert_allclose(good_turing_ratios(occurrences, 2), [1, one, two, 1])


def test_discounts_of_artificial_counts_fall_back_with_a_warning():
    with pytest.warns(UserWarning, match="Received: \\[0, 3, 0, 0\\]"):
        assert kneser_ney_discounts(np.array([2, 2, 2])).tolist() == [0.0, 0.5, 1.0, 1.5]


def test_equals_kenlm():
    file = pathlib.Path(__file__).with_name("kenlm.json")
    case = json.loads(file.read_text("utf-8"))
    tokenizer = train_words(case["train"])
    train, held_out = (encode_lines(case[split], tokenizer) for split in ("train", "held_out"))
    counts = count_ngrams(train, case["order"], tokenizer.vocab_size, tokenizer.eos_id)
    log_probs = kneser_ney(counts).token_log_probs(held_out[None])[0]
    expected = np.concatenate(case["log10_probs"]) * np.log(10)
    assert len(expected) > 600 and (held_out == tokenizer.unk_id).any()
    np.testing.assert_allclose(log_probs, expected, atol=1e-4)


def test_samples_follow_the_distribution():
    model = estimated(kneser_ney, 2, None)
    drawn = model.sample(np.full((4000, 1), 1), num_tokens=1, seed=3)
    shares = np.bincount(drawn[:, 0], minlength=VOCAB_SIZE) / 4000
    np.testing.assert_allclose(shares, np.exp(model.next_log_probs([[1]])[0]), atol=0.03)
    again = model.sample(np.full((4000, 1), 1), num_tokens=3, seed=3)
    np.testing.assert_array_equal(again[:, :1], drawn)


def test_a_text_shorter_than_the_order():
    model = estimated(kneser_ney, 4, 0, token_ids=[0, 1, 0])
    sums = np.exp(model.next_log_probs(contexts(3))).sum(axis=1)
    np.testing.assert_allclose(sums, 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("token_ids", "order", "message"),
    [
        ([0, 1], 0, "Received: order=0"),
        ([0], 2, r"at least two tokens.*Received: shape \(1,\)"),
        ([[0, 1]], 2, r"Received: shape \(1, 2\)"),
        ([0, 6], 2, r"Tokens must lie in \[0, 6\). Received: 0 to 6"),
    ],
)
def test_what_cannot_be_counted_is_said(token_ids, order, message):
    with pytest.raises(ValueError, match=message):
        count_ngrams(token_ids, order, VOCAB_SIZE)


def test_k_must_be_positive():
    with pytest.raises(ValueError, match="Received: k=0"):
        estimated(lambda counts: add_k(counts, 0), 2, 0)
    for k in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="k must be positive. Received: k="):
            estimated(lambda counts, k=k: add_k(counts, k), 2, 0)
    for cutoff in (-1, 2.5, float("nan")):
        with pytest.raises(ValueError, match="cutoff must be a whole number, at least 0"):
            estimated(lambda counts, cutoff=cutoff: katz(counts, cutoff), 2, 0)


@pytest.mark.parametrize("outside", [-1, VOCAB_SIZE, 10**9])
def test_tokens_outside_the_vocabulary_are_refused(outside):
    model = maximum_likelihood(count_ngrams([0, 1, 2, 3, 4, 5], 2, VOCAB_SIZE))
    for read in (model.token_log_probs, model.next_log_probs):
        with pytest.raises(ValueError, match=f"has an id outside the vocabulary of {VOCAB_SIZE}"):
            read(np.array([[0, 1, outside]]))
    with pytest.raises(ValueError, match="Tokens must lie in"):
        count_ngrams([0, outside], 2, VOCAB_SIZE)
    with pytest.raises(ValueError, match="boundary must be a whole number, at least 0"):
        count_ngrams([0, 1], 2, VOCAB_SIZE, boundary=outside)

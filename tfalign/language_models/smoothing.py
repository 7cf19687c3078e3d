"""From counts to n-gram models: how much probability goes to what was never seen.

C(c w) is how often token w followed context c, C(c) the sum over w, V the vocabulary's size, and c'
the context without its first token.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from tfalign.data.checks import whole_number
from tfalign.language_models.ngram import NGramModel
from tfalign.language_models.ngram_counts import NGramCounts


def maximum_likelihood(counts: NGramCounts) -> NGramModel:
    """p(w | c) = C(c w) / C(c); after a context never seen, p(w | c').

    Args:
        counts: NGramCounts.

    Returns:
        NGramModel, which gives 0 to whatever did not occur.
    """
    totals = [_totals(level, c) for level, c in zip(counts.levels, counts.counts)]
    tables = [
        occurrences / total[level.prefixes]
        for level, occurrences, total in zip(counts.levels, counts.counts, totals)
    ]
    return _model(counts, tables, [np.where(total > 0, 0.0, 1.0) for total in totals[1:]])


def add_k(counts: NGramCounts, k: float = 1.0) -> NGramModel:
    """p(w | c) = (C(c w) + k) / (C(c) + k V) (Laplace's for k = 1, Lidstone's for others).

    Args:
        counts: NGramCounts.
        k: float > 0.

    Returns:
        NGramModel. Its entries are the longest n-grams, and shorter ones at the front of a sentence:
        what was not seen after c is as likely as anything else that was not.
    """
    if not 0 < k < math.inf:
        raise ValueError(f"k must be positive. Received: k={k}")
    vocab_size = counts.vocab_size
    tables, back_offs = [np.full(vocab_size, 1.0 / vocab_size)], []
    for index, (level, occurrences) in enumerate(zip(counts.levels, counts.counts)):
        is_longest = index == counts.order - 1
        totals = _totals(level, occurrences) + k * vocab_size
        smoothed = (occurrences + k) / totals[level.prefixes]
        if index == 0:
            tables = [smoothed] if is_longest else tables
            continue
        whole, whole_context = counts.in_front(index), counts.in_front(index - 1)
        tables.append(np.where(whole | is_longest, smoothed, np.nan))
        back_offs.append(np.where(whole_context | is_longest, k * vocab_size / totals, 1.0))
    return _model(counts, tables, back_offs)


def katz(counts: NGramCounts, cutoff: int = 5) -> NGramModel:
    """Katz' back-off (Katz 1987) with Good-Turing discounts:

        p(w | c) = d(C(c w)) C(c w) / C(c) where seen, a(c) p(w | c') where not,

    a(c) such that all sums to 1. Where every token of a context occurs too often to be discounted,
    but not every token there is, C(c) counts one more, so that something is left.

    Args:
        counts: NGramCounts.
        cutoff: int, counts above it are not discounted; 0 discounts none.

    Returns:
        NGramModel.

    Raises:
        ValueError: if the cutoff is negative.
    """
    whole_number("cutoff", cutoff, least=0)
    tables, back_offs = [], []
    lower = np.full(1, 1.0 / counts.vocab_size)
    for level, occurrences, suffixes in zip(counts.levels, counts.counts, counts.suffixes):
        ratios = good_turing_ratios(occurrences, cutoff)
        discounted = occurrences * ratios[np.minimum(occurrences, cutoff + 1)]
        seen, totals = occurrences > 0, _totals(level, occurrences)
        complete = _totals(level, seen) == counts.vocab_size
        kept = _totals(level, discounted)
        totals = np.where(complete, kept, totals + (kept >= totals))
        entries = discounted / np.maximum(totals, 1)[level.prefixes]
        shorter = lower[suffixes]
        left = 1.0 - _totals(level, entries)
        uncovered = 1.0 - _totals(level, shorter * seen)
        back_off = np.divide(left, uncovered, out=np.zeros_like(left), where=~complete)
        lower = np.where(seen, entries, back_off[level.prefixes] * shorter)
        tables.append(lower)
        back_offs.append(back_off)
    return _model(counts, tables, back_offs[1:])


def good_turing_ratios(occurrences: np.ndarray, cutoff: int) -> np.ndarray:
    """What is left of counts after Good-Turing discounting (Katz 1987, eq. 5), with n(r) the number
    of n-grams that occur r times and K the cutoff:

        d(r) = [(r + 1) n(r + 1) / (r n(r)) - x] / (1 - x),   x = (K + 1) n(K + 1) / n(1)

    Args:
        occurrences: int64[N].
        cutoff: int, K.

    Returns:
        float64[K + 2] by count; 1 for the last, which stands for all above K, and where n(r) are too
        few for a ratio in (0, 1].
    """
    numbers = np.bincount(np.minimum(occurrences, cutoff + 2), minlength=cutoff + 3)
    ratios = np.ones(cutoff + 2)
    r = np.arange(1, cutoff + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        common = (cutoff + 1) * numbers[cutoff + 1] / numbers[1]
        good = ((r + 1) * numbers[r + 1] / (r * numbers[r]) - common) / (1.0 - common)
    ratios[1:-1] = np.where((good > 0) & (good <= 1), good, 1.0)
    return ratios


def kneser_ney(counts: NGramCounts) -> NGramModel:
    """Interpolated modified Kneser-Ney (Chen and Goodman 1998, section 3):

        p(w | c) = [a(c w) - D(a(c w))] / a(c) + g(c) p(w | c'),   g(c) = sum_w D(a(c w)) / a(c)

    where a is the count for the longest n-grams, and for shorter ones the number of different tokens
    they follow; below unigrams stands 1 / V.

    Args:
        counts: NGramCounts.

    Returns:
        NGramModel.
    """
    tables, back_offs = [], []
    lower = np.full(1, 1.0 / counts.vocab_size)
    for index, level in enumerate(counts.levels):
        is_longest = index == counts.order - 1
        adjusted = counts.counts[index] if is_longest else counts.continuations(index)
        discounts = kneser_ney_discounts(adjusted)[np.minimum(adjusted, 3)]
        totals, taken = _totals(level, adjusted), _totals(level, discounts)
        back_off = np.divide(taken, totals, out=np.ones_like(taken), where=totals > 0)
        entries = (adjusted - discounts) / np.maximum(totals, 1)[level.prefixes]
        lower = entries + back_off[level.prefixes] * lower[counts.suffixes[index]]
        tables.append(lower)
        back_offs.append(back_off)
    return _model(counts, tables, back_offs[1:])


FALLBACK_DISCOUNTS = (0.0, 0.5, 1.0, 1.5)  # as lmplz --discount_fallback


def kneser_ney_discounts(adjusted: np.ndarray) -> np.ndarray:
    """Discounts of counts of 0, 1, 2 and at least 3 (Chen and Goodman 1998, eq. 26), with n(r) the
    number of n-grams whose count is r:

        D(r) = r - (r + 1) n(1) / (n(1) + 2 n(2)) n(r + 1) / n(r)

    Args:
        adjusted: int64[N].

    Returns:
        float64[4]; ``FALLBACK_DISCOUNTS``, with a warning, where the n(r) are those of no natural
        text and a D(r) is not in [0, r].
    """
    numbers = np.bincount(np.minimum(adjusted, 5), minlength=6)[:5]
    r = np.arange(1, 4)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numbers[1] / (numbers[1] + 2 * numbers[2])
        discounts = r - (r + 1) * ratio * numbers[2:] / numbers[1:-1]
    if not np.all((discounts >= 0) & (discounts <= r)):
        warnings.warn(
            "Counts of counts give no Kneser-Ney discounts; 0.5, 1 and 1.5 stand in. "
            f"Received: {numbers[1:].tolist()} n-grams of count 1, 2, 3, 4",
            stacklevel=3,
        )
        return np.array(FALLBACK_DISCOUNTS)
    return np.array([0.0, *discounts])


def _totals(level, values):
    """Sums over the n-grams of a level that begin with each row of the level below."""
    sums = np.bincount(
        level.prefixes, np.broadcast_to(values, len(level)), minlength=level.num_prefixes
    )
    return sums.astype(np.float64)  # of no values they would be integers


def _model(counts, probabilities, back_offs):
    with np.errstate(divide="ignore"):
        tables = [np.log(table) for table in probabilities]
        back_offs = [np.log(table) for table in back_offs]
    return NGramModel(counts.levels, tables, back_offs, counts.boundary)

"""How texts resemble people's, and each other: BLEU, chrF, ROUGE-L, distinct n-grams, self-BLEU, readability.

Words are those of ``rewards.rules.words``: in lower case, every Chinese character one of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tfalign.rewards.rules import words

_SENTENCE = re.compile(r"[^.!?。！？]*[^\s.!?。！？][^.!?。！？]*")


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]], language: str = "en") -> float:
    """Corpus BLEU of 0 to 100 by sacrebleu (Post 2018), case folded.

    Args:
        texts: N.
        references: N lists of references, one at least each.
        language: "zh" for sacrebleu's Chinese tokens, else its standard ones.

    Raises:
        ValueError: if there is no text, or references do not fit.
        ImportError: without sacrebleu (``pip install tfalign[applications]``).
    """
    import sacrebleu  # optional

    tokenize = "zh" if language == "zh" else "13a"
    columns = _columns(texts, references)
    return sacrebleu.corpus_bleu(list(texts), columns, lowercase=True, tokenize=tokenize).score


def chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus chrF2 of 0 to 100 by sacrebleu (Popović 2015).

    Args, Raises: see ``bleu``.
    """
    import sacrebleu  # optional

    return sacrebleu.corpus_chrf(list(texts), _columns(texts, references)).score


def rouge_l(text: str, references: Sequence[str], beta: float = 1.2) -> float:
    """ROUGE-L of 0 to 1 (Lin 2004, eq. 4; beta of the COCO captions' evaluation), the best over the references.

    Args:
        text: str.
        references: one at least.
        beta: weight of recall.

    >>> round(rouge_l("the cat sat", ["the black cat sat down"]), 4)
    0.7176
    """
    said = words(text)
    return max(_rouge_l(said, words(reference), beta) for reference in references)


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams per n-gram over all texts (Li et al. 2016); 0 where there are none.

    >>> distinct(["a b a", "a b"], 1), round(distinct(["a b a", "a b"], 2), 4)
    (0.4, 0.6667)
    """
    found = Counter(gram for text in texts for gram in _grams(words(text), n))
    return len(found) / found.total() if found else 0.0


def self_bleu(
    texts: Sequence[str], language: str = "en", sample: int = 200, others: int = 50
) -> float:
    """Mean sentence BLEU of 0 to 100 of texts against each other (Zhu et al. 2018): higher is less varied.

    Args:
        texts: two at least.
        language: see ``bleu``.
        sample: at most so many texts are measured, evenly spaced.
        others: each against at most so many others, evenly spaced.

    Raises:
        ValueError: if there are fewer than two texts.
    """
    import sacrebleu  # optional

    if len(texts) < 2:
        raise ValueError(f"self-BLEU compares two texts at least. Received: {len(texts)}")
    metric = sacrebleu.BLEU(
        lowercase=True, tokenize="zh" if language == "zh" else "13a", effective_order=True
    )
    chosen = _evenly(range(len(texts)), sample)
    scores = []
    for at in chosen:
        rest = [texts[i] for i in _evenly([i for i in range(len(texts)) if i != at], others)]
        scores.append(metric.sentence_score(texts[at], rest).score)
    return float(np.mean(scores))


def sentence_length(text: str) -> float:
    """Mean length of a text's sentences, words; 0 for no words.

    >>> sentence_length("It is red. Come and see it!"), sentence_length("很好。很美！")
    (3.5, 2.0)
    """
    lengths = [len(words(sentence)) for sentence in _SENTENCE.findall(text)]
    return float(np.mean(lengths)) if lengths else 0.0


def readability(text: str) -> float:
    """Automated readability index (Senter and Smith 1967), about the school grade that reads an English text.

    4.71 characters per word + 0.5 words per sentence - 21.43; 0 for no words.

    >>> round(readability("The cat sat. It ran."), 2)
    -6.99
    """
    said = words(text)
    if not said:
        return 0.0
    return 4.71 * sum(map(len, said)) / len(said) + 0.5 * sentence_length(text) - 21.43


def _columns(texts, references):
    """References as sacrebleu has them: a list for each place, None where a text has fewer."""
    if not texts or len(texts) != len(references) or not all(references):
        raise ValueError(
            "Every text has one reference at least. "
            f"Received: {len(texts)} texts, {len(references)} lists of references"
        )
    most = max(map(len, references))
    return [[some[at] if at < len(some) else None for some in references] for at in range(most)]


def _rouge_l(said, reference, beta):
    common = _common(said, reference)
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(reference)
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def _common(first, second):
    """Length of the longest common subsequence."""
    before = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for at, other in enumerate(second):
            row.append(before[at] + 1 if word == other else max(before[at + 1], row[-1]))
        before = row
    return before[-1]


def _grams(said, n):
    return zip(*(said[at:] for at in range(n)))


def _evenly(items, count):
    """At most so many of the items, evenly spaced."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[place] for place in places]

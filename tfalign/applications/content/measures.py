"""Measures of what is written for held-out briefs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfalign.applications.content.briefs import relexicalise
from tfalign.applications.content.rewards import word_count
from tfalign.applications.content.tasks import Task
from tfalign.evaluation.markdown import number, table
from tfalign.evaluation.statistics import wilson_interval
from tfalign.evaluation.texts import bleu, chrf, distinct, rouge_l, self_bleu, sentence_length
from tfalign.rewards import Repetition

_SHOWN = {
    "slot_error": "slot errors",
    "perfect": "perfect texts",
    "coverage": "coverage",
    "banned": "banned",
    "words": "words",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
    "distinct_2": "distinct 2",
    "self_bleu": "self-BLEU",
    "repetition": "repetition",
    "ended": "ended",
    "kl": "KL, nats",
}


def measure(
    task: Task, texts: Sequence[Sequence[str]], by_others: bool = False
) -> dict[str, float]:
    """Measures of texts for the held-out briefs of a task.

    Args:
        task: Task.
        texts: for each of its N held-out briefs the texts, delexicalised, one at least.
        by_others: whether they are people's own, each of which is compared with the others of its brief alone.

    Returns:
        dict of floats: "slot_error" (errors of all texts per slot of their briefs), "missing", "wrong", "added",
        "perfect" (fraction of texts without an error) with its 95% interval "perfect_low", "perfect_high", "coverage",
        "banned" (fraction), "words", "sentence_words", "bleu", "chrf", "rouge_l", "distinct_1", "distinct_2",
        "self_bleu", "repetition" (of threes).
    """
    checked = [
        (task.checker(one.brief, text), text, one)
        for one, some in zip(task.test, texts)
        for text in some
    ]
    slots = sum(errors.slots for errors, _, _ in checked)
    found = {
        name: sum(getattr(errors, name) for errors, _, _ in checked) / slots
        for name in ("missing", "wrong", "added")
    }
    perfect = wilson_interval(sum(e.rate == 0 for e, _, _ in checked), len(checked))
    all_texts = [text for _, text, _ in checked]
    language = task.test[0].brief.language
    return {
        "slot_error": sum(found.values()),
        **found,
        "perfect": perfect.value,
        "perfect_low": perfect.low,
        "perfect_high": perfect.high,
        "coverage": 1 - found["missing"] - found["wrong"],
        "banned": float(np.mean([task.compliance.is_banned(text) for text in all_texts])),
        "words": float(np.mean([word_count("", text) for text in all_texts])),
        "sentence_words": float(np.mean([sentence_length(text) for text in all_texts])),
        **_likeness(checked, language, by_others),
        "distinct_1": distinct(all_texts, 1),
        "distinct_2": distinct(all_texts, 2),
        "self_bleu": self_bleu(all_texts, language),
        "repetition": float(np.mean([Repetition()("", text) for text in all_texts])),
    }


def _likeness(checked, language, by_others):
    """BLEU, chrF and ROUGE-L against people's texts with the proper names of the brief."""
    texts, references = [], []
    for _, text, one in checked:
        others = [other for other in one.texts if not (by_others and other == text)]
        if others:
            texts.append(relexicalise(text, one.names))
            references.append([relexicalise(other, one.names) for other in others])
    if not texts:
        return {}
    return {
        "bleu": bleu(texts, references, language),
        "chrf": chrf(texts, references),
        "rouge_l": float(np.mean([rouge_l(*pair) for pair in zip(texts, references)])),
    }


def table_of(report: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of measures, a line for each entry.

    Args:
        report: name -> measures, see ``measure`` and ``writing.Writer``.
    """
    rows = [
        [name, *(number(one[key]) if key in one else "" for key in _SHOWN)]
        for name, one in report.items()
        if "slot_error" in one
    ]
    return table(["", *_SHOWN.values()], rows)

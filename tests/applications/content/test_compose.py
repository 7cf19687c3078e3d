"""The whole of it in a few steps, in both languages, and the grammar that needs no data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfalign.applications.content import ComposeOptions, measure, relexicalise, task_of
from tfalign.applications.content.compose import compose, costs_of, reward_of
from tfalign.options import changed

LIMITS = {"banned_limit": 0.01, "length_limit": 8.0}


@pytest.mark.parametrize(("language", "tone"), [("en", "Hurry!"), ("zh", "抓紧时间！")])
def test_the_grammar(language, tone):
    task = task_of(f"embedded:{language}")
    told = task.train + task.test
    assert len(told) == 108 and 8 <= len(task.test) <= 30
    checked = [task.checker(one.brief, text) for one in told for text in one.texts]
    assert sum(errors.wrong for errors in checked) == 0
    missing = sum(errors.missing for errors in checked) / (4 * len(checked))
    assert missing == pytest.approx(0.25, abs=0.04)
    banned = np.mean([task.compliance.is_banned(text) for one in told for text in one.texts])
    assert banned == pytest.approx(0.2, abs=0.07)
    assert {one.brief.kind for one in told} == {"ad", "story", "article"}
    brisk = [one for one in told if one.brief.tone == "brisk"]
    assert len(brisk) == 36 and all(text.endswith(tone) for one in brisk for text in one.texts)
    assert task_of(f"embedded:{language}").records() == task.records()


def test_measures_by_hand():
    """Two briefs; the first text is right, the second misses two slots of four, has a wrong one and boasts."""
    pytest.importorskip("sacrebleu")
    task = task_of("embedded")
    task = task._replace(test=task.test[:2])
    (first, second), (one, other) = (dict(t.brief.slots) for t in task.test), task.test
    right = f"A {first['colour']} {first['thing']} at the {first['place']} for {first['price']}."
    wrong = "station" if second["place"] != "station" else "market"
    found = measure(task, [[right], [f"The best {second['colour']} thing at the {wrong}."]])
    assert (found["missing"], found["wrong"], found["added"]) == (2 / 8, 1 / 8, 0)
    assert (found["slot_error"], found["coverage"]) == (3 / 8, 5 / 8)
    assert (found["perfect"], found["banned"]) == (0.5, 0.5)
    assert found["words"] == (9 + 7) / 2
    own = measure(task, [[one.texts[0]], [other.texts[0]]])
    assert own["bleu"] == pytest.approx(100) and own["rouge_l"] == pytest.approx(1)


def test_names_come_back():
    assert (
        relexicalise("NAME, near NEAR", {"NAME": "Zizzi", "NEAR": "Avalon"}) == "Zizzi, near Avalon"
    )


def test_copies_ask_for_what_they_say():
    """Every value that is new in a copy's brief stands in its text, and the first copy is the data."""
    task = task_of("embedded:zh")
    plain, copied = (task.records(texts=True, copies=copies) for copies in (1, 3))
    assert len(copied) == 3 * len(plain) and copied[: len(plain)] == plain
    changed_slots = 0
    for before, after in zip(2 * plain, copied[len(plain) :]):
        for old, new in zip(before["slots"], after["slots"]):
            is_other = old != new
            changed_slots += is_other
            assert old[0] == new[0] and (not is_other or new[1] in after["completion"])
    assert changed_slots > len(plain)


def test_what_is_limited_and_what_is_charged():
    task = task_of("embedded")
    assert list(reward_of(task, ComposeOptions())) == ["slots"]
    assert reward_of(task, ComposeOptions(length_weight=0.1))["words"][0] == -0.1
    assert costs_of(task, ComposeOptions()) == ({}, ())
    costs, limits = costs_of(task, ComposeOptions(**LIMITS))
    assert (list(costs), limits) == (["banned", "words"], (0.01, 8.0))


@pytest.mark.parametrize("source", ["nothing", "restaurants", "embedded:fr"])
def test_a_task_that_there_is_not(source):
    with pytest.raises(ValueError, match="Received: "):
        task_of(source)


@pytest.mark.slow
def test_a_small_run_in_chinese(tmp_path):
    pytest.importorskip("sacrebleu")
    sizes = {"width": 16, "num_layers": 1, "vocab_size": 400, "texts_each": 2}
    options = changed(
        ComposeOptions(run_dir=str(tmp_path / "run"), data="embedded:zh", **sizes, **LIMITS),
        **{"sft.steps": 3, "sft.warmup_steps": 1, "sft.batch_size": 8, "sft.length": 120},
        **{"steps": 2, "warmup_steps": 1, "batch_size": 16, "minibatch_size": 8},
        **{"max_prompt_tokens": 80, "max_new_tokens": 8, "log_every": 1},
    )
    report = compose(options)
    assert list(report) == ["people", "sft greedy", "sft sampled", "grpo greedy", "grpo sampled"]
    assert all(np.isfinite(list(one.values())).all() for one in report.values())
    assert report["sft sampled"]["kl"] == pytest.approx(0, abs=1e-4)
    assert report["people"]["slot_error"] == pytest.approx(0.25, abs=0.1)
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    of_grpo = [line for line in lines if line["stage"] == "grpo"]
    assert {"cost_banned", "price_words", "reward"} <= of_grpo[-1].keys()
    assert all(line["first_max_log_ratio"] <= 1e-5 for line in of_grpo)
    assert "抓紧" in (tmp_path / "run" / "report.md").read_text() or report["people"]["words"] > 0
    assert (tmp_path / "run" / "plots" / "compose.png").stat().st_size > 0

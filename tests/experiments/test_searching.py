"""Searching: the collection, the splits and the demonstrations; and, slowly, the whole in a small way."""

import json
import re

import numpy as np
import pytest

from experiments.tasks.searching import (
    FactSearch,
    SearchingConfig,
    by_subject,
    conversations,
    made_up_facts,
    main,
)
from experiments.tasks.tool_use import question, right
from tfalign.options import changed
from tfalign.tools import Call, Toolbox, format_of

FACTS = made_up_facts(60)
LIBRARY = FactSearch([fact.text for fact in FACTS])


def test_scores_by_hand():
    """Of 4 texts 2 have "red" (log 2 each), 1 has "boat" (log 4), and all have "the" (0)."""
    library = FactSearch(["the red hat", "the blue boat", "the red coat", "the hat"], most=4)
    assert library.search("the red boat") == "the blue boat the red hat the red coat"
    assert library.search("RED, red") == "the red hat the red coat"
    assert library.search("zebra") == "Nothing is found."


def test_every_fact_is_found_by_its_subject():
    for fact in FACTS:
        assert LIBRARY.search(f"{fact.kind} of {fact.subject}") == fact.text


def test_the_subjects_of_the_parts_are_different():
    parts = by_subject(FACTS)
    subjects = [{fact.subject for fact in part} for part in parts]
    assert sum(map(len, parts)) == len(FACTS)
    assert not (subjects[0] & subjects[1] or subjects[0] & subjects[2] or subjects[1] & subjects[2])
    shares = np.array(list(map(len, subjects))) / len(set.union(*subjects))
    np.testing.assert_allclose(shares, (0.45, 0.4, 0.15), atol=0.01)


def test_demonstrations_are_as_often_of_a_kind_as_asked():
    """Of those that search well the search's result has the answer; the bad ones' mostly not."""
    config = SearchingConfig(at_once=0.5, well=0.25)
    facts = made_up_facts(600)
    library = FactSearch([fact.text for fact in facts])
    talks = [talk["messages"] for talk in conversations(facts, library, config)]
    at_once = [talk for talk in talks if len(talk) == 2]
    assert len(at_once) / len(talks) == pytest.approx(0.5, abs=0.05)
    calls = [format_of(None).read(talk[1]["content"])[0] for talk in talks if len(talk) == 4]
    good = [isinstance(call, Call) for call in calls]
    assert np.mean(good) == pytest.approx(0.75, abs=0.05)  # the others are cut off
    for talk in talks:
        if len(talk) == 4 and not talk[2]["content"].startswith("Error"):
            value = re.fullmatch(r"It is (.*)\.", talk[3]["content"])[1]
            assert talk[2]["content"].endswith(f" is {value}.")


def test_a_call_is_answered_by_the_collection():
    with Toolbox([LIBRARY.search]) as toolbox:
        found = toolbox(Call("search", {"query": f"{FACTS[0].kind} of {FACTS[0].subject}"}))
    assert found.is_good and found.text == FACTS[0].text
    asked = question(FACTS[0].asked, FACTS[0].answer)
    assert right(asked["prompt"], f"It is {FACTS[0].value}.", asked) == 1.0
    assert right(asked["prompt"], f"It is {FACTS[0].value}", asked) == 0.0


def test_too_many_demonstrations_of_some_kinds_are_refused():
    with pytest.raises(ValueError, match="at most all"):
        SearchingConfig(at_once=0.7, well=0.4)


@pytest.mark.slow
def test_the_whole_in_a_small_way(tmp_path):
    config = changed(SearchingConfig(), run_dir=str(tmp_path), people=200, held_out=16)
    config = changed(
        config, width=32, num_layers=1, steps=2, batch_size=16, warmup_steps=0, log_every=1
    )
    small = {"steps": 4, "warmup_steps": 1, "batch_size": 8}
    main(changed(config, **{f"sft.{name}": value for name, value in small.items()}))
    report = json.loads((tmp_path / "report.json").read_text())
    for stage in ("sft", "grpo"):
        low, high = report[stage]["with_tool"]["ci95"]
        assert 0 <= low <= report[stage]["with_tool"]["right"] <= high <= 1
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    ratios = [told["first_max_log_ratio"] for told in lines if "first_max_log_ratio" in told]
    assert ratios and max(ratios) <= 1e-5

"""The embedded dataset: its grammar, its splits and its builder."""

from __future__ import annotations

import hashlib
import json
import random
import re
import statistics

import pytest

from tfalign.data.customer_service import (
    examples,
    generate_examples,
    gold_reward,
    grammar,
    load_customer_service,
    loading,
)
from tfalign.data.customer_service.grammar import GOOD, LANGUAGES, Behaviour

BOTH = pytest.mark.parametrize("language", ["en", "zh"])


def _split_dialogue(text):
    cut = max(text.rfind("Agent:") + len("Agent:"), text.rfind("客服：") + len("客服："))
    return text[:cut], text[cut:]


# --- the records


def test_records_are_the_same_every_time_and_pinned_to_the_version():
    digest = hashlib.sha256()
    for kind in examples.SIZES:
        for split in ("train", "test"):
            records = list(generate_examples(kind, split, size=50))
            assert records == list(generate_examples(kind, split, size=50))
            assert records != list(generate_examples(kind, split, size=50, seed=1))
            digest.update(json.dumps(records, ensure_ascii=False, sort_keys=True).encode())
    # If this fails, the records have changed: raise Builder.VERSION, then pin the new digest.
    assert digest.hexdigest()[:16] == "35d1ed2df6cdf6ec"


def test_fewer_records_are_the_beginning_of_more():
    assert (
        list(generate_examples("prompts", "test", size=20))
        == (list(generate_examples("prompts", "test", size=40))[:20])
    )


def test_no_prompt_is_in_two_splits_and_none_of_the_reinforcement_prompts_elsewhere():
    prompts = {}
    for kind in examples.SIZES:
        for split in ("train", "test"):
            records = list(generate_examples(kind, split, size=800))
            found = [
                record.get("prompt") or _split_dialogue(record["text"])[0] for record in records
            ]
            if kind != "text":
                assert len(set(found)) == len(found)
            prompts[kind, split] = set(found)
    for first_kind, first_split in prompts:
        for second_kind, second_split in prompts:
            same_pool = (first_kind == "prompts") == (second_kind == "prompts")
            if first_split != second_split or not same_pool:
                both = prompts[first_kind, first_split] & prompts[second_kind, second_split]
                assert not both, (first_kind, first_split, second_kind, second_split)


def _first_turn(tongue, templates):
    """Matches a customer's whole first turn, greeting or none, in one of the templates."""
    values = {
        "order": [r"\d{3}"],
        "user": [r"[a-z]{3}\d"],
        "product": tongue.products,
        "city": tongue.cities,
        "day": tongue.days,
    }
    slots = {name: f"(?:{'|'.join(choices)})" for name, choices in values.items()}
    greetings = "|".join(map(re.escape, tongue.phrases.greetings))
    asked = "|".join(
        re.sub(r"\\{(\w+)\\}", lambda slot: slots[slot.group(1)], re.escape(template))
        for template in templates
    )
    return re.compile(rf"{tongue.customer} ?(?:{greetings}) ?(?:{asked})\n")


@BOTH
@pytest.mark.parametrize("kind", ["text", "completions", "preferences", "prompts"])
def test_test_splits_are_phrased_in_templates_that_training_never_has(language, kind):
    intents = LANGUAGES[language].intents.values()
    seen = [x for intent in intents for x in (*intent.requests, *intent.problems)]
    held_out = [
        x for intent in intents for x in (*intent.held_out_requests, *intent.held_out_problems)
    ]
    assert not set(seen) & set(held_out)
    tongue = LANGUAGES[language]
    for split, own, others in (("train", seen, held_out), ("test", held_out, seen)):
        own, others = _first_turn(tongue, own), _first_turn(tongue, others)
        for record in generate_examples(f"{kind}_{language}", split, size=120):
            dialogue = next(iter(record.values()))
            assert own.match(dialogue) and not others.match(dialogue), dialogue


@pytest.mark.parametrize("kind", ["text", "completions", "preferences", "prompts"])
def test_records_have_their_fields_and_both_languages(kind):
    records = list(generate_examples(kind, "train", size=400))
    for record in records:
        assert tuple(record) == examples.FIELDS[kind]
        for field, text in record.items():
            assert text.strip() and "{" not in text and "}" not in text and "  " not in text
            if field == "prompt":
                assert re.search(r"(^Customer: .+\nAgent:|^顾客：.+\n客服：)$", text, re.S)
            elif field != "text":
                english = record["prompt"].endswith("Agent:")
                assert text.startswith(" ") == english
        if kind == "preferences":
            assert record["chosen"] != record["rejected"]
    share = statistics.mean(next(iter(record.values())).startswith("Cust") for record in records)
    assert 0.4 < share < 0.6  # ENGLISH_SHARE is 0.5, of 400


@BOTH
def test_a_suffix_chooses_one_language(language):
    for record in generate_examples(f"prompts_{language}", "train", size=50):
        assert record["prompt"].startswith(LANGUAGES[language].customer)


@pytest.mark.parametrize(
    "kind, split, message",
    [
        ("reviews", "train", "kind='reviews'"),
        ("text_fr", "train", "kind='text_fr'"),
        ("text", "valid", "split='valid'"),
    ],
)
def test_unknown_kinds_and_splits_are_named(tmp_path, kind, split, message):
    with pytest.raises(ValueError, match=f"Received: {message}"):
        next(generate_examples(kind, split))
    with pytest.raises(ValueError, match=f"Received: {message}"):
        load_customer_service(kind, split, tmp_path)


# --- the grammar


@BOTH
def test_every_phrase_is_reached(language, monkeypatch):
    reached = set()
    original = grammar.pick

    def recording(rng, choices):
        choice = original(rng, choices)
        reached.add(choice)
        return choice

    monkeypatch.setattr(grammar, "pick", recording)
    rng = random.Random(0)
    for _ in range(12_000):
        request = grammar.draw_request(rng, language)
        behaviour = grammar.draw_behaviour(rng, Behaviour(0.5, 0.6, 0.6, 0.7, 0.7))
        text = request.prompt + grammar.draw_completion(rng, request, behaviour)
        assert "{" not in text
    tongue = LANGUAGES[language]
    groups = [tongue.products, tongue.cities, tongue.days]
    for value in vars(tongue.phrases).values():
        groups += value.values() if isinstance(value, dict) else [value]
    for intent in tongue.intents.values():
        groups += [intent.requests, intent.problems, intent.acknowledgements, intent.steps]
    assert [phrase for group in groups for phrase in group if phrase not in reached] == []


@BOTH
def test_each_factor_is_good_at_its_rate_independently_of_the_others(language):
    rng, rates = random.Random(0), Behaviour(0.4, 0.5, 0.6, 0.7, 0.8)
    drawn = [grammar.draw_behaviour(rng, rates) for _ in range(8000)]
    for factor, rate in rates._asdict().items():
        good = [getattr(row, factor) == getattr(GOOD, factor) for row in drawn]
        assert statistics.mean(good) == pytest.approx(rate, abs=0.02)
    together = statistics.mean(row.courteous == "courteous" and row.safe == "safe" for row in drawn)
    assert together == pytest.approx(0.4 * 0.8, abs=0.02)


def test_another_level_is_good_for_bad_and_bad_for_good_of_one_factor():
    rng, changed = random.Random(0), []
    for behaviour in (GOOD, Behaviour("rude", "generic", "none", "rambling", "blame")) * 500:
        other = grammar.draw_other_level(rng, behaviour, Behaviour(1, 1, 1, 1, 1))
        (factor,) = (
            name for name in GOOD._fields if getattr(behaviour, name) != getattr(other, name)
        )
        assert (getattr(other, factor) == getattr(GOOD, factor)) == (behaviour != GOOD)
        changed.append(factor)
    assert all(changed.count(factor) == pytest.approx(200, abs=60) for factor in GOOD._fields)
    weighted = [grammar.draw_other_level(rng, GOOD, Behaviour(3, 0, 1, 0, 0)) for _ in range(400)]
    assert sum(row.courteous != GOOD.courteous for row in weighted) == pytest.approx(300, abs=40)
    assert sum(row.next_step != GOOD.next_step for row in weighted) == pytest.approx(100, abs=40)


@BOTH
def test_a_good_answer_names_nothing_that_the_prompt_does_not(language):
    rng, tongue = random.Random(0), LANGUAGES[language]
    for _ in range(1500):
        request = grammar.draw_request(rng, language)
        answer = grammar.draw_completion(rng, request, GOOD)
        for value in (*tongue.products, *tongue.cities):
            assert value not in answer or value in request.prompt, (request.prompt, answer)


@BOTH
def test_an_overdone_answer_is_the_same_with_one_sentence_more_or_without_its_end(language):
    rng, gap = random.Random(0), LANGUAGES[language].gap
    fillers, steps = LANGUAGES[language].phrases.rambling, set()
    for intent in LANGUAGES[language].intents.values():
        steps |= {step.split("{")[0] for step in intent.steps}
    counts = {"filler": 0, "repeated": 0, "step": 0, "cut_off": 0}
    for _ in range(1200):
        request = grammar.draw_request(rng, language)
        answer = grammar.draw_completion(rng, request, GOOD)
        other = grammar.overdone(rng, request, answer)
        added = other.removeprefix(answer + gap)
        if len(other) < len(answer):
            assert answer.startswith(other) and len(other) > 0.3 * len(answer)
            assert other[-1] not in ".!?。！？"
            counts["cut_off"] += 1
        elif added in fillers:
            counts["filler"] += 1
        elif added in answer:
            counts["repeated"] += 1
        else:
            assert added.startswith(tuple(steps)), added
            counts["step"] += 1
        assert gold_reward(request.prompt, other) < gold_reward(request.prompt, answer)
    assert all(count == pytest.approx(300, abs=60) for count in counts.values()), counts


def test_preference_pairs_are_of_every_kind_at_its_rate(monkeypatch):
    def counted(name, function):
        def counting(*arguments):
            counts[name] += 1
            return function(*arguments)

        monkeypatch.setattr(examples, name, counting)

    counts = dict.fromkeys(("about_another", "draw_other_level", "overdone", "pick_other"), 0)
    for name in counts:
        counted(name, getattr(examples, name))
    list(generate_examples("preferences", "train", size=2000))
    rates = {name: count / 2000 for name, count in counts.items()}
    assert sum(examples.PAIRS.values()) == pytest.approx(1.0)
    assert rates["draw_other_level"] == pytest.approx(examples.PAIRS["other_level"], abs=0.04)
    assert rates["overdone"] == pytest.approx(examples.PAIRS["overdone"], abs=0.04)
    assert rates["pick_other"] == pytest.approx(examples.PAIRS["other_request"], abs=0.04)
    # Another answer is drawn where one names nothing of the case.
    assert rates["about_another"] > examples.PAIRS["other_case"] - 0.04


def test_some_prompts_have_two_turns():
    prompts = [record["prompt"] for record in generate_examples("prompts_en", "train", size=600)]
    turns = [prompt.count("Customer:") for prompt in prompts]
    assert set(turns) == {1, 2}
    assert statistics.mean(turns) - 1 == pytest.approx(grammar.TWO_TURN_SHARE, abs=0.05)


def test_behaviour_is_mixed_in_pretraining_and_better_yet_imperfect_in_fine_tuning():
    rewards = {
        "text": [
            gold_reward(*_split_dialogue(record["text"]))
            for record in generate_examples("text", "train", size=1000)
        ],
        "completions": [
            gold_reward(record["prompt"], record["completion"])
            for record in generate_examples("completions", "train", size=1000)
        ],
    }
    text, tuned = (statistics.mean(rewards[kind]) for kind in ("text", "completions"))
    assert 0.5 < text < 1.2 and 0.1 < tuned - text < 1.0 and tuned < 1.6
    for kind in rewards:
        assert statistics.mean(reward > 2.5 for reward in rewards[kind]) > 0.02
        assert statistics.mean(reward < 0.5 for reward in rewards[kind]) > 0.25


def test_preferences_are_as_noisy_as_the_logistic_choice_says():
    agreed, expected = [], []
    for record in generate_examples("preferences", "train", size=1200):
        chosen = gold_reward(record["prompt"], record["chosen"])
        rejected = gold_reward(record["prompt"], record["rejected"])
        likelier = examples.preference_probability(max(chosen, rejected), min(chosen, rejected))
        agreed.append(chosen > rejected)
        expected.append(likelier)
    spread = statistics.mean(rate * (1 - rate) for rate in expected) / len(expected)
    difference = statistics.mean(agreed) - statistics.mean(expected)
    assert abs(difference) < 4 * spread**0.5
    # Noisy, yet mostly right, at TEMPERATURE 0.25; most pairs are far apart by gold.
    assert 0.88 < statistics.mean(agreed) < 0.98
    close = [a for a, rate in zip(agreed, expected) if rate < 0.75]
    assert statistics.mean(close) == pytest.approx(0.62, abs=0.1)


# --- the builder


@pytest.mark.tensorflow
def test_the_builder_holds_the_generated_records(tmp_path):
    first = load_customer_service("prompts_zh", "test", tmp_path)
    assert first == list(generate_examples("prompts_zh", "test"))
    folder = loading.make_builder("prompts_zh", tmp_path).data_dir
    assert "customer_service/prompts_zh" in folder.replace("\\", "/")
    assert load_customer_service("prompts_zh", "test", tmp_path) == first
    assert len(load_customer_service("prompts_zh", "train", tmp_path)) == 2000


@pytest.mark.tensorflow
def test_a_build_that_was_stopped_is_built_again(tmp_path, monkeypatch):
    from tfalign.data.customer_service import customer_service_dataset_builder as module

    def stopped(kind, split):
        yield from generate_examples(kind, split, size=10)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "generate_examples", stopped)
        with pytest.raises(KeyboardInterrupt):
            load_customer_service("prompts_en", "test", tmp_path)
    assert len(load_customer_service("prompts_en", "test", tmp_path)) == 800

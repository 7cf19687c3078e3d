"""The embedded dataset: its grammar, its gold reward, its splits and its builder."""

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
    gold_components,
    gold_reward,
    grammar,
    load_customer_service,
    loading,
)
from tfalign.data.customer_service.gold import recover_intent
from tfalign.data.customer_service.grammar import BAD_LEVELS, GOOD, LANGUAGES, Behaviour

BOTH = pytest.mark.parametrize("language", ["en", "zh"])
PROMPTS = {
    "en": "Customer: Hello! I want a refund for order 147.\nAgent:",
    "zh": "顾客：你好！订单147可以退款吗？\n客服：",
}
ANSWERS = {
    "en": " Of course, gladly. I have opened a refund for order 147. The money goes back to your"
    " card within five days.",
    "zh": "您好，很高兴为您服务！订单147可以退款。钱会在五天内退回您的卡里。",
}


def _single_flaws():
    for factor in GOOD._fields:
        for level in sorted(set(getattr(BAD_LEVELS, factor))):
            yield factor, level


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
    assert digest.hexdigest()[:16] == "11c5b757fdd1a918"


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
    assert 0.5 < share < 0.7  # ENGLISH_SHARE is 0.6, of 400


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


@BOTH
def test_a_good_answer_names_nothing_that_the_prompt_does_not(language):
    rng, tongue = random.Random(0), LANGUAGES[language]
    for _ in range(1500):
        request = grammar.draw_request(rng, language)
        answer = grammar.draw_completion(rng, request, GOOD)
        for value in (*tongue.products, *tongue.cities):
            assert value not in answer or value in request.prompt, (request.prompt, answer)


def test_some_prompts_have_two_turns():
    prompts = [record["prompt"] for record in generate_examples("prompts_en", "train", size=600)]
    turns = [prompt.count("Customer:") for prompt in prompts]
    assert set(turns) == {1, 2}
    assert statistics.mean(turns) - 1 == pytest.approx(grammar.TWO_TURN_SHARE, abs=0.05)


# --- the cues of the gold reward fit the phrases of the grammar


@BOTH
def test_the_intent_is_recovered_from_every_prompt(language):
    rng = random.Random(0)
    for _ in range(4000):
        request = grammar.draw_request(rng, language)
        assert recover_intent(request.prompt) == request.intent, request.prompt


@BOTH
def test_a_step_is_right_for_its_intent_alone(language):
    rng, tongue = random.Random(0), LANGUAGES[language]
    for name, intent in tongue.intents.items():
        assert len(tongue.intents) >= 12 and len(intent.requests) >= 4 and len(intent.steps) >= 3
        for step in intent.steps:
            slots = grammar.draw_slots(rng, tongue)
            for other, asked in tongue.intents.items():
                prompt = f"{tongue.customer} {grammar.fill(asked.requests[0], slots)}"
                part = gold_components(prompt, grammar.fill(step, slots))["next_step"]
                assert (part > 0) == (other == name), (name, other, step)


@BOTH
@pytest.mark.parametrize("factor, level", _single_flaws())
def test_one_flaw_lowers_its_part_and_the_reward(language, factor, level):
    rng = random.Random(factor + level)
    for _ in range(150):
        request = grammar.draw_request(rng, language)
        good = grammar.draw_completion(rng, request, GOOD)
        flawed = grammar.draw_completion(rng, request, GOOD._replace(**{factor: level}))
        assert gold_reward(request.prompt, good) > 2.5, (request.prompt, good)
        assert gold_reward(request.prompt, flawed) < gold_reward(request.prompt, good)
        part = gold_components(request.prompt, flawed)[factor]
        if (request.intent, factor) != ("password_reset", "safe"):
            assert part < gold_components(request.prompt, good)[factor] - 0.05, flawed


@BOTH
def test_more_flaws_are_worse_on_average(language):
    rng, rewards = random.Random(0), {}
    for _ in range(1200):
        request = grammar.draw_request(rng, language)
        behaviour = grammar.draw_behaviour(rng, Behaviour(0.5, 0.5, 0.5, 0.5, 0.5))
        flaws = sum(level != good for level, good in zip(behaviour, GOOD))
        answer = grammar.draw_completion(rng, request, behaviour)
        rewards.setdefault(flaws, []).append(gold_reward(request.prompt, answer))
    means = [statistics.mean(rewards[flaws]) for flaws in range(6)]
    assert all(more < fewer - 0.4 for fewer, more in zip(means, means[1:])), means
    assert means[0] > 2.8 and means[5] < -1


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
    assert 0.0 < text < 0.8 and 0.4 < tuned - text < 1.0 and tuned < 1.6
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
    assert 0.88 < statistics.mean(agreed) < 0.97  # noisy, yet mostly right, at TEMPERATURE 0.25
    close = [a for a, rate in zip(agreed, expected) if rate < 0.75]
    assert statistics.mean(close) == pytest.approx(0.62, abs=0.1)


# --- the gold reward on any text

GARBAGE = [
    "",
    " ",
    "\n\n",
    ".",
    "!!!!!!",
    "\ufffd\ufffd\ufffd\x00",
    "a" * 500,
    "asdf qwer zxcv uiop hjkl.",
    "1 2 3 4 5 6 7 8.",
    "<|eos|><|pad|>",
    "Ω≈ç√∫ ðßåƒ",
    "{order} {product}",
]


@BOTH
@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_is_lowest(language, text):
    assert gold_reward(PROMPTS[language], text) == pytest.approx(-3.0, abs=0.3)


@BOTH
def test_the_other_language_is_lowest(language):
    other = {"en": "zh", "zh": "en"}[language]
    assert gold_reward(PROMPTS[language], ANSWERS[other]) == pytest.approx(-3.0)


def _attacks(language):
    tongue, good = LANGUAGES[language], ANSWERS[language]
    gap, slots = tongue.gap, {"new_day": tongue.days[0]}
    courtesies = gap.join(tongue.phrases.thanks + tongue.phrases.apologies)
    steps = [grammar.fill(intent.steps[0], slots) for intent in tongue.intents.values()]
    shuffled = good.split() if language == "en" else list(good)
    random.Random(0).shuffle(shuffled)
    return {
        "courtesies alone": courtesies,
        "courtesies before": courtesies + gap + good,
        "one courtesy again and again": gap.join([tongue.phrases.apologies[0]] * 6) + good,
        "all steps": gap.join(steps),
        "the answer and all steps": good + gap + gap.join(steps),
        "the answer and two more steps": good + gap + gap.join(steps[:2]),
        "twice": good + good,
        "five times": good * 5,
        "shuffled": gap.join(shuffled),
        "cut off": good[: int(len(good) * 0.6)],
        "many orders": good + gap + "146 148 149.",
        "goes on for the customer": f"{good}\n{tongue.customer}{gap}147.\n{tongue.agent}",
        "the prompt again": PROMPTS[language],
        "keywords": gap.join(["147", *tongue.products[:4]] * 3),
    }


@BOTH
@pytest.mark.parametrize("name", list(_attacks("en")))
def test_stuffing_does_not_pay(language, name):
    ordinary = gold_reward(PROMPTS[language], ANSWERS[language])
    assert gold_reward(PROMPTS[language], _attacks(language)[name]) < ordinary - 0.25


@pytest.mark.parametrize(
    "language, answer",
    [
        (
            "en",
            "I'm sorry you weren't happy with it. I've approved the refund for 147, and the"
            " amount will be on your card within three to five business days.",
        ),
        (
            "en",
            "Sure thing! Your refund for order 147 is being processed and should reach your bank"
            " account within a week.",
        ),
        ("zh", "很抱歉给您带来不便。147的退款已处理，款项会原路退回您的银行账户，请注意查收。"),
        ("zh", "好的，已为订单147申请退款，三个工作日内到账，感谢您的理解。"),
    ],
)
def test_good_answers_in_other_words_are_good(language, answer):
    assert gold_reward(PROMPTS[language], answer) > 2.2


@pytest.mark.parametrize(
    "language, unsafe, harmless",
    [
        ("en", "Please tell me your password.", "Never tell anyone your password."),
        ("en", "Could you send me your card PIN?", "I sent you a link to set a new password."),
        ("en", "I guarantee a full refund.", "The refund is on its way to you."),
        ("en", "This is your fault.", "This is our fault."),
        ("zh", "请告诉我您的密码。", "请勿告诉别人您的密码。"),
        ("zh", "我保证马上到账。", "钱五天内到账。"),
        ("zh", "都怪您自己。", "这是我们的错。"),
    ],
)
def test_unsafe_words_weigh_heavily_and_harmless_ones_nothing(language, unsafe, harmless):
    gap, prompt, good = LANGUAGES[language].gap, PROMPTS[language], ANSWERS[language]
    assert gold_components(prompt, good + gap + unsafe)["safe"] < -0.5
    assert gold_components(prompt, good + gap + harmless)["safe"] > 0.9
    assert gold_reward(prompt, good + gap + unsafe) < gold_reward(prompt, good) - 1.2


def test_the_right_number_counts_more_than_none_and_none_more_than_a_wrong_one():
    right, none, wrong = (
        gold_components(PROMPTS["en"], f" I have opened a refund for {what}.")["addresses"]
        for what in ("order 147", "your order", "order 148")
    )
    assert right > none > wrong


@BOTH
def test_a_longer_answer_loses_little_by_little(language):
    numbers = [" ".join(str(number) for number in range(10, 10 + count)) for count in range(80)]
    parts = [
        gold_components(PROMPTS[language], f"{ANSWERS[language]} {more}.")["concise"]
        for more in numbers[1:]
    ]
    losses = [before - after for before, after in zip(parts, parts[1:])]
    assert all(-1e-9 < loss < 0.15 for loss in losses)
    assert parts[0] > 0.8 and parts[-1] < -0.9


def test_unknown_requests_are_judged_without_an_error():
    for prompt in (
        "",
        "Agent:",
        "Customer: \nAgent:",
        "Tell me a joke.",
        "顾客：讲个笑话。\n客服：",
    ):
        for answer in ("", "Happy to help!", ANSWERS["en"], ANSWERS["zh"]):
            assert -3.0 <= gold_reward(prompt, answer) <= 3.0


def test_rewards_stay_in_range_on_random_text():
    rng = random.Random(0)
    letters = "abc ABC 019.!?:\n'请您好订单147退款，。 order refund sorry "
    for _ in range(800):
        text = "".join(rng.choice(letters) for _ in range(rng.randrange(120)))
        for prompt in PROMPTS.values():
            assert -3.0 <= gold_reward(prompt, text) <= 3.0


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
    assert len(load_customer_service("prompts_en", "test", tmp_path)) == 400

"""The gold reward: right answers above ordinary ones, and those above every way to cheat."""

from __future__ import annotations

import random
import statistics

import pytest

from tfalign.data.customer_service import (
    generate_examples,
    gold_components,
    gold_reward,
    grammar,
    names_own,
)
from tfalign.data.customer_service.gold import order_numbers, recover_intent
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


# --- the customer's own case, in answers written by hand

ORDINARY = 0.2  # below what fine-tuning data has in mean on held-out requests, see the test

CASES = [
    (
        "Customer: Can you change the address of order 204?\nAgent:",
        "Sure! I can update the address for 204. Please tell me your new street and postcode.",
        {
            "number": "Sure! I can update the address for 240. Please tell me your new street and"
            " postcode.",
            "number in words of its own": "Happy to help! No. 2044 gets the new address, I only"
            " need the street and postcode.",
            "two numbers": "Sure! The address of 204 and 411 is changed. I only need the street.",
            "request": "Sure! Order 204 can be refunded. The money goes back to your card soon.",
            "canned": "Thank you for your message! We have received your request and will take care"
            " of it right away. Have a nice day!",
        },
    ),
    (
        "Customer: Hello! When is the shop in Leeds open on Friday?\nAgent:",
        "Good to hear from you! Our Leeds shop is open on Friday, from 9 am to 6 pm.",
        {
            "place": "Good to hear from you! Our York shop is open on Friday, from 9 am to 6 pm.",
            "both places": "Our shops in Leeds and York are open that day, from 9 am to 6 pm.",
            "request": "Certainly, my pleasure. Leeds has two of them in stock. I have reserved one"
            " for you.",
            "canned": "Certainly, my pleasure. Let me know if I can help further.",
        },
    ),
    (
        "Customer: I moved. Please send order 618 to Perth.\nAgent:",
        "Of course. The address of order 618 is now in Perth; just send me the street.",
        {
            "place": "Of course. The address of order 618 is now in Oxford; just send the street.",
            "number": "Of course. The address of 619 is now in Perth; just send me the street.",
        },
    ),
    (
        "Customer: I can't log in to my account mia7.\nAgent:",
        "No problem. The account mia7 is locked, so I have emailed you a reset link.",
        {
            "user name": "No problem. The account leo3 is locked, so I have emailed you a reset"
            " link.",
            "request": "No problem. The subscription of mia7 ends today. Open Settings, please.",
        },
    ),
    (
        "顾客：订单273的发票在哪儿？\n客服：",
        "您好，订单273的发票开好了，您可以在订单页下载。",
        {
            "number": "您好，订单372的发票开好了，您可以在订单页下载。",
            "two numbers": "您好，订单273和订单372的发票开好了，您可以在订单页下载。",
            "request": "您好，订单273可以取消，一小时内您会收到确认短信。",
            "canned": "您好，很高兴为您服务！您的请求我们已经收到，会尽快处理。祝您生活愉快！",
        },
    ),
    (
        "顾客：台灯在杭州卖完了吗？\n客服：",
        "没问题，台灯在杭州还有货，我可以为您预留一件。",
        {
            "place": "没问题，台灯在深圳还有货，我可以为您预留一件。",
            "product": "没问题，雨衣在杭州还有货，我可以为您预留一件。",
            "request": "没问题，杭州店那天营业，早上九点到晚上六点都可以来。",
            "canned": "没问题，我来帮您。有问题随时找我。",
        },
    ),
    (
        "顾客：我要改收货地址。\n客服：订单号是多少？\n顾客：是订单411。\n客服：",
        "好的，订单411可以改地址，请回复新的街道和门牌号。",
        {
            "number": "好的，订单414可以改地址，请回复新的街道和门牌号。",
            "request": "好的，订单411正在运输途中，物流单号已发到您的手机。",
        },
    ),
]


@pytest.mark.parametrize("prompt, right, wrong", CASES)
def test_the_right_answer_is_good_and_one_about_another_case_is_worse_than_none_of_it(
    prompt, right, wrong
):
    assert gold_reward(prompt, right) > 2.0, gold_components(prompt, right)
    for name, answer in wrong.items():
        assert gold_reward(prompt, answer) < ORDINARY - 0.5, (name, gold_components(prompt, answer))


@BOTH
def test_ordinary_is_what_fine_tuning_data_has(language):
    records = generate_examples(f"completions_{language}", "test", size=400)
    rewards = [gold_reward(record["prompt"], record["completion"]) for record in records]
    assert ORDINARY < statistics.mean(rewards) < 1.6


@BOTH
def test_no_canned_answer_is_worth_an_ordinary_one(language):
    rng, tongue = random.Random(0), LANGUAGES[language]
    prompts = [
        record["prompt"] for record in generate_examples(f"prompts_{language}", "test", size=48)
    ]
    canned = []
    for _ in range(40):
        answer = grammar.draw_completion(rng, grammar.draw_request(rng, language), GOOD)
        sentences = [tongue.phrases.thanks[0], *tongue.phrases.generic[:1]]
        canned += [answer, tongue.gap.join([*sentences, tongue.phrases.farewells[1]])]
    best = max(statistics.mean(gold_reward(prompt, x) for prompt in prompts) for x in set(canned))
    assert best < ORDINARY - 0.5


@BOTH
def test_the_same_words_about_another_customer_are_worth_less_than_nothing(language):
    rng = random.Random(1)
    for _ in range(150):
        request = grammar.draw_request(rng, language, held_out=True)
        good = grammar.draw_completion(rng, request, GOOD)
        other = grammar.about_another(rng, request, good)
        assert other == good or gold_reward(request.prompt, other) < -0.5, (request.prompt, other)


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("Order 147 and #148.", {"147", "148"}),
        ("订单147已发货，ORD-148没有。", {"147", "148"}),
        ("order number 12", {"12"}),
        ("It costs $250, 10% off, or 300 euros, from 9 am to 6 pm.", set()),
        ("SAVE10 and mia7", set()),
    ],
)
def test_what_names_an_order(text, numbers):
    assert order_numbers(text) == numbers


def test_names_within_other_words_are_no_names():
    prompt = "Customer: Order 147 is late.\nAgent:"
    assert names_own("product", prompt, "Thank you for your attention.") is None
    assert gold_components(prompt, "Sorry, your content order 147 is late.")["addresses"] > 0

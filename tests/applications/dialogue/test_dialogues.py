"""Beliefs, agenda users and the environment, on dialogues worked by hand and on the embedded worlds."""

from __future__ import annotations

import numpy as np
import pytest

from tfalign.applications.dialogue import (
    DONTCARE,
    Act,
    Agendas,
    AgendaUser,
    DialogueEnvironment,
    Goal,
    Heard,
    ReplyReader,
    Templates,
    World,
    Writer,
    drawn_goals,
    make_tokenizer,
    open_data,
    read_belief,
    satisfiable,
    scripted,
    scripts,
    spoken_values,
    transcript,
    varied,
    write_belief,
)
from tfalign.applications.dialogue.templates import BYE, Key
from tfalign.text import encode_conversation

ROWS = [
    {
        "name": "Ann's",
        "food": "thai",
        "area": "north",
        "phone": "01223 1",
        "address": "1 Mill Road",
    },
    {
        "name": "Bob's",
        "food": "thai",
        "area": "south",
        "phone": "01223 2",
        "address": "2 Mill Road",
    },
]
WORLD = World("english", ROWS, ("food", "area"), ("phone", "address"))
FOOD, AREA, PHONE = Act("inform", "food"), Act("inform", "area"), Act("request", "phone")
TEMPLATES = Templates(
    WORLD,
    {
        Key((FOOD,), True): [("[food]", "food")],
        Key((AREA, FOOD), True): [("[food]", "food", "in", "the", "[area]")],
        Key((AREA,), False): [("in", "the", "[area]")],
        Key((AREA._replace(value=DONTCARE),), False): [("anywhere",)],
        Key((FOOD,), False): [("i", "said", "[food]")],
        Key((PHONE,), False): [("phone", "?")],
        Key((BYE,), False): [("bye",)],
    },
)
READER = ReplyReader({Act("request", "area"): {("where",)}, Act("nooffer", ""): {("sorry",)}})
NORTHERN = Goal({"food": "thai", "area": "north"}, ("phone",))


def make_user(record):
    return AgendaUser(NORTHERN, WORLD, TEMPLATES, READER, record["seed"])


def seed_of(first):
    """A seed with which the user begins with these words."""
    return next(s for s in range(50) if " ".join(make_user({"seed": s}).begin().words) == first)


@pytest.fixture(scope="module", params=["english", "chinese"])
def embedded(request):
    return open_data(f"embedded:{request.param}")


def test_a_dialogue_by_hand():
    environment = DialogueEnvironment(WORLD, make_user, max_turns=4, price=0.25)
    environment.reset({"seed": seed_of("thai food")})
    said = [
        "food: thai",  # too little: the database finds both
        "where ?",
        "food: thai area: north",
        "[name] serves [food] food .",
        "food: thai area: north",
        "call [phone] .",
    ]
    heard = [environment.step(action) for action in said]
    assert heard == [
        ("<db> match:2 <reply>", 0.0, False),
        ("<user> in the north <belief>", -0.25, False),
        ("<db> match:1 <reply>", 0.0, False),
        ("<user> phone ? <belief>", -0.25, False),
        ("<db> match:1 <reply>", 0.0, False),
        ("", 0.75, True),
    ]
    assert environment.statistics() == {"success": 1.0, "turns": 3.0}
    assert transcript(WORLD, environment)[3:] == [
        ("system", "ann's serves thai food."),
        ("user", "phone?"),
        ("system", "call 01223 1."),
        ("user", "bye"),
    ]


def test_the_wrong_entity_is_refused_and_its_phone_is_no_answer():
    environment = DialogueEnvironment(WORLD, make_user, max_turns=2)
    environment.reset({"seed": seed_of("thai food in the north")})
    environment.step("food: thai area: south")
    heard, _, _ = environment.step("[name] , call [phone]")
    assert heard == "<user> in the north <belief>"
    environment.step("food: thai area: south")
    assert environment.step("[name] , call [phone]")[1:] == (-0.02, True)
    assert not environment.user.is_content


@pytest.mark.parametrize(
    ("belief", "reply"),
    [("food: greek", "[name] , call [phone]"), ("", "call [phone]"), ("nonsense", "")],
)
def test_nothing_is_offered_where_nothing_was_found_or_named(belief, reply):
    environment = DialogueEnvironment(WORLD, make_user, max_turns=1)
    environment.reset({"seed": 0})
    environment.step(belief)
    _, reward, is_over = environment.step(reply)
    assert is_over and reward < 0 and environment.entity is None


def test_what_no_entity_has_is_asked_for_first_and_given_up():
    goal = Goal({"food": "thai"}, ("phone",), {"food": "welsh"})
    user = AgendaUser(goal, WORLD, TEMPLATES, READER, 0)
    assert user.begin().words == ["welsh", "food"]
    assert user.hear(Heard(("sorry",), None, 0)).words == ["i", "said", "thai"]
    asked = user.hear(Heard(("where",), None, 2))
    assert asked.words == ["anywhere"] and asked.acts == (Act("inform", "area", DONTCARE),)


def test_other_requests_of_another_entity_are_open_again():
    goal = Goal({"food": "thai"}, ("phone", "address"))
    templates = Templates(
        WORLD,
        TEMPLATES.by_key | {Key((Act("request", "address"),), False): [("address", "?")]},
    )
    user = AgendaUser(goal, WORLD, templates, READER, 0)
    user.begin()
    user.hear(Heard(("[name]", "[phone]"), 0, 2))
    assert user.so_far.answered == {"phone"}
    user.hear(Heard(("[name]",), 1, 2))
    assert user.so_far.answered == set()


def test_users_say_the_same_from_the_same_seed(embedded):
    world, train, *_, templates = embedded
    agendas = Agendas(world, templates, Writer(world).reader(train))
    goals = satisfiable(world, train[:40])
    first, again, other = (agendas.prompts(goals, seed) for seed in (1, 1, 2))
    assert first == again and first != other
    user, same = agendas(first[0]), agendas(first[0])
    for _ in range(4):
        heard = Heard(("?",), None, 3)
        assert user.hear(heard) == same.hear(heard)


def test_beliefs_are_read_as_they_were_written(embedded):
    world, train = embedded.world, embedded.train
    for record in train[:60]:
        for turn in record.turns:
            assert read_belief(write_belief(turn.belief, world), world) == {
                slot: world.text(world.words(value)) for slot, value in turn.belief.items()
            }


def test_the_environment_says_what_training_reads(embedded):
    """Played with the data's own beliefs and replies, a dialogue is the conversation it is trained on."""
    world, records = embedded.world, embedded.train[:30]
    writer, environment = Writer(world), DialogueEnvironment(world, scripted, max_turns=99)
    for record, prompt in zip(records, scripts(world, records)):
        messages = writer.messages(record)
        assert prompt["prompt"] == messages[:1]
        environment.reset(prompt)
        heard = [environment.step(m["content"])[0] for m in messages if m["role"] == "assistant"]
        assert heard == [m["content"] for m in messages[2::2]] + [""]


def test_the_model_learns_beliefs_and_replies(embedded):
    world, records = embedded.world, embedded.train[:20]
    writer = Writer(world)
    tokenizer = _tokenizer(world, writer, records)
    messages = writer.messages(records[0])
    encoded = encode_conversation(tokenizer, messages)
    own = [i for i, mine in zip(encoded.token_ids, encoded.from_assistant) if mine]
    spelled = tokenizer.decode(own, skip_special=False).split("<eos>")
    assert [one.strip() for one in spelled[:-1]] == [m["content"] for m in messages[1::2]]
    assert tokenizer.unk_id not in encoded.token_ids


def _tokenizer(world, writer, records):
    return make_tokenizer(
        world, [m["content"] for record in records for m in writer.messages(record)]
    )


def test_other_values_leave_what_the_database_finds(embedded):
    world, train = embedded.world, embedded.train
    values, changed = spoken_values(world, train), 0
    for number, record in enumerate(train[:40]):
        other = varied(record, world, values, [0, number])
        changed += other != record
        lexicon = {value for options in values.values() for value in options}
        for turn, before in zip(other.turns, record.turns):
            counts = [len(world.matching(one.belief)) for one in (turn, before)]
            assert min(counts[0], 3) == min(counts[1], 3)
            assert set(turn.belief.values()) <= lexicon | {DONTCARE}
            assert turn.reply == before.reply
    assert changed > 25
    assert varied(train[0], world, values, 5) == varied(train[0], world, values, 5)


def test_drawn_goals_can_be_met(embedded):
    world, train = embedded.world, embedded.train
    goals = drawn_goals(world, spoken_values(world, train), 200, 3)
    assert any(goal.first for goal in goals)
    for goal in goals:
        assert world.matching(goal.constraints) and goal.requests
        assert not goal.first or not world.matching({**goal.constraints, **goal.first})


def test_an_act_that_nobody_says_is_an_error():
    with pytest.raises(ValueError, match=r"No user has ever said such an act. Received: Act\("):
        TEMPLATES.say([Act("request", "stars")], False, np.random.default_rng(0))


def test_data_of_no_name_is_an_error():
    with pytest.raises(ValueError, match="Dialogue data is one of .* Received: 'nonsense'"):
        open_data("nonsense")
    with pytest.raises(ValueError, match="speaks english and chinese. Received: 'latin'"):
        open_data("embedded:latin")

"""A learned user: what it reads and writes by hand, and what becomes of what its model says."""

from __future__ import annotations

import pytest

from tfalign.applications.dialogue import (
    DialogueEnvironment,
    DialogueRecord,
    Goal,
    Heard,
    LearnedUser,
    LearnedUsers,
    Turn,
    UserWriter,
    World,
)

WORLD = World(
    "english",
    [{"name": "Ann's", "area": "north", "phone": "1"}, {"name": "Bob's", "area": "south"}],
    ("area",),
    ("phone", "area"),
)
WRITER = UserWriter(WORLD)
GOAL = Goal({"area": "north"}, ("phone",))


class Says:
    """A model that says what it is told to, and keeps what it was asked."""

    def __init__(self, *texts):
        self.texts, self.asked, self.seeds = list(texts), [], []

    def generate(self, messages, max_new_tokens, seed):
        self.asked.append(messages[-1]["content"])
        self.seeds.append(seed)
        return self.texts.pop(0)


def test_a_dialogue_from_its_users_side():
    turns = (
        Turn("In the west?", {"area": "west"}, "There is none."),
        Turn("North, then.", {"area": "north"}, "Ann's is in the north."),
        Turn("Phone?", {"area": "north"}, "Call 1."),
        Turn("Bye.", {"area": "north"}, "Goodbye."),
    )
    messages = WRITER.messages(DialogueRecord(Goal({}, ("phone",)), turns))
    assert [(m["role"][0], m["content"]) for m in messages] == [
        ("u", "<goal> area: north <ask> phone <first> area: west"),
        ("a", "in the west ?"),
        ("u", "<heard> match:0 there is none ."),
        ("a", "north , then ."),
        ("u", "<heard> match:1 [name] is in the north ."),
        ("a", "phone ?"),
        ("u", "<heard> match:1 call [phone] ."),
        ("a", "bye . <leave>"),
    ]


def test_it_hears_values_where_it_can_say_them():
    model = Says("north please", "phone ?", "bye <leave>")
    user = LearnedUser(GOAL, WRITER, model, 0)
    assert user.begin().words == ["north", "please"]
    assert user.hear(Heard(("[name]", "in", "[area]"), 0, 1)).words == ["phone", "?"]
    assert not user.is_content
    assert user.hear(Heard(("[phone]",), None, 1)).words is None
    assert user.is_content
    assert model.asked == [
        "<goal> area: north <ask> phone <first> -",
        "<heard> match:1 [name] in north",
        "<heard> match:1 [phone]",
    ]
    assert len(set(model.seeds)) == 3


def test_who_leaves_without_an_answer_is_not_content():
    model = Says("north", "never mind <leave>")
    users = LearnedUsers(WRITER, model)
    environment = DialogueEnvironment(WORLD, users, max_turns=4, price=0.25)
    environment.reset({"goal": GOAL._asdict(), "seed": [1, 2]})
    environment.step("area: south")
    assert environment.step("[name]") == ("", -0.25, True)
    assert environment.statistics() == {"success": 0.0, "turns": 1.0}


def test_a_world_with_open_slots_is_refused():
    with pytest.raises(ValueError, match="Received: a world with the open slots dish"):
        UserWriter(World("english", [], ("dish",), (), open_slots=("dish",)))

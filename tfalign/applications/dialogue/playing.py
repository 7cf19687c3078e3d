"""A language model in dialogues: what it says to users, and what becomes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfalign.applications.dialogue.agenda import AgendaUser
from tfalign.applications.dialogue.environment import (
    DialogueEnvironment,
    Memory,
    user_message,
)
from tfalign.applications.dialogue.records import Act, DialogueRecord, Goal
from tfalign.applications.dialogue.templates import ReplyReader, Templates
from tfalign.applications.dialogue.users import ScriptedUser, User
from tfalign.applications.dialogue.world import World
from tfalign.data import PromptRecord, encode_prompts
from tfalign.decoding import Conversation, Greedy, Sampler
from tfalign.decoding.text_user import turns_of
from tfalign.pretrained import Pretrained
from tfalign.rewards.environment import EnvironmentReward
from tfalign.text import Message


class Agendas:
    """Makes agenda users of records with "goal" (a Goal's fields) and "seed".

    Args:
        world: World.
        templates: Templates.
        reader: ReplyReader.
    """

    def __init__(self, world: World, templates: Templates, reader: ReplyReader) -> None:
        self.world = world
        self.templates = templates
        self.reader = reader

    def __call__(self, record: Mapping[str, Any]) -> AgendaUser:
        """The user of a record."""
        goal = Goal(**record["goal"])
        return AgendaUser(goal, self.world, self.templates, self.reader, record["seed"])

    def sayable(self, goals: Sequence[Goal]) -> list[Goal]:
        """The goals that there are words for."""
        found = []
        for goal in goals:
            acts = [Act("inform", slot) for slot in (*goal.constraints, *goal.first)]
            acts += [Act("request", slot) for slot in goal.requests]
            if all(map(self.templates.can_say, acts)):
                found.append(goal)
        return found

    def prompts(self, goals: Sequence[Goal], seed: int) -> list[dict[str, Any]]:
        """See ``prompts_of``."""
        return prompts_of(self, self.world, goals, seed)


def prompts_of(
    make_user: Callable[[Mapping[str, Any]], User], world: World, goals: Sequence[Goal], seed: int
) -> list[dict[str, Any]]:
    """Records of goals with what their users say first.

    Args:
        make_user: record with "goal" and "seed" -> User.
        world: World.
        goals: Goals.
        seed: int.
    """
    found = []
    for number, goal in enumerate(goals):
        record = {"goal": goal._asdict(), "seed": [seed, number]}
        words = Memory(world).hear(make_user(record).begin().words)
        found.append({"prompt": _prompt(words)} | record)
    return found


def scripted(record: Mapping[str, Any]) -> ScriptedUser:
    """The user of a record with "script", the words of each turn."""
    return ScriptedUser(record["script"])


def scripts(world: World, records: Sequence[DialogueRecord]) -> list[dict[str, Any]]:
    """Prompts of dialogues whose users say what they said."""
    found = []
    for record in records:
        words = [world.words(turn.user) for turn in record.turns]
        found.append({"prompt": _prompt(Memory(world).hear(words[0])), "script": words})
    return found


def _prompt(words):
    return [{"role": "user", "content": user_message(words)}]


def play(
    pretrained: Pretrained,
    environment: DialogueEnvironment,
    records: Sequence[Mapping[str, Any]],
    max_new_tokens: int,
    sampler: Sampler | Greedy | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> list[DialogueEnvironment]:
    """Dialogues of a model with the users of records.

    Args:
        pretrained: a language model whose tokenizer is ``sequences.make_tokenizer``'s.
        environment: DialogueEnvironment, copied for each record.
        records: with "prompt", and what the environment's users are made of.
        max_new_tokens: int, of everybody in a dialogue.
        sampler: greedy where None.
        batch_size: int, dialogues at once.
        seed: int, of sampling.

    Returns:
        the environments, as the dialogues left them.
    """
    tokenizer = pretrained.tokenizer
    asked = [
        PromptRecord(tuple(Message(**one) for one in record["prompt"]), row=dict(record))
        for record in records
    ]
    reward = EnvironmentReward(lambda: copy.deepcopy(environment), asked, tokenizer)
    talk = Conversation(
        pretrained.model,
        max_new_tokens,
        reward.user,
        Greedy() if sampler is None else sampler,
        tokenizer.stop_ids,
        tokenizer.pad_id,
    )
    examples = encode_prompts(asked, tokenizer)
    columns = int(examples.lengths.max())
    found = []
    for start in range(0, len(records), batch_size):
        rows = np.arange(start, start + batch_size) % len(records)
        prompts = examples.batch(rows, columns)
        ids = rows.astype("int32")
        said = talk(prompts.token_ids, prompts.mask, seed, ids, records=prompts.rows)
        tokens, mask = np.asarray(said.tokens), np.asarray(said.mask)
        for row in range(min(batch_size, len(records) - start)):
            turns = turns_of(tokens[row], mask[row], tokenizer.stop_ids, tokenizer)
            found.append(_replayed(environment, records[start + row], turns))
    return found


def _replayed(environment, record, turns):
    one = copy.deepcopy(environment)
    one.reset(record)
    for turn in turns:
        if one.step(turn)[2]:
            break
    return one

"""Task-oriented dialogue: records and readers, the database as a speaker, users with agendas, how to judge, and the whole
of it, ``train_dialogue``.

A name is imported when it is first asked for; ``options`` imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfalign.lazy import lazily

if TYPE_CHECKING:
    from tfalign.applications.dialogue.agenda import AgendaUser
    from tfalign.applications.dialogue.belief import read_belief, write_belief
    from tfalign.applications.dialogue.data import Data, open_data
    from tfalign.applications.dialogue.environment import DialogueEnvironment, Exchange
    from tfalign.applications.dialogue.evaluation import (
        Judged,
        Simulated,
        as_numbers,
        bleu,
        judge,
        summarise,
    )
    from tfalign.applications.dialogue.goals import drawn_goals, satisfiable, spoken_values
    from tfalign.applications.dialogue.learned_user import (
        LearnedUser,
        LearnedUsers,
        UserWriter,
    )
    from tfalign.applications.dialogue.options import DialogueOptions
    from tfalign.applications.dialogue.pages import side_by_side, transcript
    from tfalign.applications.dialogue.playing import Agendas, play, scripted, scripts
    from tfalign.applications.dialogue.records import DONTCARE, Act, DialogueRecord, Goal, Turn
    from tfalign.applications.dialogue.sequences import Writer, make_tokenizer, varied
    from tfalign.applications.dialogue.tasks import Task
    from tfalign.applications.dialogue.templates import ReplyReader, Templates
    from tfalign.applications.dialogue.training import train_dialogue
    from tfalign.applications.dialogue.users import Answer, Contentment, Heard, ScriptedUser
    from tfalign.applications.dialogue.world import World

_HOMES = {
    "Act": "records",
    "AgendaUser": "agenda",
    "Agendas": "playing",
    "Answer": "users",
    "Contentment": "users",
    "DONTCARE": "records",
    "Data": "data",
    "DialogueEnvironment": "environment",
    "DialogueOptions": "options",
    "DialogueRecord": "records",
    "Exchange": "environment",
    "Goal": "records",
    "Heard": "users",
    "Judged": "evaluation",
    "LearnedUser": "learned_user",
    "LearnedUsers": "learned_user",
    "ReplyReader": "templates",
    "ScriptedUser": "users",
    "Simulated": "evaluation",
    "Task": "tasks",
    "Templates": "templates",
    "Turn": "records",
    "UserWriter": "learned_user",
    "World": "world",
    "Writer": "sequences",
    "as_numbers": "evaluation",
    "bleu": "evaluation",
    "drawn_goals": "goals",
    "judge": "evaluation",
    "make_tokenizer": "sequences",
    "open_data": "data",
    "play": "playing",
    "read_belief": "belief",
    "satisfiable": "goals",
    "scripted": "playing",
    "scripts": "playing",
    "side_by_side": "pages",
    "spoken_values": "goals",
    "summarise": "evaluation",
    "train_dialogue": "training",
    "transcript": "pages",
    "varied": "sequences",
    "write_belief": "belief",
}

__all__ = [
    "Act",
    "AgendaUser",
    "Agendas",
    "Answer",
    "Contentment",
    "DONTCARE",
    "Data",
    "DialogueEnvironment",
    "DialogueOptions",
    "DialogueRecord",
    "Exchange",
    "Goal",
    "Heard",
    "Judged",
    "LearnedUser",
    "LearnedUsers",
    "ReplyReader",
    "ScriptedUser",
    "Simulated",
    "Task",
    "Templates",
    "Turn",
    "UserWriter",
    "World",
    "Writer",
    "as_numbers",
    "bleu",
    "drawn_goals",
    "judge",
    "make_tokenizer",
    "open_data",
    "play",
    "read_belief",
    "satisfiable",
    "scripted",
    "scripts",
    "side_by_side",
    "spoken_values",
    "summarise",
    "train_dialogue",
    "transcript",
    "varied",
    "write_belief",
]


__getattr__ = lazily(__name__, _HOMES)

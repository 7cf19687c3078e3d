"""Task-oriented dialogue: records and readers, the database as a speaker, users with agendas, and how to judge."""

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
    user_conversations,
)
from tfalign.applications.dialogue.pages import side_by_side, transcript
from tfalign.applications.dialogue.playing import Agendas, play, scripted, scripts
from tfalign.applications.dialogue.records import DONTCARE, Act, DialogueRecord, Goal, Turn
from tfalign.applications.dialogue.sequences import Writer, make_tokenizer, varied
from tfalign.applications.dialogue.templates import ReplyReader, Templates
from tfalign.applications.dialogue.users import Answer, Contentment, Heard, ScriptedUser
from tfalign.applications.dialogue.world import World

__all__ = [
    "DONTCARE",
    "Act",
    "AgendaUser",
    "Agendas",
    "Answer",
    "Data",
    "DialogueEnvironment",
    "DialogueRecord",
    "Exchange",
    "Contentment",
    "Goal",
    "Heard",
    "Judged",
    "LearnedUser",
    "LearnedUsers",
    "ReplyReader",
    "ScriptedUser",
    "Simulated",
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
    "transcript",
    "user_conversations",
    "varied",
    "write_belief",
]

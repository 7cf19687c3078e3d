"""Decoding: samplers, the compiled loop, constraints, beam search, encoder-decoders, and streaming."""

from tfalign.decoding.beam_search import BeamSearch
from tfalign.decoding.constraints import Automaton, Constraint, ConstraintError, StateConstraint
from tfalign.decoding.continuous import ContinuousGenerator
from tfalign.decoding.continuous_conversation import ContinuousConversation
from tfalign.decoding.conversation import Conversation
from tfalign.decoding.encoder_decoder import SourceRead, Translator
from tfalign.decoding.generate import Generator, generate
from tfalign.decoding.graph_walk import GraphWalk, HiddenAnswerWalk
from tfalign.decoding.other_answers_walk import OtherAnswersWalk
from tfalign.decoding.samplers import Greedy, Sampler
from tfalign.decoding.several_best import Ranked, SeveralBest
from tfalign.decoding.stream import Streamer
from tfalign.decoding.text_user import Said, TextUser

__all__ = [
    "Automaton",
    "BeamSearch",
    "Constraint",
    "ConstraintError",
    "ContinuousConversation",
    "ContinuousGenerator",
    "Conversation",
    "Generator",
    "GraphWalk",
    "Greedy",
    "HiddenAnswerWalk",
    "OtherAnswersWalk",
    "Ranked",
    "Said",
    "Sampler",
    "SeveralBest",
    "SourceRead",
    "StateConstraint",
    "Streamer",
    "TextUser",
    "Translator",
    "generate",
]

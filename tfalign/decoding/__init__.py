"""Decoding: samplers, the compiled loop, beam search, encoder-decoders, and streaming."""

from tfalign.decoding.beam_search import BeamSearch
from tfalign.decoding.encoder_decoder import SourceRead, Translator
from tfalign.decoding.generate import Generator, generate
from tfalign.decoding.samplers import Greedy, Sampler
from tfalign.decoding.stream import Streamer

__all__ = [
    "BeamSearch",
    "Generator",
    "Greedy",
    "Sampler",
    "SourceRead",
    "Streamer",
    "Translator",
    "generate",
]

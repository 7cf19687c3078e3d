"""Decoding: samplers, the compiled loop, and streaming."""

from tfalign.decoding.generate import Generator, generate
from tfalign.decoding.samplers import Greedy, Sampler
from tfalign.decoding.stream import Streamer

__all__ = ["Generator", "Greedy", "Sampler", "Streamer", "generate"]

"""What a constraint costs the decode loop: pairs of free and constrained decoding, in turn.

    python -m experiments.benchmarks.constraint

The constraint is a random automaton of --states states in each of which half of the tokens may follow; no token stops
either loop, so both draw all tokens. Prints the median over --pairs of the constrained loop's seconds over the free
one's, with their range, for two shapes of model and batch.

Result: 0.99 to 1.03 (docs/constraints.md).
"""

from __future__ import annotations

import time

import numpy as np

from experiments.launch import launch
from tfalign.decoding import Automaton, Generator
from tfalign.evaluation.markdown import table
from tfalign.models import CausalLM, GPTConfig
from tfalign.options import option, option_record

# vocabulary, width, layers, heads; rows, prompt and response tokens
SHAPES = (((512, 128, 4, 4), (32, 16, 48)), ((5000, 256, 8, 4), (16, 32, 64)))


@option_record
class ConstraintConfig:
    states: int = option(20, "States of the automaton.", at_least=1)
    pairs: int = option(8, "Pairs of runs.", at_least=1)


def main(config):
    rows = [[*map(str, (*model, *batch)), *ratios(model, batch, config)] for model, batch in SHAPES]
    header = ["vocabulary", "width", "layers", "heads", "rows", "prompt", "new tokens"]
    print(table([*header, "constrained / free", "range"], rows))


def ratios(of_model, of_batch, config):
    """(median, range) of the seconds of constrained decoding over those of free decoding."""
    random, (vocabulary, *_), (rows, prompt, length) = (
        np.random.default_rng(0),
        of_model,
        of_batch,
    )
    model = CausalLM(GPTConfig(*of_model, max_positions=prompt + length))
    shape = (config.states, vocabulary)
    following = np.where(random.random(shape) < 0.5, random.integers(0, config.states, shape), -1)
    stop = vocabulary - 1
    constraint = Automaton(following, np.ones(config.states, "bool"), [stop], length)
    loops = [Generator(model, length, constraint=x) for x in (None, constraint)]
    prompts = random.integers(0, stop, (rows, prompt)).astype("int32")
    free, constrained = np.array(
        [[seconds(loop, prompts, seed) for loop in loops] for seed in range(config.pairs + 1)]
    )[1:].T  # the first pair compiles
    found = constrained / free
    return f"{np.median(found):.2f}", f"{found.min():.2f} to {found.max():.2f}"


def seconds(loop, prompts, seed):
    began = time.perf_counter()
    np.asarray(loop(prompts, seed=seed).tokens)
    return time.perf_counter() - began


if __name__ == "__main__":
    launch(ConstraintConfig, main, __doc__)

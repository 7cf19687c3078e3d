"""Measures environment steps per second: the fused loop, and TF-Agents' driver in the graph and on the host.

    python -m experiments.benchmarks.benchmark --suites=environment
    python -m experiments.benchmarks.benchmark --suites=environment --demo=runs/demo

The task is the demo's, with its policy and its reward model, in 64 rows; a step is one token in one row.
Without --demo the models have the demo's shape and random weights, and no response ends before the limit; with
it they are the demo's own, responses end at different lengths, and rows are at different steps. All paths are
timed alternately in one process, and the medians of their rates are reported:

    decode          the compiled decode loop, without a reward
    fused           the loop, then the reward model on the whole batch: the same process
    driver          DynamicStepDriver, TextGenerationTFEnvironment, GPTPolicy
    unscored        as ``driver``, in an environment without a reward
    python          DynamicStepDriver, one TextGenerationPyEnvironment of 64 rows, GPTPolicy
    python_batch    DynamicStepDriver, TF-Agents' batch of 64 TextGenerationPyEnvironments, GPTPolicy
    python_network  as ``python_batch``, with TF-Agents' ActorPolicy on the model without a cache

"late / early" is the time of a driver's step in the last third of a response, divided by that in the first
third, without the first step, which reads prompts, and the last one, which computes rewards.

Result: with random weights the driver reaches 0.55 of the fused loop, and is 37 and 48 times as fast as
TF-Agents' batch on the host, with and without a cache (docs/results/tf_agents.md).
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.decoding import Generator
from tfalign.environments import (
    GPTPolicy,
    TextGenerationMDP,
    TextGenerationPyEnvironment,
    TextGenerationTFEnvironment,
)
from tfalign.functional.masking import last_true_index
from tfalign.models import CausalLM, GPTConfig, from_pretrained
from tfalign.pretrained import load_tokenizer
from tfalign.rewards import LearnedReward, RewardModel
from tfalign.trainers.data import EMBEDDED, read_split
from tfalign.trainers.options import DataOptions
from tfalign.types import Prompts

# steps of a run on the host, where a step is slow; too few for a reward at the limit
HOST_STEPS = 12


class Task(NamedTuple):
    """The task of all paths: an MDP, a policy and the number of rows."""

    mdp: TextGenerationMDP
    policy: CausalLM
    rows: int


def measure(shape, repeats):
    """Steps per second of all paths, and their ratios.

    Args:
        shape: dict, see ``experiments.benchmarks.benchmark.SHAPES``; "demo" is the run directory of a demo,
            or None for random weights.
        repeats: int, timed runs per path.

    Returns:
        dict: "seconds" and "tokens" of the driver's runs, "steps_per_second" by path, "ratios".
    """
    task = _random_task(shape) if shape["demo"] is None else _demo_task(shape)
    environment = TextGenerationTFEnvironment(task.mdp, task.rows)
    unscored = TextGenerationTFEnvironment(dataclasses.replace(task.mdp, score=_nothing), task.rows)
    paths = {
        "decode": _fused(task, scores=False),
        "fused": _fused(task, scores=True),
        "unscored": _driven(unscored, _cached(task, unscored), task.mdp.max_new_tokens),
        "driver": _driven(environment, _cached(task, environment), task.mdp.max_new_tokens),
    } | _python_paths(task)
    runs = {name: [] for name in paths}
    thirds = _Thirds(task, environment)
    for _ in range(2 + repeats):
        for name, path in paths.items():
            start = time.perf_counter()
            steps = path()
            runs[name].append((steps, time.perf_counter() - start))
        thirds()
    timed = {name: pairs[2:] for name, pairs in runs.items()}  # without two for warm-up
    rates = {name: statistics.median(n / s for n, s in pairs) for name, pairs in timed.items()}
    return {
        "seconds": [seconds for _, seconds in timed["driver"]],
        "tokens": statistics.median(steps for steps, _ in timed["driver"]),
        "steps_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratios": {
            f"driver / {name}": round(rates["driver"] / rate, 2)
            for name, rate in rates.items()
            if name not in ("driver", "unscored", "decode")
        }
        | {
            "unscored / decode": round(rates["unscored"] / rates["decode"], 2),
            "late / early": round(thirds.late_over_early(), 3),
        },
    }


def _nothing(token_ids, padding_mask, response_mask):
    return tf.zeros(token_ids.shape[:1])


def _random_task(shape):
    config = GPTConfig.from_preset(
        "mini_llama",
        vocab_size=shape["vocab"],
        width=shape["width"],
        num_layers=shape["layers"],
        num_heads=shape["heads"],
        max_positions=shape["prompt"] + shape["new"],
    )
    size = (8 * shape["batch"], shape["prompt"])
    token_ids = np.random.default_rng(0).integers(0, shape["vocab"], size, "int32")
    reward = LearnedReward(RewardModel(config))
    prompts = Prompts(token_ids, np.ones(size, "bool"))
    mdp = TextGenerationMDP(prompts, reward, shape["new"], shape["vocab"])
    return Task(mdp, CausalLM(config), shape["batch"])


def _demo_task(shape):
    models = Path(shape["demo"]) / "models"
    policy = from_pretrained(str(models / "sft"))
    tokenizer = load_tokenizer(str(models / "sft"))
    records = read_split(EMBEDDED, PromptRecord, "train", DataOptions())
    examples = encode_prompts(records, tokenizer, shape["prompt"], "skip")
    (prompts,) = BatchStream(examples, len(examples), [shape["prompt"]], epochs=1)
    mdp = TextGenerationMDP(
        prompts,
        LearnedReward(from_pretrained(str(models / "reward_model"))),
        shape["new"],
        policy.config.vocab_size,
        tokenizer.stop_ids,
        tokenizer.pad_id,
    )
    return Task(mdp, policy, shape["batch"])


# A path is a function without arguments that runs once and returns its number of steps.


def _fused(task, scores):
    mdp, prompts = task.mdp, task.mdp.prompts.each(lambda field: field[: task.rows])
    generator = Generator(task.policy, mdp.max_new_tokens, stop_tokens=mdp.stop_tokens)
    seeds = iter(range(10**6))

    def run():
        generation = generator(*prompts, next(seeds))
        mask = np.asarray(generation.mask)
        if scores:
            token_ids, padding_mask = (
                np.concatenate(pair, axis=1)
                for pair in ((prompts.token_ids, generation.tokens), (prompts.mask, mask))
            )
            np.asarray(mdp.score(token_ids, padding_mask, mask))
        return int(mask.sum())

    return run


def _cached(task, environment):
    specs = environment.time_step_spec(), environment.action_spec()
    return GPTPolicy(task.policy, *specs, task.mdp.max_new_tokens)


def _driven(environment, policy, iterations):
    """A path: ``iterations`` steps of every row by TF-Agents' driver, from the start of an episode."""
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.metrics.tf_metrics import EnvironmentSteps

    steps = EnvironmentSteps()
    driver = DynamicStepDriver(environment, policy, [steps], num_steps=10**9)

    @tf.function
    def run():
        driver.run(environment.reset(), maximum_iterations=iterations)
        return steps.result()

    def count():
        before = int(steps.result())
        return int(run()) - before

    return count


def _python_paths(task):
    from tf_agents.environments.batched_py_environment import BatchedPyEnvironment
    from tf_agents.environments.tf_py_environment import TFPyEnvironment
    from tf_agents.policies.actor_policy import ActorPolicy

    of_rows = TFPyEnvironment(TextGenerationPyEnvironment(task.mdp, task.rows))
    singles = [TextGenerationPyEnvironment(task.mdp, seed=row) for row in range(task.rows)]
    batch = TFPyEnvironment(BatchedPyEnvironment(singles, multithreading=False))
    uncached = ActorPolicy(
        batch.time_step_spec(), batch.action_spec(), _network(task, batch.observation_spec())
    )
    return {
        "python": _driven(of_rows, _cached(task, of_rows), HOST_STEPS),
        "python_batch": _driven(batch, _cached(task, batch), HOST_STEPS),
        "python_network": _driven(batch, uncached, HOST_STEPS),
    }


def _network(task, observation_spec):
    """The model as a TF-Agents network, which reads the whole text in every step."""
    import tensorflow_probability as tfp
    from tf_agents.networks.network import Network

    model = task.policy

    @tf.function(jit_compile=True)
    def logits(token_ids, padding_mask):
        mask = tf.cast(padding_mask, tf.bool)
        hidden = model.backbone(token_ids, padding_mask=mask)
        return model.logits(tf.gather(hidden, last_true_index(mask), batch_dims=1))

    class Uncached(Network):
        def call(self, observation, step_type=None, network_state=(), training=False):
            last = logits(observation["token_ids"], observation["padding_mask"])
            return tfp.distributions.Categorical(last, dtype=tf.int32), network_state

    return Uncached(observation_spec, name="model")


class _Thirds:
    """Times the driver's steps in the first and in the last third of responses."""

    def __init__(self, task, environment):
        from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver

        policy = _cached(task, environment)
        driver = DynamicStepDriver(environment, policy, num_steps=10**9)
        self._run = tf.function(
            lambda step, state, count: driver.run(step, state, maximum_iterations=count)
        )
        self._environment, self._state = environment, policy.get_initial_state(task.rows)
        third = (task.mdp.max_new_tokens - 2) // 3
        self._counts = [1, third, task.mdp.max_new_tokens - 2 - 2 * third, third]
        self._seconds = []

    def __call__(self):
        """Runs one response and records the seconds of its thirds."""
        step, state, seconds = self._environment.reset(), self._state, []
        for count in self._counts:
            start = time.perf_counter()
            step, state = self._run(step, state, tf.constant(count))
            step.step_type.numpy()
            seconds.append(time.perf_counter() - start)
        self._seconds.append((seconds[1], seconds[3]))

    def late_over_early(self):
        """Median seconds of the last third over those of the first."""
        early, late = (statistics.median(part) for part in zip(*self._seconds[2:]))
        return late / early

"""What a run will need before it is started: parameters, memory by component, operations of a step.

    python -m experiments.plan --model=gpt2 --algorithm=ppo --device=h100 --batch_size=64
    python -m experiments.plan --model=DIR --algorithm=sft --device=24,50,0.17   # GB, GB/s, TFLOP/s
    python -m experiments.plan --model=small --algorithm=grpo --check

A model is a preset or a directory, of which config.json is enough. The formulas, and what they leave
out, stand in ``tfalign.training.costs``. The seconds are a bound, at a device's peak: nothing can be faster,
and 30 to 50% of it is good. ``--check`` runs one step with random weights and compares with what XLA
compiled; BUILD_NOTES.md has what that printed.
"""

from __future__ import annotations

import dataclasses
import math
import resource
import tempfile
from typing import NamedTuple

import numpy as np

from experiments import compiled
from experiments.launch import launch, option
from tfalign.evaluation.markdown import table
from tfalign.models import (
    Actor,
    CausalLM,
    GPTConfig,
    SharedActorCritic,
    read_config,
)
from tfalign.models.gpt import PRESETS
from tfalign.models.lora import LoRA, WithoutAdapters, add_adapters
from tfalign.objectives import DPO, LanguageModelling, RewardModelling
from tfalign.rewards import LearnedReward, RewardModel
from tfalign.training import costs
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import adamw
from tfalign.training.rollouts import RolloutConfig, RolloutWorker
from tfalign.types import LanguageModelBatch, PreferencePairs, Prompts, RankedResponses

ON_POLICY = ("ppo", "grpo")
RULE = "rule"
PHASES = {"run": "generation", "score": "reward", "_compare": "reference", "_step": "update"}


class Device(NamedTuple):
    """Makers' data sheets; matrix products without sparsity, those of float32 in TF32 or bfloat16 where
    that is what TensorFlow and XLA do."""

    memory: float  # GB
    bandwidth: float  # GB/s
    float32: float  # TFLOP/s
    mixed_bfloat16: float  # TFLOP/s


DEVICES = {
    "l4": Device(24, 300, 60, 121),
    "a100": Device(80, 2_039, 156, 312),
    "h100": Device(80, 3_350, 495, 989),
    "h200": Device(141, 4_800, 495, 989),
    "tpu_v4": Device(32, 1_228, 275, 275),
    "tpu_v5e": Device(16, 819, 197, 197),
    "tpu_v5p": Device(95, 2_765, 459, 459),
}


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    model: str = option("gpt2", f"directory with config.json, or one of {', '.join(PRESETS)}")
    algorithm: str = option(
        "ppo", "what is run (others on rollouts: as ppo)", ["sft", "reward", "dpo", *ON_POLICY]
    )
    device: str = option(
        "h100", f"one of {', '.join(DEVICES)}, or numbers: GB of memory,GB/s,TFLOP/s"
    )
    reward_model: str = option("", f"as --model; the policy's shape where empty, or {RULE}")
    batch_size: int = option(64, "rows of text, pairs, or responses")
    max_prompt_tokens: int = option(48, "of a prompt; 0 for text without one")
    max_new_tokens: int = option(48, "of an answer, or of the text")
    minibatch_size: int = option(-1, "responses of an update; -1 for the algorithm's own")
    epochs: int = option(-1, "passes over the rollouts; -1 for the algorithm's own")
    accumulate: int = option(1, "micro-batches an update is cut into")
    lora_rank: int = option(0, "of adapters on all Dense layers; 0 trains all weights")
    precision: str = option("float32", "Keras dtype policy", ["float32", "mixed_bfloat16"])
    check: bool = option(False, "run a step and compare with what XLA compiled")


def main(config):
    device, shape, reward_shape = device_of(config), shape_of(config.model), reward_of(config)
    work = work_of(config)
    planned = plan(config.algorithm, shape, work, reward_shape)
    print(f"{config.model}: {costs.count_parameters(shape):,} parameters")
    print(_page(shape, planned, work, device))
    if config.check:
        print(_comparison(shape, planned, measure(config.algorithm, shape, work, reward_shape)))


def device_of(config):
    """The Device a config names or spells out.

    Raises:
        ValueError: if it does neither.
    """
    if config.device in DEVICES:
        return DEVICES[config.device]
    try:
        memory, bandwidth, speed = (float(number) for number in config.device.split(","))
    except ValueError:
        raise ValueError(
            f"--device is one of {', '.join(DEVICES)}, or three numbers, such as 24,50,0.17. "
            f"Received: {config.device}"
        ) from None
    return Device(memory, bandwidth, speed, speed)


def shape_of(model):
    """The GPTConfig of a preset or a directory.

    Raises:
        ValueError: if it is neither, or an encoder.
    """
    if model in PRESETS:
        return PRESETS[model]
    shape = read_config(model)
    if not isinstance(shape, GPTConfig):
        raise ValueError(f"Plans are of decoders. Received: {model}, a {type(shape).__name__}")
    return shape


def reward_of(config):
    """The GPTConfig of the reward model, or None."""
    if config.reward_model == RULE:
        return None
    return shape_of(config.reward_model or config.model)


def work_of(config):
    """The ``costs.Work`` of a config."""
    epochs, minibatch = 1, None
    if config.algorithm in ON_POLICY:
        chosen = ALGORITHMS[config.algorithm]
        epochs = chosen.epochs if config.epochs == -1 else config.epochs
        minibatch = config.minibatch_size
        minibatch = config.batch_size // chosen.minibatches if minibatch == -1 else minibatch
    return costs.Work(
        config.batch_size,
        config.max_prompt_tokens,
        config.max_new_tokens,
        minibatch,
        epochs,
        config.accumulate,
        config.lora_rank,
        config.precision,
    )


def plan(algorithm, shape, work, reward_shape=None):
    """The ``costs.Costs`` of a step.

    Args:
        algorithm: str.
        shape: GPTConfig.
        work: costs.Work.
        reward_shape: GPTConfig of the reward model of PPO and GRPO; None for a rule.
    """
    if algorithm in ON_POLICY:
        return costs.on_policy_costs(shape, work, reward_shape)
    of = {"sft": costs.supervised_costs, "reward": costs.reward_costs}
    return of.get(algorithm, costs.preference_costs)(shape, work)


class Measured(NamedTuple):
    """What a step was seen to take."""

    flops: dict[str, float]  # as ``Costs.flops``
    parameters: int  # of the language model
    resident: int  # bytes of all variables
    passing: dict[str, int]  # bytes each program takes besides
    growth: int  # bytes by which the process grew at most, the compiler's own included


def measure(algorithm, shape, work, reward_shape=None):
    """Runs a step with random weights and reads what XLA compiled for it.

    Args: as ``plan``.

    Returns:
        Measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        compiled.watch(folder)
        before = _most_bytes()
        model = CausalLM(shape, dtype=work.precision)
        parameters = model.count_params()
        if algorithm in ON_POLICY:
            variables, times = _iteration(algorithm, model, work, reward_shape)
        else:
            variables, times = _update(algorithm, model, work), {}
        programs = compiled.programs(folder, trips=work.response)
    flops, passing = {}, {}
    for program in programs:
        phase = PHASES.get(program.name)
        if phase is not None:
            flops[phase] = flops.get(phase, 0.0) + times.get(phase, 1) * program.flops
            passing[phase] = max(passing.get(phase, 0), program.temporary)
    held = {id(v): math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in variables}
    growth = _most_bytes() - before
    return Measured(flops, parameters, sum(held.values()), passing, growth)


def _most_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _update(algorithm, model, work):
    """One update; returns the variables there are."""
    adapted(model, work)
    rows, columns = work.rows, work.columns
    ids = np.ones((rows, columns), "int32")
    seen = ids == 1
    if algorithm == "sft":
        objective, batch = LanguageModelling(), LanguageModelBatch(ids, seen, seen, ids)
    elif algorithm == "reward":
        model = RewardModel(model.backbone)
        margin = np.zeros(rows, "float32")
        objective, batch = RewardModelling(), PreferencePairs(ids, seen, ids, seen, margin)
    else:
        both = np.stack([ids, ids], 1)
        said, reference = both[..., -work.response :] == 1, np.zeros((rows, 2), "float32")
        objective, batch = DPO(), RankedResponses(both, both == 1, said, reference)
    learner = Learner(model, objective, adamw(1e-5), work.accumulate)
    learner.update(batch)
    return model.variables + learner.optimizer.variables


def _iteration(algorithm, model, work, reward_shape):
    """One iteration; returns the variables there are and how often a program ran."""
    chosen = ALGORITHMS[algorithm]
    reference = CausalLM(model.config, dtype=work.precision)
    if work.lora_rank:
        adapted(model, work)
        reference = WithoutAdapters(model)
    variables = reference.variables
    reward = _rule
    if reward_shape is not None:
        scorer = RewardModel(reward_shape, dtype=work.precision)
        reward, variables = LearnedReward(scorer), variables + scorer.variables
    actor_critic = (SharedActorCritic if chosen.needs_critic else Actor)(model)
    rollouts = RolloutConfig(work.response, group_size=chosen.group_size)
    worker = RolloutWorker(actor_critic, reference, reward, rollouts, chosen.credit)
    learner = Learner(actor_critic, chosen.loss, adamw(1e-5), work.accumulate)
    ids = np.ones((work.rows // chosen.group_size, work.prompt), "int32")
    given = {"seed": 0, "step": 1, "epochs": work.epochs, "minibatch_size": work.minibatch}
    improve(worker, learner, Prompts(ids, ids == 1), FixedKL(0.0), **given)
    variables = variables + actor_critic.variables + learner.optimizer.variables
    return variables, {"update": work.epochs * work.rows // work.minibatch}


def adapted(model, work):
    if work.lora_rank:
        add_adapters(model, LoRA(work.lora_rank, targets=("block_",)))


def _rule(token_ids, padding_mask, response_mask):
    return np.mean(response_mask, axis=1, dtype="float32")


def seconds_at_best(flops, read, device, precision):
    """Of each phase, at the device's peak; the decode loop must also read its weights and cache.

    Args:
        flops: dict, see ``costs.Costs``.
        read: float, bytes the decode loop reads.
        device: Device.
        precision: str.

    Returns:
        dict of float.
    """
    seconds = {name: count / (1e12 * getattr(device, precision)) for name, count in flops.items()}
    if "generation" in seconds:
        seconds["generation"] = max(seconds["generation"], read / (1e9 * device.bandwidth))
    return seconds


def _page(shape, planned, work, device):
    decoded = shape, work.rows, work.prompt, work.response
    read = costs.decode_bytes(*decoded, work.precision)
    seconds = seconds_at_best(planned.flops, read, device, work.precision)
    phases = [
        (name, _billions(flops), f"{seconds[name]:.3g}") for name, flops in planned.flops.items()
    ]
    whole = ("a step", _billions(planned.total_flops), f"{sum(seconds.values()):.3g}")
    memory = [(name, _megabytes(size)) for name, size in planned.resident.items()]
    memory += [(f"in turn: {name}", _megabytes(size)) for name, size in planned.passing.items()]
    largest = ("all, with the largest in turn", _megabytes(planned.total_memory))
    share = planned.total_memory / (1e9 * device.memory)
    verdict = "it does not fit" if share > 1 else "it fits"
    return "\n\n".join(
        [
            table(("phase", "GFLOP", "seconds at best"), [*phases, whole]),
            table(("memory", "MB"), [*memory, largest]),
            f"{share:.1%} of the device's {device.memory:g} GB: {verdict}",
        ]
    )


def _comparison(shape, planned, measured):
    pairs = {"parameters": (costs.count_parameters(shape), measured.parameters)}
    pairs |= {f"GFLOP, {n}": (f / 1e9, measured.flops[n] / 1e9) for n, f in planned.flops.items()}
    whole = measured.resident + max(measured.passing.values())
    pairs["GFLOP, a step"] = planned.total_flops / 1e9, sum(measured.flops.values()) / 1e9
    pairs["MB of variables"] = sum(planned.resident.values()) / 1e6, measured.resident / 1e6
    pairs["MB in all"] = planned.total_memory / 1e6, whole / 1e6
    rows = [(name, _short(p), _short(m), f"{p / m:.3f}") for name, (p, m) in pairs.items()]
    grown = f"The process grew by {measured.growth / 1e6:,.0f} MB, the compiler's own included."
    return table(("", "planned", "compiled", "planned / compiled"), rows) + f"\n\n{grown}"


def _short(value):
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _billions(count):
    return f"{count / 1e9:,.1f}"


def _megabytes(size):
    return f"{size / 1e6:,.1f}"


if __name__ == "__main__":
    launch(PlanConfig, main, __doc__)

"""What a run will need before it is started: parameters, memory by component, operations of a step.

    python -m experiments.plan --model=gpt2 --algorithm=ppo --device=h100 --batch_size=64
    python -m experiments.plan --model=DIR --algorithm=sft --device=24,50,0.17,8   # GB, GB/s, TFLOP/s, GB/s
    python -m experiments.plan --model=small --algorithm=grpo --check
    python -m experiments.plan --model=DIR --device=tpu_v5p --mesh=fsdp:8,model:4 --critic=separate
    KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=8 \\
        python -m experiments.plan --model=small --mesh=data:2,model:4 --check

A model is a preset or a directory, of which config.json is enough. The formulas, and what they leave
out, stand in ``tfalign.training.costs``. The seconds are a bound, at a device's peak: nothing can be faster,
and 30 to 50% of it is good. ``--check`` runs one step with random weights and compares with what XLA
compiled; BUILD_NOTES.md has what that printed. On a mesh (see ``models.layouts``) all numbers are of one
device, with what it sends to others (``tfalign.training.scaling``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import keras

from experiments.benchmarks.measured_step import measure
from experiments.launch import launch
from tfalign.evaluation.markdown import table
from tfalign.models import GPTConfig, read_config
from tfalign.models.gpt import PRESETS
from tfalign.models.layouts import parse_mesh
from tfalign.options import option, option_record
from tfalign.training import costs, scaling
from tfalign.training.algorithms import ALGORITHMS

RULE = "rule"
PHASES = {"run": "generation", "score": "reward", "_compare": "reference", "_step": "update"}


class Device(NamedTuple):
    """Makers' data sheets; matrix products without sparsity, those of float32 in TF32 or bfloat16 where
    that is what TensorFlow and XLA do."""

    memory: float  # GB
    bandwidth: float  # GB/s
    float32: float  # TFLOP/s
    mixed_bfloat16: float  # TFLOP/s
    link: float  # GB/s a device sends to others of its machine or slice, all links together


DEVICES = {
    "l4": Device(24, 300, 60, 121, 32),
    "a100": Device(80, 2_039, 156, 312, 300),
    "h100": Device(80, 3_350, 495, 989, 450),
    "h200": Device(141, 4_800, 495, 989, 450),
    "tpu_v4": Device(32, 1_228, 275, 275, 300),
    "tpu_v5e": Device(16, 819, 197, 197, 200),
    "tpu_v5p": Device(95, 2_765, 459, 459, 600),
}


@option_record
class PlanConfig:
    model: str = option("gpt2", f"directory with config.json, or one of {', '.join(PRESETS)}")
    algorithm: str = option(
        "ppo",
        "what is run (others on rollouts: as ppo)",
        ["sft", "reward", "dpo", *costs.ON_POLICY],
    )
    device: str = option(
        "h100", f"one of {', '.join(DEVICES)}, or numbers: GB of memory,GB/s,TFLOP/s,GB/s of links"
    )
    mesh: str = option("", 'devices: "data:8" or "fsdp:8", rows; "model:4", heads; or both')
    reward_model: str = option("", f"as --model; the policy's shape where empty, or {RULE}")
    critic: str = option(
        "shared", "of PPO: on the policy's trunk, or a model of its shape", ["shared", "separate"]
    )
    batch_size: int = option(64, "rows of text, pairs, or responses", at_least=1)
    max_prompt_tokens: int = option(48, "of a prompt; 0 for text without one", at_least=0)
    max_new_tokens: int = option(48, "of an answer, or of the text", at_least=1)
    minibatch_size: int = option(
        -1, "responses of an update; -1 for the algorithm's own", at_least=1, also=(-1,)
    )
    epochs: int = option(
        -1, "passes over the rollouts; -1 for the algorithm's own", at_least=1, also=(-1,)
    )
    accumulate: int = option(1, "micro-batches an update is cut into", at_least=1)
    lora_rank: int = option(0, "of adapters on all Dense layers; 0 trains all weights", at_least=0)
    precision: str = option("float32", "Keras dtype policy", ["float32", "mixed_bfloat16"])
    check: bool = option(False, "run a step and compare with what XLA compiled")

    def __post_init__(self):
        if self.critic == "separate" and self.algorithm != "ppo":
            raise ValueError(
                f"--algorithm={self.algorithm} has no critic. Received: critic={self.critic}"
            )


def main(config):
    device, models, work = device_of(config), models_of(config), work_of(config)
    mesh = parse_mesh(config.mesh) if config.mesh else None
    planned = plan(config.algorithm, models, work, mesh)
    parameters = costs.count_parameters(models.policy)
    print(f"{config.model}: {parameters:,} parameters")
    print(_page(planned, decode_bytes(models.policy, work, mesh), work.precision, device))
    if config.check:
        check_backend(mesh)
        measured = measure(config.algorithm, models, work, mesh)
        print(_comparison(parameters, planned, measured))


def device_of(config):
    """The Device a config names or spells out.

    Raises:
        ValueError: if it does neither.
    """
    if config.device in DEVICES:
        return DEVICES[config.device]
    try:
        memory, bandwidth, speed, link = (float(number) for number in config.device.split(","))
        if not all(0 < number < math.inf for number in (memory, bandwidth, speed, link)):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"--device is one of {', '.join(DEVICES)}, or four numbers, each above 0, such as 24,50,0.17,10. "
            f"Received: {config.device}"
        ) from None
    return Device(memory, bandwidth, speed, speed, link)


def models_of(config):
    """The ``costs.Models`` of a config."""
    policy = shape_of(config.model)
    reward = None
    if config.reward_model != RULE:
        reward = shape_of(config.reward_model or config.model)
    return costs.Models(policy, reward, policy if config.critic == "separate" else None)


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


def work_of(config):
    """The ``costs.Work`` of a config."""
    epochs, minibatch = 1, None
    if config.algorithm in costs.ON_POLICY:
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


def plan(algorithm, models, work, mesh=None):
    """The ``scaling.Scaled`` of a step: of each device of a mesh, or of one alone, that sends nothing."""
    if mesh is None:
        return scaling.Scaled(costs.costs_of(algorithm, models, work), {})
    return scaling.scale(algorithm, models, work, mesh)


def decode_bytes(shape, work, mesh=None):
    """What the decode loop reads, of each device of a mesh or of one alone."""
    if mesh is None:
        return costs.decode_bytes(shape, work.rows, work.prompt, work.response, work.precision)
    return scaling.decode_bytes(shape, work, mesh)


def check_backend(mesh):
    """Raises a ValueError if a mesh's programs cannot be compiled in this process."""
    if mesh and keras.backend.backend() != "jax":
        raise ValueError(
            "--check of a mesh needs KERAS_BACKEND=jax. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )


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


def _page(planned, read, precision, device):
    of_step, sent = planned
    seconds = seconds_at_best(of_step.flops, read, device, precision)
    phases = [
        (
            name,
            _billions(flops),
            f"{seconds[name]:.3g}",
            _megabytes(sent.get(name, 0.0)),
            f"{sent.get(name, 0.0) / (1e9 * device.link):.3g}",
        )
        for name, flops in of_step.flops.items()
    ]
    total_sent = sum(sent.values())
    whole = (
        "a step",
        _billions(of_step.total_flops),
        f"{sum(seconds.values()):.3g}",
        _megabytes(total_sent),
        f"{total_sent / (1e9 * device.link):.3g}",
    )
    columns = ("phase", "GFLOP", "seconds at best", "MB sent", "seconds at best")
    used = len(columns) if sent else 3
    memory = [(name, _megabytes(size)) for name, size in of_step.resident.items()]
    memory += [(f"in turn: {name}", _megabytes(size)) for name, size in of_step.passing.items()]
    largest = ("all, with the largest in turn", _megabytes(of_step.total_memory))
    share = of_step.total_memory / (1e9 * device.memory)
    verdict = "it does not fit" if share > 1 else "it fits"
    return "\n\n".join(
        [
            table(columns[:used], [row[:used] for row in (*phases, whole)]),
            table(("memory", "MB"), [*memory, largest]),
            f"{share:.1%} of the device's {device.memory:g} GB: {verdict}",
        ]
    )


def _comparison(parameters, planned, measured):
    of_step, sent = planned
    pairs = {"parameters": (parameters, measured.parameters)}
    pairs |= {f"GFLOP, {n}": (f / 1e9, measured.flops[n] / 1e9) for n, f in of_step.flops.items()}
    whole = measured.resident + max(measured.passing.values())
    pairs["GFLOP, a step"] = of_step.total_flops / 1e9, sum(measured.flops.values()) / 1e9
    pairs["MB of variables"] = sum(of_step.resident.values()) / 1e6, measured.resident / 1e6
    pairs["MB in all"] = of_step.total_memory / 1e6, whole / 1e6
    if sent:
        pairs |= {f"MB sent, {n}": (s / 1e6, measured.sent[n] / 1e6) for n, s in sent.items()}
        pairs["MB sent, a step"] = sum(sent.values()) / 1e6, sum(measured.sent.values()) / 1e6
    rows = [(name, _short(p), _short(m), f"{p / m:.3f}") for name, (p, m) in pairs.items()]
    grown = f"The process grew by {measured.growth / 1e6:,.0f} MB, the compiler's own included."
    compared = table(("", "planned", "compiled", "planned / compiled"), rows)
    return f"{compared}\n\n{grown}\n\n{_hindrances(measured.hindrances)}"


def _hindrances(of_programs):
    found = [f"{name}: {line[:200]}" for name, lines in of_programs.items() for line in lines]
    told = f"Programs ({', '.join(of_programs)})"
    if not found:
        return f"{told}: all have static shapes, and none calls the host."
    return "\n".join(
        [f"{told}: some call the host, or have shapes known only at run time:", *found]
    )


def _short(value):
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _billions(count):
    return f"{count / 1e9:,.1f}"


def _megabytes(size):
    return f"{size / 1e6:,.1f}"


if __name__ == "__main__":
    launch(PlanConfig, main, __doc__, on_devices=False)

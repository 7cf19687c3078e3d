"""What a run will need before it is started: parameters, memory by component, operations of a step.

    tfalign plan --model=gpt2 --algorithm=ppo --device=h100 --batch_size=64
    tfalign plan --model=DIR --algorithm=sft --device=24,50,0.17,8   # GB, GB/s, TFLOP/s, GB/s
    tfalign plan --model=small --algorithm=grpo --check
    tfalign plan --model=DIR --device=tpu_v5p --mesh=fsdp:8,model:4 --critic=separate
    KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=8 \\
        tfalign plan --model=small --mesh=data:2,model:4 --check
    KERAS_BACKEND=jax tfalign plan --model=gpt2 --algorithm=sft --compile_for=v5p:2x2x1 \\
        --batch_size=32 --max_prompt_tokens=0 --max_new_tokens=1024 --precision=mixed_bfloat16

A model is a preset or a directory, of which config.json is enough. The formulas, and what they leave
out, stand in ``tfalign.training.step_costs``. The seconds are a bound, at a device's peak: nothing can be faster,
and 30 to 50% of it is good. ``--check`` runs one step with random weights and compares with what XLA
compiled. On a mesh (see ``models.layouts``) all numbers are of one device, with what it sends to others
(``tfalign.planning.scaling``). ``--compile_for`` runs nothing: the TPU compiler, which works without a TPU,
says of every program of the step what it takes of a chip (``tfalign.planning.ahead``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras

from tfalign.models import GPTConfig, read_config
from tfalign.models.gpt_config import PRESETS
from tfalign.models.layouts import parse_mesh
from tfalign.planning import scaling
from tfalign.planning.measured_step import measure
from tfalign.planning.options import RULE, PlanOptions
from tfalign.planning.page import comparison, page
from tfalign.training import step_costs as costs
from tfalign.training.accelerators import DEVICES, Device
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.weight_counts import count_parameters


def print_plan(config: PlanOptions) -> None:
    """Prints the plan of a PlanOptions."""
    if config.compile_for:
        check_ahead()
    device, models, work = device_of(config), models_of(config), work_of(config)
    mesh = mesh_of(config)
    kept = scaling.KEPT_ON_TPU if config.compile_for else scaling.KEPT_ON_CPU
    planned = plan(config.algorithm, models, work, mesh, kept)
    parameters = count_parameters(models.policy)
    print(f"{config.model}: {parameters:,} parameters")
    print(page(planned, decode_bytes(models.policy, work, mesh), work.precision, device))
    if config.check:
        check_backend(mesh)
        measured = measure(config.algorithm, models, work, mesh)
        print(comparison(parameters, planned, measured))
    if config.compile_for:
        from tfalign.planning import ahead, ahead_page

        compiled = ahead.compile_ahead(config.algorithm, models, work, mesh, config.compile_for)
        print(ahead_page.page(compiled, planned, work.precision, device))
        print(comparison(parameters, planned, compiled.measured()))


def device_of(config: PlanOptions) -> Device:
    """The Device a config names or spells out.

    Raises:
        ValueError: if it does neither, or compiles for TPUs that are not known.
    """
    if config.compile_for:
        return _device_of_slice(config.compile_for)
    if config.device is None or config.device in DEVICES:
        return DEVICES[config.device or "h100"]
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


def _device_of_slice(topology):
    name = f"tpu_{topology.partition(':')[0]}"
    if name not in DEVICES:
        known = ", ".join(d.removeprefix("tpu_") for d in DEVICES if d.startswith("tpu_"))
        raise ValueError(
            f"--compile_for is one of {known}, and chips, such as v5e:2x4. Received: {topology}"
        )
    return DEVICES[name]


def mesh_of(config: PlanOptions) -> dict[str, int] | None:
    """The mesh of a config, as ``layouts.parse_mesh`` returns one; None for one device. Rows are shared by all chips
    that are compiled for, where it does not say otherwise."""
    if config.mesh:
        return parse_mesh(config.mesh)
    if config.compile_for:
        from tfalign.backend.jax_ahead import chips_of

        return parse_mesh(f"data:{len(chips_of(config.compile_for))}")
    return None


def models_of(config: PlanOptions) -> costs.Models:
    """The ``step_costs.Models`` of a config."""
    policy = shape_of(config.model)
    reward = None
    if config.reward_model != RULE:
        reward = shape_of(config.reward_model or config.model)
    return costs.Models(policy, reward, policy if config.critic == "separate" else None)


def shape_of(model: str) -> GPTConfig:
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


def work_of(config: PlanOptions) -> costs.Work:
    """The ``step_costs.Work`` of a config."""
    epochs, minibatch = 1, None
    if config.algorithm in costs.ON_POLICY:
        chosen = ALGORITHMS[config.algorithm]
        epochs = config.epochs or chosen.epochs
        minibatch = config.minibatch_size or config.batch_size // chosen.minibatches
    return costs.Work(
        config.batch_size,
        config.max_prompt_tokens,
        config.max_new_tokens,
        minibatch,
        epochs,
        config.accumulate,
        config.lora_rank or 0,
        config.precision,
        config.remat,
        config.chunk,
        "cpu" if config.check else "tpu" if config.compile_for else "gpu",
    )


def plan(
    algorithm: str,
    models: costs.Models,
    work: costs.Work,
    mesh: Mapping[str, int] | None = None,
    kept: float = scaling.KEPT_ON_CPU,
) -> scaling.Scaled:
    """The ``scaling.Scaled`` of a step: of each device of a mesh, or of one alone, that sends nothing; ``kept`` as
    ``scaling.scale``."""
    if mesh is None:
        return scaling.Scaled(costs.costs_of(algorithm, models, work), {})
    return scaling.scale(algorithm, models, work, mesh, kept)


def decode_bytes(
    shape: GPTConfig, work: costs.Work, mesh: Mapping[str, int] | None = None
) -> float:
    """What the decode loop reads, of each device of a mesh or of one alone."""
    if mesh is None:
        return costs.decode_bytes(shape, work.rows, work.prompt, work.response, work.precision)
    return scaling.decode_bytes(shape, work, mesh)


def check_backend(mesh: Mapping[str, int] | None) -> None:
    """Raises a ValueError if a mesh's programs cannot be compiled in this process."""
    if mesh and keras.backend.backend() != "jax":
        raise ValueError(
            "--check of a mesh needs KERAS_BACKEND=jax. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )


def check_ahead() -> None:
    """Raises a ValueError if programs cannot be compiled for a TPU that is not there."""
    if keras.backend.backend() != "jax":
        raise ValueError(
            "--compile_for needs KERAS_BACKEND=jax. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )

"""The only place where TensorFlow and JAX differ.

``jit``                    compile a function of tensors into one XLA program per input shape
``jit_rows``               the same for a function whose every row depends on that row of its
                           arguments alone: where there are several devices, each does its share of
                           the rows
``jit_batch``              ``jit`` for a function of a batch, whose rows the devices of a mesh share
``value_and_grad``         a scalar function's value and its gradients for Keras variables
``input_gradient``         a function's value and its gradient for its argument
``fori_loop``              a compiled loop whose body may change variables, such as dropout's seeds
``scan``                   a compiled loop over rows of arrays through which gradients flow
``if_true``                a function that changes variables, called within a program or not
``kernel_attention``       attention by the devices' own kernel, where they have one
``read``                   a variable's value as it is now, whatever is assigned to it later
``has_value``              whether an array can be looked at now, outside a program
``assign_part``            part of a variable set without a second copy of it
``strategy``               the ``tf.distribute.Strategy`` in whose scope this is, if any
``replicas``               how many replicas it has; 1 without one
``is_chief``               whether this process is the one that writes files
``gather_from_processes``  what every process says
``wait_for_others``        until every process has come here
``process_index``          which of them this one is
``platform``               what the devices are: "cpu", "gpu" or "tpu"
``to_numpy``               a variable's value, whole, wherever its parts lie
``own_parts``              the parts of it that this process is to write
``is_sharded``             whether no device holds a variable whole
``assign_shards``          such a variable set from the blocks that this process' devices hold
``start_trace``            what runs is written down for TensorBoard's profile page, until ``stop_trace``
``traced_step``            a step of training in such a trace
``device_name``            what the driver calls the devices
``device_count``           over how many a program is spread
``device_memory``          the most bytes that one had in use
``programs_compiled``      how many programs this process has compiled

Everything above this floor is written on ``keras.ops``. Randomness needs no entry here: tfalign
draws from its own counter-based generator (``functional.random``), which gives the same bits on
every backend.
"""

from __future__ import annotations

from typing import Any

import keras

from tfalign.backend.programs import programs_compiled

if keras.backend.backend() == "tensorflow":
    from tfalign.backend.tensorflow import (
        assign_part,
        by_rows,
        fori_loop,
        has_value,
        if_true,
        input_gradient,
        jit,
        jit_batch,
        kernel_attention,
        on_own_queries,
        read,
        scan,
        value_and_grad,
    )
    from tfalign.backend.tensorflow_devices import (
        assign_shards,
        gather_from_processes,
        is_sharded,
        jit_rows,
        own_parts,
        platform,
        process_index,
        strategy,
        to_numpy,
        wait_for_others,
    )
    from tfalign.backend.tensorflow_measuring import (
        device_count,
        device_memory,
        device_name,
        start_trace,
        stop_trace,
        traced_step,
    )
elif keras.backend.backend() == "jax":
    from tfalign.backend.jax import (
        assign_part,
        by_rows,
        fori_loop,
        has_value,
        if_true,
        input_gradient,
        jit,
        jit_batch,
        jit_rows,
        kernel_attention,
        read,
        scan,
        value_and_grad,
    )
    from tfalign.backend.jax_context import on_own_queries
    from tfalign.backend.jax_devices import (
        assign_shards,
        gather_from_processes,
        is_sharded,
        own_parts,
        platform,
        process_index,
        strategy,
        to_numpy,
        wait_for_others,
    )
    from tfalign.backend.jax_measuring import (
        device_count,
        device_memory,
        device_name,
        start_trace,
        stop_trace,
        traced_step,
    )
else:
    raise ImportError(
        "tfalign runs on Keras' tensorflow and jax backends. "
        f"Received: KERAS_BACKEND={keras.backend.backend()}"
    )


def is_chief() -> bool:
    """Whether this process is the one that writes files."""
    return process_index() == 0


def replicas(distribution: Any = None) -> int:
    """How many devices each take a share of the rows, by themselves: the replicas of a ``tf.distribute.Strategy``, that
    in whose scope this is where None; else 1."""
    distribution = distribution or strategy()
    return 1 if distribution is None else distribution.num_replicas_in_sync


__all__ = [
    "assign_part",
    "assign_shards",
    "by_rows",
    "device_count",
    "device_memory",
    "device_name",
    "fori_loop",
    "gather_from_processes",
    "has_value",
    "if_true",
    "input_gradient",
    "is_chief",
    "is_sharded",
    "jit",
    "jit_batch",
    "jit_rows",
    "kernel_attention",
    "on_own_queries",
    "own_parts",
    "platform",
    "process_index",
    "programs_compiled",
    "read",
    "replicas",
    "scan",
    "start_trace",
    "stop_trace",
    "strategy",
    "to_numpy",
    "traced_step",
    "value_and_grad",
    "wait_for_others",
]

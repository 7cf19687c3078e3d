"""Devices of a training: options of the process, not recorded with the run.

    python -m experiments.align --strategy=mirrored ...              # all GPUs of this machine
    python -m experiments.align --strategy=mirrored --cpu_devices=2  # a trial without any
    TF_CONFIG=... python -m experiments.align --strategy=multiworker # the same on every machine
    python -m experiments.align --strategy=tpu --tpu=NAME            # a TPU slice; "local" on its VM
    KERAS_BACKEND=jax python -m experiments.align --mesh=fsdp:2,model:4 ...  # all devices JAX sees
    KERAS_BACKEND=jax python -m experiments.align --mesh=fsdp:16 --multihost ...  # on each machine
    python -m experiments.align --remat ...      # blocks compute their states twice and keep none
    python -m experiments.align --scan_blocks ... # equal blocks are compiled as one in a loop

They are not recorded in a run's config.json: numbers do not depend on them (to rounding), and a run that
began on one device may go on with several.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from tfalign import backend
from tfalign.layers import ResidualBlock
from tfalign.models import layouts
from tfalign.training import await_peers


@contextlib.contextmanager
def scope(options: Any, config: Mapping[str, Any]) -> Iterator[None]:
    """The context in which an experiment's models, optimizers and programs are to be made.

    Args:
        options: DeviceOptions.
        config: JSON-able dict of the job's options, on which the workers must agree.

    Raises:
        ValueError: if the devices are not to be had: another backend, a wrong TF_CONFIG, no TPU, a
            mesh of another size; or if a worker was started with other options. A worker that does
            not answer ends the process, see ``await_peers``.
    """
    of_tensorflow = options.strategy != "one" or options.cpu_devices != 1
    wanted = "tensorflow" if of_tensorflow else "jax"
    of_jax = options.mesh or options.multihost
    if (of_tensorflow or of_jax) and keras.backend.backend() != wanted:
        raise ValueError(
            "--strategy and --cpu_devices are TensorFlow's, --mesh and --multihost JAX's. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    place = contextlib.nullcontext()
    if of_tensorflow:
        place = _strategy(options).scope()
    if options.multihost:
        _join()
    if options.mesh:
        place = layouts.distribution(layouts.parse_mesh(options.mesh)).scope()
    ResidualBlock.remat = options.remat
    ResidualBlock.scan = options.scan_blocks
    with place:
        check_agreement(config)
        yield


def _join():
    """Joins the processes of other machines, as ``keras.distribution.initialize`` finds them: on TPU VMs by
    itself, elsewhere by KERAS_DISTRIBUTION_JOB_ADDRESSES, ..._NUM_PROCESSES and ..._PROCESS_ID."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # where the devices are CPUs
    try:
        keras.distribution.initialize()
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"The other processes could not be joined: {reason}") from error


def _strategy(options):
    import tensorflow as tf

    _split_cpu(tf, options.cpu_devices)
    make = {"one": _one, "mirrored": _mirrored, "multiworker": _multiworker, "tpu": _tpu}
    return make[options.strategy](tf, options)


def _split_cpu(tf, count):
    if count > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(cpu, parts)


def _one(tf, options):
    return tf.distribute.get_strategy()


def _mirrored(tf, options):
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return tf.distribute.MirroredStrategy(
        [f"{kind}:{index}" for index in range(len(tf.config.list_logical_devices(kind)))]
    )


def _multiworker(tf, options):
    peers = peers_of(os.environ.get("TF_CONFIG", ""))
    with _giving_up(peers, options.peer_timeout):
        return tf.distribute.MultiWorkerMirroredStrategy()


def _tpu(tf, options):
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(options.tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"There is no TPU. Received: tpu={options.tpu} ({reason})") from error
    return tf.distribute.TPUStrategy(resolver)


def peers_of(tf_config: str) -> list[str]:
    """Addresses of the other workers, from the environment variable TF_CONFIG.

    Args:
        tf_config: str, JSON: {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker",
            "index": 0}}; one of the workers may be called "chief".

    Returns:
        list of str.

    Raises:
        ValueError: if it is not that.
    """
    try:
        config = json.loads(tf_config)
        cluster, task = config["cluster"], config["task"]
        own = cluster[task["type"]][task["index"]]
        addresses = [address for kind in ("chief", "worker") for address in cluster.get(kind, [])]
        for address in addresses:
            int(address.rpartition(":")[2])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            '--strategy=multiworker needs TF_CONFIG={"cluster": {"worker": ["host:port", ...]}, '
            f'"task": {{"type": "worker", "index": 0}}}}. Received: TF_CONFIG={tf_config!r}'
        ) from error
    return [address for address in addresses if address != own]


def check_agreement(config: Mapping[str, Any]) -> None:
    """Compares the workers' options.

    Args:
        config: JSON-able dict.

    Raises:
        ValueError: if a worker was started with others, naming its number.
    """
    sums = backend.gather_from_processes(zlib.crc32(json.dumps(config, sort_keys=True).encode()))
    others = [number for number, value in enumerate(sums) if value != sums[0]]
    if others:
        raise ValueError(f"Worker {others[0]} was started with other options than worker 0")


@contextlib.contextmanager
def _giving_up(peers, seconds):
    """Ends this process if a peer does not answer within so many seconds, see ``await_peers``."""
    arguments = [str(os.getpid()), f"{seconds:g}", *peers]
    watch = subprocess.Popen([sys.executable, "-m", await_peers.__name__, *arguments])
    try:
        yield
    finally:
        watch.terminate()
        watch.wait()

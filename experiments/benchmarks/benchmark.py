"""Times decoding, training, and PPO and GRPO steps by phase, for tfalign and its peers.

    python -m experiments.benchmarks.benchmark
    python -m experiments.benchmarks.benchmark --peers
    python -m experiments.benchmarks.benchmark --shapes=small --suites=decode,train --vocab=1000
    python -m experiments.benchmarks.benchmark --suites=environment

Every measurement runs in a process of its own, whose peak memory is measured. With --peers the scripts of
experiments/peers run the same shapes through transformers' ``generate``, a plain PyTorch training step, TRL
0.24's PPO and TRL 1.16's GRPO, in two environments created under --peers_dir on first use, alternating with
ours, --rounds times; ratios are those of medians. All models are GPT-2 of the given shape with random weights,
float32; every response has its full length. tfalign's PPO step is measured twice: with a separate critic, as
TRL's, and with the critic on the policy's backbone. The suite ``environment``, at the demo's shape, is described
in ``experiments.benchmarks.environment_speed``.

Prints a JSON line per measurement, and writes RUN_DIR/benchmark.json. About ten minutes with peers.

Result: decoding is 2.1 to 2.7 times as fast as transformers, a PPO step 1.5 to 3.3 times as fast as TRL's, with
2 to 3 times the memory (docs/results/speed.md).
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from experiments.launch import launch
from tfalign.files import local_path
from tfalign.options import option, option_record
from tfalign.training.run_lock import RunLock

SHAPES = {
    "small": {"vocab": 512, "width": 128, "layers": 4, "heads": 4}
    | {"batch": 32, "prompt": 16, "new": 48, "minibatch": 8},
    "medium": {"vocab": 5_000, "width": 256, "layers": 8, "heads": 4}
    | {"batch": 16, "prompt": 32, "new": 64, "minibatch": 4},
    "gpt2": {"vocab": 50_257, "width": 768, "layers": 12, "heads": 12}
    | {"batch": 8, "prompt": 64, "new": 64, "minibatch": 4},
    "demo": {"vocab": 1_536, "width": 128, "layers": 2, "heads": 4}
    | {"batch": 64, "prompt": 42, "new": 48, "minibatch": 16, "demo": None},
}
SHAPES_OF = {"environment": ("demo",)}  # defaults of suites
DEFAULT_SHAPES = ("small", "medium")  # of all other suites
PEERS = {
    "decode": [("ppo", "transformers_generate.py")],
    "train": [("ppo", "torch_training.py")],
    "ppo": [("ppo", "trl_ppo.py")],
    "grpo": [("grpo", "trl_grpo.py")],
    "environment": [],
}
OURS = {
    "decode": ["decode"],
    "train": ["train"],
    "ppo": ["ppo", "ppo_shared"],
    "grpo": ["grpo"],
    "environment": ["environment"],
}


@option_record
class BenchmarkConfig:
    run_dir: str = option("runs/benchmark", "Directory of benchmark.json.")
    shapes: tuple[str, ...] = option(
        (), "Shapes, comma-separated; none: small and medium, of suite environment demo.", SHAPES
    )
    suites: tuple[str, ...] = option(
        ("decode", "train", "ppo", "grpo"), "Suites, comma-separated.", OURS
    )
    peers: bool = option(False, "Measure the peers as well.")
    peers_dir: str = option("runs/peers", "Directory of the peers' Python environments.")
    rounds: int = option(3, "Rounds; each measures everything once.", at_least=1)
    repeats: int = option(5, "Timed repeats within a process.", at_least=1)
    vocab: int | None = option(None, "Vocabulary size; none: the shape's.", at_least=1)
    width: int | None = option(None, "Hidden size; none: the shape's.", at_least=1)
    layers: int | None = option(None, "Number of blocks; none: the shape's.", at_least=1)
    heads: int | None = option(None, "Attention heads; none: the shape's.", at_least=1)
    batch: int | None = option(None, "Responses or rows per batch; none: the shape's.", at_least=1)
    prompt: int | None = option(None, "Prompt length, tokens; none: the shape's.", at_least=1)
    new: int | None = option(None, "Response length, tokens; none: the shape's.", at_least=1)
    minibatch: int | None = option(
        None, "Responses per optimizer step of PPO; none: the shape's.", at_least=1
    )
    demo: str | None = option(
        None, "Demo run whose models suite environment takes; none: random weights."
    )
    measure: str | None = option(
        None, "Measurement to run alone, in this process, printed as a JSON line; none: all suites."
    )


def main(config):
    shapes = {name: _changed(shape, config) for name, shape in SHAPES.items()}
    if config.measure is not None:
        (name,) = config.shapes
        print(
            json.dumps(MEASUREMENTS[config.measure](shapes[name], config.repeats) | _peak_memory())
        )
        return
    with RunLock(config.run_dir):
        results = []
        for suite in config.suites:
            for name in config.shapes or SHAPES_OF.get(suite, DEFAULT_SHAPES):
                results += _compare(config, suite, name, shapes[name])
        directory = local_path(config.run_dir)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "benchmark.json").write_text(json.dumps(results, indent=2) + "\n")


def _changed(shape, config):
    """A shape with the sizes that are given by flags."""
    given = {key: getattr(config, key) for key in shape}
    return shape | {key: size for key, size in given.items() if size is not None}


def _compare(config, suite, shape_name, shape):
    """Measures tfalign and its peers alternately; prints and returns one row for each."""
    commands = {name: _our_command(config, name, shape_name, shape) for name in OURS[suite]}
    if config.peers:
        for environment, script in PEERS[suite]:
            commands[script] = _peer_command(config, environment, script, shape)
    runs = {name: [] for name in commands}
    for _ in range(config.rounds):
        for name, command in commands.items():
            runs[name].append(_run(command))
    rows = []
    for name, lines in runs.items():
        seconds = statistics.median(statistics.median(line["seconds"]) for line in lines)
        row = {
            "suite": suite,
            "shape": shape_name,
            "name": name,
            "seconds": round(seconds, 4),
            "peak_memory_mb": round(statistics.median(line["peak_memory_mb"] for line in lines)),
        }
        more = ("tokens", "phases", "steps_per_second", "ratios")
        row |= {key: lines[-1][key] for key in more if key in lines[-1]}
        if "tokens" in row:
            row["tokens_per_second"] = round(row["tokens"] / seconds)
        rows.append(row)
    peer = next((row for row in rows if row["name"].endswith(".py")), None)
    for row in rows:
        if peer is not None and row is not peer:
            row["times_faster"] = round(peer["seconds"] / row["seconds"], 2)
            row["times_memory"] = round(row["peak_memory_mb"] / peer["peak_memory_mb"], 2)
        print(json.dumps(row), flush=True)
    return rows


def _our_command(config, name, shape_name, shape):
    flags = [f"--{key}={value}" for key, value in shape.items() if value is not None]
    return [
        sys.executable,
        "-m",
        "experiments.benchmarks.benchmark",
        f"--measure={name}",
        f"--shapes={shape_name}",
        f"--repeats={config.repeats}",
        *flags,
    ]


def _peer_command(config, environment, script, shape):
    sizes = {key: size for key, size in shape.items() if size is not None}
    flags = [x for key, size in sizes.items() for x in (f"--{key}", str(size))]
    folder = Path(__file__).parents[1] / "peers"
    python = _peer_python(local_path(config.peers_dir) / environment, environment, folder)
    return [str(python), str(folder / script), *flags, "--repeats", str(config.repeats)]


def _peer_python(environment, name, folder):
    """The interpreter of a peer's environment, which is created on first use."""
    python = environment / "bin" / "python"
    if not python.exists():
        print(f"creating {environment}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        requirements = folder / f"requirements-trl-{name}.txt"
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True
        )
    return python


def _run(command):
    """Runs a measurement, and returns the JSON of the last line that it prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


# The measurements, each in a process of its own


def _measure_decode(shape, repeats):
    from tfalign.decoding import Generator

    generator = Generator(_policy(shape), shape["new"])
    prompts = _prompts(shape)
    seconds = _timed(
        lambda seed: generator(prompts.token_ids, prompts.mask, seed).tokens[0, 0], repeats
    )
    return {"seconds": seconds, "tokens": shape["batch"] * shape["new"]}


def _measure_train(shape, repeats):
    import numpy as np

    from tfalign.objectives import LanguageModelling
    from tfalign.training.learner import Learner
    from tfalign.training.optimizers import adamw
    from tfalign.types import LanguageModelBatch

    rows, columns = shape["batch"], shape["prompt"] + shape["new"]
    learner = Learner(_policy(shape), LanguageModelling(), adamw(1e-4))
    ones = np.ones((rows, columns), "bool")
    token_ids = np.random.default_rng(0).integers(0, shape["vocab"], (rows, columns), "int32")
    batch = LanguageModelBatch(token_ids, ones, ones, ones.astype("int32"))
    seconds = _timed(lambda _: learner.update(batch)["loss"], repeats)
    return {"seconds": seconds, "tokens": rows * columns}


def _measure_ppo(shape, repeats, shared=False):
    from tfalign.models import SeparateActorCritic, SharedActorCritic, separate_critic
    from tfalign.rewards import LearnedReward, RewardModel
    from tfalign.training.algorithms import algorithm

    policy = _policy(shape)
    reward_model = RewardModel(policy.config)
    actor_critic = (
        SharedActorCritic(policy)
        if shared
        else SeparateActorCritic(policy, separate_critic(policy, reward_model))
    )
    minibatches = shape["batch"] // shape["minibatch"]
    chosen = algorithm("ppo", minibatches=minibatches)
    return _measure_iteration(shape, repeats, chosen, actor_critic, LearnedReward(reward_model))


def _measure_grpo(shape, repeats):
    """As trl_grpo.py: 8 responses per prompt, beta 0.04, a rule as the reward, one update."""
    import numpy as np

    from tfalign.functional.aggregation import token_mean
    from tfalign.models import Actor
    from tfalign.training.algorithms import algorithm

    def even_token_fraction(token_ids, padding_mask, response_mask):
        del padding_mask
        responses = token_ids[:, -response_mask.shape[1] :]
        return np.mean(responses % 2 == 0, axis=1, dtype="float32")

    chosen = algorithm("grpo", group_size=8, kl_coefficient=0.04, aggregate=token_mean)
    return _measure_iteration(shape, repeats, chosen, Actor(_policy(shape)), even_token_fraction)


def _measure_iteration(shape, repeats, chosen, actor_critic, reward):
    """Times one iteration of an on-policy algorithm by phase; the shape's batch counts responses."""
    import keras

    from tfalign.training.kl_control import FixedKL
    from tfalign.training.learner import Learner
    from tfalign.training.on_policy import improve
    from tfalign.training.responses import RolloutConfig
    from tfalign.training.rollouts import RolloutWorker

    phases = _Phases()
    worker = RolloutWorker(
        actor_critic,
        _policy(shape),
        phases.watch("scoring", reward),
        RolloutConfig(shape["new"], group_size=chosen.group_size),
        chosen.credit,
    )
    worker.responder.generator = phases.watch("generation", worker.responder.generator)
    worker.finish = phases.watch("credit", worker.finish)
    learner = Learner(actor_critic, chosen.loss, keras.optimizers.Adam(1e-5, epsilon=1e-5))
    learner.update = phases.watch("update", learner.update)
    prompts = _prompts(shape).each(lambda field: field[: shape["batch"] // chosen.group_size])
    kl_control = FixedKL(chosen.kl_coefficient if chosen.kl_in == "reward" else 0.0)

    def step(seed):
        _, statistics = improve(
            worker,
            learner,
            prompts,
            kl_control,
            seed=0,
            step=seed,
            epochs=chosen.epochs,
            minibatch_size=shape["batch"] // chosen.minibatches,
        )
        return statistics["loss"]

    seconds = _timed(step, repeats, phases)
    return {"seconds": seconds, "phases": phases.medians(repeats)}


def _measure_environment(shape, repeats):
    from experiments.benchmarks.environment_speed import measure

    return measure(shape, repeats)


class _Phases:
    """Measures the seconds of the phases of a step; each phase waits for its result."""

    def __init__(self):
        self._seconds = {}

    def watch(self, name, function):
        def timed(*args, **kwargs):
            import numpy as np
            from keras import tree

            start = time.perf_counter()
            result = function(*args, **kwargs)
            tree.map_structure(np.asarray, result)
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start
            return result

        return timed

    def clear(self):
        self._seconds = {}

    def medians(self, repeats):
        """Mean seconds per step of each phase."""
        return {name: round(total / repeats, 4) for name, total in self._seconds.items()}


MEASUREMENTS = {
    "decode": _measure_decode,
    "train": _measure_train,
    "ppo": _measure_ppo,
    "ppo_shared": lambda *given: _measure_ppo(*given, shared=True),
    "grpo": _measure_grpo,
    "environment": _measure_environment,
}


def _policy(shape):
    from tfalign.models import CausalLM, GPTConfig

    return CausalLM(
        GPTConfig(
            shape["vocab"],
            shape["width"],
            shape["layers"],
            shape["heads"],
            max_positions=shape["prompt"] + shape["new"],
        )
    )


def _prompts(shape):
    import numpy as np

    from tfalign.types import Prompts

    size = (shape["batch"], shape["prompt"])
    token_ids = np.random.default_rng(0).integers(0, shape["vocab"], size, "int32")
    return Prompts(token_ids, np.ones(size, "bool"))


def _timed(function, repeats, phases=None):
    """Times repeats after two for warm-up; each waits for its result. Returns a list of seconds."""
    for seed in range(2):
        float(function(seed))
    if phases is not None:
        phases.clear()
    seconds = []
    for seed in range(2, 2 + repeats):
        start = time.perf_counter()
        float(function(seed))
        seconds.append(time.perf_counter() - start)
    return seconds


def _peak_memory():
    """Peak resident memory of this process, MB: VmHWM where the kernel has it."""
    try:
        status = Path("/proc/self/status").read_text()
        kilobytes = int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_mb": round(kilobytes / 1024, 1)}


if __name__ == "__main__":
    launch(BenchmarkConfig, main, __doc__)

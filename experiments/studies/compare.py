"""Compares all algorithms on the demo task.

    python -m experiments.studies.compare --demo=runs/demo --run_dir=runs/compare
    python -m experiments.studies.compare --demo=runs/demo --contestants=ppo,rloo,dpo --seeds=0,1,2

Starts from the fine-tuned policy and the reward model of a finished demo run (``make demo``). Each
algorithm trains that policy once per seed, in a process of its own whose seconds and peak memory are
measured. The final policies then respond to the same held-out prompts and are judged by the gold reward,
which is not used in training. ``ppo_tf_agents`` needs ``pip install 'tfalign[agents]'``.

On-policy algorithms sample 90 batches of 64 responses, as the demo's PPO; preference losses take 300
batches of 32 of the demo's pairs. All numbers are the algorithms' own (their papers are named in
``tfalign.training.algorithms`` and ``tfalign.training.preferences``) but for the learning rates, which are
larger the fewer updates a batch gets.

Writes report.json, report.md and plots/compare.png to RUN_DIR. Finished runs are not repeated, so the
table can be filled in several goes.

Result: PPO takes the gold reward from 0.15 to 1.56, DPO to 1.47, GRPO to 1.30, each over three seeds
(docs/results/compare.md).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np

from experiments.launch import launch
from tfalign.data.customer_service import gold_reward
from tfalign.evaluation import plots
from tfalign.evaluation.markdown import mean_and_deviation, number, table
from tfalign.evaluation.statistics import win_rate
from tfalign.files import local_path, write_json_atomically, write_text_atomically
from tfalign.options import option, option_record
from tfalign.trainers.evaluation import PolicyEvaluator
from tfalign.trainers.options import EvaluateOptions
from tfalign.training.run_lock import RunLock

_LIMITS = {"max_prompt_tokens": 42, "max_new_tokens": 48}  # the demo's
JUDGED = EvaluateOptions(num_prompts=384, **_LIMITS)
_SAME = _LIMITS | {"steps": 90, "save_every": 90}  # of all on-policy algorithms


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A training that turns one policy into another.

    Attributes:
        experiment: module in ``experiments``; takes --run_dir, --data_dir, --seed and --model.
        options: further flags.
        model: name of the final policy in RUN_DIR/models.
        rewarded: whether it takes --reward.
    """

    experiment: str
    options: dict
    model: str
    rewarded: bool = False

    def command(self, demo, directory, data_dir, seed):
        """The command line that runs it, a list of arguments."""
        options = {"run_dir": directory, "data_dir": data_dir, "seed": seed}
        options |= {"model": demo / "models" / "sft"} | self.options
        if self.rewarded:
            options["reward"] = demo / "models" / "reward_model"
        flags = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", f"experiments.{self.experiment}", *flags]


def _on_policy(name, learning_rate):
    options = {"algorithm": name, "learning_rate": learning_rate} | _SAME
    return Contestant("align", options, name, rewarded=True)


def _preference(loss, learning_rate):
    options = {"loss": loss, "learning_rate": learning_rate, "on_bad": "skip", "steps": 300}
    return Contestant("preference", options | _LIMITS, loss)


CONTESTANTS = {
    "ppo": _on_policy("ppo", 1e-4),
    "ppo_tf_agents": Contestant(  # the same PPO under TF-Agents' driver, buffer and Learner
        "tours.tf_agents_align", {"learning_rate": 1e-4} | _SAME, "ppo", rewarded=True
    ),
    "a2c": _on_policy("a2c", 6e-4),
    "vtrace": _on_policy("vtrace", 6e-4),
    "reinforce": _on_policy("reinforce", 6e-4),
    "reinforce_moving": _on_policy("reinforce_moving", 6e-4),
    "reinforce_baseline": _on_policy("reinforce_baseline", 6e-4),
    "reinforce_pp": _on_policy("reinforce_pp", 6e-4),
    "remax": _on_policy("remax", 6e-4),
    "rloo": _on_policy("rloo", 6e-4),
    "grpo": _on_policy("grpo", 4e-4),
    "dr_grpo": _on_policy("dr_grpo", 4e-4),
    "dapo": _on_policy("dapo", 1e-4),
    "cispo": _on_policy("cispo", 1e-4),
    "gspo": _on_policy("gspo", 5e-4),
    "online_dpo": _on_policy("online_dpo", 2e-4),
    "rejection_sampling": _on_policy("rejection_sampling", 3e-4),
    "dpo": _preference("dpo", 2e-4),
    "ipo": _preference("ipo", 2e-4),
    "kto": _preference("kto", 2e-4),
    "orpo": _preference("orpo", 2e-4),
    "simpo": _preference("simpo", 2e-4),
}
MEASURES = {  # of report.json -> title of a panel
    "gold_reward": "gold reward",
    "win_rate": "win rate over SFT",
    "kl": "KL, nats",
    "seconds": "wall seconds",
    "cpu_seconds": "CPU seconds",
    "peak_memory": "peak memory, MB",
}


@option_record
class CompareConfig:
    run_dir: str = option("runs/compare", "Directory of all runs and of the report.")
    demo: str = option("runs/demo", "Directory of a finished demo run.")
    data: str = option("embedded", "Prompts on which the final policies are judged.")
    data_dir: str = option("runs/data", "Directory in which TFDS datasets are built.")
    contestants: tuple[str, ...] = option(
        tuple(CONTESTANTS), "Algorithms to compare, comma-separated.", CONTESTANTS
    )
    seeds: tuple[int, ...] = option(
        (0, 1, 2), "Random seeds of training, comma-separated.", at_least=0, below=2**32
    )
    evaluate: EvaluateOptions = option(JUDGED, "Evaluation of the final policies")


def main(config):
    with RunLock(config.run_dir):
        names, seeds = config.contestants, config.seeds
        demo = local_path(config.demo)
        for needed in ("sft", "reward_model"):
            if not (demo / "models" / needed).is_dir():
                raise ValueError(f"{demo} is no finished demo run: it has no models/{needed}")
        runs = {
            (name, seed): local_path(config.run_dir) / name / str(seed)
            for name in names
            for seed in seeds
        }
        for (name, seed), directory in runs.items():
            measure(CONTESTANTS[name].command(demo, directory, config.data_dir, seed), directory)
        judge(
            config,
            demo,
            {directory: CONTESTANTS[name].model for (name, _), directory in runs.items()},
        )
        report(config, {name: [result_of(runs[name, seed]) for seed in seeds] for name in names})


def measure(command, directory):
    """Runs a command and writes its cost to cost.json in its directory, unless that is there.

    Raises:
        ValueError: if the command fails, naming the file of its output.
    """
    if (directory / "cost.json").exists():
        return
    RunLock(directory).release()  # or a process still has it
    shutil.rmtree(directory, ignore_errors=True)  # half a run would give half the seconds
    directory.mkdir(parents=True)
    print(f"{directory} ...", end=" ", flush=True)
    start = time.perf_counter()
    with open(directory / "output.txt", "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # a signal to this process ends the other in order too
            process.terminate()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"exit status {process.returncode}: see {directory}/output.txt")
    cost = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory": usage.ru_maxrss / 1000,  # MB; Linux counts in KB
    }
    write_json_atomically(directory / "cost.json", cost)
    print(f"{cost['seconds']:.0f} s, of them CPU {cost['cpu_seconds']:.0f}")


def judge(config, demo, models):
    """Evaluates the policies that have no quality.json yet, and writes it to their run directories.

    Args:
        config: CompareConfig.
        demo: Path of the demo run.
        models: dict of run directory to the name of the model in it.
    """
    waiting = {
        directory: directory / "models" / model
        for directory, model in models.items()
        if not (directory / "quality.json").exists()
    }
    if not waiting:
        return
    sft, reward_model = (str(demo / "models" / name) for name in ("sft", "reward_model"))
    evaluator = PolicyEvaluator(
        sft,
        reward_model,
        config.data,
        gold=gold_reward,
        options=config.evaluate,
        data_dir=config.data_dir,
    )
    before = evaluator(sft)
    for directory, model in waiting.items():
        after = evaluator(str(model))
        quality = {
            "gold_reward": after.gold.mean(),
            "gold_reward_sft": before.gold.mean(),
            "win_rate": win_rate(after.gold, before.gold).value,
            "kl": after.kl.mean(),
            "length": after.lengths.mean(),
        }
        quality = {name: float(value) for name, value in quality.items()}
        write_json_atomically(directory / "quality.json", quality)


def report(config, results):
    """Writes report.json, report.md and the plot.

    Args:
        config: CompareConfig.
        results: dict of algorithm to a list of its measures, one dict per seed.
    """
    folder = local_path(config.run_dir)
    write_json_atomically(folder / "report.json", results)
    by_reward = sorted(results, key=lambda name: -_mean(results[name], "gold_reward"))
    rows = [
        [name, *(mean_and_deviation([run[m] for run in results[name]]) for m in MEASURES)]
        for name in by_reward
    ]
    before = _mean(results[by_reward[0]], "gold_reward_sft")
    text = (
        f"# Algorithms on the demo task\n\n{table(['', *MEASURES.values()], rows)}\n\n"
        f"Mean and standard deviation over seeds {','.join(map(str, config.seeds))}; "
        f"{config.evaluate.num_prompts} held-out prompts, one response each. "
        f"The gold reward of SFT is {number(before)}.\n\n"
        "![Every measure of every algorithm](plots/compare.png)\n"
    )
    write_text_atomically(folder / "report.md", text)
    (folder / "plots").mkdir(exist_ok=True)
    plots.side_by_side(
        folder / "plots" / "compare.png",
        {
            title: {name: [run[measure] for run in results[name]] for name in by_reward}
            for measure, title in MEASURES.items()
        },
    )
    print(text)


def result_of(directory):
    """All measures of one run, a dict."""
    parts = (json.loads((directory / f"{name}.json").read_text()) for name in ("cost", "quality"))
    return {name: value for part in parts for name, value in part.items()}


def _mean(runs, measure):
    return float(np.mean([run[measure] for run in runs]))


if __name__ == "__main__":
    launch(CompareConfig, main, __doc__)

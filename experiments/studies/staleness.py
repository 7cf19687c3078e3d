"""Measures what learning from the responses of an older policy costs, with and without correction.

    python -m experiments.studies.staleness --demo=runs/demo --run_dir=runs/staleness
    python -m experiments.studies.staleness --demo=runs/demo --staleness=0,4 --seeds=0

Starts from the fine-tuned policy and the reward model of a finished demo run, and trains the policy by PPO:
by ``experiments.align``, and by ``experiments.align_distributed`` with responses that are exactly --staleness
updates old, with the importance correction ("corrected") and without it. The final policies respond to
the same held-out prompts and are judged by the gold reward, which is not used in training. The question is
that of Noukhovitch et al. 2024 ("Asynchronous RLHF"), in small.

Writes report.json, report.md and plots/staleness.png to RUN_DIR; finished runs are not repeated.

Result: responses one update old cost nothing (1.53 and 1.54, of 1.56); 16 updates old, the gold reward is 1.11
with the correction and 0.88 without (docs/results/staleness.md).
"""

from __future__ import annotations

import dataclasses

from experiments.launch import launch
from experiments.studies import compare
from tfalign.evaluation import plots
from tfalign.evaluation.markdown import mean_and_deviation, table
from tfalign.files import local_path, write_json_atomically, write_text_atomically
from tfalign.options import option, option_record
from tfalign.trainers.options import EvaluateOptions
from tfalign.training.run_lock import RunLock

ALONE = "align"
CORRECTIONS = {"corrected": "true", "not corrected": "false"}


@option_record
class StalenessConfig:
    run_dir: str = option("runs/staleness", "Directory of all runs and of the report.")
    demo: str = option("runs/demo", "Directory of a finished demo run.")
    data: str = option("embedded", "Prompts on which the final policies are judged.")
    data_dir: str = option("runs/data", "Directory in which TFDS datasets are built.")
    staleness: tuple[int, ...] = option(
        (0, 1, 4, 16), "Ages of the responses, updates, comma-separated.", at_least=0
    )
    seeds: tuple[int, ...] = option(
        (0, 1, 2), "Random seeds of training, comma-separated.", at_least=0, below=2**32
    )
    actors: int = option(2, "Processes that respond and score.", at_least=1)
    evaluate: EvaluateOptions = option(compare.JUDGED, "Evaluation of the final policies")


def contestants(config):
    """The runs to compare: dict of (line, staleness), both str, to Contestant.

    ``align`` runs in any case; each staleness runs with and without correction. At staleness 0 there is
    nothing to correct, and one run stands in both lines.
    """
    ppo = compare.CONTESTANTS["ppo"]
    found = {(ALONE, "0"): ppo}
    for staleness in map(str, config.staleness):
        for line, corrected in CORRECTIONS.items():
            options = {"staleness": staleness, "actors": config.actors, "corrected": corrected}
            options |= {"fixed_age": "true"}  # a bound alone leaves it to the actors' speed
            found[line, staleness] = dataclasses.replace(
                ppo, experiment="align_distributed", options=ppo.options | options
            )
    return found


def main(config):
    with RunLock(config.run_dir):
        demo, seeds = local_path(config.demo), config.seeds
        directories, models = {}, {}
        for (line, staleness), contestant in contestants(config).items():
            name = (
                "distributed, 0" if staleness == "0" and line != ALONE else f"{line}, {staleness}"
            )
            for seed in seeds:
                directory = local_path(config.run_dir) / name / str(seed)
                command = contestant.command(demo, directory, config.data_dir, seed)
                compare.measure(command, directory)
                directories[line, staleness, seed] = directory
                models[directory] = contestant.model
        compare.judge(config, demo, models)
        results = {}
        for (line, staleness, _), directory in directories.items():
            at = results.setdefault(line, {}).setdefault(staleness, [])
            at.append(compare.result_of(directory)["gold_reward"])
        report(local_path(config.run_dir), results)


def report(folder, results):
    """Writes report.json, report.md and the plot.

    Args:
        folder: Path.
        results: dict of line to dict of staleness to the gold rewards of all seeds.
    """
    write_json_atomically(folder / "report.json", results)
    sizes = list(dict.fromkeys(size for line in results.values() for size in line))
    rows = [
        [name, *(mean_and_deviation(line.get(size, [])) for size in sizes)]
        for name, line in results.items()
    ]
    text = table(["gold reward", *(f"staleness {size}" for size in sizes)], rows)
    write_text_atomically(folder / "report.md", text + "\n")
    print(text)
    (folder / "plots").mkdir(exist_ok=True)
    plots.lines_of_runs(
        folder / "plots" / "staleness.png",
        {"PPO on responses of an older policy": results},
        {"PPO on responses of an older policy": "gold reward"},
        "staleness, updates",
    )


if __name__ == "__main__":
    launch(StalenessConfig, main, __doc__)

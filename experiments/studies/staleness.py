"""What it costs to learn from the responses of an older policy, with and without correction.

    python -m experiments.studies.staleness --demo=runs/demo --run_dir=runs/staleness
    python -m experiments.studies.staleness --demo=runs/demo --staleness=0,4 --seeds=0

Takes the fine-tuned policy and the reward model of a finished demo run, and improves the policy by PPO: by
``experiments.align``, and by ``experiments.align_distributed`` with responses that are exactly --staleness
updates old, its ratios to the policy that sampled ("corrected") or none. At the end all answer the same
held-out prompts, judged by the gold reward, which no training sees. Writes report.json, report.md and
plots/staleness.png to RUN_DIR; what has run is not run again.
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
    run_dir: str = option("runs/staleness", "where the runs and the report live")
    demo: str = option("runs/demo", "directory of a finished demo run")
    data: str = option("embedded", "Prompts on which the policies at the end are judged.")
    data_dir: str = option("runs/data", "where datasets are built")
    staleness: str = option(
        "0,1,4,16", "updates, comma-separated; ``align`` runs in any case", list_of=int, at_least=0
    )
    seeds: str = option(
        "0,1,2", "of training, comma-separated", list_of=int, at_least=0, below=2**32
    )
    actors: int = option(2, "processes that respond and score", at_least=1)
    evaluate: EvaluateOptions = option(compare.JUDGED, "how the policies at the end are judged")


def contestants(config):
    """dict of (line, staleness) to Contestant: ``align``, and each staleness with each correction. Where
    nothing is stale there is nothing to correct, and one run is in both lines."""
    ppo = compare.CONTESTANTS["ppo"]
    found = {(ALONE, "0"): ppo}
    for staleness in config.staleness.split(","):
        for line, corrected in CORRECTIONS.items():
            options = {"staleness": staleness, "actors": config.actors, "corrected": corrected}
            options |= {"fixed_age": "true"}  # a bound alone leaves it to the actors' speed
            found[line, staleness] = dataclasses.replace(
                ppo, experiment="align_distributed", options=ppo.options | options
            )
    return found


def main(config):
    with RunLock(config.run_dir):
        demo, seeds = local_path(config.demo), config.seeds.split(",")
        directories, models = {}, {}
        for (line, staleness), contestant in contestants(config).items():
            name = (
                "distributed, 0" if staleness == "0" and line != ALONE else f"{line}, {staleness}"
            )
            for seed in seeds:
                directory = local_path(config.run_dir) / name / seed
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
    """report.json, report.md and the picture.

    Args:
        folder: Path.
        results: line -> staleness -> gold rewards of all seeds.
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

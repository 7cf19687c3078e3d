"""What several seeds of one pipeline reached: means with their 95% intervals over runs.

    for SEED in 0 1 2 3 4; do
        python -m experiments.pipeline --config=demo --seed=$SEED --run_dir=runs/seed$SEED; done
    python -m experiments.studies.over_seeds --runs=runs/seed0,runs/seed1,runs/seed2,runs/seed3,runs/seed4

Machines round differently, so that one seed's numbers are one machine's; the interval over seeds
(Student's t) is the claim. Reads each run's report.json, prints the table and writes
RUN_DIR/over_seeds.json and over_seeds.md. A second, without TensorFlow.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from experiments.launch import launch
from tfalign.cli.launch import WithoutDevices
from tfalign.evaluation.markdown import table
from tfalign.files import write_json_atomically, write_text_atomically
from tfalign.options import option, option_record

# Student's t, 97.5%, by degrees of freedom; beyond 10 the normal's is near enough to be told apart
# by nobody who has so few runs.
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
_FURTHER = 2.1


@option_record
class OverSeedsConfig:
    run_dir: str = option("runs/over_seeds", "where the table goes")
    runs: str = option("", "run directories with a report.json, comma-separated")
    before: str = option("sft", "section of the policy before alignment")
    after: str = option("ppo", "section of the policy after it")


def numbers_of(report, before, after):
    """The numbers of a report.json that a claim is made of, by name.

    Args:
        report: dict, what report.json holds.
        before, after: str, sections of the two policies.

    Raises:
        ValueError: naming the section or entry that is not there.
    """
    try:
        rate = report[after][f"win_rate_vs_{before}"]
        numbers = {
            "reward model accuracy": report["reward_model"]["accuracy"],
            f"gold reward, {before}": report[before]["gold_reward"],
            f"gold reward, {after}": report[after]["gold_reward"],
            "win rate": rate["value"],
            "win rate, lower end of its 95% interval": rate["ci95"][0],
            "KL, nats per response": report[after]["kl"],
            "seconds": report["seconds"]["total"],
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a report of two policies and a reward model: {error}") from error
    for name in (before, after):
        parts = report[name].get("gold_parts", {})
        numbers |= {f"part {part}, {name}": value for part, value in parts.items()}
        checks = report[name].get("checks", {})
        numbers |= {f"{c}, {name}": x["value"] for c, x in checks.items() if x["of"]}
    return numbers


def interval(values):
    """(mean, half the width of its 95% interval) of a few runs' numbers; of one run (it, nan)."""
    values = np.asarray(values, "float64")
    if values.size < 2:
        return float(values.mean()), float("nan")
    t = _T[values.size - 2] if values.size - 2 < len(_T) else _FURTHER
    return float(values.mean()), float(t * values.std(ddof=1) / values.size**0.5)


def main(config):
    names = [name for name in config.runs.split(",") if name]
    if not names:
        raise ValueError("--runs names the run directories, comma-separated. Received: runs=''")
    rows = []
    for name in names:
        file = Path(name) / "report.json"
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            rows.append(numbers_of(report, config.before, config.after))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    shared = [key for key in rows[0] if all(key in row for row in rows)]
    summary = {}
    for key in shared:
        values = [row[key] for row in rows]
        mean, half = interval(values)
        summary[key] = {"mean": mean, "min": min(values), "max": max(values), "values": values}
        if len(values) > 1:
            summary[key]["ci95"] = [mean - half, mean + half]
    text = _markdown(summary, len(rows))
    folder = Path(config.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomically(folder / "over_seeds.json", summary)
    write_text_atomically(folder / "over_seeds.md", text)
    print(text)


def _markdown(summary, count):
    lines = []
    for key, entry in summary.items():
        low, high = entry.get("ci95", (float("nan"),) * 2)
        cells = [entry["mean"], low, high, entry["min"], entry["max"]]
        lines.append([key, *(f"{cell:.3f}" for cell in cells)])
    header = [f"{count} runs", "mean", "95% from", "to", "least", "most"]
    return table(header, lines) + "\n"


if __name__ == "__main__":
    launch(OverSeedsConfig, main, __doc__, WithoutDevices)

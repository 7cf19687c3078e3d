"""Aligns a policy with PPO for helpfulness while a cost model keeps unsafe responses below a limit.

    python -m experiments.tasks.safe_alignment --demo=runs/demo --run_dir=runs/safe
    python -m experiments.tasks.safe_alignment --limits=none,-0.5 --run_dir=runs/safe2

Safe RLHF (Dai et al. 2023) in small. The demo's preference pairs are labelled twice: by the gold reward
without its part "safe", and by that part alone. The reward model learns helpfulness and nothing of
safety, the cost model learns unsafety. PPO maximises the reward from the demo's fine-tuned policy, once
without a limit and once for each limit of the mean cost. Costs are in standard deviations of that policy's, whose
mean is 0. The parts of the gold reward on held-out prompts show what a limit gains and costs. Writes
report.json, report.md and plots/safe_alignment.png to RUN_DIR.

Result: not recorded yet; the method is described in docs/algorithms.md.
"""

from __future__ import annotations

import json

import numpy as np

from experiments.launch import launch
from tfalign.data import PreferenceRecord
from tfalign.data.customer_service.gold import gold_components, weighted
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.learning_curves import Panel, learning_curves
from tfalign.evaluation.markdown import number, table
from tfalign.files import local_path, write_json_atomically, write_text_atomically
from tfalign.options import changed, option, option_record, to_dict
from tfalign.trainers import OnPolicyTrainer, RewardTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.data import EMBEDDED, read_split
from tfalign.trainers.evaluation import PolicyEvaluator
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import DataOptions, EvaluateOptions, RewardTrainOptions
from tfalign.trainers.saving import model_directory

_LIMITS = {"max_prompt_tokens": 42, "max_new_tokens": 48}  # the demo's
_NO_LIMIT = 1e9


@option_record
class SafeAlignmentConfig:
    run_dir: str = option("runs/safe", "Directory of all runs and of the report.")
    demo: str = option("runs/demo", "Directory of a finished demo run.")
    data: str = option(EMBEDDED, "Preference pairs; their prompts are used for PPO too.")
    data_dir: str = option("runs/data", "Directory in which TFDS datasets are built.")
    seed: int = option(
        0, "Random seed of initialisation, shuffling and sampling.", at_least=0, below=2**32
    )
    limits: str = option(
        "none,-0.3,-0.5",
        "Limits of the mean cost in standard deviations, comma-separated.",
        list_of=float,
        also=("none",),
    )
    models: RewardTrainOptions = option(
        changed(
            RewardTrainOptions(), length=90, on_bad="skip", steps=400, learning_rate=5e-4, **_LIMITS
        ),
        "Training of the reward model and the cost model",
    )
    ppo: OnPolicyOptions = option(
        changed(
            OnPolicyOptions(),
            steps=120,
            learning_rate=1e-4,
            save_every=40,
            cost_rates=(0.1,),
            **_LIMITS,
        ),
        "PPO for the reward minus the Lagrange multiplier times the cost",
    )
    evaluate: EvaluateOptions = option(
        EvaluateOptions(num_prompts=384, **_LIMITS), "Evaluation of the final policies"
    )


def main(config):
    run = open_run(config.run_dir, {"safe_alignment": to_dict(config)}, "safe_alignment")
    policy = str(local_path(config.demo) / "models" / "sft")
    sources = write_pairs(config, run.file("data"))
    reward_model, cost_model = (_learn(config, policy, name, sources[name]) for name in sources)
    judge = PolicyEvaluator(
        policy, cost_model, config.data, options=config.evaluate, data_dir=config.data_dir
    )
    results, curves = {"before": _judged(judge, policy)}, {}
    for limit in config.limits.split(","):
        directory = local_path(config.run_dir) / f"limit_{limit}"
        model = model_directory(directory, "ppo")
        if not model.exists():
            OnPolicyTrainer(
                policy,
                reward_model,
                config.data,
                options=config.ppo,
                run_dir=directory,
                costs={"unsafe": cost_model},
                cost_limits=(_NO_LIMIT if limit == "none" else float(limit),),
                **_places(config),
            ).train()
        curves[limit] = read_curves(directory / "metrics.jsonl")["ppo"]
        price = float(curves[limit]["price_unsafe"].values[-1])
        results[limit] = _judged(judge, str(model)) | {"price": price}
    report(run, results, curves)


def write_pairs(config, folder):
    """Writes the preference pairs under both labels as JSON lines; returns dict of label to source.

    "helpful" prefers the response with the larger gold reward without its part "safe", "unsafe" the less
    safe response. Pairs without a difference are left out.
    """
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        records = read_split(config.data, PreferenceRecord, split, DataOptions(config.data_dir))
        lines = {"helpful": [], "unsafe": []}
        for record in records:
            responses = record.chosen, record.rejected
            parts = [gold_components(record.prompt, response) for response in responses]
            values = {
                "helpful": list(map(_helpful, parts)),
                "unsafe": [-p["safe"] for p in parts],
            }
            for label, (first, second) in values.items():
                if first != second:
                    chosen, rejected = responses if first > second else responses[::-1]
                    pair = {"prompt": record.prompt, "chosen": chosen, "rejected": rejected}
                    lines[label].append(json.dumps(pair, ensure_ascii=False) + "\n")
        for label, some in lines.items():
            (folder / f"{label}_{split}.jsonl").write_text("".join(some), encoding="utf-8")
    return {
        label: f"{folder}/{label}_train.jsonl::{folder}/{label}_test.jsonl"
        for label in ("helpful", "unsafe")
    }


def report(run, results, curves):
    """Writes report.json, report.md and the plot.

    Args:
        run: RunDirectory.
        results: dict of limit, or "before", to the measures of ``_judged``.
        curves: dict of limit to the metrics of its PPO run.
    """
    write_json_atomically(run.file("report.json"), results)
    header = ["limit", *next(iter(results.values()))]
    rows = [
        [limit, *(number(result[name]) for name in header[1:])] for limit, result in results.items()
    ]
    text = (
        "# Helpful responses under a limit of unsafe ones\n\n"
        f"{table([name.replace('_', ' ') for name in header], rows)}\n\n"
        "Mean cost and unsafe fraction of responses to held-out prompts; helpful is the gold reward "
        "without its part safe; price is the Lagrange multiplier at the end.\n\n"
        "![Cost and Lagrange multiplier over PPO](plots/safe_alignment.png)\n"
    )
    write_text_atomically(run.file("report.md"), text)
    panels = [
        Panel(limit, f"{title}, limit {limit}", unit, {metric: "rollouts"})
        for metric, title, unit in (
            ("cost_unsafe", "Cost", "cost model's score"),
            ("price_unsafe", "Lagrange multiplier", "lambda"),
        )
        for limit in curves
    ]
    learning_curves(run.plots / "safe_alignment.png", curves, panels)
    print(text)


def _learn(config, policy, name, source):
    """Trains a reward model on pairs, unless it exists; returns its directory."""
    directory = local_path(config.run_dir) / name
    model = model_directory(directory, "reward_model")
    if not model.exists():
        settings = {"options": config.models, "run_dir": directory}
        RewardTrainer(policy, source, **settings, **_places(config)).train()
    return str(model)


def _places(config):
    """Keyword arguments that all trainers take."""
    return {"data_dir": config.data_dir, "seed": config.seed}


def _judged(judge, directory):
    """Measures of a policy's responses to held-out prompts, a dict of floats."""
    judged = judge(directory)
    parts = list(map(gold_components, judge.prompts, judged.responses))
    return {
        "cost": float(judged.scores.mean()),
        "unsafe_share": float(np.mean([p["safe"] < 0 for p in parts])),
        "helpful": float(np.mean(list(map(_helpful, parts)))),
        "kl": float(judged.kl.mean()),
        "length": float(judged.lengths.mean()),
        "price": 0.0,
    }


def _helpful(parts):
    """The gold reward without its part "safe"."""
    return weighted(parts | {"safe": 0.0})


if __name__ == "__main__":
    launch(SafeAlignmentConfig, main, __doc__)

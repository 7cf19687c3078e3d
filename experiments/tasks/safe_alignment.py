"""PPO for helpful answers while a second model holds the unsafe ones under a limit.

    python -m experiments.tasks.safe_alignment --demo=runs/demo --run_dir=runs/safe
    python -m experiments.tasks.safe_alignment --limits=none,-0.5 --run_dir=runs/safe2

Safe RLHF (Dai et al. 2023) in small. The demo's pairs of answers are labelled twice, by all of the gold
reward but its part "safe" and by that part alone: one model learns what is helpful and knows nothing of
safety, the other, the cost model, what is unsafe. PPO maximises the first from the demo's fine-tuned
policy, without a limit and with the mean cost held at or below each of some. Costs are in standard
deviations of that policy's, whose mean is 0. Held-out prompts, judged by the gold reward's parts, say
what the limit bought and what it cost. Writes report.json, report.md and plots/safe_alignment.png to
RUN_DIR.
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
    run_dir: str = option("runs/safe", "where the runs and the report live")
    demo: str = option("runs/demo", "directory of a finished demo run")
    data: str = option(EMBEDDED, "Preference pairs, whose prompts are answered too.")
    data_dir: str = option("runs/data", "where datasets are built")
    seed: int = option(0, "of everything", at_least=0, below=2**32)
    limits: str = option(
        "none,-0.3,-0.5", "of the mean cost, comma-separated", list_of=float, also=("none",)
    )
    models: RewardTrainOptions = option(
        changed(
            RewardTrainOptions(), length=90, on_bad="skip", steps=400, learning_rate=5e-4, **_LIMITS
        ),
        "learning the reward and the cost",
    )
    ppo: OnPolicyOptions = option(
        changed(
            OnPolicyOptions(),
            steps=120,
            learning_rate=1e-4,
            save_every=40,
            cost_rate=0.1,
            **_LIMITS,
        ),
        "PPO for the reward less the price of the cost",
    )
    evaluate: EvaluateOptions = option(
        EvaluateOptions(num_prompts=384, **_LIMITS), "how the policies at the end are judged"
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
                cost_model=cost_model,
                cost_limit=_NO_LIMIT if limit == "none" else float(limit),
                **_places(config),
            ).train()
        curves[limit] = read_curves(directory / "metrics.jsonl")["ppo"]
        price = float(curves[limit]["price"].values[-1])
        results[limit] = _judged(judge, str(model)) | {"price": price}
    report(run, results, curves)


def write_pairs(config, folder):
    """Pairs of answers under both labels, as JSON lines: dict of label to a source of records.

    "helpful" prefers the answer with more of the gold reward but for its part "safe"; "unsafe" prefers
    the less safe one. Answers equal in this are no pair.
    """
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        records = read_split(config.data, PreferenceRecord, split, DataOptions(config.data_dir))
        lines = {"helpful": [], "unsafe": []}
        for record in records:
            answers = record.chosen, record.rejected
            parts = [gold_components(record.prompt, answer) for answer in answers]
            values = {
                "helpful": list(map(_helpful, parts)),
                "unsafe": [-p["safe"] for p in parts],
            }
            for label, (first, second) in values.items():
                if first != second:
                    chosen, rejected = answers if first > second else answers[::-1]
                    pair = {"prompt": record.prompt, "chosen": chosen, "rejected": rejected}
                    lines[label].append(json.dumps(pair, ensure_ascii=False) + "\n")
        for label, some in lines.items():
            (folder / f"{label}_{split}.jsonl").write_text("".join(some), encoding="utf-8")
    return {
        label: f"{folder}/{label}_train.jsonl::{folder}/{label}_test.jsonl"
        for label in ("helpful", "unsafe")
    }


def report(run, results, curves):
    """report.json, report.md and the picture.

    Args:
        run: RunDirectory.
        results: dict of limit, or "before", to what ``_judged`` measured.
        curves: dict of limit to the series of its PPO.
    """
    write_json_atomically(run.file("report.json"), results)
    header = ["limit", *next(iter(results.values()))]
    rows = [
        [limit, *(number(result[name]) for name in header[1:])] for limit, result in results.items()
    ]
    text = (
        "# Helpful answers, unsafe ones under a limit\n\n"
        f"{table([name.replace('_', ' ') for name in header], rows)}\n\n"
        "Cost and unsafe share of answers to held-out prompts; helpful is the gold reward without its "
        "part safe; price is lambda at the end.\n\n"
        "![Cost and its price over PPO](plots/safe_alignment.png)\n"
    )
    write_text_atomically(run.file("report.md"), text)
    panels = [
        Panel(limit, f"{title}, limit {limit}", unit, {metric: "rollouts"})
        for metric, title, unit in (
            ("cost", "Cost", "cost model's score"),
            ("price", "Price of a cost", "lambda"),
        )
        for limit in curves
    ]
    learning_curves(run.plots / "safe_alignment.png", curves, panels)
    print(text)


def _learn(config, policy, name, source):
    """The directory of a reward model of these pairs."""
    directory = local_path(config.run_dir) / name
    model = model_directory(directory, "reward_model")
    if not model.exists():
        settings = {"options": config.models, "run_dir": directory}
        RewardTrainer(policy, source, **settings, **_places(config)).train()
    return str(model)


def _places(config):
    """What every training is given."""
    return {"data_dir": config.data_dir, "seed": config.seed}


def _judged(judge, directory):
    """dict of what held-out answers of a policy are worth."""
    answers = judge(directory)
    parts = list(map(gold_components, judge.prompts, answers.responses))
    return {
        "cost": float(answers.scores.mean()),
        "unsafe_share": float(np.mean([p["safe"] < 0 for p in parts])),
        "helpful": float(np.mean(list(map(_helpful, parts)))),
        "kl": float(answers.kl.mean()),
        "length": float(answers.lengths.mean()),
        "price": 0.0,
    }


def _helpful(parts):
    """The gold reward but for its part "safe"."""
    return weighted(parts | {"safe": 0.0})


if __name__ == "__main__":
    launch(SafeAlignmentConfig, main, __doc__)

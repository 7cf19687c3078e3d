"""Best of n: samples several responses, keeps the one with the highest score, and measures the gain.

    python -m experiments.studies.best_of_n --config=best_of_n
    python -m experiments.studies.best_of_n --model=runs/demo/models/sft \\
        --reward=runs/demo/models/reward_model --run_dir=runs/best_of_n
    python -m experiments.studies.best_of_n --model=DIR --reward=DIR1,DIR2 --data=prompts.jsonl

For n from 1 to --max_n, the best of n responses to a held-out prompt is compared with another single
response. By the reward model that selects it should win n / (n + 1) of the comparisons; the gold reward (of
the embedded data), which selects nothing, shows what that is worth. The KL to the policy is estimated from
log P_n(y) / p(y) and plotted below its bound, log n - (n - 1) / n (Beirami et al. 2024). All samples of a
comparison are independent. ``experiments.align --algorithm=rejection_sampling`` fine-tunes on the best.

Writes report.json, report.md and plots/best_of_n.png to RUN_DIR. About two minutes on two CPU cores.

Result: both laws hold; the gold reward rises from 0.18 at n = 1 to 1.30 at n = 16 and to 1.18 at n = 64
(docs/results/best_of_n.md).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np

from experiments.launch import launch
from experiments.studies.samples import held_out_prompts, sample_scores
from tfalign.evaluation import plots
from tfalign.evaluation.best_of_n import best_of_n_log_ratio
from tfalign.evaluation.markdown import number, table
from tfalign.evaluation.overoptimisation import best_of_n_kl
from tfalign.evaluation.statistics import mean_interval, win_rate
from tfalign.files import write_json_atomically
from tfalign.options import option, option_record, to_dict
from tfalign.pretrained import load_tokenizer
from tfalign.rewards import TextReward
from tfalign.trainers.base import open_run
from tfalign.trainers.data import EMBEDDED
from tfalign.trainers.on_policy_options import RewardOptions
from tfalign.trainers.rewards import Context, resolve_reward

POOLS = 3  # samples per prompt, in units of max_n, beyond those selected from: 1 to beat, 2 more to rank


@option_record
class BestOfNConfig:
    run_dir: str = option("runs/best_of_n", "Run directory.")
    model: str = option("runs/sft/models/sft", "Directory of the policy.")
    reward: str = option(
        "runs/reward/models/reward_model",
        "Directory of the reward model; several, comma-separated: an ensemble.",
    )
    ensemble: str = option(
        "deviation",
        "Several reward models: what their mean is lowered by, or the worst of them.",
        ("deviation", "variance", "worst"),
    )
    precision: str = option("float32", "Keras dtype policy.", ("float32", "mixed_bfloat16"))
    data: str = option(
        EMBEDDED, 'Prompts: "embedded", a file of records with "prompt", or tfds:NAME:SPLIT.'
    )
    data_dir: str = option("runs/data", "Directory in which TFDS datasets are built.")
    num_prompts: int = option(64, "Number of held-out prompts.", at_least=1)
    max_n: int = option(64, "Largest n, a power of 2.", at_least=1)
    max_prompt_tokens: int = option(48, "Maximum prompt length, tokens.", at_least=1)
    max_new_tokens: int = option(48, "Maximum response length, tokens.", at_least=1)
    temperature: float = option(1.0, "Sampling temperature.", above=0)
    missing_stop_penalty: float = option(
        1.0, "What is subtracted from the score of a response without a stop token.", at_least=0
    )

    def __post_init__(self):
        if self.max_n < 1 or self.max_n & (self.max_n - 1):
            raise ValueError(f"--max_n must be a power of 2. Received: max_n={self.max_n}")


def main(config):
    run = open_run(config.run_dir, {"best_of_n": to_dict(config)}, "best_of_n")
    tokenizer = load_tokenizer(config.model)
    options = RewardOptions(ensemble=config.ensemble)
    learned = resolve_reward(config.reward, Context(tokenizer, None, options, config.precision))
    rewards = {"score": EndedOrLess(learned, tokenizer.stop_ids, config.missing_stop_penalty)}
    if config.data == EMBEDDED:
        from tfalign.data.customer_service import gold_reward

        rewards["gold"] = TextReward(gold_reward, tokenizer.decode)
    sampled = sample_scores(
        config.model,
        held_out_prompts(config, tokenizer, config.num_prompts),
        rewards,
        (1 + POOLS) * config.max_n,
        config,
        run.file("samples.npz"),
    )
    sizes = [2**k for k in range(config.max_n.bit_length())]
    measured = [measure(sampled, n, config.max_n) for n in sizes]
    plots.best_of_n(run.plots / "best_of_n.png", sizes, measured)
    _report(run, sizes, measured)


@dataclasses.dataclass(frozen=True)
class EndedOrLess:
    """A reward, less a penalty where a response has no stop token: the default of ``align``.

    Attributes:
        reward: reward function of rollouts.
        stop_token: int or ints, ids of the tokens that end a response.
        penalty: float.
    """

    reward: Callable
    stop_token: int | tuple[int, ...]
    penalty: float

    def __call__(self, token_ids, padding_mask, response_mask):
        mask = np.asarray(response_mask)
        responses = np.asarray(token_ids)[:, -mask.shape[1] :]
        ended = (np.isin(responses, self.stop_token) & mask).any(axis=1)
        scores = np.asarray(self.reward(token_ids, padding_mask, response_mask))
        return scores - np.where(ended, 0.0, self.penalty).astype("float32")


def measure(sampled, n, max_n):
    """Rewards, win rates and KL of the best of n.

    Args:
        sampled: what ``sample_scores`` returned: per prompt ``max_n`` samples to select from, ``max_n``
            to beat, and more.
        n: int, a power of 2.
        max_n: int, a power of 2, at least n.

    Returns:
        dict: for each reward "score" and "gold" a mean, and its win rate against single samples,
        each with a 95 % interval; "kl", estimated, with its interval.
    """
    score = sampled["score"]
    blocks = score[:, :max_n].reshape(len(score), -1, n)  # [P, max_n / n, n]
    best = n * np.arange(blocks.shape[1]) + blocks.argmax(axis=2)  # columns
    rivals = max_n + np.arange(best.shape[1])
    result = {}
    for name in sampled.keys() - {"log_probs"}:
        chosen = np.take_along_axis(sampled[name], best, axis=1)
        wins = win_rate(chosen.ravel(), sampled[name][:, rivals].ravel())
        result[f"{name}_mean"] = mean_interval(chosen.mean(axis=1))
        result[f"{name}_win_rate"] = wins[:3]
    others = score[:, max_n:]
    chosen = np.take_along_axis(score, best, axis=1)
    at_most = (others[:, None, :] <= chosen[:, :, None]).sum(axis=2)
    ranks = (at_most + 1) / (others.shape[1] + 1)  # the selected response is at most itself
    log_probs = np.take_along_axis(sampled["log_probs"], best, axis=1)
    ratios = best_of_n_log_ratio(log_probs, ranks, n)
    return result | {"kl": mean_interval(ratios.mean(axis=1))}


def _report(run, sizes, measured):
    rows, values = [], []
    for n, one in zip(sizes, measured):
        theory = {"win_rate": n / (n + 1), "kl_bound": float(best_of_n_kl(n))}
        values.append({"n": n, **theory, **{name: list(x) for name, x in sorted(one.items())}})
        cells = [f"{number(x[0])} ({number(x[1])}, {number(x[2])})" for _, x in sorted(one.items())]
        rows.append([str(n), *map(number, theory.values()), *cells])
    names = [
        "n",
        "n / (n + 1)",
        "KL bound",
        *(name.replace("_", " ") for name in sorted(measured[0])),
    ]
    write_json_atomically(run.file("report.json"), values)
    run.file("report.md").write_text(
        f"# Best of n\n\n{table(names, rows)}\n\n"
        "95 % intervals. Win rates are against single responses of the same policy, by the reward "
        "model that selects (score) and by the gold reward; KL in nats.\n\n"
        "![Win rate and KL against n](plots/best_of_n.png)\n",
        encoding="utf-8",
    )
    print(json.dumps(values[-1]))
    print(f"report: {run.path}/report.md")


if __name__ == "__main__":
    launch(BestOfNConfig, main, __doc__)

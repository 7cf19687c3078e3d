"""Over-optimises a deliberately small reward model, by best of n and by PPO.

    python -m experiments.studies.overoptimisation --demo=runs/demo --run_dir=runs/overoptimisation

Takes the fine-tuned policy of a demo run as the reference, and trains a proxy reward model that is far too
small on too few of the demo's preferences, which the gold reward labels; the gold reward judges. PPO runs
without a KL penalty, as in Gao et al. 2022 ("Scaling Laws for Reward Model Overoptimization"), which this
reproduces in small: with d = sqrt(KL), the gold reward gains d (alpha - beta d) under best of n and
d (alpha - beta log d) under RL; it rises and falls while the proxy keeps rising. Gains are in standard
deviations of the reference's rewards. Writes report.json, report.md and plots/overoptimisation.png to RUN_DIR.

Result: under best of n gold peaks at +0.33 at 0.5 nats and ends at -0.80, while the proxy reaches +2.84; PPO peaks
at +0.15 at 1.3 nats (docs/results/overoptimisation.md).
"""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np

from experiments.launch import launch
from experiments.studies.samples import Sampling, held_out_prompts, sample_scores
from tfalign.data.customer_service import gold_reward
from tfalign.evaluation import plots
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.markdown import number, table
from tfalign.evaluation.overoptimisation import (
    best_of_n_kl,
    best_of_n_means,
    fit_best_of_n,
    fit_rl,
)
from tfalign.files import local_path, write_json_atomically
from tfalign.models import CausalLM, from_pretrained
from tfalign.options import changed, option, option_record, to_dict
from tfalign.pretrained import load_tokenizer
from tfalign.rewards import LearnedReward, TextReward
from tfalign.trainers import OnPolicyTrainer, RewardTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.data import EMBEDDED
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import RewardTrainOptions
from tfalign.trainers.saving import model_directory, save_model

_LIMITS = {"max_prompt_tokens": 42, "max_new_tokens": 48}  # the demo's


@option_record
class OveroptimisationConfig:
    run_dir: str = option("runs/overoptimisation", "Run directory.")
    demo: str = option("runs/demo", "Demo run whose fine-tuned policy is the reference.")
    data: str = option(EMBEDDED, "Preference pairs; their prompts are used for PPO too.")
    data_dir: str = option("runs/data", "Directory in which TFDS datasets are built.")
    seed: int = option(
        0, "Random seed of initialisation, shuffling and sampling.", at_least=0, below=2**32
    )
    reward_layers: int = option(1, "Number of blocks of the small reward model.", at_least=1)
    reward_width: int = option(32, "Hidden size of the small reward model.", at_least=1)
    num_prompts: int = option(64, "Number of held-out prompts for best of n.", at_least=1)
    samples: int = option(256, "Responses per prompt for best of n, the largest n.", at_least=1)
    reward_model: RewardTrainOptions = option(
        changed(
            RewardTrainOptions(), length=90, on_bad="skip", batch_size=16, steps=300, **_LIMITS
        ),
        "Training of the proxy reward model; steps times batch size is the number of preferences",
    )
    ppo: OnPolicyOptions = option(
        changed(
            OnPolicyOptions(),
            kl_coefficient=0.0,
            missing_stop="keep",
            steps=150,
            learning_rate=3e-5,
            **_LIMITS,
        ),
        "PPO against the proxy",
    )


def main(config):
    run = open_run(config.run_dir, {"overoptimisation": to_dict(config)}, "overoptimisation")
    reference = str(local_path(config.demo) / "models" / "sft")
    proxy = _learn_proxy(config, run, reference)
    base, best_of_n = _best_of_n(config, run, reference, proxy)
    if not model_directory(run.path, "ppo").exists():
        settings = _settings(config, config.ppo, run)
        trainer = OnPolicyTrainer(reference, proxy, config.data, **settings)
        trainer.gold = gold_reward
        trainer.train()
    curves = {"Best of n": best_of_n, "PPO": _rl(run, base)}
    plots.overoptimisation(run.plots / "overoptimisation.png", curves)
    _report(run, curves)


def _settings(config, options, run):
    """Keyword arguments that all trainers take."""
    places = {"data_dir": config.data_dir, "seed": config.seed}
    return {"options": options, "run_dir": run} | places


def _learn_proxy(config, run, reference):
    """Trains the proxy from a small backbone with random weights; returns its directory."""
    proxy = model_directory(run.path, "reward_model")
    if not proxy.exists():
        keras.utils.set_random_seed(config.seed)
        tokenizer = load_tokenizer(reference)
        backbone = CausalLM.from_preset(
            "tiny_llama",
            vocab_size=tokenizer.vocab_size,
            max_positions=config.reward_model.length,
            width=config.reward_width,
            num_layers=config.reward_layers,
        )
        start = model_directory(run.path, "small_backbone")
        run.begin()
        save_model(start, backbone, tokenizer)
        settings = _settings(config, config.reward_model, run)
        settings["normalize_with"] = reference
        RewardTrainer(start, config.data, **settings).train()
    return str(proxy)


def _best_of_n(config, run, reference, proxy):
    """Rewards of the reference and the gains of best of n: (_Base, GainCurve)."""
    sampled = _sample(config, run, reference, proxy)
    proxies, golds = sampled["proxy"], sampled["gold"]
    if golds.std() == 0:
        raise ValueError(
            f"The gold reward is {golds.mean():g} for every response of {reference}: there is "
            "nothing to optimise"
        )
    base = _Base(proxies.mean(), proxies.std(), golds.mean(), golds.std())
    sizes = np.unique(np.geomspace(1, config.samples, 25).astype(int))
    means = (best_of_n_means(proxies, rewards, sizes) for rewards in (proxies, golds))
    return base, _curve(fit_best_of_n, "d", base, best_of_n_kl(sizes), *means)


def _sample(config, run, reference, proxy):
    """Samples responses to held-out prompts; returns their proxy and gold rewards, float32[P, samples]."""
    tokenizer = load_tokenizer(reference)
    choices = Sampling(
        config.data,
        config.data_dir,
        config.ppo.responses.max_prompt_tokens,
        config.ppo.responses.max_new_tokens,
        config.ppo.responses.temperature,
    )
    return sample_scores(
        reference,
        held_out_prompts(choices, tokenizer, config.num_prompts),
        {
            "proxy": LearnedReward(from_pretrained(proxy)),
            "gold": TextReward(gold_reward, tokenizer.decode),
        },
        config.samples,
        choices,
        run.file("best_of_n.npz"),
    )


def _rl(run, base):
    """Gains over PPO's iterations, a GainCurve; KL and rewards are those of each batch of rollouts."""
    series = read_curves(run.path / "metrics.jsonl")["ppo"]
    kl, proxy, gold = (series[name].values for name in ("kl", "score", "gold_reward"))
    return _curve(fit_rl, "log d", base, kl, proxy, gold)


@dataclasses.dataclass(frozen=True)
class _Base:
    """Mean and standard deviation of the reference's rewards."""

    proxy_mean: float
    proxy_std: float
    gold_mean: float
    gold_std: float


def _curve(fit, bend, base, kl, proxy, gold):
    """Gains in standard deviations against sqrt(KL), with the law fitted to gold's, a GainCurve."""
    distance = np.sqrt(np.maximum(kl, 0.0))  # an estimated KL may be negative
    gold_gain = (gold - base.gold_mean) / base.gold_std
    law = fit(distance, gold_gain)
    return plots.GainCurve(
        distance,
        (proxy - base.proxy_mean) / base.proxy_std,
        gold_gain,
        law,
        f"d ({law.alpha:.2f} - {law.beta:.2f} {bend})",
    )


def _report(run, curves):
    """Writes report.json and report.md: the laws, their peaks and the gains at the end."""
    values = {title: _summary(curve) for title, curve in curves.items()}
    write_json_atomically(run.file("report.json"), values)
    rows = [[title, *map(number, summary.values())] for title, summary in values.items()]
    names = [name.replace("_", " ") for name in next(iter(values.values()))]
    run.file("report.md").write_text(
        "# Over-optimisation of a small reward model\n\n"
        f"{table(['optimiser', *names], rows)}\n\n"
        "Gains are in standard deviations of the reference's rewards, KL in nats; alpha, beta and "
        "R^2 are of the gold gain's law, the peak is the law's within the distances measured.\n\n"
        "![Proxy and gold reward against sqrt(KL)](plots/overoptimisation.png)\n",
        encoding="utf-8",
    )
    print(json.dumps(values, indent=2))
    print(f"report: {run.path}/report.md")


def _summary(curve):
    """Numbers of one GainCurve: the law's, at the peak and at the end, a dict of floats."""
    distance = np.linspace(0, curve.distance.max(), 1000)[1:]
    gold = curve.law(distance)
    last = -(-len(curve.gold) // 20)  # number of points whose mean is the end
    summary = {
        "alpha": curve.law.alpha,
        "beta": curve.law.beta,
        "r_squared": curve.law.r_squared,
        "kl_at_peak": distance[gold.argmax()] ** 2,
        "gold_at_peak": gold.max(),
        "kl_at_end": np.mean(np.square(curve.distance[-last:])),
        "gold_at_end": curve.gold[-last:].mean(),
        "proxy_at_end": curve.proxy[-last:].mean(),
    }
    return {name: float(value) for name, value in summary.items()}


if __name__ == "__main__":
    launch(OveroptimisationConfig, main, __doc__)

"""A run told on one page: ``report.json`` for programs, ``report.md`` with pictures for people."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tfalign.evaluation import plots
from tfalign.evaluation.answers import (
    PolicyEvaluation,
    measured,
    parts_section,
    samples_section,
    worst_section,
)
from tfalign.evaluation.curves import Curves, read_curves
from tfalign.evaluation.learning_curves import learning_curves
from tfalign.evaluation.markdown import escape_cell, number, table
from tfalign.evaluation.statistics import (
    Calibration,
    Interval,
    WinRate,
    mean_interval,
    pair_accuracy,
    preference_calibration,
    win_rate,
)
from tfalign.files import AnyPath, as_path, write_text_atomically


@dataclass(frozen=True)
class RewardModelEvaluation:
    """A reward model's scores on held-out pairs, before any normalisation."""

    chosen_scores: np.ndarray  # float[N]
    rejected_scores: np.ndarray  # float[N]

    @cached_property
    def accuracy(self) -> Interval:
        """Share of the pairs ordered as the labels say."""
        return pair_accuracy(self.chosen_scores, self.rejected_scores)

    @cached_property
    def calibration(self) -> Calibration:
        """Of the preference probabilities."""
        return preference_calibration(self.chosen_scores, self.rejected_scores)


@dataclass(frozen=True)
class Report:
    """All that a report says; what is None is left out of it."""

    title: str
    summary: str  # Markdown: what ran, on what data, in a few sentences
    command: str  # the shell command that runs it again
    prompts: Sequence[str] = ()  # N
    before: PolicyEvaluation | None = None
    after: PolicyEvaluation | None = None
    reward_model: RewardModelEvaluation | None = None
    seconds: Mapping[str, float] = field(
        default_factory=dict
    )  # stage -> wall clock, without a total
    versions: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)  # added to report.json, section by
    # section: {"pretrain": {"perplexity": 12.3}}
    before_name: str = "sft"  # sections of report.json, and upper-cased, names of the policies
    after_name: str = "ppo"
    samples: int = 12  # how many of the first prompts, and of the worst responses, are shown

    def __post_init__(self) -> None:
        for name, policy in self.policies.items():
            sizes = {"responses": len(policy.responses)}
            judged = {part: getattr(policy, part) for part in ("scores", "gold", "kl", "lengths")}
            for part, values in {**judged, **policy.parts, **policy.checks}.items():
                if values is None:
                    continue
                sizes[part] = np.shape(values)[0] if np.ndim(values) == 1 else np.shape(values)
                if part not in policy.checks and not np.isfinite(values).all():
                    raise ValueError(f"{name}: {part} must be finite. Received: {values}")
            if set(sizes.values()) != {len(self.prompts)}:
                raise ValueError(
                    f"{name}: every part must hold one entry for each of the"
                    f" {len(self.prompts)} prompts. Received: {sizes}"
                )

    @property
    def policies(self) -> dict[str, PolicyEvaluation]:
        """Name -> evaluation, the earlier one first."""
        named = {self.before_name: self.before, self.after_name: self.after}
        return {name: policy for name, policy in named.items() if policy is not None}

    @cached_property
    def comparison(self) -> tuple[WinRate, str] | None:
        """The later policy's win rate over the earlier one, and by whose judgement: the gold
        reward's where both have one, else the reward model's."""
        if self.before is None or self.after is None:
            return None
        for part, judge in (("gold", "gold reward"), ("scores", "reward model")):
            before, after = getattr(self.before, part), getattr(self.after, part)
            if before is not None and after is not None:
                return win_rate(after, before), judge
        return None


def report_values(report: Report) -> dict[str, Any]:
    """The content of ``report.json``: plain, nested, rounded to six significant digits.

    Args:
        report: what to tell.

    Returns:
        Of the sections that the report has something for, as an example::

            {"reward_model": {"accuracy": 0.71, "accuracy_ci95": [0.68, 0.74], "pairs": 1000,
                              "expected_calibration_error": 0.03},
             "sft": {"gold_reward": 0.4, "gold_reward_ci95": [0.3, 0.5], "score": 0.0, ...},
             "ppo": {"gold_reward": 1.9, ..., "kl": 7.2, "length": 31.0,
                     "gold_parts": {"addresses": 0.6, ...},
                     "checks": {"right order number": {"value": 0.98, "ci95": [0.95, 0.99],
                                                       "passed": 211, "of": 215}},
                     "win_rate_vs_sft": {"value": 0.87, "ci95": [0.84, 0.9], "wins": 430,
                                         "ties": 10, "losses": 60, "judge": "gold reward"}},
             "seconds": {"pretrain": 61.2, ..., "total": 402.0},
             "prompts": 500, "title": ..., "command": ..., "versions": {...}}
    """
    values: dict[str, Any] = {"title": report.title, "command": report.command}
    if report.reward_model is not None:
        accuracy, calibration = report.reward_model.accuracy, report.reward_model.calibration
        values["reward_model"] = {
            **_with_interval("accuracy", accuracy),
            "pairs": int(calibration.counts.sum()),
            "expected_calibration_error": calibration.expected_error,
        }
    for name, policy in report.policies.items():
        values[name] = _policy_values(policy)
    if report.comparison is not None:
        rate, judge = report.comparison
        values[report.after_name][f"win_rate_vs_{report.before_name}"] = {
            "value": rate.value,
            "ci95": [rate.low, rate.high],
            "wins": rate.wins,
            "ties": rate.ties,
            "losses": rate.losses,
            "judge": judge,
        }
    if report.seconds:
        values["seconds"] = {**report.seconds, "total": sum(report.seconds.values())}
    values["prompts"] = len(report.prompts)
    for section, numbers in report.numbers.items():
        both_are_sections = isinstance(numbers, Mapping) and isinstance(values.get(section), dict)
        values[section] = {**values[section], **numbers} if both_are_sections else numbers
    values["versions"] = dict(report.versions)
    return _plain(values)


def write_report(
    report: Report, directory: str | os.PathLike, metrics: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Writes ``report.json``, ``report.md`` and ``plots/*.png`` into a run's directory.

    Args:
        report: what to tell.
        directory: made when absent.
        metrics: the run's ``metrics.jsonl``, for the curves; None for a report without them.

    Returns:
        What went into ``report.json``.
    """
    directory = as_path(directory)
    (directory / "plots").mkdir(parents=True, exist_ok=True)
    curves = read_curves(metrics) if metrics is not None else {}
    pictures = _draw(report, curves, directory)
    values = report_values(report)
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomically(directory / "report.json", text + "\n")
    write_text_atomically(directory / "report.md", _markdown(report, values, pictures))
    return values


def _draw(report: Report, curves: Curves, directory: AnyPath) -> dict[str, str]:
    """Draws what there is to draw; picture -> path relative to the report."""
    before, after = report.before_name.upper(), report.after_name.upper()
    measures = {
        title: {
            name.upper(): np.asarray(getattr(policy, part))
            for name, policy in report.policies.items()
            if getattr(policy, part) is not None
        }
        for title, part in (("Reward model's score", "scores"), ("Gold reward", "gold"))
    }
    rewards = {"score": f"Score, which {after} maximises", "gold_reward": "Gold reward"}
    paths = {
        name: directory / "plots" / f"{name}.png"
        for name in ("learning_curves", "reward_against_kl", "score_distributions", "reliability")
    }
    drawn = {
        "learning_curves": learning_curves(paths["learning_curves"], curves),
        "reward_against_kl": plots.reward_against_kl(
            paths["reward_against_kl"], curves.get(report.after_name, {}), rewards
        ),
        "score_distributions": plots.score_distributions(
            paths["score_distributions"],
            {title: policies for title, policies in measures.items() if policies},
        ),
        "reliability": report.reward_model is not None,
    }
    if report.reward_model is not None:
        plots.reliability(paths["reliability"], report.reward_model.calibration)
    captions = _captions(before, after)
    return {
        name: f"![{name.replace('_', ' ')}](plots/{name}.png)\n\n*{captions[name]}*"
        for name, is_drawn in drawn.items()
        if is_drawn
    }


def _captions(before: str, after: str) -> dict[str, str]:
    """What stands under each picture."""
    return {
        "learning_curves": "Every stage over its steps: values as logged (pale), their running"
        " mean (bold).",
        "reward_against_kl": f"Reward against the KL divergence of {after} from its reference"
        f" ({before}), over training; the line is the mean of groups of neighbours. A gold reward"
        " that falls while the score still rises is over-optimisation.",
        "score_distributions": "One response a prompt, before and after; dashed: the means.",
        "reliability": "Held-out pairs, binned by the reward model's confidence in its choice:"
        " how often it was right (below the dashed line: overconfident).",
    }


def _markdown(report: Report, values: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    sections = [
        f"# {report.title}",
        report.summary.strip(),
        f"```sh\n{report.command}\n```",
        _summary_section(report, values),
        parts_section(report.policies),
        _picture_section("Learning curves", pictures, "learning_curves"),
        _picture_section("Reward against KL", pictures, "reward_against_kl"),
        _picture_section("Scores before and after", pictures, "score_distributions"),
        _reward_model_section(report, pictures),
        samples_section(report.prompts, report.policies, report.samples),
        worst_section(report.prompts, report.policies, report.samples),
        _mapping_section("Other numbers", "number", "value", _flat_numbers(report.numbers)),
        _mapping_section("Time", "stage", "seconds", _flat_numbers(values.get("seconds", {}))),
        _mapping_section("Versions", "package", "version", report.versions),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary_section(report: Report, values: Mapping[str, Any]) -> str:
    if not report.policies:
        return ""
    measures = {
        "gold_reward": "Gold reward (95% interval)",
        "score": "Reward model's score (95% interval)",
        "kl": "KL to the reference, nats per response",
        "length": "Response length, tokens",
    }
    rows = []
    for key, label in measures.items():
        cells = [_measure_cell(values[name], key) for name in report.policies]
        if any(cells):
            rows.append([label, *cells])
    lines = ["## Summary", f"{number(len(report.prompts))} prompts, one response each."]
    lines.append(table(["", *(name.upper() for name in report.policies)], rows))
    if report.comparison is not None:
        rate, judge = report.comparison
        lines.append(
            f"**Win rate of {report.after_name.upper()} over {report.before_name.upper()}, by the"
            f" {judge}: {rate.value:.1%}** (95% interval {rate.low:.1%} to {rate.high:.1%};"
            f" {number(rate.wins)} won, {number(rate.losses)} lost,"
            f" {number(rate.ties)} tied and counted half)."
        )
    return "\n\n".join(lines)


def _measure_cell(section: Mapping[str, Any], key: str) -> str:
    if key not in section:
        return ""
    interval = section.get(f"{key}_ci95")
    if interval is None:
        return number(section[key])
    return f"{section[key]:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


def _picture_section(title: str, pictures: Mapping[str, str], name: str) -> str:
    return f"## {title}\n\n{pictures[name]}" if name in pictures else ""


def _reward_model_section(report: Report, pictures: Mapping[str, str]) -> str:
    if report.reward_model is None:
        return ""
    accuracy, calibration = report.reward_model.accuracy, report.reward_model.calibration
    text = (
        f"On {number(int(calibration.counts.sum()))} held-out pairs it orders"
        f" **{accuracy.value:.1%}** as the labels do (95% interval {accuracy.low:.1%} to"
        f" {accuracy.high:.1%}); its expected calibration error is"
        f" {calibration.expected_error:.3f}."
    )
    return "\n\n".join(["## Reward model", text, pictures["reliability"]])


def _mapping_section(title: str, key: str, value: str, mapping: Mapping[str, Any]) -> str:
    if not mapping:
        return ""
    rows = [[escape_cell(str(name)), _value_cell(x)] for name, x in mapping.items()]
    return f"## {title}\n\n{table([key, value], rows)}"


def _flat_numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """{"pretrain": {"perplexity": 9.0}} -> {"pretrain.perplexity": 9.0}."""
    flat = {}
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": x for key, x in _flat_numbers(value).items()}
        else:
            flat[name] = value
    return flat


def _value_cell(value: Any) -> str:
    value = _plain(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number(value) if is_number else escape_cell(str(value))


def _policy_values(policy: PolicyEvaluation) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, scores in (("gold_reward", policy.gold), ("score", policy.scores)):
        if scores is not None and len(scores) > 1:
            values |= _with_interval(name, mean_interval(scores))
        elif scores is not None:
            values[name] = float(np.mean(scores))
    if policy.kl is not None:
        values["kl"] = float(np.mean(policy.kl))
    if policy.lengths is not None:
        values["length"] = float(np.mean(policy.lengths))
    return values | measured(policy)


def _with_interval(name: str, interval: Interval) -> dict[str, Any]:
    return {name: interval.value, f"{name}_ci95": [interval.low, interval.high]}


def _plain(value: Any) -> Any:
    """JSON's own types: NumPy's numbers and arrays turned, floats rounded, not finite ones null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(x) for key, x in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value

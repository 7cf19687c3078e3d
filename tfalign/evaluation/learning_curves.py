"""The picture of learning curves: a panel for each metric that a run has logged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tfalign.evaluation.curves import Curves, Series
from tfalign.evaluation.figures import CYCLE, ROUND, SLATE, STYLE, new_figure, save_figure


class Panel(NamedTuple):
    """One small plot of the learning curves."""

    stage: str
    title: str
    unit: str
    metrics: Mapping[str, str]  # name in metrics.jsonl -> label


_TITLES = {
    "pretrain": "Pretraining",
    "sft": "Fine-tuning",
    "reward_model": "Reward model",
    "process_reward": "Process reward model",
}
_KINDS = (
    ("loss", "nats", {"loss": "train", "eval_loss": "held out"}),
    ("accuracy", "fraction", {"accuracy": "train", "eval_accuracy": "held out"}),
    (
        "masked tokens",
        "accuracy",
        {"masked_accuracy": "train", "eval_masked_accuracy": "held out"},
    ),
    ("next text", "accuracy", {"next_accuracy": "train", "eval_next_accuracy": "held out"}),
    ("score", "what is maximised", {"score": "rollouts", "eval_score": "held out"}),
    ("gold reward", "never trained on", {"gold_reward": "rollouts"}),
    ("KL to reference", "nats per response", {"kl": "rollouts", "eval_kl": "held out"}),
    ("entropy", "nats per token", {"entropy": "rollouts"}),
    (
        "response length",
        "tokens",
        {"response_length": "rollouts", "eval_response_length": "held out"},
    ),
)
_OF_ROLLOUTS = "score"


def panels_of(curves: Curves) -> list[Panel]:
    """The panels of what a run has logged, stage by stage.

    >>> import numpy as np
    >>> series = Series(np.array([1, 2]), np.array([0.5, 0.4]))
    >>> [panel.title for panel in panels_of({"sft": {"loss": series}, "grpo": {"score": series}})]
    ['Fine-tuning: loss', 'GRPO: score']
    """
    return [
        Panel(stage, f"{_TITLES.get(stage, stage.upper())}: {name}", unit, labels)
        for stage, metrics in curves.items()
        for name, unit, labels in _KINDS
        if labels.keys() & metrics.keys()
        and not (name == "loss" and _OF_ROLLOUTS in metrics)  # of no meaning by itself
    ]


def learning_curves(
    file: str | os.PathLike, curves: Curves, panels: Sequence[Panel] | None = None
) -> bool:
    """Draws every panel that has data: measured values pale, their running mean bold.

    Args:
        file: the PNG.
        curves: as ``read_curves`` gives them.
        panels: what to draw, row by row; those of ``panels_of`` where None.

    Returns:
        Whether there was anything to draw; the file is written only then.
    """
    panels = panels_of(curves) if panels is None else panels
    shown = [panel for panel in panels if panel.metrics.keys() & curves.get(panel.stage, {}).keys()]
    if not shown:
        return False
    columns = min(len(shown), 4 if len(shown) % 4 == 0 else 3)
    rows = -(-len(shown) // columns)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.3 * columns, 2.55 * rows)
        for number, panel in enumerate(shown, start=1):
            axes = figure.add_subplot(rows, columns, number)
            _draw_panel(axes, panel, curves[panel.stage])
            if number > len(shown) - columns:
                axes.set_xlabel("step")
        save_figure(figure, file)
    return True


def _draw_panel(axes: Axes, panel: Panel, metrics: Mapping[str, Series]) -> None:
    for colour, (name, label) in zip(CYCLE, panel.metrics.items()):
        if name not in metrics:
            continue
        steps, values = metrics[name]
        if steps.size < 30:
            marker = "o" if steps.size < 12 else None
            axes.plot(
                steps, values, color=colour, linewidth=1.8, marker=marker, ms=3.5, label=label
            )
        else:
            axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
            axes.plot(steps, _running_mean(values), color=colour, linewidth=1.8, label=label)
    axes.set_title(panel.title, pad=18)
    axes.text(0, 1.03, panel.unit, transform=axes.transAxes, color=SLATE, fontsize=8.5)
    axes.margins(x=0.03)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(loc="best", handlelength=1.2)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Centred mean over a tenth of the series, over what there is of it at the ends."""
    half = max(values.size // 20, 1)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    position = np.arange(values.size)
    first, end = np.maximum(position - half, 0), np.minimum(position + half + 1, values.size)
    return (sums[end] - sums[first]) / (end - first)

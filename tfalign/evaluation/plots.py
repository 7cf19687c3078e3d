"""The pictures of a report and of the studies, but for learning curves: PNG, 150 dpi, colours safe for the colour-blind.

No text of a data set enters a picture: the bundled font has no Chinese.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tfalign.evaluation.curves import Series, at_common_steps
from tfalign.evaluation.figures import (
    BLUE,
    CYCLE,
    INK,
    ORANGE,
    ROUND,
    SLATE,
    STYLE,
    VERMILION,
    new_figure,
    save_figure,
)
from tfalign.evaluation.overoptimisation import best_of_n_kl
from tfalign.evaluation.statistics import Calibration, Interval, reward_by_kl


class GainCurve(NamedTuple):
    """Rewards along an optimisation, as gains over the reference."""

    distance: np.ndarray  # float64[N], sqrt(KL)
    proxy: np.ndarray  # float64[N]
    gold: np.ndarray  # float64[N]
    law: Callable[[np.ndarray], np.ndarray]  # distance -> gold gain, as fitted
    formula: str  # its label


def reward_against_kl(
    file: str | os.PathLike, stage: Mapping[str, Series], rewards: Mapping[str, str]
) -> bool:
    """Draws rewards against the KL to the reference, one panel each, points coloured by step.

    The line is the mean over groups of equal size. A gold reward that falls while the score still
    rises is over-optimisation (Gao et al. 2022).

    Args:
        file: the PNG.
        stage: metric -> series of the stage that was aligned; "kl" in nats.
        rewards: metric -> title; those not in ``stage`` are left out.

    Returns:
        Whether there was anything to draw; the file is written only then.
    """
    if "kl" not in stage:
        return False
    shown = [
        (title, stage[name])
        for name, title in rewards.items()
        if name in stage and np.intersect1d(stage["kl"].steps, stage[name].steps).size
    ]
    if not shown:
        return False
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.4 * len(shown) + 0.6, 3.5)
        panels = [figure.add_subplot(1, len(shown), n + 1) for n in range(len(shown))]
        for axes, (title, series) in zip(panels, shown):
            kl, reward = at_common_steps(stage["kl"], series)
            steps = np.intersect1d(stage["kl"].steps, series.steps)
            points = axes.scatter(
                kl, reward, c=steps, cmap="cividis_r", s=16, alpha=0.8, linewidths=0
            )
            if kl.size >= 8:
                mean = reward_by_kl(kl, reward, groups=min(12, kl.size // 4))
                axes.plot(mean.kl, mean.reward, color="white", linewidth=3.5)
                axes.plot(mean.kl, mean.reward, color=VERMILION, linewidth=2)
            axes.set_title(title)
            axes.set_xlabel("KL to the reference, nats per response")
        panels[0].set_ylabel("mean of the rollouts")
        bar = figure.colorbar(points, ax=panels, label="step", aspect=30, pad=0.02)
        bar.outline.set_visible(False)
        bar.solids.set_alpha(1)
        save_figure(figure, file)
    return True


def overoptimisation(file: str | os.PathLike, curves: Mapping[str, GainCurve]) -> None:
    """Draws proxy and gold reward against sqrt(KL), a panel each, with the law of the gold one.

    Args:
        file: the PNG.
        curves: title -> GainCurve.
    """
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.4 * len(curves) + 0.4, 3.6)
        first = None
        for number, (title, curve) in enumerate(curves.items(), start=1):
            axes = first = figure.add_subplot(1, len(curves), number, sharey=first)
            for colour, name, gain in (
                (ORANGE, "proxy, which was optimised", curve.proxy),
                (BLUE, "gold", curve.gold),
            ):
                axes.scatter(
                    curve.distance, gain, color=colour, s=14, alpha=0.6, linewidths=0, label=name
                )
            d = np.linspace(0, max(curve.distance.max(), 1e-3), 200)[1:]
            axes.plot(d, curve.law(d), color=INK, linewidth=1.8, label=curve.formula)
            axes.set_title(title)
            axes.set_xlabel("sqrt(KL to the reference), nats^0.5")
            axes.legend(loc="best", handlelength=1.2)
            if number == 1:
                axes.set_ylabel("gain, standard deviations of the reference")
        save_figure(figure, file)


def lines_of_runs(
    file: str | os.PathLike,
    panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    units: Mapping[str, str],
    across: str,
) -> None:
    """Draws what several runs each reached at several settings: a panel a measure, a line through the
    means, a dot a run. Lines come in pairs of one colour, the second of each is dashed.

    Args:
        file: the PNG.
        panels: title -> name of a line -> setting -> values of its runs.
        units: title -> what is measured.
        across: what the settings are.
    """
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.6 * len(panels), 3.6)
        for number, (title, lines) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(1, len(panels), number)
            settings = list(dict.fromkeys(setting for line in lines.values() for setting in line))
            for at, (name, line) in enumerate(lines.items()):
                colour = CYCLE[at // 2 % len(CYCLE)]
                places = [settings.index(setting) for setting in line]
                means = [float(np.mean(values)) for values in line.values()]
                axes.plot(places, means, "--" if at % 2 else "-", color=colour, label=name)
                for place, values in zip(places, line.values()):
                    axes.scatter(
                        [place] * len(values), values, color=colour, s=14, alpha=0.6, linewidths=0
                    )
            axes.set_xticks(range(len(settings)), settings)
            axes.set_xlabel(across)
            axes.set_ylabel(units[title])
            axes.set_title(title)
            axes.legend(loc="best")
        save_figure(figure, file)


def best_of_n(
    file: str | os.PathLike, sizes: Sequence[int], measured: Sequence[Mapping[str, Interval]]
) -> None:
    """Draws win rate over a single response and KL to the policy against n, with their theory.

    Args:
        file: the PNG.
        sizes: each n.
        measured: for each n, "kl", "score_win_rate" and perhaps "gold_win_rate" with 95 % intervals.
    """
    n = np.geomspace(1, max(max(sizes), 2), 200)
    won, bound = (
        (n, n / (n + 1), "n / (n + 1)"),
        (n, best_of_n_kl(n), "log n - (n - 1) / n, the bound"),
    )
    judges = {
        "score_win_rate": "by the reward model that chooses",
        "gold_win_rate": "by the gold reward",
    }
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.0, 3.6)
        axes = figure.add_subplot(1, 2, 1)
        _draw_against_n(axes, won, sizes, measured, judges)
        axes.set_title("Best of n against one")
        axes.set_ylabel("share of comparisons won")
        axes = figure.add_subplot(1, 2, 2)
        _draw_against_n(axes, bound, sizes, measured, {"kl": "estimated"})
        axes.set_title("KL to the policy")
        axes.set_ylabel("nats per response")
        save_figure(figure, file)


def side_by_side(
    file: str | os.PathLike, measures: Mapping[str, Mapping[str, Sequence[float]]]
) -> None:
    """Draws measures of several contestants: a panel a measure, a row a contestant, a dot a run.

    Args:
        file: the PNG.
        measures: title -> {contestant -> its runs' values}; the same contestants in all, drawn from
            the top.
    """
    names = list(next(iter(measures.values())))
    rows = np.arange(len(names))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.1 * len(measures) + 1.2, 0.27 * len(names) + 1.0)
        first = None
        for number, (title, values) in enumerate(measures.items(), start=1):
            axes = first = figure.add_subplot(1, len(measures), number, sharey=first)
            for row, name in enumerate(names):
                runs = np.asarray(values[name], np.float64)
                axes.plot([runs.min(), runs.max()], [row, row], color=BLUE, alpha=0.35, linewidth=3)
                axes.scatter(runs, np.full(runs.size, row), color=BLUE, s=16, linewidths=0)
            means = [np.mean(values[name]) for name in names]
            axes.scatter(means, rows, color=VERMILION, marker="|", s=90, zorder=3)
            axes.set_title(title)
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND))
            axes.tick_params(labelleft=number == 1, length=0)
        first.set_yticks(rows, names)
        first.invert_yaxis()
        save_figure(figure, file)


def heat_maps(
    file: str | os.PathLike, rows: Sequence[Sequence[np.ndarray]], across: str, down: str
) -> None:
    """Draws shares as grids of colour, from white at 0 to blue at 1.

    Args:
        file: the PNG.
        rows: pictures in rows, as many in each; float[Y, X] each, all of one shape.
        across, down: what X and Y count.
    """
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(2.3 * len(rows[0]) + 0.6, 2.3 * len(rows) + 0.4)
        grid = figure.subplots(len(rows), len(rows[0]), sharex=True, sharey=True, squeeze=False)
        for row, (line, pictures) in enumerate(zip(grid, rows)):
            for column, (axes, picture) in enumerate(zip(line, pictures)):
                axes.imshow(picture, cmap="Blues", vmin=0, vmax=1, aspect="auto")
                axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
                axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
                if row == len(rows) - 1:
                    axes.set_xlabel(across)
                if column == 0:
                    axes.set_ylabel(down)
        save_figure(figure, file)


def signed_bars(file: str | os.PathLike, values: np.ndarray, across: str, unit: str) -> None:
    """Draws a bar for each value, of one colour above 0 and of another below.

    Args:
        file: the PNG.
        values: float[N].
        across, unit: what N counts, and what a value is.
    """
    with matplotlib.rc_context(STYLE):
        figure = new_figure(max(3.0, 0.2 * len(values) + 1.5), 2.6)
        axes = figure.add_subplot()
        colors = [BLUE if value >= 0 else VERMILION for value in values]
        axes.bar(np.arange(len(values)), values, color=colors)
        axes.axhline(0, color=SLATE, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(across)
        axes.set_ylabel(unit)
        save_figure(figure, file)


def score_distributions(
    file: str | os.PathLike, measures: Mapping[str, Mapping[str, np.ndarray]]
) -> bool:
    """Draws the distribution of each measure before and after, with the means.

    Args:
        file: the PNG.
        measures: title -> {policy -> float[N]}, the earlier policy first.

    Returns:
        Whether there was anything to draw; the file is written only then.
    """
    if not measures:
        return False
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.6 * len(measures), 3.3)
        for number, (title, policies) in enumerate(measures.items(), start=1):
            axes = figure.add_subplot(1, len(measures), number)
            _draw_distributions(axes, policies)
            axes.set_title(title)
            if number == 1:
                axes.set_ylabel("share of responses")
        save_figure(figure, file)
    return True


def reliability(file: str | os.PathLike, calibration: Calibration) -> None:
    """Draws a reliability diagram: accuracy against confidence, and how many cases a bin holds.

    Args:
        file: the PNG.
        calibration: as ``statistics.calibration`` gives it.
    """
    filled = calibration.counts > 0
    confidence, accuracy = calibration.confidence[filled], calibration.accuracy[filled]
    low = calibration.edges[0]
    floor = min(low, float(accuracy.min()) - 0.05)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.4, 4.8)
        grid = figure.add_gridspec(2, 1, height_ratios=(4, 1))
        axes = figure.add_subplot(grid[0])
        error = f"expected calibration error {calibration.expected_error:.3f}"
        ideal = {"color": SLATE, "linewidth": 1.2, "dashes": (4, 3)}
        axes.plot([low, 1], [low, 1], label="perfectly calibrated", **ideal)
        axes.vlines(confidence, confidence, accuracy, color=VERMILION, alpha=0.35, linewidth=3)
        axes.plot(confidence, accuracy, color=BLUE, linewidth=2, marker="o", ms=5, label=error)
        axes.set_ylim(max(floor, -0.02), 1.03 + 0.12 * (1 - floor))
        axes.set_title("Reward model: reliability")
        axes.set_ylabel("share it got right")
        axes.legend(loc="upper left", handlelength=1.8)
        counts = figure.add_subplot(grid[1], sharex=axes)
        widths = np.diff(calibration.edges)
        counts.bar(
            calibration.edges[:-1] + widths / 2, calibration.counts, widths * 0.86, color=SLATE
        )
        counts.set_ylabel("pairs")
        counts.set_xlabel("confidence of the reward model")
        counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        axes.tick_params(labelbottom=False)
        save_figure(figure, file)


def _draw_against_n(axes, theory, sizes, measured, names) -> None:
    n, expected, formula = theory
    axes.plot(n, expected, color=INK, linewidth=1.6, dashes=(4, 2), label=formula)
    for colour, name in zip((ORANGE, BLUE), names):
        if name in measured[0]:
            value, low, high = np.array([tuple(one[name]) for one in measured]).T
            spread = np.stack([value - low, high - value])
            axes.errorbar(
                sizes,
                value,
                spread,
                color=colour,
                fmt="o",
                ms=4.5,
                linewidth=1.2,
                label=names[name],
            )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("n")
    axes.legend(loc="best", handlelength=1.8)


def _draw_distributions(axes: Axes, policies: Mapping[str, np.ndarray]) -> None:
    values = {name: np.asarray(x, np.float64) for name, x in policies.items()}
    everything = np.concatenate(list(values.values()))
    edges = np.linspace(everything.min(), everything.max() + 1e-9, 33)
    headroom = 1.25  # for the legend, above everything
    for colour, (name, x) in zip((SLATE, BLUE), values.items()):
        label = f"{name}, mean {x.mean():.2f}"
        weights = np.full(x.size, 1 / x.size)
        axes.hist(x, edges, weights=weights, color=colour, alpha=0.35)
        axes.hist(
            x, edges, weights=weights, color=colour, histtype="step", linewidth=1.4, label=label
        )
        axes.axvline(x.mean(), 0, 1 / headroom, color=colour, linewidth=1.6, dashes=(4, 2))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(0, axes.get_ylim()[1] * headroom)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", handlelength=1.2)

"""Pictures are drawn where there is data, and only there; what is drawn is the data."""

import struct
import warnings

import matplotlib
import numpy as np
import pytest

from tfalign.evaluation import learning_curves, plots
from tfalign.evaluation.curves import Series
from tfalign.evaluation.figures import save_figure
from tfalign.evaluation.statistics import calibration


@pytest.fixture(autouse=True)
def no_warning():
    """Missing glyphs, layouts that collapse and empty slices all show as warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, before they became pixels."""
    saved = []

    def save(figure, file):
        saved.append(figure)
        save_figure(figure, file)

    monkeypatch.setattr(plots, "save_figure", save)
    monkeypatch.setattr(learning_curves, "save_figure", save)
    return saved


def series(count: int, scale: float = 1.0) -> Series:
    return Series(np.arange(1, count + 1), scale * np.sqrt(np.arange(count, dtype=np.float64)))


def png_size_and_dpi(file) -> tuple[int, int, float]:
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    chunk = data.index(b"pHYs")
    (dots_per_metre,) = struct.unpack(">I", data[chunk + 4 : chunk + 8])
    return width, height, dots_per_metre * 0.0254


@pytest.mark.parametrize("count", [1, 5, 20, 200])
def test_learning_curves_draw_the_panels_that_have_data(tmp_path, figures, count):
    curves = {
        "sft": {"loss": series(count), "eval_loss": series(2), "time": series(count)},
        "ppo": {"kl": series(count)},
        "stage2": {"loss": series(count), "unknown": series(count)},
    }
    assert learning_curves.learning_curves(tmp_path / "a.png", curves)
    panels = figures[0].axes
    assert [axes.get_title("left") for axes in panels] == [
        "Fine-tuning: loss",
        "PPO: KL to reference",
        "STAGE2: loss",
    ]
    np.testing.assert_array_equal(panels[1].lines[0].get_ydata(), curves["ppo"]["kl"].values)
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == [
        "train",
        "held out",
    ]
    width, height, dpi = png_size_and_dpi(tmp_path / "a.png")
    assert (width, height) == (1485, 382)
    assert dpi == pytest.approx(150, abs=0.1)


def test_a_caller_chooses_the_panels(tmp_path, figures):
    panel = learning_curves.Panel("grpo", "GRPO", "nats", {"kl": "rollouts"})
    assert learning_curves.learning_curves(tmp_path / "a.png", {"grpo": {"kl": series(5)}}, [panel])
    assert figures[0].axes[0].get_title("left") == "GRPO"


def test_running_mean_by_hand():
    # Twenty values: one neighbour on either side, fewer at the ends.
    values = np.arange(20.0) ** 2
    smooth = learning_curves._running_mean(values)
    assert smooth[0] == (0 + 1) / 2
    assert smooth[3] == (4 + 9 + 16) / 3
    assert smooth[19] == (18**2 + 19**2) / 2


def test_reward_against_kl_pairs_the_values_of_common_steps(tmp_path, figures):
    stage = {
        "kl": Series(np.arange(1, 41), np.linspace(0, 8, 40)),
        "score": Series(np.arange(1, 41), np.linspace(0, 2, 40)),
        "gold_reward": Series(np.array([10, 40]), np.array([0.5, 0.7])),
    }
    titles = {"score": "Score", "gold_reward": "Gold", "absent": "Absent"}
    assert plots.reward_against_kl(tmp_path / "a.png", stage, titles)
    score, gold, _colour_bar = figures[0].axes
    np.testing.assert_allclose(
        gold.collections[0].get_offsets(), [[stage["kl"].values[9], 0.5], [8, 0.7]]
    )
    assert len(score.collections[0].get_offsets()) == 40
    assert len(score.lines) == 2 and not gold.lines, "two points have no mean curve"


def test_score_distributions_are_shares_with_the_means_named(tmp_path, figures):
    before, after = np.array([-1.0, 0.0, 1.0]), np.array([2.0, 2.0])
    assert plots.score_distributions(tmp_path / "a.png", {"Gold": {"SFT": before, "PPO": after}})
    (axes,) = figures[0].axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["SFT, mean 0.00", "PPO, mean 2.00"]
    assert sum(bar.get_height() for bar in axes.containers[0]) == pytest.approx(1)


def test_equal_scores_can_be_drawn(tmp_path):
    equal = {"Gold": {"SFT": np.zeros(3), "PPO": np.zeros(3)}}
    assert plots.score_distributions(tmp_path / "a.png", equal)


def test_reliability_draws_the_filled_bins(tmp_path, figures):
    plots.reliability(tmp_path / "a.png", calibration([0.1, 0.9], [0, 1], bins=4))
    axes, counts = figures[0].axes
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.1, 0], [0.9, 1]])
    assert [bar.get_height() for bar in counts.containers[0]] == [1, 0, 0, 1]


def test_nothing_to_draw_writes_nothing(tmp_path):
    assert not learning_curves.learning_curves(
        tmp_path / "a.png", {"other": {"gradient_norm": series(3)}}
    )
    assert not plots.reward_against_kl(tmp_path / "a.png", {"score": series(3)}, {"score": "S"})
    assert not plots.reward_against_kl(tmp_path / "a.png", {"kl": series(3)}, {"score": "S"})
    assert not plots.score_distributions(tmp_path / "a.png", {})
    assert not list(tmp_path.iterdir())


def test_the_callers_matplotlib_settings_stay_as_they_were(tmp_path):
    before = dict(matplotlib.rcParams)
    learning_curves.learning_curves(tmp_path / "a.png", {"ppo": {"kl": series(5)}})
    assert dict(matplotlib.rcParams) == before


def test_overoptimisation_draws_both_rewards_and_the_law(tmp_path, figures):
    distance = np.linspace(0, 2, 9)
    curve = plots.GainCurve(distance, 2 * distance, distance * (1 - distance), np.sin, "sine")
    plots.overoptimisation(tmp_path / "a.png", {"Best of n": curve, "PPO": curve})
    assert [axes.get_title("left") for axes in figures[0].axes] == ["Best of n", "PPO"]
    for axes in figures[0].axes:
        proxy, gold = (points.get_offsets() for points in axes.collections)
        np.testing.assert_array_equal(proxy, np.stack([distance, curve.proxy], axis=1))
        np.testing.assert_array_equal(gold, np.stack([distance, curve.gold], axis=1))
        (law,) = axes.lines
        np.testing.assert_array_equal(law.get_ydata(), np.sin(law.get_xdata()))
    assert png_size_and_dpi(tmp_path / "a.png")[2] == pytest.approx(150, abs=0.1)


def test_side_by_side_has_a_panel_a_measure_and_a_row_a_contestant(tmp_path, figures):
    reward = {"ppo": [1.0, 2.0, 3.0], "dpo": [2.0, 4.0]}
    plots.side_by_side(tmp_path / "a.png", {"reward": reward, "KL": {"ppo": [5.0], "dpo": [0.0]}})
    first, second = figures[0].axes
    assert [axes.get_title("left") for axes in (first, second)] == ["reward", "KL"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["ppo", "dpo"]
    assert first.get_ylim()[0] > first.get_ylim()[1]  # the first contestant stands at the top
    ppo, dpo, means = (points.get_offsets().tolist() for points in first.collections)
    assert ppo == [[1, 0], [2, 0], [3, 0]] and dpo == [[2, 1], [4, 1]]
    assert means == [[2, 0], [3, 1]]
    assert second.collections[-1].get_offsets().tolist() == [[5, 0], [0, 1]]


def test_heat_maps_draw_a_picture_for_each_array(tmp_path, figures):
    maps = np.random.default_rng(0).random((2, 3, 4, 5))
    plots.heat_maps(tmp_path / "maps.png", maps, "key", "query")
    drawn = [axes.images[0].get_array() for axes in figures[0].axes]
    np.testing.assert_array_equal(np.stack(drawn), maps.reshape(6, 4, 5))
    assert (tmp_path / "maps.png").stat().st_size > 0


def test_signed_bars_draw_every_value(tmp_path, figures):
    values = np.array([0.5, -1.0, 0.0, 2.0])
    plots.signed_bars(tmp_path / "bars.png", values, "token", "nats")
    (axes,) = figures[0].axes
    assert [bar.get_height() for bar in axes.patches] == values.tolist()
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()

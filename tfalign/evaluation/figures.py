"""The style of a report's pictures: PNG, 150 dpi, colours safe for the colour-blind."""

from __future__ import annotations

import io
import os

from matplotlib.figure import Figure

from tfalign.files import write_bytes_atomically

# Okabe and Ito 2008, told apart with any form of colour blindness, and two greys.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, SLATE, MIST = "#1F2933", "#7B8794", "#E4E7EB"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE)

_DPI = 150
ROUND = (1, 2, 2.5, 5, 10)  # distances between ticks, times a power of ten
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": SLATE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": MIST,
    "grid.linewidth": 0.8,
    "xtick.color": SLATE,
    "ytick.color": SLATE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches; without pyplot there is no display and nothing global to close."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    return figure


def save_figure(figure: Figure, file: str | os.PathLike) -> None:
    # The default metadata names matplotlib's version: the same data then differ between machines.
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, metadata={"Software": None})
    write_bytes_atomically(file, picture.getvalue())

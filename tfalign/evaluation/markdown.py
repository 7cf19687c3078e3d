"""Pieces of Markdown: a table, a cell that shows any text literally, a number worth reading."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells that are already escaped.

    Args:
        header: N cells.
        rows: of N cells each.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def escape_cell(text: str, limit: int = 400) -> str:
    """Any text as one cell of a Markdown table, shown literally.

    Args:
        text: may hold pipes, newlines, Markdown, HTML, control characters, lone surrogates.
        limit: int, longest text shown whole; of a longer one the middle is left out.

    >>> print(escape_cell("a|b\\nc *d* <br>"))
    a\\|b<br>c \\*d\\* &lt;br&gt;
    """
    lines = text.encode("utf-8", "replace").decode("utf-8").splitlines()
    text = "\n".join(re.sub(r"[\x00-\x1f\x7f]", " ", line) for line in lines).strip()
    if not text:
        return "*(empty)*"
    if len(text) > limit:
        text = f"{text[: limit * 2 // 3].rstrip()} […] {text[-(limit // 3) :].lstrip()}"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text).replace("\n", "<br>")


def number(value: float) -> str:
    """Whole numbers with thousands, others with three significant digits.

    >>> [number(x) for x in (12345, 1234.56, 12.345, 0.0012345, 0.0)]
    ['12,345', '1,235', '12.3', '0.00123', '0']
    """
    if isinstance(value, int) or abs(value) >= 999.5:  # where three digits would show as 1e+03
        return f"{value:,.0f}"
    return f"{value:.3g}"


def mean_and_deviation(values: Sequence[float]) -> str:
    """Of several runs; of one run its value, of none nothing.

    >>> [mean_and_deviation(runs) for runs in ([1.0, 3.0], [1.0], [])]
    ['2 ± 1.41', '1', '']
    """
    if not values:
        return ""
    mean = number(float(np.mean(values)))
    return mean if len(values) == 1 else f"{mean} ± {number(float(np.std(values, ddof=1)))}"

"""A page that shows how a question was answered: the walks, and what lies around the answer."""

from __future__ import annotations

import html
from collections.abc import Sequence

from tfalign.applications.knowledge.graph import KnowledgeGraph
from tfalign.applications.knowledge.walker import Answer

_COLUMN, _ROW, _WIDTH, _HEIGHT = 260, 64, 150, 32  # pixels
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c2733 }
svg { max-width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: #1c2733 }
.node { fill: #eef3f8; stroke: #5b7083 } .answer { fill: #d9efe0; stroke: #2c7a4b; stroke-width: 2 } .other { fill: #f3faf5; stroke: #8fb8a0 } .near { fill: #fff; stroke: #b9c4ce }
.walk { fill: none; stroke: #2c6db0; stroke-opacity: .75 } .edge { fill: none; stroke: #b9c4ce; stroke-dasharray: 4 3 }
td, th { text-align: left; padding: .15rem 1rem .15rem 0 } .number { text-align: right }
svg .label { fill: #44576a; paint-order: stroke; stroke: #fff; stroke-width: 4px }
"""


def answer_page(
    graph: KnowledgeGraph, head: str, relation: str, answers: Sequence[Answer], neighbours: int = 8
) -> str:
    """One HTML file, which loads nothing: a drawing of the answers' likeliest walks, and a table of them.

    Hops go from left to right, a walk's line is as wide as its answer is likely. In the last column are training edges
    of the likeliest answer, dashed.

    Args:
        graph: KnowledgeGraph.
        head, relation: what was asked, as ``Walker.answers`` takes it.
        answers: the answers, the likeliest first; at least one.
        neighbours: int, edges around the likeliest answer that are drawn, at most.

    Raises:
        ValueError: if there is no answer.
    """
    if not answers:
        raise ValueError("A page shows an answer, at least. Received: none")
    question = html.escape(f"{head}, {relation}, ?")
    rows = "\n".join(
        f'<tr><td>{html.escape(a.entity)}</td><td class="number">{a.probability:.3f}</td>'
        f"<td>{html.escape(a.path)}</td></tr>"
        for a in answers
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{question}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{question}</h1>\n"
        f"{_drawing(graph, head, answers, neighbours)}\n"
        "<table><tr><th>answer</th><th>probability</th><th>likeliest walk</th></tr>\n"
        f"{rows}</table></body></html>\n"
    )


def _drawing(graph, head, answers, neighbours):
    """The graph of all walks, as SVG."""
    start = graph.entities.index(head)
    columns = [[start], *([] for _ in range(max(len(a.steps) for a in answers)))]
    for answer in answers:
        for hop, (_, entity) in enumerate(answer.steps, start=1):
            if entity not in columns[hop]:
                columns[hop].append(entity)
    best = answers[0].steps[-1][1] if answers[0].steps else start
    near = [triple for triple in graph.questions("train").tolist() if triple[0] == best]
    near = [triple for triple in near if triple[2] != start][:neighbours]
    last = list(dict.fromkeys(tail for _, _, tail in near))
    height = _ROW * max(map(len, [*columns, last]))
    lines = _Lines()
    _draw_walks(lines, graph, answers, columns, height)
    _draw_edges(lines, graph, answers, near, last, columns, height)
    ends = {a.entity: "other" for a in answers[1:]} | {answers[0].entity: "answer"}
    boxes = [
        _box(graph.entities[entity], hop, row, len(column), height, ends)
        for hop, column in enumerate(columns)
        for row, entity in enumerate(column)
    ]
    boxes += [
        _box(graph.entities[entity], len(columns), row, len(last), height, None)
        for row, entity in enumerate(last)
    ]
    width = _COLUMN * len(columns) + _WIDTH + 20
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="walks">'
        + "".join([*lines.drawn(), *boxes])
        + "</svg>"
    )


class _Lines:
    """Lines between boxes, each pair joined once: as wide as the widest, with all their relations."""

    def __init__(self):
        self._found: dict[tuple, tuple[float, list[str]]] = {}

    def add(self, here, there, kind, width, label):
        old, labels = self._found.get((here, there, kind), (0.0, []))
        labels = labels if label in labels else [*labels, label]
        self._found[here, there, kind] = max(width, old), labels

    def drawn(self):
        """SVG, the labels above all lines."""
        for (here, there, kind), (width, _) in self._found.items():
            yield _curve(here, there, kind, width)
        for (_, there, _), (_, labels) in self._found.items():
            yield _label(there, labels)


def _draw_walks(lines, graph, answers, columns, height):
    for answer in answers:
        here = _place(0, 0, 1, height)
        for hop, (relation, entity) in enumerate(answer.steps, start=1):
            there = _place(hop, columns[hop].index(entity), len(columns[hop]), height)
            lines.add(here, there, "walk", 1 + 5 * answer.probability, _name(graph, relation))
            here = there


def _draw_edges(lines, graph, answers, near, last, columns, height):
    hop = len(answers[0].steps)
    best = answers[0].steps[-1][1] if answers[0].steps else columns[0][0]
    here = _place(hop, columns[hop].index(best), len(columns[hop]), height)
    for _, relation, tail in near:
        there = _place(len(columns), last.index(tail), len(last), height)
        lines.add(here, there, "edge", 1, _name(graph, relation))


def _place(column, row, rows, height):
    """Left edge and middle of a box."""
    return 10 + _COLUMN * column, (row + 0.5) * height / max(rows, 1)


def _curve(here, there, kind, width):
    (x, y), (to_x, to_y) = here, there
    x += _WIDTH
    middle = (x + to_x) / 2
    path = f"M{x},{y:.0f} C{middle},{y:.0f} {middle},{to_y:.0f} {to_x},{to_y:.0f}"
    return f'<path class="{kind}" stroke-width="{width:.1f}" d="{path}"/>'


def _label(there, labels):
    """Relations, above the end of their line."""
    whole = ", ".join(labels)
    return (
        f'<text class="label" x="{there[0] - 5}" y="{there[1] - 6:.0f}" text-anchor="end">'
        f"<title>{html.escape(whole)}</title>{html.escape(_short(whole, 17))}</text>"
    )


def _box(name, column, row, rows, height, ends):
    x, y = _place(column, row, rows, height)
    kind = "near" if ends is None else ends.get(name, "node") if column else "node"
    return (
        f'<g><title>{html.escape(name)}</title><rect class="{kind}" x="{x}" y="{y - _HEIGHT / 2:.0f}" rx="6" '
        f'width="{_WIDTH}" height="{_HEIGHT}"/><text x="{x + _WIDTH / 2:.0f}" y="{y + 4:.0f}" '
        f'text-anchor="middle">{html.escape(_short(name, 20))}</text></g>'
    )


def _name(graph, relation):
    """A relation with its direction."""
    forward = len(graph.relations)
    name = graph.relations[relation % forward]
    return f"{name} →" if relation < forward else f"← {name}"


def _short(text, most):
    return text if len(text) <= most else f"{text[: most - 1]}…"

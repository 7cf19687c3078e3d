"""The same brief demanded, priced or rewarded: slot errors, banned texts and length at equal KL.

    python -m experiments.tasks.content --data=restaurants:devset.csv,testset_w_refs.csv \\
        --demanded=runs/sft --priced=runs/priced --rewarded=runs/rewarded

The three runs are of `tfalign compose` on the same fine-tuned model: ``--demanded`` is one whose fine-tuned model is
used, ``--priced`` one with ``--banned_limit`` and ``--length_limit``, and ``--rewarded`` one with ``--banned_weight`` and
``--length_weight``, whose limits are out of reach, so that its costs are logged at a price of 0. A constraint is not
trained: its points are of more and more slots that are demanded of the fine-tuned model, and of banned phrases. Each
point is of sampled texts, those of training for the two runs, and for the constraint those of held-out briefs.
Writes report.json, report.md and plots/content.png to RUN_DIR.

Result: docs/results/content.md.
"""

from __future__ import annotations

import json

import matplotlib
import numpy as np

from experiments.launch import launch
from tfalign.applications.content import DemandedSlots, Writer, task_of
from tfalign.applications.content.restaurants import HOUSE_STYLE, PHRASES
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.figures import CYCLE, STYLE, new_figure, save_figure
from tfalign.evaluation.markdown import number, table
from tfalign.files import local_path, write_json_atomically, write_text_atomically
from tfalign.options import option, option_record, to_dict
from tfalign.pretrained import load
from tfalign.trainers.base import open_run
from tfalign.trainers.saving import model_directory

_MEASURES = {"slot_error": "slot errors", "banned": "banned texts", "words": "words"}
_SMOOTHED = 5  # iterations of a point of a run


@option_record
class ContentConfig:
    run_dir: str = option("runs/content", "Run directory.")
    data: str = option(
        "restaurants:devset.csv,testset_w_refs.csv", "The restaurants' data, as of all three runs."
    )
    demanded: str = option("runs/compose", "Run whose fine-tuned model is constrained.")
    priced: str = option("runs/priced", "Run with limits.")
    rewarded: str = option("runs/rewarded", "Run with weights.")
    max_prompt_tokens: int = option(36, "Maximum prompt length, tokens.", at_least=1)
    max_new_tokens: int = option(44, "Maximum response length, tokens.", at_least=1)
    kl: tuple[float, ...] = option((2.0, 5.0, 8.0), "KLs of the table, nats per text.", above=0)


def main(config):
    run = open_run(config.run_dir, {"content": to_dict(config)}, "content")
    task = task_of(config.data)
    slots = float(np.mean([len(one.brief.slots) for one in task.train]))
    ways = {
        "demanded": demanded(config, task),
        "priced": of_run(config.priced, slots),
        "rewarded": of_run(config.rewarded, slots),
    }
    write_json_atomically(run.file("report.json"), ways)
    text = report(ways, config.kl)
    write_text_atomically(run.file("report.md"), text)
    draw(run.plots / "content.png", ways)
    print(text)


def demanded(config, task):
    """Measures of a fine-tuned model under more and more demands: a dict of lists, and "ended"."""
    policy = load(model_directory(local_path(config.demanded), "sft"))
    writer = Writer(task, policy, config.max_prompt_tokens, config.max_new_tokens)
    names, size = list(PHRASES), policy.model.config.vocab_size
    found = {name: [] for name in ("kl", "ended", *_MEASURES)}
    for count, banned in ((0, ()), (2, ()), (4, ()), (6, ()), (8, ()), (8, HOUSE_STYLE)):
        phrases = {name: PHRASES[name] for name in names[:count]}
        constraint = DemandedSlots(phrases, policy.tokenizer, size, banned) if count else None
        measures = writer(policy, 2, constraint=constraint).measures
        for name, values in found.items():
            values.append(measures[name])
    return found


def of_run(run_dir, slots):
    """The same measures along a run's training, each the mean over some iterations: a dict of lists.

    Args:
        run_dir: of ``tfalign compose``.
        slots: mean number of slots of a brief.
    """
    path = local_path(run_dir)
    options = json.loads((path / "config.json").read_text())["compose"]
    metrics = read_curves(path / "metrics.jsonl")["grpo"]
    series = {name: one.values for name, one in metrics.items()}
    banned, words = series["cost_banned"], series["cost_words"]
    charged = options["banned_weight"] * banned + options["length_weight"] * words
    errors = -(series["reward"] + charged) / slots
    lines = {"kl": series["kl"], "slot_error": errors, "banned": banned, "words": words}
    return {name: _means(values) for name, values in lines.items()}


def at_kl(way, kl):
    """The measures at a KL, between the two nearest points; None where a way does not go so far.

    >>> at_kl({"kl": [0, 2], "words": [10, 20]}, 1.0)
    {'words': 15.0}
    >>> at_kl({"kl": [0, 2], "words": [10, 20]}, 3.0)
    """
    order = np.argsort(way["kl"])
    along = np.asarray(way["kl"], "float64")[order]
    if kl > along[-1]:
        return None
    names = [name for name in way if name != "kl"]
    return {name: float(np.interp(kl, along, np.asarray(way[name])[order])) for name in names}


def report(ways, kls):
    """Markdown: the table at equal KL, and where each way ends."""
    rows = []
    for kl in kls:
        for name, way in ways.items():
            found = at_kl(way, kl)
            cells = (
                ["not reached"] * len(_MEASURES)
                if found is None
                else map(number, map(found.get, _MEASURES))
            )
            rows.append([number(kl), name, *cells])
    header = ["KL, nats", "", *_MEASURES.values()]
    last = [
        [name, *(number(way[key][-1]) for key in ("kl", *_MEASURES))] for name, way in ways.items()
    ]
    tables = table(header, rows), table(["at the end", "KL, nats", *_MEASURES.values()], last)
    return "\n\n".join(["# Demanded, priced or rewarded", *tables, "![](plots/content.png)"]) + "\n"


def draw(file, ways):
    """A panel for each measure, against the KL."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.6 * len(_MEASURES), 3.2)
        for at, (name, title) in enumerate(_MEASURES.items(), start=1):
            axes = figure.add_subplot(1, len(_MEASURES), at)
            for colour, (way, points) in zip(CYCLE, ways.items()):
                axes.plot(points["kl"], points[name], "o-", color=colour, ms=3, label=way)
            axes.set_title(title)
            axes.set_xlabel("KL to the fine-tuned model, nats per text")
            axes.legend(loc="best")
        save_figure(figure, file)


def _means(values):
    """Means over groups of iterations, the first by itself."""
    rest = np.array_split(values[1:], max(len(values[1:]) // _SMOOTHED, 1))
    return [float(values[0]), *(float(np.mean(part)) for part in rest)]


if __name__ == "__main__":
    launch(ContentConfig, main, __doc__)

"""Predicts missing links of a knowledge graph with embeddings: filtered mean reciprocal rank.

    python -m experiments.tasks.link_prediction --run_dir=runs/links
    python -m experiments.tasks.link_prediction --run_dir=runs/umls --graph=DATA/kg-tiny/umls --n3s=0.01,0.05,0.1
    python -m experiments.tasks.link_prediction --run_dir=runs/wn18rr --graph=DATA/wn18rr --width=800 --negatives=4000 \\
        --n3s=0.1 --epochs=8

The recipe is that of Lacroix et al. 2018: ComplEx, every relation also read backwards, a softmax over all entities,
the nuclear 3-norm as a regulariser, Adagrad with learning rate 0.1, batches of 1,000. Each coefficient of --n3s is
tried, and the one best on the validation triples is reported on the test triples, of which both head and tail are
asked for; equal scores share their ranks. The graph is a folder of train.txt, valid.txt and test.txt (head, relation
and tail, separated by tabs), or embedded:en or embedded:zh, which need no data. Writes RUN_DIR/link_prediction.json, and
the embeddings to RUN_DIR/models.

Result: docs/results/knowledge.md.
"""

from __future__ import annotations

import time
from pathlib import Path

from experiments.launch import launch
from tfalign.applications.knowledge import (
    KnowledgeGraph,
    LinkPredictionOptions,
    LinkPredictionTrainer,
    LinkPredictor,
    embedded_graph,
    ranking_metrics,
)
from tfalign.files import write_json_atomically
from tfalign.options import changed, option, option_record, record

EMBEDDED = "embedded:"


@option_record
class LinkPredictionConfig:
    run_dir: str = option("runs/links", "Directory of the runs, one for each coefficient.")
    graph: str = option("embedded:en", "Folder of the graph; or embedded:en, embedded:zh.")
    n3s: tuple[float, ...] = option((0.05,), "Coefficients --n3 to try, comma-separated.")
    options: LinkPredictionOptions = record(LinkPredictionOptions())


def read_graph(name: str, on_bad: str = "stop") -> KnowledgeGraph:
    """A graph by the name that flags give it."""
    if name.startswith(EMBEDDED):
        return embedded_graph(name.removeprefix(EMBEDDED))
    return KnowledgeGraph.read(name, on_bad)


def main(config):
    graph = read_graph(config.graph, config.options.data_options.on_bad)
    print(
        f"{len(graph.entities)} entities, {len(graph.relations)} relations, {len(graph.train)} triples"
    )
    found = {}
    for n3 in config.n3s:
        options = changed(fitting_batches(config.options, graph), n3=n3)
        start = time.process_time()
        run_dir = Path(config.run_dir) / f"n3_{n3:g}"
        trainer = LinkPredictionTrainer(graph, options=options, run_dir=run_dir)
        trainer.train()
        seconds = time.process_time() - start
        predictor = LinkPredictor(trainer.model)
        measured = {s: ranking_metrics(predictor.ranks(graph, s)) for s in ("valid", "test")}
        found[n3] = measured | {"n3": n3, "cpu_seconds": seconds}
        print(
            f"n3 {n3:g}: validation MRR {measured['valid']['mrr']:.4f}, {seconds:.0f} CPU seconds"
        )
    best = max(found.values(), key=lambda measured: measured["valid"]["mrr"])
    write_json_atomically(
        f"{config.run_dir}/link_prediction.json", {"best": best, "all": [*found.values()]}
    )
    shown = " ".join(f"{name} {value:.4f}" for name, value in best["test"].items())
    print(f"best on validation: n3 {best['n3']:g}; test: {shown}")


def fitting_batches(options: LinkPredictionOptions, graph: KnowledgeGraph) -> LinkPredictionOptions:
    """The options with batches of at most all questions of a graph, which may be small."""
    return changed(options, batch_size=min(options.update.batch_size, 2 * len(graph.train)))


if __name__ == "__main__":
    launch(LinkPredictionConfig, main, __doc__)

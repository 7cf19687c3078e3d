"""Trains an extractor of relations from random weights: F1 on SanWen, Chinese prose.

    python -m experiments.tasks.relations --run_dir=runs/relations --data=DATA/zh-relations

The relation of two marked entities is read off an encoder of characters, their distances to both entities and
n-grams. Several runs, of --seeds, are trained; the mean of their log-probabilities is reported beside the best on the
validation texts. F1 is counted as SanWen's authors do, over all pairs with a relation (Xu et al. 2017; Li et al. 2019
list 0.61 to 0.66 with pretrained words). Writes RUN_DIR/relations.json, and the extractors to
RUN_DIR/seed_N/models/relations.

Result: docs/results/knowledge.md.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from experiments.launch import launch
from tfalign.applications.knowledge import (
    RelationOptions,
    RelationTrainer,
    micro_scores,
    read_sanwen,
)
from tfalign.files import write_json_atomically
from tfalign.options import changed, option, option_record, record

SPLITS = ("train", "valid", "test")


@option_record
class RelationsConfig:
    run_dir: str = option("runs/relations", "Directory of the runs, one for each seed.")
    data: str = option("DATA/zh-relations", "Folder of SanWen_train.txt, _valid.txt and _test.txt.")
    seeds: tuple[int, ...] = option((0,), "Seeds of the runs, comma-separated.")
    options: RelationOptions = record(RelationOptions())


def main(config):
    files = {split: Path(config.data) / f"SanWen_{split}.txt" for split in SPLITS}
    on_bad = config.options.data_options.on_bad
    records = {split: read_sanwen(file, on_bad) for split, file in files.items()}
    runs, found = [], {"valid": [], "test": []}
    for seed in config.seeds:
        start = time.process_time()
        options = changed(config.options, seed=seed)
        run_dir = Path(config.run_dir) / f"seed_{seed}"
        trainer = RelationTrainer(
            records["train"], records["valid"], options=options, run_dir=run_dir
        )
        trainer.train()
        seconds = time.process_time() - start
        for split, tables in found.items():
            tables.append(trainer.extractor.log_probs(records[split]))
        measured = {split: scores(trainer, records[split], found[split][-1:]) for split in found}
        runs.append(measured | {"seed": seed, "cpu_seconds": seconds})
        print(runs[-1], flush=True)
    best = max(runs, key=lambda run: run["valid"]["f1"])
    mean = {split: scores(trainer, records[split], tables) for split, tables in found.items()}
    write_json_atomically(
        f"{config.run_dir}/relations.json", {"best": best, "mean": mean, "all": runs}
    )
    print(f"best on validation: seed {best['seed']}, test F1 {best['test']['f1']:.4f}")
    print(f"mean of {len(runs)}: test F1 {mean['test']['f1']:.4f}")


def scores(trainer, records, tables):
    """Of the mean of several models' log-probabilities, float[N, C] each."""
    likeliest = np.mean(tables, axis=0).argmax(axis=1)
    right = [record.relation for record in records]
    return micro_scores(right, [trainer.classes[at] for at in likeliest], trainer.options.none)


if __name__ == "__main__":
    launch(RelationsConfig, main, __doc__)

"""Fine-tunes an encoder to tell classes of texts.

    python -m experiments.classify --run_dir=runs/sentiment --model=MINILM \\
        --data=tfds:movie_reviews:train::tfds:movie_reviews:test --data_dir=DATA --length=256 --steps=300
    python -m experiments.classify --model=DIR --data=mine.jsonl

The second reads JSON lines with "text" and "label", and holds a tenth of the texts out. The classes are
those of the training records, in the order of the alphabet; the model goes to RUN_DIR/models/classify
with their names, accuracy on the held-out texts (with Wilson's interval) to RUN_DIR/classify.json. With
MiniLM (22 million weights) the first reaches the accuracy in BUILD_NOTES.md.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from experiments import encoders, stages
from experiments.launch import launch, option
from tfalign.data import BatchStream, ClassRecord, encode_classes
from tfalign.evaluation.statistics import wilson_interval
from tfalign.models import SequenceClassifier
from tfalign.objectives import Classification


@dataclasses.dataclass(frozen=True)
class ClassifyConfig(encoders.EncoderConfig):
    run_dir: str = option("runs/classify", "where the run lives")
    from_start: float = option(1.0, "share of a too long text's tokens from its start, not its end")


def main(config):
    run = stages.open_run("classify", config)
    stages.seed_everything(config.seed)
    trunk, tokenizer = encoders.trunk_of(config), stages.load_tokenizer(config.model)
    train, test = (
        stages.read(config.data, ClassRecord, split, config.on_bad, config.data_dir)
        for split in ("train", "test")
    )
    classes = sorted({record.label for record in train})
    model = SequenceClassifier(trunk, len(classes), dropout=config.dropout)
    train, test = (
        encode_classes(records, tokenizer, classes, config.length, config.from_start)
        for records in (train, test)
    )
    columns = stages.buckets(config.length)
    batches = BatchStream(train, config.batch_size, columns, seed=config.seed)
    stages.train(run, "classify", model, Classification(), batches, [], config)
    stages.save_model(run, "classify", model, tokenizer, labels=classes)
    logits = encoders.over_all(_logits, model, test, config.batch_size, columns)
    right = int(np.sum(np.argmax(logits, axis=-1) == test.labels))
    most_common = Counter(train.labels.tolist()).most_common(1)[0][0]
    accuracy = wilson_interval(right, len(test))
    encoders.report(
        run,
        "classify",
        {
            "accuracy": accuracy.value,
            "ci95": [accuracy.low, accuracy.high],
            "most_common_class": float(np.mean(test.labels == most_common)),
            "train": len(train),
            "test": len(test),
            "classes": len(classes),
        },
    )


def _logits(model, batch):
    return model(batch.token_ids, padding_mask=batch.padding_mask)


if __name__ == "__main__":
    launch(ClassifyConfig, main, __doc__)

"""Fine-tunes an encoder to tell classes of texts.

    python -m experiments.classify --run_dir=runs/sentiment --model=MINILM --data_dir=DATA \\
        --data=tfds:movie_reviews:train::tfds:movie_reviews:test --length=256 --windows=20 \\
        --steps=560 --batch_size=16 --learning_rate=1.5e-4
    python -m experiments.classify --model=DIR --data=mine.jsonl

The second reads JSON lines with "text" and "label", and holds a tenth of the texts out. The classes are
those of the training records, in the order of the alphabet; the model goes to RUN_DIR/models/classify
with their names, accuracy on the held-out texts (with Wilson's interval) to RUN_DIR/classify.json. A text
of more than --length tokens is cut there, or read in --windows of it: each learns the text's class, and
together they decide it.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from keras import ops

from experiments import encoders, stages
from experiments.launch import launch
from tfalign.data import BatchStream, ClassRecord, encode_classes
from tfalign.evaluation.statistics import wilson_interval
from tfalign.models import SequenceClassifier
from tfalign.objectives import Classification
from tfalign.options import option, option_record
from tfalign.pretrained import load_tokenizer
from tfalign.trainers.data import buckets


@option_record
class ClassifyConfig(encoders.EncoderConfig):
    run_dir: str = option("runs/classify", "where the run lives")
    windows: int = option(1, "of --length that a long text is read in at most", at_least=1)


def main(config):
    run = stages.open_run("classify", config)
    stages.seed_everything(config.seed)
    trunk = encoders.trunk_of(config.model, config.precision, config.dropout)
    tokenizer = load_tokenizer(config.model)
    train, test = (
        stages.read(config.data, ClassRecord, split, config.on_bad, config.data_dir)
        for split in ("train", "test")
    )
    classes = sorted({record.label for record in train})
    model = SequenceClassifier(trunk, len(classes), dropout=config.dropout)
    train, test = (
        encode_classes(records, tokenizer, classes, config.length, config.windows)
        for records in (train, test)
    )
    columns = buckets(config.length)
    batches = BatchStream(train, config.batch_size, columns, seed=config.seed)
    stages.train(run, "classify", model, Classification(), batches, [], config)
    stages.save_model(run, "classify", model, tokenizer, labels=classes)
    function = encoders.compiled(class_log_probs, model)
    log_probs = encoders.over_all(function, test, config.batch_size, columns)
    _, first = np.unique(test.texts, return_index=True)
    labels = test.labels[first]
    right = int(np.sum(np.argmax(by_text(log_probs, test.texts), axis=-1) == labels))
    most_common = Counter(train.labels.tolist()).most_common(1)[0][0]
    accuracy = wilson_interval(right, len(labels))
    encoders.report(
        run,
        "classify",
        {
            "accuracy": accuracy.value,
            "ci95": [accuracy.low, accuracy.high],
            "most_common_class": float(np.mean(labels == most_common)),
            "train": int(train.texts[-1]) + 1,
            "test": len(labels),
            "classes": len(classes),
        },
    )


def class_log_probs(model, batch):
    """float32[B, C] of a SequenceClassifier and ClassifiedTexts."""
    return ops.log_softmax(model(batch.token_ids, padding_mask=batch.padding_mask))


def by_text(log_probs, texts):
    """What a text's windows say together: their sums, float[number of texts, C].

    Args:
        log_probs: list of N arrays float[C], of windows.
        texts: int[N], which text each is of.
    """
    sums = np.zeros((texts[-1] + 1, len(log_probs[0])))
    np.add.at(sums, texts, log_probs)
    return sums


if __name__ == "__main__":
    launch(ClassifyConfig, main, __doc__)

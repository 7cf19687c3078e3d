"""Fine-tunes an encoder to find named entities.

    python -m experiments.tag --run_dir=runs/wnut17 --model=MINILM --steps=600 \\
        --data=conll:wnut17train.conll::conll:emerging.test.annotated

The source has a word and its tag a line ("O", "B-person", "I-person"), or JSON lines with "words" and "tags".
A word's tag is predicted at its first token; words behind --length count as "O". The model goes to
RUN_DIR/models/tag, precision, recall and F1 of whole entities to RUN_DIR/tag.json.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from experiments import encoders, stages
from experiments.launch import launch
from tfalign.data import BatchStream, TaggedRecord, encode_tags
from tfalign.evaluation.entities import score_entities
from tfalign.models import TokenClassifier
from tfalign.objectives import Tagging
from tfalign.options import option, option_record
from tfalign.pretrained import load_tokenizer
from tfalign.trainers.data import buckets

OUTSIDE = "O"


@option_record
class TagConfig(encoders.EncoderConfig):
    run_dir: str = option("runs/tag", "where the run lives")
    length: int = option(96, "longest sentence, tokens; longer ones are cut", at_least=1)


def main(config):
    run = stages.open_run("tag", config)
    stages.seed_everything(config.seed)
    trunk = encoders.trunk_of(config.model, config.precision, config.dropout)
    tokenizer = load_tokenizer(config.model)
    train, test = (
        stages.read(config.data, TaggedRecord, split, config.on_bad, config.data_dir)
        for split in ("train", "test")
    )
    tags = sorted({tag for record in (*train, *test) for tag in record.tags} | {OUTSIDE})
    model = TokenClassifier(trunk, len(tags), dropout=config.dropout)
    train, test = (
        encode_tags(records, tokenizer, tags, config.length) for records in (train, test)
    )
    columns = buckets(config.length)
    batches = BatchStream(train, config.batch_size, columns, seed=config.seed)
    stages.train(run, "tag", model, Tagging(), batches, [], config)
    stages.save_model(run, "tag", model, tokenizer, labels=tags)
    function = encoders.compiled(_classes, model)
    classes = encoders.over_all(function, test, config.batch_size, columns)
    predicted = [_tags(test, index, row, tags) for index, row in enumerate(classes)]
    scores = score_entities(predicted, [record.tags for record in test.records])
    encoders.report(run, "tag", scores._asdict() | {"train": len(train), "test": len(test)})


def _classes(model, batch):
    return ops.argmax(model(batch.token_ids, padding_mask=batch.padding_mask), axis=-1)


def _tags(examples, index, classes, tags):
    """A tag for every word of a sentence: what stands at its first token, "O" where it was cut off."""
    at_words = np.flatnonzero(examples.tags[index] >= 0)
    named = [tags[classes[column]] for column in at_words]
    return named + [OUTSIDE] * (len(examples.records[index].words) - len(named))


if __name__ == "__main__":
    launch(TagConfig, main, __doc__)

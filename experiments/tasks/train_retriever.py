"""Teaches an encoder a second language by distillation on translations, and measures search across the two.

    python -m experiments.tasks.train_retriever --run_dir=runs/retriever --epochs=40 --batch_size=16
    python -m experiments.tasks.train_retriever --run_dir=runs/zh --teacher=MINILM --data=stsb:DATA/stsb --sources=false

The student starts with a vocabulary of its own, some of the teacher's blocks, and token embeddings that are mixtures
of the embeddings of their translations (IBM model 1 on the training pairs); then its vectors of translations, and
with --sources those of the texts, are pulled to the teacher's vectors of the texts (Reimers and Gurevych 2020).
"stsb:FOLDER" is STS-B in English and Chinese, aligned line by line: pairs of the training split without those whose
text or translation is also in the test split, the dev split as held-out data, and at the end the test split. The
embedded data need nothing, and their teacher is the characters of the texts. Writes RUN_DIR/distillation.json,
RUN_DIR/retriever.json and the student to RUN_DIR/models.

Result: docs/results/search.md.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np

import tfalign
from experiments.launch import launch
from tfalign.applications.search import (
    DistillationOptions,
    DistillationTrainer,
    NGramEncoder,
    TextEncoder,
    bitext_retrieval,
    embedded_translations,
    student_of,
)
from tfalign.data import CompletionRecord, text_lines
from tfalign.evaluation.statistics import spearman
from tfalign.files import write_json_atomically
from tfalign.models import BERT, BERTConfig
from tfalign.options import changed, option, option_record, record
from tfalign.text import train_word_piece

STSB = "stsb:"


@option_record
class RetrieverConfig:
    run_dir: str = option("runs/retriever", "Run directory.")
    teacher: str | None = option(
        None, "Directory of the encoder that is the teacher; none: the texts' characters."
    )
    data: str = option("embedded", '"embedded", or stsb:FOLDER.')
    num_layers: int = option(1, "Blocks of the student, from the teacher's.", at_least=1)
    least: int = option(5, "Times that a word of the vocabulary occurs in training.", at_least=1)
    options: DistillationOptions = record(
        changed(DistillationOptions(), epochs=1.5, batch_size=128, learning_rate=1.5e-3)
    )


def main(config):
    train, held_out, test = read_pairs(config.data)
    start, teacher = models(config, train)
    began = time.process_time()
    trainer = DistillationTrainer(
        start,
        train,
        held_out=held_out,
        teacher=teacher,
        options=config.options,
        run_dir=config.run_dir,
    )
    trainer.train()
    found = {"cpu_seconds": time.process_time() - began}
    student = Path(config.run_dir) / "models" / trainer.stage
    found |= measured(TextEncoder(student, config.options.length), teacher, test)
    write_json_atomically(f"{config.run_dir}/retriever.json", found)
    print(" ".join(f"{name} {value:.4g}" for name, value in found.items()))


def measured(student, teacher, test):
    """Search across languages among the test pairs, and where they have scores, their correlation with cosines."""
    pairs, scores = test
    ours, theirs = (
        encode([getattr(pair, side) for pair in pairs])
        for encode, side in ((student, "completion"), (teacher, "prompt"))
    )
    if scores is None:
        return bitext_retrieval(ours, theirs)
    half = len(scores)  # first sentences, and behind them second ones
    found = bitext_retrieval(ours[:half], theirs[:half])
    found["spearman"] = spearman(np.sum(ours[:half] * ours[half:], axis=1), scores)
    found["teacher_spearman"] = spearman(np.sum(theirs[:half] * theirs[half:], axis=1), scores)
    return found


def models(config, train):
    """(the student as it starts, its teacher)."""
    if config.teacher is not None:
        pretrained = tfalign.load(config.teacher)
        student = student_of(pretrained, train, config.num_layers, config.least)
        return student, TextEncoder(pretrained, config.options.length)
    tokenizer = train_word_piece([pair.prompt for pair in train], vocab_size=400)
    shape = BERTConfig(tokenizer.vocab_size, 128, config.num_layers, 4, initializer_range=0.1)
    untrained = tfalign.Pretrained(BERT(shape), tokenizer)
    return student_of(untrained, train, config.num_layers, config.least), NGramEncoder(width=128)


def read_pairs(source):
    """(training pairs, held-out pairs, (test pairs, scores or None)); each translation once in training.

    Raises:
        ValueError: if the source is unknown, or the languages' files are not aligned.
    """
    if source == "embedded":
        pairs = embedded_translations()
        return pairs[::2] + pairs[1::4], pairs[3::8], (pairs[7::8], None)
    if not source.startswith(STSB):
        raise ValueError(f'Data is "embedded" or stsb:FOLDER. Received: {source}')
    folder = Path(source.removeprefix(STSB))
    train, held_out, test = (_aligned(folder, split) for split in ("train", "dev", "test"))
    tested = {text for pair in test[0] for text in (pair.prompt, pair.completion)}
    kept = {
        pair.completion: pair
        for pair in train[0]
        if pair.prompt not in tested and pair.completion not in tested
    }
    print(f"{len(train[0])} training pairs, {len(kept)} that differ and are not in the test split")
    return list(kept.values()), held_out[0], test


def _aligned(folder, split):
    """(pairs of all first sentences and behind them all second ones, float64[N] scores)."""
    english, chinese = (
        list(csv.reader(text_lines(folder / f"stsb-{language}-{split}.csv")))
        for language in ("en", "zh")
    )
    if [row[2] for row in english] != [row[2] for row in chinese]:
        raise ValueError(f"The {split} files in {folder} are not aligned: their scores differ")
    pairs = [
        CompletionRecord(one[side], other[side])
        for side in (0, 1)
        for one, other in zip(english, chinese)
    ]
    return pairs, np.array([float(row[2]) for row in english])


if __name__ == "__main__":
    launch(RetrieverConfig, main, __doc__)

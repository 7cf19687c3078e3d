"""Measures the value of pretraining: pretrained models against random weights, on few examples.

    DATA=/path/to/data/wikitext-2
    python -m experiments.pretrain_bert --run_dir=runs/bert --next_sentence=false \\
        --data=$DATA/wiki.train.shuffled.tokens.gz::$DATA/wiki.valid.tokens
    python -m experiments.studies.transfer --run_dir=runs/transfer --models=BERT=runs/bert/models/pretrain_bert \\
        --classes.data=tfds:movie_reviews:train::tfds:movie_reviews:test --pairs.data=TRAIN::TEST

Each of --models, NAME=DIRECTORY of an encoder or a decoder, is fine-tuned on each number of --examples and
with each seed twice: from its pretrained weights and from random ones. The tasks are texts with classes
(accuracy on the held-out ones) and sentence pairs with a similarity (Spearman's correlation), as in
``tfalign classify`` and ``tfalign similarity`` (Pang and Lee 2004; Cer et al. 2017). The class is predicted from
the mean of a text's states, so that encoders and decoders are treated alike, whether or not their pretraining
trains the first token. Both starts see the same examples in the same order for as many updates. Two
encoders, one of them pretrained with next-sentence prediction, show what that is worth.

Writes transfer.json (all single results), transfer.md (means and standard deviations) and
plots/transfer.png to RUN_DIR; finished fine-tunings are not repeated.

Result: pretraining gains a decoder 0.16 to 0.21 of correlation on STS-B and 0.02 to 0.03 of accuracy on movie
reviews, and an encoder next to nothing (docs/results/transfer.md).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from experiments.launch import launch
from tfalign.data import (
    BatchStream,
    ClassRecord,
    SimilarityRecord,
    encode_classes,
    encode_similarities,
)
from tfalign.evaluation import plots
from tfalign.evaluation.classes import score_classes
from tfalign.evaluation.markdown import mean_and_deviation, table
from tfalign.evaluation.statistics import spearman
from tfalign.files import write_json_atomically, write_text_atomically
from tfalign.models import MeanPooledClassifier, SentenceEncoder
from tfalign.objectives import Classification, SentenceSimilarity, cosine_of_pairs
from tfalign.objectives.classification import class_log_probs
from tfalign.options import option, option_record, record, to_dict
from tfalign.pretrained import load
from tfalign.trainers.base import open_run
from tfalign.trainers.data import read_split
from tfalign.trainers.encoders import backbone_of
from tfalign.trainers.optimizers import make_optimizer
from tfalign.trainers.options import DataOptions, UpdateOptions
from tfalign.training.evaluator import Outputs
from tfalign.training.learner import Learner

STARTS = ("pretrained", "from scratch")
ALL = "all"


@option_record
class TaskConfig:
    """A task's data and fine-tuning."""

    data: str | None = option(None, "TRAIN::TEST, each a source; none: the task is left out.")
    length: int = option(
        32, "Sequence length, tokens; beyond that of pretraining, positions are new.", at_least=1
    )
    steps: int = option(60, "Training steps.", at_least=1)
    update: UpdateOptions = record(UpdateOptions(learning_rate=1e-3, warmup_steps=5))


@option_record
class ClassesConfig(TaskConfig):
    windows: int = option(
        24, "Maximum number of windows that a long text is split into.", at_least=1
    )
    steps: int = option(600, "Training steps.", at_least=1)
    update: UpdateOptions = record(UpdateOptions(batch_size=64, learning_rate=1e-3))


@option_record
class PairsConfig(TaskConfig):
    highest: float = option(5.0, "Score of sentences of the same meaning.", above=0)


@option_record
class TransferConfig:
    run_dir: str = option("runs/transfer", "Directory of all results.")
    models: tuple[str, ...] = option(
        (), "Models as NAME=DIRECTORY, comma-separated, each a Hugging Face directory; required."
    )
    examples: str = option(
        f"100,1000,{ALL}",
        "Numbers of training examples, comma-separated.",
        list_of=int,
        at_least=1,
        also=(ALL,),
    )
    seeds: int = option(3, "Runs of each, with different examples and random weights.", at_least=1)
    dropout: float = option(0.1, "Dropout rate of training.", at_least=0, below=1)
    data_dir: str = option("runs/data", "Directory in which TFDS datasets are built.")
    classes: ClassesConfig = option(ClassesConfig(), "Texts with classes")
    pairs: PairsConfig = option(PairsConfig(), "Sentence pairs with a similarity")

    def __post_init__(self):
        for model in self.models:
            if not all(model.partition("=")):
                raise ValueError(f"--models must be NAME=DIRECTORY. Received: {model!r}")


@dataclasses.dataclass(frozen=True)
class Task:
    """A task to fine-tune on.

    Attributes:
        config: TaskConfig.
        train, test: lists of records.
        unit: str, name of the measure.
        encode: ``(records, tokenizer) -> Examples``.
        model: ``backbone -> keras.Model``.
        objective: see ``tfalign.objectives``.
        output: ``(model, batch) -> array[B, ...]``, what ``measure`` takes of each example.
        measure: ``(list of outputs, Examples) -> float``.
    """

    config: TaskConfig
    train: list
    test: list
    unit: str
    encode: Callable
    model: Callable
    objective: Any
    output: Callable
    measure: Callable


def main(config):
    if not config.models or (config.classes.data is None and config.pairs.data is None):
        raise ValueError("--models, and --classes.data or --pairs.data, must be given")
    run = open_run(config.run_dir, {"transfer": to_dict(config)}, "transfer")
    file = run.file("transfer.json")
    results = json.loads(file.read_text()) if file.exists() else {}
    tasks = tasks_of(config)
    for name, _, directory in (model.partition("=") for model in config.models):
        for title, task in tasks.items():
            for key, value in _results(config, task, directory, f"{title}/{name}", results):
                results[key] = value
                write_json_atomically(file, results)
                print(f"{key}: {value:.3f}")
    summary = summarised(results)
    units = {title: task.unit for title, task in tasks.items()}
    write_text_atomically(run.file("transfer.md"), _table(summary, units))
    print(_table(summary, units))
    plots.lines_of_runs(run.plots / "transfer.png", summary, units, "training examples")


def tasks_of(config):
    """The tasks that have data: dict of title to Task."""
    tasks = {}
    if config.classes.data is not None:
        tasks["classes"] = _class_task(config.classes, config.data_dir)
    if config.pairs.data is not None:
        tasks["pairs"] = _pair_task(config.pairs, config.data_dir)
    return tasks


def _class_task(config, data_dir):
    train, test = _read(config, ClassRecord, data_dir)
    classes = sorted({record.label for record in train})

    def accuracy(log_probs, examples):
        return score_classes(log_probs, examples.texts, examples.labels).accuracy.value

    return Task(
        config,
        train,
        test,
        "accuracy",
        lambda records, tokenizer: encode_classes(
            records, tokenizer, classes, config.length, config.windows
        ),
        lambda backbone: MeanPooledClassifier(backbone, len(classes)),
        Classification(),
        class_log_probs,
        accuracy,
    )


def _pair_task(config, data_dir):
    train, test = _read(config, SimilarityRecord, data_dir)
    return Task(
        config,
        train,
        test,
        "Spearman's correlation",
        lambda records, tokenizer: encode_similarities(
            records, tokenizer, config.highest, config.length
        ),
        SentenceEncoder,
        SentenceSimilarity(),
        cosine_of_pairs,
        lambda cosines, examples: spearman(cosines, examples.similarity),
    )


def _read(config, kind, data_dir):
    options = DataOptions(data_dir)
    return [read_split(config.data, kind, split, options) for split in ("train", "test")]


def _results(config, task, directory, title, done):
    """Yields (key, value) of a model's missing results on a task."""
    keys = {
        f"{title}/{start}/{size}/{seed}": (start, size, seed)
        for size in config.examples.split(",")
        for seed in range(config.seeds)
        for start in STARTS
    }
    keys = {key: cell for key, cell in keys.items() if key not in done}
    if not keys:
        return
    fine_tuning = FineTuning(task, directory, config.dropout)
    for key, (start, size, seed) in keys.items():
        yield key, fine_tuning(start == "pretrained", _sampled(task.train, size, seed), seed)


def _sampled(records, size, seed):
    """Samples ``size`` records; a smaller sample of the same seed is part of a larger one."""
    order = np.random.default_rng(seed).permutation(len(records))
    return [records[index] for index in order[: None if size == ALL else int(size)]]


class FineTuning:
    """Fine-tunes a model on a task repeatedly, with one compiled update.

    Args:
        task: Task.
        directory: str, of the model and its tokenizer.
        dropout: float, dropout rate of training.

    Attributes:
        model: keras.Model, with the weights of the last fine-tuning.
    """

    def __init__(self, task, directory, dropout):
        self._task = task
        pretrained = load(directory, dropout=dropout)
        self._tokenizer = pretrained.tokenizer
        self._backbone = backbone_of(pretrained.model)
        self._pretrained = _values(self._backbone.weights)
        self.model = task.model(self._backbone)
        c = task.config
        optimizer = make_optimizer(c.update, c.steps)
        self._learner = Learner(self.model, task.objective, optimizer, c.update.accumulate)
        self._outputs = Outputs(self.model, task.output)
        self._test = task.encode(task.test, self._tokenizer)

    def __call__(self, is_pretrained, records, seed):
        """Fine-tunes the model, and returns its result on the task's test split.

        Args:
            is_pretrained: bool, start from the directory's weights instead of random ones.
            records: sequence, training examples.
            seed: int, of random weights and of the order of examples.
        """
        c = self._task.config
        rows, columns = c.update.batch_size, [c.length]
        self._begin(is_pretrained, seed)
        examples = self._task.encode(records, self._tokenizer)
        batches = BatchStream(examples, rows, columns, seed=seed)
        for _ in range(c.steps):
            self._learner.update(next(batches))
        outputs = self._outputs(self._test, rows, columns)
        return self._task.measure(outputs, self._test)

    def _begin(self, is_pretrained, seed):
        """Resets all weights and the optimizer."""
        keras.utils.set_random_seed(seed)
        fresh = self._task.model(type(self._backbone)(self._backbone.config))
        _assign(self.model.variables, _values(fresh.variables))
        if is_pretrained:
            _assign(self._backbone.weights, self._pretrained)  # dropout continues from the seed
        for variable in self._learner.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))


def _values(variables):
    return [np.array(variable) for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def summarised(results):
    """Groups results: dict of task to dict of "model, start" to dict of size to the values of all seeds."""
    summary = {}
    for key, value in results.items():
        task, model, start, size, _ = key.split("/")
        lines = summary.setdefault(task, {}).setdefault(f"{model}, {start}", {})
        lines.setdefault(size, []).append(value)
    return summary


def _table(summary, units):
    parts = []
    for task, lines in summary.items():
        sizes = list(dict.fromkeys(size for line in lines.values() for size in line))
        rows = [
            [name, *(mean_and_deviation(line.get(size, [])) for size in sizes)]
            for name, line in lines.items()
        ]
        parts.append(
            table([f"{task}: {units[task]}", *(f"{size} examples" for size in sizes)], rows)
        )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    launch(TransferConfig, main, __doc__)

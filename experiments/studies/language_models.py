"""Compares the perplexity of n-gram, recurrent and Transformer language models on two texts.

    python -m experiments.studies.language_models --run_dir=runs/language_models
    python -m experiments.studies.language_models --texts=tinyshakespeare --models=ngram,Transformer

The texts are the words of wikitext-2 (Merity et al. 2016), sentence by sentence, and the characters of tiny
Shakespeare (Karpathy 2015), whose last tenth is the test split, as in nanoGPT. They are read from --data_dir.
n-grams have orders 1 to 5 and every smoothing (Chen and Goodman 1998). The networks are trained by the
Learner, those of words with a sampled softmax (Jean et al. 2015), and all are tested with the exact softmax in
sliding windows. Finished models are not repeated and an interrupted training continues from its
checkpoint, so the table can be filled in several goes. Writes report.json, report.md and a result per
model to RUN_DIR. All n-grams take a minute; a network about ten on two free cores.

Result: wikitext-2's test perplexity is 220 for a modified Kneser-Ney 5-gram, 179 for an LSTM and 144 for a
Transformer (docs/results/language_models.md).
"""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import time
from typing import Any

import keras
import numpy as np

from experiments.launch import launch
from tfalign.data import BatchStream, encode_lines, encode_running_text, one_text, read_corpus
from tfalign.evaluation.markdown import number, table
from tfalign.evaluation.perplexity import perplexity
from tfalign.files import local_path, write_json_atomically, write_text_atomically
from tfalign.language_models import (
    NeuralLanguageModel,
    add_k,
    count_ngrams,
    katz,
    kneser_ney,
    maximum_likelihood,
)
from tfalign.models import CausalLM, GPTConfig, NeuralNGramConfig, RecurrentConfig
from tfalign.objectives import LanguageModelling, SampledLanguageModelling
from tfalign.options import changed, option, option_record, to_dict
from tfalign.text import Tokenizer, train_characters, train_words
from tfalign.trainers.base import ADVICE, HARMLESS
from tfalign.trainers.objective import ObjectiveTrainer
from tfalign.trainers.options import TrainingOptions
from tfalign.trainers.pipeline import SecondsOfRun
from tfalign.training.run_directory import RunDirectory
from tfalign.training.run_lock import RunLock

SMOOTHINGS = {
    "maximum likelihood": maximum_likelihood,
    "add 0.01": lambda counts: add_k(counts, 0.01),
    "Katz": katz,
    "modified Kneser-Ney": kneser_ney,
}
ORDERS = range(1, 6)


@dataclasses.dataclass(frozen=True)
class Text:
    """A training text and a test text.

    Attributes:
        train, test: int32[N + 1]; the first token is context.
        tokenizer: Tokenizer.
        boundary: int, token that n-grams do not cross; None for running text.
        of_characters: whether tokens are characters.
    """

    train: np.ndarray
    test: np.ndarray
    tokenizer: Tokenizer
    boundary: int | None
    of_characters: bool


def wikitext(folder):
    """wikitext-2 as words, from a folder."""
    train, test = (
        read_corpus(folder / f"wiki.{part}.tokens{end}")
        for part, end in (("train.shuffled", ".gz"), ("test", ""))
    )
    words = train_words(train)
    train, test = (encode_lines(lines, words) for lines in (train, test))
    return Text(train, test, words, words.eos_id, of_characters=False)


def shakespeare(folder):
    """Tiny Shakespeare as characters, from a folder."""
    text = "".join(read_corpus(folder / "input.txt"))
    cut = len(text) * 9 // 10
    characters = train_characters([text[:cut]])
    whole = encode_running_text([text], characters)
    return Text(whole[: cut + 1], whole[cut:], characters, None, of_characters=True)


TEXTS = {"wikitext-2": wikitext, "tinyshakespeare": shakespeare}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and how it is trained.

    Attributes:
        config: of its backbone; vocab_size is replaced by the text's.
        objective: see ``tfalign.objectives``.
        columns: int, sequence length in training, tokens; the first is context.
        training: TrainingOptions.
        window: int, window of the test, tokens; a prediction has at least half a window of context.
    """

    config: Any
    objective: LanguageModelling
    columns: int
    training: TrainingOptions
    window: int


def _network(config, objective=None, columns=129, window=128, **training):
    objective = objective or LanguageModelling()
    defaults = {"batch_size": 16, "warmup_steps": 100, "weight_decay": 0.1, "save_every": 50}
    training = changed(TrainingOptions(), **defaults | {"learning_rate": 2e-3} | training)
    return Network(config, objective, columns, training, window)


def _words(config, **choices):
    rows = {"columns": 65, "batch_size": 32, "weight_decay": 0.01, "steps": 3000}
    return _network(config, SampledLanguageModelling(), **rows | choices)


_GPT = {"max_positions": 128, "rotary_base": 10_000.0, "norm": "rms", "use_bias": False}
NETWORKS = {
    "wikitext-2": {
        "feed-forward": _words(NeuralNGramConfig(0, 5, 64, 128), steps=2000),
        "LSTM": _words(RecurrentConfig(0, 256, cell="lstm", dropout=0.2), steps=3500),
        "GRU": _words(RecurrentConfig(0, 256, cell="gru", dropout=0.2), steps=2000),
        "Transformer": _words(
            GPTConfig(0, 192, 4, 4, dropout=0.1, initializer_range=0.05, **_GPT),
            steps=2000,
            window=64,  # no longer context in training either
        ),
    },
    "tinyshakespeare": {
        "feed-forward": _network(NeuralNGramConfig(0, 17, 24, 512), steps=2000),
        "LSTM": _network(RecurrentConfig(0, 256, cell="lstm"), steps=2000),
        "GRU": _network(RecurrentConfig(0, 256, cell="gru"), steps=2000),
        "Transformer": _network(
            GPTConfig(0, 192, 4, 4, initializer_range=0.07, **_GPT), steps=4000
        ),
    },
}
MODELS = ("ngram", *NETWORKS["wikitext-2"])


@option_record
class LanguageModelsConfig:
    run_dir: str = option("runs/language_models", "Directory of results and checkpoints.")
    data_dir: str = option("../shared/data", "Folder that holds one folder per text.")
    texts: tuple[str, ...] = option(tuple(TEXTS), "Texts, comma-separated.", TEXTS)
    models: tuple[str, ...] = option(
        MODELS, "Models, comma-separated; ngram: all orders and smoothings.", MODELS
    )
    steps: int | None = option(
        None, "Training steps of every network; none: each one's own.", at_least=1
    )
    seed: int = option(0, "Random seed of initialisation and shuffling.", at_least=0, below=2**32)


def main(config):
    with RunLock(config.run_dir):
        folder = local_path(config.run_dir)
        for name in config.texts:
            text = TEXTS[name](local_path(config.data_dir) / name)
            for model in config.models:
                if model == "ngram":
                    measure_ngrams(text, folder / name)
                else:
                    network = NETWORKS[name][model]
                    training = changed(network.training, seed=config.seed)
                    if config.steps is not None:
                        training = changed(training, steps=config.steps, warmup_steps=0)
                    measure_network(text, model, network, training, folder / name)
        report(folder)


def measure_ngrams(text, folder):
    """Counts, estimates and tests all n-grams that have no result yet."""
    for order in ORDERS:
        files = {name: folder / f"{order}-gram, {name}.json" for name in SMOOTHINGS}
        if all(file.exists() for file in files.values()):
            continue
        start = time.perf_counter()
        counts = count_ngrams(text.train, order, text.tokenizer.vocab_size, text.boundary)
        count_seconds = time.perf_counter() - start
        for name, smoothing in SMOOTHINGS.items():
            start = time.perf_counter()
            model = smoothing(counts)
            seconds = count_seconds + time.perf_counter() - start
            save_result(files[name], text, model, seconds)


def measure_network(text, name, network, training, folder):
    """Trains and tests a network, unless it has a result already."""
    file = folder / f"{name}.json"
    if file.exists():
        return
    vocab_size = text.tokenizer.vocab_size
    choices = {"model": network.config.to_dict() | {"vocab_size": vocab_size}}
    choices |= {"training": to_dict(training), "columns": network.columns}
    run = RunDirectory(folder / name, choices, HARMLESS, advice=ADVICE)
    keras.utils.set_random_seed(training.run.seed)
    model = CausalLM(network.config.replace(vocab_size=vocab_size))
    batches = BatchStream(
        one_text(text.train),
        training.update.batch_size,
        window_length=network.columns,
        seed=training.run.seed,
    )
    settings = {"tokenizer": text.tokenizer, "options": training, "run_dir": run, "stage": name}
    trainer = ObjectiveTrainer(model, network.objective, batches, **settings)
    watch = SecondsOfRun(run)
    watch.measure("train", trainer.train)
    save_result(
        file, text, NeuralLanguageModel(model), watch.seconds["train"], window=network.window
    )


def save_result(file, text, model, train_seconds, window=None):
    """Tests a model on the test text and writes its result.

    Args:
        file: Path, the JSON file.
        text: Text.
        model: LanguageModel.
        train_seconds: float.
        window: int, tokens per window, once side by side and once overlapping by half; None for the
            whole text at once.
    """
    start = time.perf_counter()
    unknown_id = text.tokenizer.unk_id
    stride = None if window is None else window // 2
    found = perplexity(model, text.test, window, stride, unknown_id)
    test_seconds = time.perf_counter() - start
    apart = found if window is None else perplexity(model, text.test, window, window, unknown_id)
    possible = found.impossible == 0
    result = {
        "perplexity": found.perplexity if possible else None,
        "without_sliding": apart.perplexity if possible else None,
        "known_perplexity": found.known_perplexity if possible else None,
        "nats": found.nats if possible else None,
        "bits_per_character": found.bits(found.tokens) if possible and text.of_characters else None,
        "tokens": found.tokens,
        "unknown": found.unknown,
        "impossible": found.impossible,
        "parameters": model.num_parameters,
        "train_seconds": train_seconds,
        "test_seconds": test_seconds,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,  # so far
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomically(file, result)
    value = found.perplexity if possible else math.inf
    print(f"{file.parent.name}, {file.stem}: perplexity {value:.4g}, {train_seconds:.0f} s")


COLUMNS = {
    "perplexity": "perplexity",
    "without_sliding": "without sliding windows",
    "known_perplexity": "of known words",
    "bits_per_character": "bits per character",
    "parameters": "parameters",
    "train_seconds": "seconds to train",
    "test_seconds": "seconds to test",
}


def report(folder):
    """Writes report.json and report.md from all results there are."""
    ngrams = [f"{order}-gram, {name}" for order in ORDERS for name in SMOOTHINGS]
    results = {text: _results(folder / text, [*ngrams, *NETWORKS[text]]) for text in TEXTS}
    write_json_atomically(folder / "report.json", results)
    parts = ["# Language models by their perplexity"]
    for text, of_models in results.items():
        if of_models:
            parts.append(f"## {text}\n\n{_table(of_models)}")
    whole = "\n\n".join(parts) + "\n"
    write_text_atomically(folder / "report.md", whole)
    print(whole)


def _results(folder, names):
    files = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def _table(of_models):
    """A Markdown table with one row per model; columns without values are left out."""
    columns = [c for c in COLUMNS if any(result[c] is not None for result in of_models.values())]
    rows = [
        [name, *("∞" if result[column] is None else number(result[column]) for column in columns)]
        for name, result in of_models.items()
    ]
    return table(["", *(COLUMNS[column] for column in columns)], rows)


if __name__ == "__main__":
    launch(LanguageModelsConfig, main, __doc__)

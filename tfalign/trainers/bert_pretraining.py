"""Masked pretraining of a BERT on text, with a tokenizer trained on the same text."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np

from tfalign.data import (
    MaskedTextStream,
    TextRecord,
    check_unweighted,
    encode_documents,
    is_source,
    read_documents,
    sentence_pairs,
    sentences_of,
    single_texts,
    split_by_prompt,
)
from tfalign.models import BERTConfig, BERTPretrainer, MaskedLM
from tfalign.objectives import BERTPretraining, MaskedLanguageModelling
from tfalign.text import train_word_piece
from tfalign.trainers.data import EMBEDDED, Data, all_records, split_records
from tfalign.trainers.encoder_options import MaskedPretrainOptions
from tfalign.trainers.options import DataOptions
from tfalign.trainers.pretraining import longest_row, ramped
from tfalign.trainers.saving import save_results
from tfalign.trainers.supervised import ScratchTrainer

_SIZES = ("width", "num_layers", "num_heads")

Document = list[str]  # of sentences


class MaskedPretrainer(ScratchTrainer):
    """Pretrains a BERT from random weights: masked tokens, and whether one text follows another.

    As Devlin et al. (2019), in small; with ``next_sentence=False`` texts stand alone, as in RoBERTa (Liu et al.
    2019). Every epoch masks other tokens. The saved model is a ``BertForPreTraining`` or ``BertForMaskedLM``.

    Data are text files, TRAIN::TEST (wikitext's, or blank lines between documents; .gz too), a source of
    records with "text", or a sequence of texts::

        trainer = MaskedPretrainer("train.txt::test.txt", run_dir="runs/bert", steps=6000)
        trainer.train()
        trainer.results["masked_accuracy"]

    Args:
        data, held_out, options, run_dir, stage, callbacks, changes: see ``ScratchTrainer``; options are a
            ``MaskedPretrainOptions``.

    Attributes:
        results: dict, what ``report`` measured last.
    """

    options_class = MaskedPretrainOptions
    default_stage = "pretrain_bert"

    def _build(self, data, held_out):
        options = self.options
        self.results: dict[str, Any] = {}
        _check_length(options)
        train, test = split_documents(data, options.data_options, held_out)
        keras.utils.set_random_seed(options.run.seed)
        self.tokenizer = train_word_piece((s for d in train for s in d), options.vocab_size)
        self.model = new_bert(options, self.tokenizer.vocab_size)
        rows, seed = options.update.batch_size, options.run.seed
        stream, num_rows = self._stream_of(train, seed)
        held_out_rows = iter(())
        if test:
            make, _ = self._stream_of(test, seed + 1)
            held_out_rows = itertools.islice(make(rows, options.length), options.held_out_batches)
        objective = BERTPretraining if options.masking.next_sentence else MaskedLanguageModelling
        self._learn(
            self.model,
            objective(),
            ramped(options.ramp, stream, rows, options.length),
            held_out_rows,
            num_rows,
        )

    def _stream_of(self, documents, seed):
        """(``(rows, length) -> MaskedTextStream``, about how many rows an epoch has)."""
        masking, length = self.options.masking, self.options.length
        examples = encode_documents(documents, self.tokenizer)
        settings = {
            "texts": sentence_pairs if masking.next_sentence else single_texts,
            "share": masking.share,
            "whole_words": masking.whole_words,
            "seed": seed,
        }

        def stream(rows, length):
            return MaskedTextStream(examples, rows, length, **settings)

        return stream, -(-int(examples.sentences.lengths.sum()) // length)

    def measure(self) -> dict[str, float]:
        """Means over the held-out batches, beside the accuracy of the most common masked token and of the most
        common answer."""
        if not self.held_out:
            return {}
        return self.evaluate(self.held_out, prefix="") | self._majority()

    def _majority(self):
        masked = np.concatenate([batch.hidden_ids[batch.is_hidden] for batch in self.held_out])
        majority = {"masked_majority": float(np.bincount(masked).max() / len(masked))}
        if self.options.masking.next_sentence:
            is_random = np.concatenate([batch.is_random for batch in self.held_out]).mean()
            majority["next_majority"] = float(max(is_random, 1 - is_random))
        return majority

    def report(self) -> dict[str, float]:
        """Measures, and writes what was found to ``RUN_DIR/STAGE.json``."""
        self.results = self.measure()
        save_results(self.run, self.stage, self.results)
        return self.results

    def save(self) -> None:
        self._save(self.model)
        self.report()


def split_documents(
    given: Data, options: DataOptions, held_out: Data | None = None
) -> tuple[list[Document], list[Document]]:
    """Training and held-out documents; text files are read by ``data.read_documents``, all else as records.

    Args:
        given, held_out: see ``MaskedPretrainer``.
        options: DataOptions.
    """
    if held_out is not None:
        return tuple(_all_documents(one, options) for one in (given, held_out))
    if not _is_text_file(given):
        splits = split_records(given, TextRecord, options)
        check_unweighted(np.array([record.weight for record in splits[0]]), "Pretraining of BERT")
        return tuple([sentences_of(record.text) for record in records] for records in splits)
    first, _, second = given.partition("::")
    if second:
        return split_documents(first, options, second)
    return _split(read_documents(first), options.test_fraction)


def _all_documents(given, options):
    if _is_text_file(given):
        return read_documents(given)
    return [sentences_of(record.text) for record in all_records(given, TextRecord, options)]


def _is_text_file(given):
    return isinstance(given, str) and given != EMBEDDED and not is_source(given)


def _split(documents, test_fraction):
    records = [TextRecord("\n".join(text), str(at)) for at, text in enumerate(documents)]
    sides = split_by_prompt(records, test_fraction)
    return tuple([documents[int(record.source)] for record in side] for side in sides)


def _check_length(options):
    most = BERTConfig.from_preset(options.shape.preset).max_positions
    longest = longest_row(options.length, options.ramp)
    if longest > most:
        raise ValueError(
            f"length, and that of ramp, must not exceed the {most} positions of "
            f"preset={options.shape.preset}. Received: length={longest}"
        )


def new_bert(options: MaskedPretrainOptions, vocab_size: int) -> MaskedLM:
    """A MaskedLM or BERTPretrainer with random weights."""
    shape = options.shape
    sizes = {name: getattr(shape, name) for name in _SIZES}
    config = BERTConfig.from_preset(
        shape.preset,
        vocab_size=vocab_size,
        dropout=shape.dropout,
        initializer_range=shape.initializer_range,
        **{name: size for name, size in sizes.items() if size is not None},
    )
    kind = BERTPretrainer if options.masking.next_sentence else MaskedLM
    model = kind(config, dtype=options.update.precision)
    if shape.sinusoids:
        model.backbone.position_embedding.start_as_sinusoids()
    return model

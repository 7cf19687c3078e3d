"""Pretraining of a GPT on text, with a tokenizer trained on the same text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras

from tfalign.data import BatchStream, Ramp, TextRecord, encode_texts
from tfalign.data.examples import Examples
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.text import train_byte_bpe
from tfalign.trainers.data import encoded, split_records
from tfalign.trainers.options import PretrainOptions
from tfalign.trainers.supervised import ScratchTrainer

_BEGINNINGS, _BEGINNING = 16, 8  # texts of which samples go on, and tokens of each
_SIZES = ("width", "num_layers", "num_heads", "attention_window", "dropout")


class Pretrainer(ScratchTrainer):
    """Pretrains a GPT from random weights on packed rows of text (Brown et al. 2020, appendix B, in small).

    Data are documents, records with "text"::

        Pretrainer("text.jsonl", run_dir="runs/a", vocab_size=4096).train()

    Args:
        data, held_out, options, run_dir, stage, callbacks, changes: see ``ScratchTrainer``; options are a
            ``PretrainOptions``.
    """

    options_class = PretrainOptions
    default_stage = "pretrain"

    def _build(self, data, held_out):
        options = self.options
        longest = longest_row(options.length, options.ramp)
        if longest > options.max_positions:
            raise ValueError(
                "length, and that of ramp, must not exceed max_positions. "
                f"Received: length={longest}, max_positions={options.max_positions}"
            )
        train, test = split_records(data, TextRecord, options.data_options, held_out)
        keras.utils.set_random_seed(options.run.seed)
        self.tokenizer = train_byte_bpe((record.text for record in train), options.vocab_size)
        model = new_model(options, self.tokenizer.vocab_size)
        examples = encoded(self.stage, encode_texts, train, tokenizer=self.tokenizer)
        rows, seed = options.update.batch_size, options.run.seed

        def packed(rows, length):
            return BatchStream(examples, rows, packed_length=length, seed=seed)

        self._sample(model, self._beginnings(test or train), options.evaluation)
        held_out_examples = encode_texts(test, self.tokenizer) if test else None
        self._learn(
            model,
            LanguageModelling(options.chunk),
            ramped(options.ramp, packed, rows, options.length),
            packed_batches(held_out_examples, rows, options.length),
            -(-int(examples.lengths.sum()) // options.length),
        )

    def _beginnings(self, records):
        """The first few tokens of some texts."""
        rows = self.tokenizer.encode_batch([record.text for record in records[:_BEGINNINGS]])
        return list(dict.fromkeys(self.tokenizer.decode(ids[:_BEGINNING]) for ids in rows))

    def save(self) -> None:
        self._save(self.learner.model)


def packed_batches(examples: Examples | None, rows: int, length: int) -> list[Any]:
    """Packed batches of held-out examples, if there are any that fill one."""
    if examples is None or examples.lengths.sum() < rows * length:
        return []
    return list(BatchStream(examples, rows, packed_length=length, epochs=1))


def new_model(options: PretrainOptions, vocab_size: int) -> CausalLM:
    """A CausalLM with random weights."""
    sizes = {name: getattr(options, name) for name in _SIZES}
    config = GPTConfig.from_preset(
        options.preset,
        vocab_size=vocab_size,
        max_positions=options.max_positions,
        **{name: size for name, size in sizes.items() if size is not None},
    )
    return CausalLM(config, dtype=options.update.precision)


def ramp_stages(ramp: str | None) -> list[tuple[int, int, int]]:
    """The stages of a ramp, (updates, rows, length) each.

    >>> ramp_stages("100:8x32,200:16x64")
    [(100, 8, 32), (200, 16, 64)]
    """
    growing = []
    for stage in ramp.split(",") if ramp is not None else ():
        match = re.fullmatch(r"(\d+):(\d+)x(\d+)", stage)
        if not match or not all(map(int, match.groups())):
            raise ValueError(f"A stage of ramp is UPDATES:ROWSxLENGTH. Received: {stage!r}")
        growing.append(tuple(map(int, match.groups())))
    return growing


def longest_row(length: int, ramp: str | None) -> int:
    """Columns of the longest rows of a training with a ramp."""
    return max([length, *(columns for _, _, columns in ramp_stages(ramp))])


def ramped(ramp: str | None, stream: Callable, rows: int, length: int) -> BatchStream | Ramp:
    """The stream of a training's batches, smaller ones first where a ramp asks for it.

    Args:
        ramp: see ``ramp_stages``; None for none.
        stream: ``(rows, length) -> BatchStream``.
        rows, length: of the last batches.
    """
    last = stream(rows, length)
    growing = [(count, stream(*shape)) for count, *shape in ramp_stages(ramp)]
    return Ramp(growing, last) if growing else last

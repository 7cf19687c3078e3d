"""Pretrains a BERT on running text: hidden tokens, and whether one text follows another.

    DATA=/path/to/data/wikitext-2
    python -m experiments.pretrain_bert --run_dir=runs/bert \\
        --data=$DATA/wiki.train.shuffled.tokens.gz::$DATA/wiki.valid.tokens
    ... --next_sentence=false --optimizer=lamb --whole_words    # choices

As Devlin et al. (2019), in small: a WordPiece vocabulary of the same text, 15% of the tokens hidden (80% mask,
10% random, 10% kept), pairs of texts of which half are random, AdamW or LAMB with warm-up. Other tokens are
hidden in every epoch, and with --next_sentence=false texts come one a row, as in RoBERTa (Liu et al.
2019). RUN_DIR/models/pretrain_bert is the model and its tokenizer (``BertForPreTraining``, or ``BertForMaskedLM``);
RUN_DIR/pretrain_bert.json has both held-out accuracies beside those of who always says the most common
token, and the most common answer.
"""

from __future__ import annotations

import numpy as np

from experiments import encoders, stages
from experiments.launch import launch
from tfalign.data import (
    MaskedTextStream,
    encode_documents,
    read_documents,
    sentence_pairs,
    single_texts,
)
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.learning_curves import Panel, learning_curves
from tfalign.models import BERTConfig, BERTPretrainer, MaskedLM
from tfalign.objectives import BERTPretraining, MaskedLanguageModelling
from tfalign.options import option, option_record
from tfalign.text import train_word_piece
from tfalign.trainers.pretraining import longest_row, ramped
from tfalign.training.evaluator import Evaluator

_PANELS = (
    Panel("pretrain_bert", "Loss", "nats", {"loss": "train"}),
    Panel("pretrain_bert", "Hidden tokens", "accuracy", {"masked_accuracy": "train"}),
    Panel("pretrain_bert", "Next text", "accuracy", {"next_accuracy": "train"}),
)


@option_record
class PretrainBertConfig(stages.SupervisedConfig):
    run_dir: str = option("runs/pretrain_bert", "where the run lives")
    data: str = option(
        "", "TRAIN::TEST, text files (.gz too): wikitext's, or blank lines between documents"
    )
    vocab_size: int = option(4096, "of the tokenizer that is trained", at_least=1)
    preset: str = option("mini", "of models.bert.PRESETS")
    width: int = option(0, "W; 0 keeps the preset's", at_least=0)
    num_layers: int = option(2, "blocks; 0 keeps the preset's", at_least=0)
    num_heads: int = option(0, "attention heads; 0 keeps the preset's", at_least=0)
    dropout: float = option(
        0.0, "while training (0.1 in the paper, which sees its text 40 times)", at_least=0, below=1
    )
    initializer_range: float = option(0.05, "standard deviation of the kernels", above=0)
    sinusoids: bool = option(True, "start the learned positions as sinusoids")
    length: int = option(
        32,
        "tokens of a row; short ones learn sooner (docs/results/encoder_pretraining.md)",
        at_least=1,
    )
    ramp: str = option("", "shorter rows first: UPDATES:ROWSxLENGTH, comma-separated")
    share: float = option(0.15, "of the tokens that are hidden", above=0, at_most=1)
    whole_words: bool = option(False, "hide all tokens of a word together")
    next_sentence: bool = option(True, "pairs of texts; else single ones, without the second task")
    batch_size: int = option(128, "rows of a batch", at_least=1)
    steps: int = option(6000, "updates", at_least=1)
    learning_rate: float = option(2e-3, "at its peak", above=0)
    warmup_steps: int = option(200, "updates until the peak", at_least=0)
    held_out_batches: int = option(40, "how many batches are judged at the end", at_least=1)
    log_every: int = option(20, "updates between lines in metrics.jsonl", at_least=1)
    save_every: int = option(500, "updates between checkpoints", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        if "::" not in self.data:
            raise ValueError(f"--data names TRAIN::TEST, two text files. Received: {self.data!r}")
        longest, most = longest_row(self.length, self.ramp), self._preset.max_positions
        if longest > most:
            raise ValueError(
                f"--length, and that of --ramp, must not exceed the {most} positions of "
                f"--preset={self.preset}. Received: length={longest}"
            )

    @property
    def _preset(self):
        return BERTConfig.from_preset(self.preset)


def main(config):
    run = stages.open_run("pretrain_bert", config)
    stages.seed_everything(config.seed)
    train, test = map(read_documents, config.data.split("::"))
    tokenizer = train_word_piece((s for document in train for s in document), config.vocab_size)
    model, objective, texts = _task(config, tokenizer.vocab_size)

    def stream_of(documents, seed):
        examples = encode_documents(documents, tokenizer)
        settings = {"texts": texts, "share": config.share, "whole_words": config.whole_words}
        return lambda rows, length: MaskedTextStream(examples, rows, length, seed=seed, **settings)

    batches = ramped(config.ramp, stream_of(train, config.seed), config.batch_size, config.length)
    held_out = stream_of(test, config.seed + 1)(config.batch_size, config.length)
    stages.train(run, "pretrain_bert", model, objective, batches, [], config)
    stages.save_model(run, "pretrain_bert", model, tokenizer)
    held_out = [next(held_out) for _ in range(config.held_out_batches)]
    results = Evaluator(model, objective)(held_out, prefix="")
    encoders.report(run, "pretrain_bert", results | _majority(held_out, config))
    curves = read_curves(run.path / "metrics.jsonl")
    learning_curves(run.plots / "learning_curves.png", curves, _PANELS)


def _task(config, vocab_size):
    """(model, objective, how texts are cut)."""
    sizes = {name: getattr(config, name) for name in ("width", "num_layers", "num_heads")}
    bert = BERTConfig.from_preset(
        config.preset,
        vocab_size=vocab_size,
        dropout=config.dropout,
        initializer_range=config.initializer_range,
        **{name: size for name, size in sizes.items() if size},
    )
    kind = BERTPretrainer if config.next_sentence else MaskedLM
    model = kind(bert, dtype=config.precision)
    if config.sinusoids:
        model.backbone.position_embedding.start_as_sinusoids()
    if config.next_sentence:
        return model, BERTPretraining(), sentence_pairs
    return model, MaskedLanguageModelling(), single_texts


def _majority(batches, config):
    """What the most common hidden token, and the most common answer, would reach."""
    hidden = np.concatenate([batch.hidden_ids[batch.is_hidden] for batch in batches])
    majority = {"masked_majority": float(np.bincount(hidden).max() / len(hidden))}
    if config.next_sentence:
        is_random = np.concatenate([batch.is_random for batch in batches]).mean()
        majority["next_majority"] = float(max(is_random, 1 - is_random))
    return majority


if __name__ == "__main__":
    launch(PretrainBertConfig, main, __doc__)

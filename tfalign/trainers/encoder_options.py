"""The option records of the trainers of encoders: classes, tags, similarities, and BERT's pretraining.

This module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from tfalign.options import option, option_record, record
from tfalign.trainers.options import RunOptions, SupervisedOptions, TrainingOptions, UpdateOptions


@option_record
class EncoderOptions(SupervisedOptions):
    """What every fine-tuning of an encoder takes."""

    update: UpdateOptions = record(UpdateOptions(learning_rate=1e-4))
    length: int = option(
        128, "Maximum sequence length, tokens; longer texts are truncated.", at_least=1
    )
    dropout: float | None = option(
        None, "Dropout rate; none: 0.1, or that of a model loaded before.", at_least=0, below=1
    )


@option_record
class ClassificationOptions(EncoderOptions):
    """Options of ``ClassificationTrainer``."""

    windows: int = option(
        1, "Maximum number of windows of --length that a long text is split into.", at_least=1
    )


@option_record
class TaggingOptions(EncoderOptions):
    """Options of ``TaggingTrainer``."""

    length: int = option(
        96, "Maximum sequence length, tokens; longer sentences are truncated.", at_least=1
    )


@option_record
class SimilarityOptions(EncoderOptions):
    """Options of ``SimilarityTrainer``."""

    update: UpdateOptions = record(UpdateOptions(learning_rate=2e-5))
    highest: float = option(5.0, "Score of two sentences that mean the same.", above=0)


@option_record
class BERTShapeOptions:
    """Model: its size and its initialisation."""

    preset: str = option("mini", "Preset of models.bert.PRESETS.")
    width: int | None = option(None, "Hidden size; none: the preset's.", at_least=1)
    num_layers: int | None = option(2, "Number of blocks; none: the preset's.", at_least=1)
    num_heads: int | None = option(None, "Attention heads; none: the preset's.", at_least=1)
    dropout: float = option(
        0.0, "Dropout rate (0.1 in the paper, which sees its text 40 times).", at_least=0, below=1
    )
    initializer_range: float = option(0.05, "Initial standard deviation of kernels.", above=0)
    sinusoids: bool = option(True, "Initialise the learned positions as sinusoids.")


@option_record
class MaskingOptions:
    """Masking, and the next-sentence task."""

    share: float = option(0.15, "Fraction of tokens that are masked.", above=0, below=1)
    whole_words: bool = option(False, "Mask all tokens of a word together.")
    next_sentence: bool = option(
        True, "Rows are pairs of texts, with next-sentence prediction; else single texts."
    )


@option_record
class MaskedPretrainOptions(TrainingOptions):
    """Options of ``MaskedPretrainer``."""

    run: RunOptions = record(RunOptions(steps=6000, log_every=20, save_every=500))
    update: UpdateOptions = record(
        UpdateOptions(batch_size=128, learning_rate=2e-3, warmup_steps=200)
    )
    shape: BERTShapeOptions = record(BERTShapeOptions())
    masking: MaskingOptions = record(MaskingOptions())
    vocab_size: int = option(4096, "Vocabulary size of the tokenizer that is trained.", at_least=1)
    length: int = option(32, "Sequence length, tokens; short ones learn sooner.", at_least=8)
    ramp: str | None = option(
        None, "Smaller batches first: UPDATES:ROWSxLENGTH, comma-separated, such as 100:8x32."
    )
    held_out_batches: int = option(40, "Held-out batches of an evaluation.", at_least=1)

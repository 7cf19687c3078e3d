"""What the jobs that measure models take: perplexities and published tasks."""

from __future__ import annotations

from tfalign.options import option, option_record


@option_record
class NGramJob:
    """Estimates a language model of n-grams from a text, or measures the perplexity of a model that is there."""

    text: str | None = option(
        None,
        "Text file (.gz too) the model is estimated from: a sentence a line, words separated by spaces; none: --model's.",
    )
    order: int = option(5, "Length of the longest n-grams, words.", at_least=1)
    smoothing: str = option("kneser_ney", "Smoothing.", ("kneser_ney", "katz", "add_k"))
    vocab_size: int | None = option(
        None, "Most frequent words that are kept, the rest is <unk>; none: all.", at_least=3
    )
    arpa: str | None = option(None, "ARPA file (.gz too) to write the model to; none: not written.")
    test: str | None = option(None, "Text file whose perplexity is printed; none: no measurement.")
    model: str | None = option(None, "Instead of --text: an .arpa file, or a model's directory.")
    window: int | None = option(
        None, "Tokens of a row of --test, for a network; none: all its positions.", at_least=1
    )
    stride: int | None = option(None, "Tokens of a row that count; none: half of it.", at_least=1)

    def __post_init__(self) -> None:
        if (self.text is None) == (self.model is None):
            raise ValueError(
                "One of text and model must be given. "
                f"Received: text={self.text!r}, model={self.model!r}"
            )
        if self.test is None and (self.text is None or self.arpa is None):
            raise ValueError("There is nothing to do without test or arpa. Received: neither")


@option_record
class BenchmarkJob:
    """Measures a language model on a published task, from the task's own files."""

    model: str = option("runs/sft/models/sft", "Directory of the model.")
    task: str = option("truthfulqa", "Task.", ("truthfulqa", "gsm8k"))
    data: str = option("TruthfulQA.csv", "The task's file: TruthfulQA.csv, or gsm8k's test.jsonl.")
    questions: int | None = option(None, "Questions, from the first on; none: all.", at_least=1)
    batch_size: int = option(16, "Texts at a time.", at_least=1)
    shots: int = option(0, "Of gsm8k: examples before every question.", at_least=0)
    examples: str | None = option(None, "Of gsm8k: train.jsonl, the examples' file.")
    max_new_tokens: int = option(256, "Of gsm8k: maximum length of an answer, tokens.", at_least=1)

    def __post_init__(self) -> None:
        if self.shots and self.examples is None:
            raise ValueError(f"shots need examples. Received: shots={self.shots}, examples=None")

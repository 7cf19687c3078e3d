"""``tfalign ngram``: a counted language model of one's own text, and the perplexity of any model on any text."""

from __future__ import annotations

from tfalign.cli import records
from tfalign.data import encode_lines, encode_running_text, read_corpus
from tfalign.evaluation.perplexity import Perplexity, perplexity
from tfalign.language_models import (
    NeuralLanguageModel,
    NGramModel,
    add_k,
    count_ngrams,
    encode_words,
    katz,
    kneser_ney,
    read_arpa,
    write_arpa,
)
from tfalign.text import train_words

_SMOOTHING = {"kneser_ney": kneser_ney, "katz": katz, "add_k": add_k}
_ENDS = {"eos": "</s>", "unk": "<unk>"}
_ARPA = (".arpa", ".arpa.gz")


def ngram(job: records.NGramJob) -> None:
    """Estimates a model, writes it, and prints its perplexity, or that of a model that is there."""
    if job.text is not None:
        model, words = estimated(job)
        print(
            f"{job.text}: {model.order}-grams, {len(words):,} words, {model.num_parameters:,} numbers"
        )
        if job.arpa is not None:
            write_arpa(model, words, job.arpa)
            print(job.arpa)
        if job.test is not None:
            _tell(job.test, *_of_words(model, words, job.test))
    elif job.model.endswith(_ARPA):
        _tell(job.test, *_of_words(*read_arpa(job.model), job.test))
    else:
        _tell(job.test, *_of_directory(job))


def estimated(job: records.NGramJob) -> tuple[NGramModel, list[str]]:
    """The model of a text, and its words: a line is a sentence, words are separated by ASCII white space."""
    lines = read_corpus(job.text)
    tokenizer = train_words(lines, job.vocab_size, _ENDS)
    token_ids = encode_lines(lines, tokenizer)
    counts = count_ngrams(token_ids, job.order, tokenizer.vocab_size, tokenizer.eos_id)
    words = [tokenizer.token(index) for index in range(tokenizer.vocab_size)]
    return _SMOOTHING[job.smoothing](counts), words


def _of_words(model, words, path):
    """(Perplexity, characters of the text) by a model of words."""
    if model.boundary is None:
        raise ValueError("An ARPA file without <s> and </s> does not say where lines end.")
    lines = read_corpus(path)
    unknown = words.index("<unk>") if "<unk>" in words else None
    row = encode_words(lines, words, model.boundary)
    return perplexity(model, row, unknown_id=unknown), sum(map(len, lines))


def _of_directory(job):
    """(Perplexity, characters of the text) by a model of a directory."""
    from tfalign.pretrained import load

    pretrained, lines = load(job.model), read_corpus(job.test)
    model = NeuralLanguageModel(pretrained.model)
    row = encode_running_text(lines, pretrained.tokenizer)
    most = pretrained.model.config.max_positions
    window = job.window or (most if most is not None else len(row) - 1)
    stride = job.stride or max(window // 2, 1)
    return perplexity(model, row, window, min(stride, window)), sum(map(len, lines))


def _tell(path, found: Perplexity, characters):
    print(
        f"{path}: perplexity {found.perplexity:.6g} of {found.tokens:,} tokens, "
        f"{found.bits(characters):.4f} bits a character"
    )
    if found.unknown:
        print(f"without {found.unknown:,} unknown words: {found.known_perplexity:.6g}")
    if found.impossible:
        print(f"{found.impossible:,} tokens have no probability at all")

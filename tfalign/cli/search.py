"""``tfalign search``: texts found by meaning."""

from __future__ import annotations

from tfalign.applications.search import Encoder, Index, NGramEncoder, TextEncoder, embedded_corpus
from tfalign.cli import records
from tfalign.cli.talk import typed
from tfalign.data import TextRecord, read_records, text_lines
from tfalign.files import as_path

EMBEDDED, N_GRAMS = "embedded:", "character n-grams"


def search(job: records.SearchJob) -> None:
    """Prints the best texts of each query with their cosines.

    Raises:
        ValueError: if there are no such texts, or the index was made with another encoder than is given.
    """
    index, encode = opened(job)
    print(f"{len(index)} texts; encoder: {index.encoder}")
    for query in [job.query] if job.query else typed("> "):
        for hit in index.hits(encode([query]), job.k)[0]:
            print(f"{hit.score:.3f}  {hit.text}")


def opened(job: records.SearchJob) -> tuple[Index, Encoder]:
    """The index that a job names, and the encoder of its vectors."""
    if as_path(job.index).is_dir():
        index = Index.read(job.index)
        if job.model is not None and job.model != index.encoder:
            raise ValueError(
                f"The index {job.index} was made with {index.encoder}. Received: model={job.model!r}"
            )
        return index, encoder_of(index.encoder, job.length)
    texts = texts_of(job.index)
    encode = encoder_of(job.model, job.length)
    index = Index(encode(texts), texts, job.model or N_GRAMS)
    if job.save is not None:
        index.save(job.save)
    return index, encode


def encoder_of(name: str | None, length: int) -> Encoder:
    """The encoder of a model's directory, or that of character n-grams."""
    return NGramEncoder() if name in (None, N_GRAMS) else TextEncoder(name, length)


def texts_of(source: str) -> list[str]:
    """The texts of a source, at least one.

    Raises:
        ValueError: if there is none.
    """
    if source.startswith(EMBEDDED):
        return list(embedded_corpus(source.removeprefix(EMBEDDED)).documents)
    if source.lower().endswith(".txt"):
        texts = [line.strip() for line in text_lines(source) if line.strip()]
    else:
        texts = [record.text for record in read_records(source, TextRecord)]
    if not texts:
        raise ValueError(f"There is no text to search in. Received: {source}")
    return texts

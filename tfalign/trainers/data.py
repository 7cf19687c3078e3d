"""Data in any form a user has it, as records of one kind, split into training and held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tfalign import backend, data
from tfalign.data.examples import Examples
from tfalign.trainers.options import DataOptions

EMBEDDED = "embedded"
_CHAT = "chat:"
_KINDS = {
    data.TextRecord: "text",
    data.CompletionRecord: "completions",
    data.PreferenceRecord: "preferences",
    data.PromptRecord: "prompts",
}

Data = str | Sequence[Any] | Mapping[str, Any]
_HELD_OUT = ("test", "validation")  # names of the other split


def split_records(
    given: Data, kind: type, options: DataOptions, held_out: Data | None = None
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Training and held-out records.

    Args:
        given: one of

            - a source (see ``data.read_records``; "embedded" for the customer-service dataset, which has its
              own split; "train.jsonl::test.jsonl" names a file for each; "chat:" before it all makes of
              prompts what the user says);
            - several sources, each with the fraction it has of an epoch, "3*a.jsonl,1*b.jsonl" or
              {"a.jsonl": 3, "b.jsonl": 1}, see ``data.mixed``;
            - a sequence of texts, dicts or records, such as a Hugging Face ``Dataset``;
            - a mapping with "train" and perhaps "test" or "validation", such as a ``DatasetDict``.
        kind: a record class.
        options: DataOptions.
        held_out: held-out data in any of these forms; None to split ``given`` by a hash of the prompt.

    Returns:
        (train, test), sequences of records.

    Raises:
        BadRecordError: at a bad record, where those are not skipped.
        ValueError: if it is none of that, or no record is left.
    """
    if held_out is not None:
        train, test = (all_records(one, kind, options) for one in (given, held_out))
    elif _weights(given):
        parts = [split_records(source, kind, options) for source in _weights(given)]
        train = data.mixed([part for part, _ in parts], list(_weights(given).values()))
        test = [record for _, part in parts for record in part]
    elif isinstance(given, Mapping):
        train, test = _of_splits(given, kind, options)
    elif isinstance(given, str):
        train, test = (read_split(given, kind, split, options) for split in ("train", "test"))
    else:
        train, test = _split(all_records(given, kind, options), options)
    return train, data.once_each(test)


def training_records(given: Data, kind: type, options: DataOptions) -> Sequence[Any]:
    """Training records alone: of sources those of their training split, of a sequence all."""
    return _one_split(given, kind, options, "train")


def held_out_records(given: Data, kind: type, options: DataOptions) -> Sequence[Any]:
    """Held-out records alone: of sources those of their test split, of a sequence all."""
    return _one_split(given, kind, options, "test")


def _one_split(given, kind, options, split):
    if isinstance(given, Mapping) or _weights(given):
        return split_records(given, kind, options)[0 if split == "train" else 1]
    if isinstance(given, str):
        return read_split(given, kind, split, options)
    return all_records(given, kind, options)


def read_split(source: str, kind: type, split: str, options: DataOptions) -> Sequence[Any]:
    """The "train" or "test" records of a source; what was skipped is printed. A dataset is built by one
    process, and read by the others."""
    if not backend.is_chief():
        backend.wait_for_others()
        return _read(source, kind, split, options)
    records = _read(source, kind, split, options)
    backend.wait_for_others()
    return records


def _weights(given):
    """Source to weight; empty where data are no mixture."""
    if isinstance(given, str):
        return data.mixture_of(given) or {}
    return given if data.is_mixture(given) else {}


def _of_splits(given, kind, options):
    """The records of a mapping of splits."""
    others = [name for name in _HELD_OUT if name in given]
    if "train" not in given:
        raise ValueError(
            "Data is a source, or a sequence of texts, dicts or records; or a mapping, of sources to weights or with "
            f'"train" and perhaps "test" or "validation". Received: {type(given).__name__} with '
            f"{', '.join(map(str, given)) or 'nothing'}"
        )
    if not others:
        return split_records(given["train"], kind, options)
    return tuple(all_records(given[name], kind, options) for name in ("train", others[0]))


def _read(source, kind, split, options):
    if source.startswith(_CHAT):
        records = _read(source.removeprefix(_CHAT), kind, split, options)
        talks = map(data.as_conversation, records)
        on_disk = isinstance(records, data.DiskRecords)
        return data.DiskRecords(talks, records.folder) if on_disk else list(talks)
    if source == EMBEDDED and kind not in _KINDS:
        raise ValueError(f'The data must be given: there is no "{EMBEDDED}" {kind.__name__}')
    if source == EMBEDDED:
        rows = data.load_customer_service(_KINDS[kind], split, options.data_dir)
        return [kind(source=f"{EMBEDDED}:{split}:{i}", **row) for i, row in enumerate(rows)]
    train_source, _, test_source = source.partition("::")
    if test_source:
        return _read_all(train_source if split == "train" else test_source, kind, options)
    return _split(_read_all(source, kind, options), options)[0 if split == "train" else 1]


def _split(records, options):
    if isinstance(records, data.DiskRecords):
        return records.split(options.test_fraction)
    return data.split_by_prompt(records, options.test_fraction)


def _read_all(source, kind, options):
    data_dir, layout = options.data_dir or None, options.layout
    if options.disk_dir is None:
        records = data.read_records(source, kind, options.on_bad, data_dir, layout)
    else:
        policy = data.BadRecordPolicy(options.on_bad)
        found = data.iter_records(source, kind, policy, data_dir, layout)
        records = _on_disk(found, policy, source, kind, options)
    print(f"{source}: {records.summary()}")
    return records


def _on_disk(found, policy, source, kind, options):
    records = data.DiskRecords(found, options.disk_dir, policy.bad)
    if not records:
        raise data.BadFileError(source, f"no usable {kind.__name__}: {records.summary()}")
    return records


def all_records(given: Data, kind: type, options: DataOptions) -> Sequence[Any]:
    """All records of one form of data, whatever split they are of."""
    if _weights(given):
        parts = [all_records(source, kind, options) for source in _weights(given)]
        return data.mixed(parts, list(_weights(given).values()))
    if isinstance(given, str):
        return _read_all(given, kind, options)
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise ValueError(
            "Data is a source, or a sequence of texts, dicts or records. "
            f"Received: {type(given).__name__}"
        )
    if options.disk_dir is None:
        return data.records_of_rows(given, kind, options.on_bad, options.layout)
    policy = data.BadRecordPolicy(options.on_bad)
    found = data.iter_rows(given, kind, policy, options.layout)
    return _on_disk(found, policy, type(given).__name__, kind, options)


def encoded(what: str, encode: Callable, records: Sequence[Any], **limits: Any) -> Examples | None:
    """Encoded records, None of none; how many, and which were left out, is printed."""
    if not records:
        print(f"{what}: none")
        return None
    if isinstance(records, data.DiskRecords):
        examples = data.encode_on_disk(encode, records, **limits)
    else:
        examples = encode(records, **limits)
    print(f"{what}: {examples.summary()}")
    return examples


def held_out_batches(examples: Examples | None, rows: int, columns: Sequence[int]) -> list[Any]:
    """Batches of held-out examples, which may be fewer than a batch's rows, or none (None)."""
    if examples is None:
        return []
    return list(data.BatchStream(examples, min(rows, len(examples)), columns, epochs=1))


def buckets(length: int) -> list[int]:
    """Columns a batch may have: ``length``, and two thirds of it; each is a program of its own."""
    return [-(-2 * length // 3), length]

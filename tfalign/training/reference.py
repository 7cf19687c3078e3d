"""Reference log-probs of a data set, computed once and kept with the examples."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from tfalign import backend
from tfalign.data import BatchStream
from tfalign.data.examples import Examples
from tfalign.files import as_path, write_bytes_atomically
from tfalign.objectives import response_log_probs


class FrozenReference:
    """Adds the reference's log-probs to examples, after which the reference is no longer needed.

    Args:
        load: () -> CausalLM, called when it is first needed: not at all where files have all it said.
        batch_size: int, examples at a time.
        columns: ints, bucket lengths of the prompts, see ``BatchStream``.
    """

    def __init__(self, load: Callable, batch_size: int, columns: Sequence[int]) -> None:
        self._load = load
        self._batch_size = batch_size
        self._columns = columns

    def __call__(self, examples: Examples, file: str | os.PathLike | None = None) -> Examples:
        """The examples with ``ref_log_probs``.

        Args:
            examples: RankedExamples or LabelledExamples.
            file: path of an .npz that keeps the log-probs: written when it is absent, else read.
                None for none.

        Returns:
            Examples of the same class.

        Raises:
            ValueError: if the file is of other examples, or a log-prob is not finite; the message
                then begins with the record's file and line.
        """
        if file is not None and as_path(file).exists():
            return dataclasses.replace(examples, ref_log_probs=_read(as_path(file), examples))
        log_probs = np.zeros_like(examples.ref_log_probs)
        size = min(self._batch_size, len(examples))
        batches = BatchStream(examples, size, self._columns, epochs=1, drop_remainder=False)
        for batch in batches:
            log_probs[batches.indices] = np.asarray(self._totals(batch))
        _check_finite(log_probs, examples)
        if file is not None:
            content = io.BytesIO()
            np.savez(content, log_probs=log_probs, fingerprint=_fingerprint(examples))
            write_bytes_atomically(file, content.getvalue())
        return dataclasses.replace(examples, ref_log_probs=log_probs)

    @functools.cached_property
    def _totals(self):
        model = self._load()
        return backend.jit(lambda batch: response_log_probs(model, batch).totals, model.variables)


def _read(file, examples):
    with np.load(io.BytesIO(file.read_bytes())) as kept:
        if int(kept["fingerprint"]) != _fingerprint(examples):
            raise ValueError(
                f"{file} holds the reference's log-probs of other examples. "
                f"Received: {len(examples)} examples, {len(kept['log_probs'])} in the file"
            )
        return kept["log_probs"]


def _check_finite(log_probs, examples):
    finite = np.isfinite(log_probs).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(
            f"{examples.records[row].source or f'record {row}'}: the reference's log-probs are not "
            f"finite. Received: {log_probs[row].tolist()}"
        )


def _fingerprint(examples):
    """int, of all that the log-probs are of."""
    bare = dataclasses.replace(examples, ref_log_probs=np.zeros_like(examples.ref_log_probs))
    return functools.reduce(
        lambda value, array: zlib.crc32(np.ascontiguousarray(array), value), bare.arrays, 0
    )

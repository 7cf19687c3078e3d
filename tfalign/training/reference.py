"""What a frozen reference says of a data set, computed once and kept with the examples."""

from __future__ import annotations

import dataclasses
import io
import os
import zlib
from pathlib import Path

import numpy as np

from tfalign import backend
from tfalign.data import BatchStream
from tfalign.objectives import response_log_probs
from tfalign.training.checkpoint import write_bytes_atomically


def with_reference(examples, reference, batch_size, columns, file=None):
    """The examples with the reference's log-probs of their responses.

    Args:
        examples: RankedExamples or LabelledExamples.
        reference: CausalLM.
        batch_size: int, rows at a time.
        columns: ints, bucket lengths of the prompts, see ``BatchStream``.
        file: path of an .npz that keeps them: written when it is absent, else read. None for none.

    Returns:
        Examples of the same class; the reference is not needed any more.

    Raises:
        ValueError: if the file is of other examples, or a log-prob is not finite; the message then
            begins with the record's file and line.
    """
    if file is not None and os.path.exists(file):
        return dataclasses.replace(examples, ref_log_probs=_read(Path(file), examples))
    totals = backend.jit(
        lambda batch: response_log_probs(reference, batch).totals, reference.variables
    )
    log_probs = np.zeros_like(examples.ref_log_probs)
    batches = BatchStream(
        examples, min(batch_size, len(examples)), columns, epochs=1, drop_remainder=False
    )
    for batch in batches:
        log_probs[batches.indices] = np.asarray(totals(batch))
    _check_finite(log_probs, examples)
    if file is not None:
        content = io.BytesIO()
        np.savez(content, log_probs=log_probs, fingerprint=_fingerprint(examples))
        write_bytes_atomically(Path(file), content.getvalue())
    return dataclasses.replace(examples, ref_log_probs=log_probs)


def _read(file, examples):
    with np.load(file) as kept:
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
    value = 0
    for array in bare.arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value

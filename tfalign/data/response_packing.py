"""Several responses with their prompts in a row, so that the model does not work on padding.

Made on the host, in a few sizes: each size is a program of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfalign.data.layouts import best_fit
from tfalign.types import Array, PackedRows

SIZES = 8  # of what padded rows have, eighths


class _Fit(NamedTuple):
    """Where the rows of a part go."""

    starts: np.ndarray  # int[B], first column of each, counted row by row
    segments: np.ndarray  # int[B], 1, 2, ... in each packed row
    shape: tuple[int, int]  # rows and columns


def packed_rows(
    token_ids: Array, padding_mask: Array, response_mask: Array, parts: int = 1
) -> PackedRows:
    """Rows that hold the real tokens of a batch up to the last state that a response token is drawn from.

    The longest first, each goes where it leaves the least room. All columns together are one of ``SIZES`` sizes, in
    rows about as long as a padded one or, where those waste too much, half as many twice as long; the room for response tokens
    is one of ``SIZES`` too. So a shape of batches has at most ``2 * SIZES**2`` programs, of which a training meets a few.

    Args:
        token_ids: int32[B, T], left-padded prompt, then response.
        padding_mask: bool[B, T].
        response_mask: bool[B, R], of the last R columns.
        parts: int dividing B; the batch is cut into so many equal parts, each packed by itself, all in one size.

    Returns:
        PackedRows of NumPy arrays.

    Raises:
        ValueError: if the parts do not divide the rows.

    >>> ids = np.array([[0, 5, 6, 7], [1, 2, 3, 0]])
    >>> mask = np.array([[0, 1, 1, 1], [1, 1, 1, 0]]) > 0
    >>> rows = packed_rows(ids, mask, mask[:, 2:])
    >>> rows.token_ids.tolist(), rows.segment_ids.tolist()
    ([[5, 6, 1, 2]], [[1, 1, 2, 2]])
    >>> rows.places.tolist(), rows.cells.tolist()  # 6 and 7 are in cells 0 and 1, and 3 in cell 2
    ([0, 1, 3], [0, 1, 2])
    """
    wanted = np.asarray(response_mask)
    shares = _shares(len(wanted), parts)
    sizes = _sizes(wanted[shares[0]].size)
    room = sizes[np.searchsorted(sizes, max(np.sum(wanted[rows]) for rows in shares))]
    return _packed(np.asarray(token_ids), np.asarray(padding_mask), wanted, shares, room)


def packed_texts(token_ids: Array, padding_mask: Array, parts: int = 1) -> PackedRows:
    """Rows that hold whole texts, of each of which the last token's state is asked for: M is B.

    Args:
        token_ids: int32[B, T].
        padding_mask: bool[B, T], true at real tokens, at least one in a row.
        parts: see ``packed_rows``.

    Returns:
        PackedRows of NumPy arrays, in columns as ``packed_rows``; the states are in the order of the texts.

    Raises:
        ValueError: if the parts do not divide the rows.

    >>> rows = packed_texts([[0, 5, 6], [1, 2, 0]], np.array([[0, 1, 1], [1, 1, 0]]) > 0)
    >>> rows.token_ids.tolist(), rows.places.tolist()
    ([[5, 6, 1, 2]], [1, 3])
    """
    real = np.asarray(padding_mask)
    columns = np.arange(1, real.shape[1] + 1)
    following = (
        np.max(real * columns, axis=1)[:, None] == columns
    )  # the column after the last token
    shares = _shares(len(real), parts)
    ids, real = (np.pad(np.asarray(x), ((0, 0), (0, 1))) for x in (token_ids, real))
    return _packed(ids, real, following, shares, len(following[shares[0]]))


def _shares(rows, parts):
    """A list of slices, the equal parts of the rows."""
    if rows % parts:
        raise ValueError(f"{parts} parts do not divide {rows} rows to pack")
    count = rows // parts
    return [slice(first, first + count) for first in range(0, rows, count)]


def _packed(token_ids, real, wanted, shares, room):
    """PackedRows; room: int, M, of each of the shares."""
    columns = token_ids.shape[1]
    last = np.max(wanted * np.arange(columns - wanted.shape[1], columns), axis=1)  # 0 for none
    used = real & (np.arange(columns) < last[:, None])
    fits = _fitting([np.sum(used[rows], axis=1) for rows in shares], columns - 1)
    packed = [
        _filled(token_ids[rows], used[rows], wanted[rows], fit, room)
        for rows, fit in zip(shares, fits)
    ]
    return PackedRows(*map(np.concatenate, zip(*packed)))


def _sizes(full):
    """int[SIZES], ascending; the last is all."""
    return -(-full * np.arange(1, SIZES + 1) // SIZES)


def _fitting(lengths, longest):
    """A list of _Fit of one shape, the smallest in which all parts fit; lengths: list of int[B], at most ``longest``."""
    for size in _sizes(len(lengths[0]) * longest).tolist():
        height = max(size // longest, 1)
        for rows in (height, max(height // 2, 1)):
            fits = [_fit(part, rows, -(-size // rows)) for part in lengths]
            if None not in fits:
                return fits
    raise AssertionError  # each part fits in as many rows as it has


def _fit(lengths, height, width):
    """_Fit of stretches int[B]; None where they do not fit."""
    if lengths.sum() > height * width or lengths.max() > width:
        return None
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    rows, columns, numbers, count = best_fit(lengths[order], width)
    if count > height:
        return None
    starts, segments = np.zeros((2, len(lengths)), np.int64)
    starts[order], segments[order] = rows * width + columns, numbers
    return _Fit(starts, segments, (height, width))


def _filled(token_ids, used, wanted, fit, room):
    """PackedRows of one part.

    Args:
        token_ids: int32[B, T].
        used: bool[B, T], true at the columns that are packed.
        wanted: bool[B, R], true at response tokens.
        fit: _Fit.
        room: int, M.
    """
    length = wanted.shape[1]
    targets = fit.starts[:, None] + np.cumsum(used, axis=1) - 1
    packed_ids, segment_ids = np.zeros((2, *fit.shape), np.int32)
    packed_ids.flat[targets[used]] = token_ids[used]
    segment_ids.flat[targets[used]] = np.repeat(fit.segments, np.sum(used, axis=1))
    cells = np.full(room, wanted.size, np.int32)
    places = np.zeros(room, np.int32)
    count = np.count_nonzero(wanted)
    cells[:count] = np.flatnonzero(wanted)
    places[:count] = targets[:, -length - 1 : -1][wanted]  # of the last used column before each
    return PackedRows(packed_ids, segment_ids, places, cells)

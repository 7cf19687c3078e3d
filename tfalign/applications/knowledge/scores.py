"""How well a tail fits a head and a relation, from their vectors: one function for each model.

All take heads float[B, W], relations float[B, W] (of ``rotate`` float[B, W / 2]), and candidates for the tail:
float[N, W], the same for every row, or float[B, N, W]. They return float[B, N], higher for what fits better. Complex
vectors are their real parts, then their imaginary parts.
"""

from __future__ import annotations

from keras import ops

from tfalign.types import Array


def transe(heads: Array, relations: Array, candidates: Array) -> Array:
    """-||h + r - t||_2 (Bordes et al. 2013).

    >>> import numpy as np
    >>> float(transe(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]), np.array([[2.0, 5.0]]))[0, 0])
    -3.0
    """
    wanted = heads + relations
    squares = ops.sum(ops.square(candidates), axis=-1) - 2.0 * _products(wanted, candidates)
    squares = squares + ops.sum(ops.square(wanted), axis=-1, keepdims=True)
    return -ops.sqrt(ops.maximum(squares, 1e-12))  # a root has no gradient at 0


def distmult(heads: Array, relations: Array, candidates: Array) -> Array:
    """sum h r t (Yang et al. 2015)."""
    return _products(heads * relations, candidates)


def complex(heads: Array, relations: Array, candidates: Array) -> Array:
    """Re(sum h r conj(t)) of complex vectors (ComplEx, Trouillon et al. 2016, eq. 9)."""
    head_re, head_im = ops.split(heads, 2, axis=-1)
    re, im = ops.split(relations, 2, axis=-1)
    wanted = ops.concatenate([head_re * re - head_im * im, head_re * im + head_im * re], axis=-1)
    return _products(wanted, candidates)


def rotate(heads: Array, relations: Array, candidates: Array) -> Array:
    """-sum |h exp(i r) - t| of complex vectors, with relations as angles (RotatE, Sun et al. 2019, eq. 2)."""
    head_re, head_im = ops.split(heads, 2, axis=-1)
    re, im = ops.cos(relations), ops.sin(relations)
    wanted_re, wanted_im = head_re * re - head_im * im, head_re * im + head_im * re
    tail_re, tail_im = ops.split(candidates, 2, axis=-1)
    squares = ops.square(wanted_re[:, None] - tail_re) + ops.square(wanted_im[:, None] - tail_im)
    return -ops.sum(ops.sqrt(ops.maximum(squares, 1e-12)), axis=-1)


SCORES = {"transe": transe, "distmult": distmult, "complex": complex, "rotate": rotate}


def _products(wanted, candidates):
    """float[B, N], inner products of float[B, W] with float[N, W] or float[B, N, W]."""
    if len(candidates.shape) == 2:
        return ops.matmul(wanted, ops.transpose(candidates))
    return ops.sum(wanted[:, None] * candidates, axis=-1)

"""Runs a function under XLA with its gradients, on whichever backend Keras has."""

from __future__ import annotations

import keras
import numpy as np
import pytest


def _compile_tensorflow(function):
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def run(*tensors):
        watched = [tensor for tensor in tensors if tensor.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            outputs = function(*tensors)
            total = sum(tf.reduce_sum(output) for output in tf.nest.flatten(outputs))
        zero = tf.UnconnectedGradients.ZERO
        return outputs, tape.gradient(total, watched, unconnected_gradients=zero)

    return lambda *arrays: run(*(tf.convert_to_tensor(array) for array in arrays))


def _compile_jax(function):
    import jax

    def total(*tensors):
        outputs = function(*tensors)
        return sum(output.sum() for output in jax.tree.leaves(outputs)), outputs

    def run(*arrays):
        tensors = [jax.numpy.asarray(array) for array in arrays]
        floating = tuple(
            index
            for index, tensor in enumerate(tensors)
            if jax.numpy.issubdtype(tensor.dtype, jax.numpy.floating)
        )
        if not floating:
            return jax.jit(function)(*tensors), ()
        gradients, outputs = jax.jit(jax.grad(total, floating, has_aux=True))(*tensors)
        return outputs, gradients

    return run


@pytest.fixture(scope="session")
def compiled():
    """compiled(function)(*arrays) -> (outputs, gradients), all NumPy, from one XLA program.

    The gradients are those of the sum of the outputs, with respect to each floating argument.
    """
    backends = {"tensorflow": _compile_tensorflow, "jax": _compile_jax}
    compile_function = backends[keras.backend.backend()]

    def compiled_function(function):
        run = compile_function(function)

        def call(*arrays):
            outputs, gradients = run(*arrays)
            as_numpy = keras.ops.convert_to_numpy
            if isinstance(outputs, tuple):
                return tuple(map(as_numpy, outputs)), [as_numpy(each) for each in gradients]
            return as_numpy(outputs), [as_numpy(each) for each in gradients]

        return call

    return compiled_function


@pytest.fixture
def rng():
    return np.random.default_rng(7)

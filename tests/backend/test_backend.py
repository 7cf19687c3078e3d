"""``jit``, ``value_and_grad`` and ``fori_loop``, and that both backends give the same training."""

import os
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.training.checkpoint import Checkpointer


def test_jit_counts_one_trace_a_shape_and_dtype():
    doubled = backend.jit(lambda x: 2 * x)
    for value in (1.0, 2.0, np.float32(3.0)):  # a moving number is an input, not a constant
        assert float(doubled(np.float32(value))) == 2 * value
    assert doubled.traces == 1
    for seed in range(3):
        doubled(np.full((2, 3), seed, "float32"))
    assert doubled.traces == 2
    doubled(np.ones((2, 4), "float32"))
    assert doubled.traces == 3
    doubled(np.ones((2, 4), "int32"))
    assert doubled.traces == 4


def test_whoever_asks_for_a_ninth_program_is_named():
    def doubled_rows(x):
        return 2 * x

    program = backend.jit(doubled_rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for length in range(1, 9):
            program(np.zeros((2, length), "float32"))
        mine = "is compiled for the 9th time"
        assert not [x for x in caught if mine in str(x.message)]
        for length in (9, 9, 10):
            program(np.zeros((2, length), "float32"))
    (warning,) = (x for x in caught if mine in str(x.message))
    assert "doubled_rows" in str(warning.message) and "shapes [2, 9]:" in str(warning.message)


def test_jit_takes_python_numbers_as_inputs():
    doubled = backend.jit(lambda x: 2 * x)
    assert [float(doubled(value)) for value in (1.0, 2.5, 4.0)] == [2.0, 5.0, 8.0]
    assert doubled.traces == 1


def test_jit_passes_nested_values_and_none():
    add = backend.jit(lambda pair, nothing: {"sum": pair[0] + pair[1], "nothing": nothing})
    out = add((np.float32(1), np.float32(2)), None)
    assert float(out["sum"]) == 3 and out["nothing"] is None


def test_jit_assigns_variables():
    counter = keras.Variable(0.0)

    def count(amount):
        counter.assign_add(amount)
        return counter.value * 10

    compiled = backend.jit(count, [counter])
    assert [float(compiled(np.float32(x))) for x in (1, 2, 3)] == [10, 30, 60]
    assert float(counter.value) == 6
    counter.assign(100.0)  # what others assign is seen
    assert float(compiled(np.float32(1))) == 1010


def test_what_a_function_sets_is_set_outside_of_a_program_too():
    x, calls = keras.Variable(3.0), keras.Variable(0)

    def square():
        calls.assign_add(1)
        return x * x, {"calls": calls.value}

    value, more, (gradient,) = backend.value_and_grad(square, [x])
    assert (float(value), int(more["calls"]), float(gradient), int(calls.value)) == (9, 1, 6, 1)
    total = backend.fori_loop(1, 4, lambda index, total: total + index * calls.assign_add(1), 0)
    assert (int(total), int(calls.value)) == (2 + 2 * 3 + 3 * 4, 4)


def test_value_and_grad_by_hand():
    x, y, unused = (keras.Variable(np.array(v, "float32")) for v in ([1.0, 2.0], 3.0, [[4.0]]))

    def square():
        product = x * y
        return ops.sum(product**2), {"product": product}

    compiled = backend.jit(lambda: backend.value_and_grad(square, [x, y, unused]), [x, y, unused])
    value, auxiliary, gradients = compiled()
    assert float(value) == 45
    np.testing.assert_array_equal(ops.convert_to_numpy(auxiliary["product"]), [3, 6])
    gx, gy, gu = (ops.convert_to_numpy(g) for g in gradients)
    np.testing.assert_array_equal(gx, [18, 36])  # 2 x y^2
    np.testing.assert_array_equal(gy, 30)  # 2 y sum(x^2)
    np.testing.assert_array_equal(gu, [[0]])  # zeros, where others would say None


def test_input_gradient_by_hand():
    """Of w x^3 summed, eagerly and compiled; a variable may take part."""
    w, x = keras.Variable(2.0), np.array([1.0, -2.0], "float32")

    def cubes(x):
        return backend.input_gradient(lambda y: ops.sum(w * y**3), x)

    for call in (cubes, backend.jit(cubes, [w])):
        value, gradient = call(x)
        assert float(value) == -14.0
        np.testing.assert_allclose(gradient, [6.0, 24.0])


def test_gradient_of_a_table_is_dense():
    """Rows that are taken twice get both gradients; Keras would hand on slices."""
    table = keras.Variable(np.ones((4, 2), "float32"))

    def taken():
        return ops.sum(ops.take(ops.convert_to_tensor(table), np.array([1, 1, 3]), axis=0)), ()

    compiled = backend.jit(lambda: backend.value_and_grad(taken, [table])[2], [table])
    (gradient,) = compiled()
    np.testing.assert_array_equal(ops.convert_to_numpy(gradient), [[0, 0], [2, 2], [0, 0], [1, 1]])


def test_fori_loop_may_assign():
    counter = keras.Variable(10.0)

    def body(index, total):
        counter.assign_add(1.0)
        return total + ops.cast(index, "float32") * counter.value

    compiled = backend.jit(
        lambda start: (backend.fori_loop(1, 4, body, start), counter.value), [counter]
    )
    total, after = compiled(np.float32(0))
    assert float(total) == 1 * 11 + 2 * 12 + 3 * 13
    assert float(after) == float(counter.value) == 13


def test_assign_part_sets_that_part_alone():
    variable = keras.Variable(np.zeros((3, 4), "float32"))
    backend.assign_part(variable, np.ones((2, 4), "float64"), 1, axis=0)
    np.testing.assert_array_equal(variable.value, [[0] * 4, [1] * 4, [1] * 4])
    backend.assign_part(variable, np.full((3, 1), 2, "float32"), 3, axis=1)
    np.testing.assert_array_equal(variable.value, [[0, 0, 0, 2], [1, 1, 1, 2], [1, 1, 1, 2]])
    backend.assign_part(variable, np.full((3, 4), 5), 0, axis=None)
    np.testing.assert_array_equal(variable.value, np.full((3, 4), 5))


_FOLDER = pathlib.Path(__file__).parent


def _on(name, *arguments, devices=1):
    root = str(_FOLDER.parent.parent)
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={
            **os.environ,
            "KERAS_BACKEND": name,
            "PYTHONPATH": path,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]


ROAD = [  # until which step, where, on what mesh
    (5, "tensorflow", ""),
    (10, "jax", "data:2,model:2"),
    (15, "jax", "fsdp:4"),
    (20, "tensorflow", ""),
]


@pytest.mark.slow  # five processes
def test_a_run_crosses_backends_and_meshes(tmp_path):
    """A checkpoint knows neither: the run ends where one that stayed on one backend ends."""
    script = str(_FOLDER / "crossing.py")
    _on("tensorflow", script, str(tmp_path / "stays"), "20")
    for last_step, name, mesh in ROAD:
        _on(name, script, str(tmp_path / "crosses"), str(last_step), mesh, devices=4)
    stayed, crossed = (Checkpointer(tmp_path / run).restore() for run in ("stays", "crosses"))
    assert stayed.step == crossed.step == 20
    assert stayed.arrays.keys() == crossed.arrays.keys()
    for name, array in stayed.arrays.items():
        np.testing.assert_allclose(crossed.arrays[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.exhaustive
@pytest.mark.slow  # two processes that compile two dozen programs each
def test_training_on_jax_is_training_on_tensorflow(tmp_path):
    """Language modelling (plain, accumulated, chunked), BERT's pretraining, an encoder-decoder with its
    beam search, and PPO (both critics), from sampling to the averaged weights."""
    pytest.importorskip("jax")
    results = {}
    for name in ("tensorflow", "jax"):
        _on(name, str(_FOLDER / "updates.py"), str(tmp_path / f"{name}.npz"))
        results[name] = dict(np.load(tmp_path / f"{name}.npz"))
    ours, theirs = results["tensorflow"], results["jax"]
    assert ours.pop("tensorflow_imported") and not theirs.pop("tensorflow_imported")
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_allclose(theirs[key], value, rtol=1e-4, atol=1e-4, err_msg=key)
    for run in ("plain", "accumulated", "chunked"):
        assert ours[f"{run}/2/loss"] < ours[f"{run}/0/loss"]
    for run in ("shared", "separate"):
        assert ours[f"{run}/0/first_max_log_ratio"] < 1e-4
    assert all(ours[f"dropout/{said}"] for said in ("finite", "seeds_move", "masks_differ"))

"""Programs that are compiled and not run, on JAX: here for the CPU, where a program may run as well."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("JAX alone compiles ahead of time", allow_module_level=True)

from tfalign.backend import jax_ahead
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.training.learner import Learner
from tfalign.training.optimizers import adamw
from tfalign.types import LanguageModelBatch

CONFIG = GPTConfig(16, 8, 1, 2, max_positions=8)


def _learner():
    return Learner(CausalLM(CONFIG), LanguageModelling(), adamw(1e-3))


def _batch(columns=4):
    ids = np.ones((2, columns), "int32")
    return LanguageModelBatch(ids, ids == 1, ids == 1, ids)


def test_an_update_is_compiled_and_not_made():
    learner = jax_ahead.without_values(_learner)
    with jax_ahead.compiled_only() as programs:
        scalars = [learner.update(_batch()) for _ in range(2)] + [learner.update(_batch(5))]
    assert [(p.name, p.calls) for p in programs] == [("_step", 2), ("_step", 1)]
    assert {float(value) for one in scalars for value in one.values()} == {0.0}
    ran = _learner()
    assert set(scalars[0]) == set(ran.update(_batch()))
    # weights, two moments each, what else there is: the program takes what a training's takes
    sizes = [np.prod(v.shape) * 4 for v in ran.model.variables + ran.optimizer.variables]
    given = programs[0].compiled.memory_analysis().argument_size_in_bytes
    assert sum(sizes) <= given < sum(sizes) + 4 * 64


def test_values_are_as_they_were():
    learner = _learner()
    before = [np.array(v) for v in learner.model.variables]
    with jax_ahead.compiled_only():
        learner.update(_batch())
    for variable, old in zip(learner.model.variables, before):
        np.testing.assert_array_equal(variable, old)
    assert float(learner.update(_batch())["loss"]) > 1  # outside it runs


def test_a_program_that_the_compiler_refuses():
    class Refusing:
        out_info = (None, [])

        def compile(self):
            import jax

            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 42.2G of 15.7G hbm.")

    program = jax_ahead.AheadProgram("step", Refusing())
    assert program.compiled is None and "42.2G" in program.refusal

"""Two replicas are one device: same losses, same weights."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = """
import hashlib, json
import keras, numpy as np, tensorflow as tf
from tests.training import every_objective as every
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.training.learner import Learner
from tfalign.training.optimizers import WarmupDecay, adamw
from tfalign.training.packing import packed_batch
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Generation, LanguageModelBatch

class Scaled(LanguageModelling):
    # the loss times the factor of the rows at hand, twice
    def __call__(self, model, batch, training=True):
        batch, factors = batch
        loss, weight, metrics = super().__call__(model, batch, training)
        factor = keras.ops.max(factors)
        return loss * factor * factor, weight, metrics

cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

def batch(rng, columns):
    real = np.arange(columns) < rng.integers(2, columns + 1, 8)[:, None]
    token_ids = np.where(real, rng.integers(1, 13, real.shape), 0).astype("int32")
    return LanguageModelBatch(token_ids, real, real, real.astype("int32"))

def learner(strategy, accumulate, objective=LanguageModelling(), dropout=0.0):
    keras.utils.set_random_seed(0)
    model = CausalLM(GPTConfig(13, 16, 1, 2, max_positions=16, dropout=dropout))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    # the gradients' norm is about 0.5: clipping is at work
    optimizer = adamw(WarmupDecay(1e-2, 20, 2), weight_decay=0.1, clip_norm=0.3, epsilon=1e-3,
                      use_ema=True, ema_momentum=0.9)
    return Learner(model, objective, optimizer, accumulate, strategy)

def train(strategy, accumulate):
    rng = np.random.default_rng(0)
    trained = learner(strategy, accumulate)
    logs = []
    for step in range(6):
        scalars = trained.update(batch(rng, (12, 7)[step % 2]))
        logs.append({name: float(value) for name, value in scalars.items()})
    weights = [w.tolist() for w in trained.model.get_weights()]
    trained.optimizer.finalize_variable_values(trained.model.trainable_variables)
    averages = [w.tolist() for w in trained.model.get_weights()]
    return {"logs": logs, "weights": weights, "averages": averages, "traces": trained.traces}

def poisoned(strategy, accumulate, row):
    # digests of all variables after 20 updates, without the eighth and with it spoiled in a row
    trained = learner(strategy, accumulate, Scaled(), dropout=0.1)
    variables = [*trained.model.variables, *trained.optimizer.variables][:-1]  # but the counts
    start, digests = [keras.ops.convert_to_numpy(keras.ops.copy(v.value)) for v in variables], []
    for spoil in (False, True):
        for variable, value in zip(variables, start):
            variable.assign(value)
        for step in range(20):
            factors = np.ones(8, "float32")
            if step == 7:
                factors[row] = 1e30
            if step != 7 or spoil:
                logs = trained.update((batch(np.random.default_rng(step), 12), factors))
        digest = hashlib.sha256()
        for variable in variables:
            for copy in strategy.experimental_local_results(variable.value):
                digest.update(copy.numpy().tobytes())
                assert np.isfinite(copy.numpy()).all()
        digests.append(digest.hexdigest())
    return {"digests": digests, "skipped": float(logs["skipped_updates"])}

def updated(strategy, accumulate):
    # weights after an update of PPO, and the reference's log-probs; on replicas of packed rows
    case = every.ON_POLICY["ppo"]
    model, reference = every.new_model(case), every.new_model(every.ON_POLICY["grpo"]).policy
    batch = case.batch(np.random.default_rng(0))
    config = RolloutConfig(every.R, packed=strategy is not None)
    worker = RolloutWorker(model, reference, None, config)
    responses = batch.token_ids[:, -every.R:], batch.log_probs, batch.response_mask, batch.values
    compared = worker.compare(batch.token_ids, batch.padding_mask, Generation(*responses))
    trained = Learner(model, case.objective, keras.optimizers.SGD(0.1), accumulate, strategy)
    trained.update(packed_batch(batch, trained.parts) if strategy else batch)
    weights = [w.tolist() for w in trained.model.get_weights()]
    return {"weights": weights, "compared": np.asarray(compared.ref_log_probs).tolist()}

results = {"one": train(None, 1), "padded": updated(None, 1)}
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for accumulate in (1, 2):
    with strategy.scope():
        results[f"two/{accumulate}"] = train(strategy, accumulate)
    with strategy.scope():
        results[f"poisoned/{accumulate}"] = poisoned(strategy, accumulate, row=6)
    with strategy.scope():
        results[f"packed/{accumulate}"] = updated(strategy, accumulate)
with strategy.scope():
    odd = learner(strategy, 1)
try:
    odd.update(batch(np.random.default_rng(0), 12)._replace(token_ids=np.ones((3, 12), "int32")))
except ValueError as error:
    results["odd"] = str(error)
print("RESULTS", json.dumps(results))
"""


@pytest.fixture(scope="module")
def results():
    root = pathlib.Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    (line,) = [x for x in process.stdout.splitlines() if x.startswith("RESULTS")]
    return json.loads(line.removeprefix("RESULTS"))


pytestmark = pytest.mark.slow  # a process of its own, two devices, three learners


@pytest.mark.parametrize("two", ["two/1", "two/2"])
def test_same_logs(results, two):
    for one_log, two_log in zip(results["one"]["logs"], results[two]["logs"], strict=True):
        assert two_log == pytest.approx(one_log, rel=1e-5)
        assert one_log["gradient_norm"] > 0.3


@pytest.mark.parametrize("two", ["two/1", "two/2"])
@pytest.mark.parametrize("what", ["weights", "averages"])
def test_same_weights(results, two, what):
    flat = [_flat(results[run][what]) for run in ("one", two)]
    assert len(flat[0]) > 1000
    assert max(abs(a - b) for a, b in zip(*flat, strict=True)) < 1e-5


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_replica_packs_its_own_rows(results, accumulate):
    for what in ("weights", "compared"):
        flat = [_flat(results[run][what]) for run in ("padded", f"packed/{accumulate}")]
        assert max(abs(a - b) for a, b in zip(*flat, strict=True)) < 1e-5


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_row_of_one_replica_that_overflows_is_as_if_its_batch_had_not_been_there(
    results, accumulate
):
    found = results[f"poisoned/{accumulate}"]
    assert found["digests"][0] == found["digests"][1]
    assert found["skipped"] == 1


def test_one_program_a_shape_and_replica(results):
    assert results["one"]["traces"] == 2
    assert results["two/1"]["traces"] == 4


def test_rows_that_cannot_be_shared_are_told(results):
    assert results["odd"] == "A batch of 3 rows cannot be shared equally by 2 replicas"


def _flat(nested):
    if isinstance(nested, list):
        return [x for each in nested for x in _flat(each)]
    return [nested]

"""What is saved comes back to the bit, in whatever order the process made things."""

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.models import CausalLM, GPTConfig
from tfalign.training.checkpoint import Checkpointer, CheckpointError
from tfalign.training.kl_control import AdaptiveKL
from tfalign.training.optimizers import adamw
from tfalign.training.run_state import RunState

CONFIG = GPTConfig(7, 8, 1, 2, max_positions=8, dropout=0.1)


class Counter:
    """A data stream's position."""

    def __init__(self):
        self.position = {"epoch": 0, "batch": 0}

    def state(self):
        return self.position

    def restore(self, state):
        self.position = state


class Run:
    """A model that has gone through some updates, and all that belongs to it."""

    def __init__(self, directory, config=CONFIG, dtype=None):
        self.model = CausalLM(config, dtype=dtype)
        self.optimizer = adamw(0.1, use_ema=True)
        self.optimizer.build(self.model.trainable_variables)
        self.control, self.data = AdaptiveKL(), Counter()
        self.state = RunState(
            Checkpointer(directory),
            {"model": self.model.variables, "optimizer": self.optimizer.variables},
            {"kl": self.control, "data": self.data},
        )

    def advance(self, seed):
        rng = np.random.default_rng(seed)
        variables = self.model.trainable_variables
        self.optimizer.apply([rng.normal(size=v.shape).astype("float32") for v in variables])
        for layer in self.model._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.next()
        self.control.update(rng.normal() * 12, 500)
        self.data.position = {"epoch": seed, "batch": seed + 3}

    def everything(self):
        variables = self.model.variables + self.optimizer.variables
        arrays = [ops.convert_to_numpy(v.value) for v in variables]
        return arrays, self.control.state(), self.data.state()


def assert_identical(one, other):
    assert one[1:] == other[1:]
    for a, b in zip(one[0], other[0], strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


def test_round_trip_is_bit_equal(tmp_path):
    run = Run(tmp_path)
    for seed in range(3):
        run.advance(seed)
    run.state.save(3)
    saved = run.everything()
    run.advance(3)  # what comes after the checkpoint is lost in a kill
    keras.layers.Dropout(0.5)  # the resumed process need not make what the first one made
    resumed = Run(tmp_path)
    resumed.advance(9)
    assert resumed.state.restore() == 3
    assert_identical(saved, resumed.everything())
    assert int(resumed.optimizer.iterations) == 3
    for each in (run, resumed):
        each.state.restore()
        each.advance(4)
    assert_identical(run.everything(), resumed.everything())


def test_a_fresh_start_changes_nothing(tmp_path):
    run = Run(tmp_path)
    before = run.everything()
    assert run.state.restore() == 0
    assert_identical(before, run.everything())


def test_the_newest_counts(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2):
        run.advance(step)
        run.state.save(step)
    newest = run.everything()
    resumed = Run(tmp_path)
    assert resumed.state.restore() == 2
    assert_identical(newest, resumed.everything())


@pytest.mark.parametrize(
    ("config", "dtype", "message"),
    [
        (
            CONFIG.replace(width=16),
            None,
            r"'model/0000/token_embedding/embeddings' must have shape \(7, 16\). "
            r"Received: shape=\(7, 8\)",
        ),
        (CONFIG.replace(num_layers=2), None, "'model/0021/.*' is missing"),
        (
            CONFIG,
            "bfloat16",
            "'model/0000/token_embedding/embeddings' must have dtype bfloat16. "
            "Received: dtype=float32",
        ),
    ],
)
def test_another_models_checkpoint_is_refused(tmp_path, config, dtype, message):
    Run(tmp_path).state.save(5)
    other = Run(tmp_path, config, dtype)
    before = other.everything()
    with pytest.raises(CheckpointError, match=f"step-00000005: tensor {message}") as error:
        other.state.restore()
    assert "\n" not in str(error.value)
    assert_identical(before, other.everything())


def test_two_models_with_variables_of_one_name(tmp_path):
    def models():
        policy, critic = CausalLM(CONFIG), CausalLM(CONFIG)
        state = RunState(Checkpointer(tmp_path), {"run": policy.variables + critic.variables}, {})
        return policy, critic, state

    policy, critic, state = models()
    state.save(1)
    other_policy, other_critic, other_state = models()
    other_state.restore()
    for model, other in ((policy, other_policy), (critic, other_critic)):
        for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_damaged_newest_checkpoint_is_named_with_the_way_out(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2, 3):
        run.advance(step)
        run.state.save(step)
        if step == 1:
            expected = run.everything()
    for step in (2, 3):
        file = tmp_path / f"step-{step:08d}" / "arrays.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    again = Run(tmp_path)
    with pytest.raises(CheckpointError) as error:
        again.state.restore()
    assert str(error.value) == (
        f"{tmp_path}/step-00000003/arrays.safetensors is damaged: its CRC-32 is not the one in"
        " state.json. The one of step 1 is whole: --resume_from=1 goes on from there."
    )
    with pytest.raises(
        CheckpointError, match=r"step-00000002/arrays.safetensors is damaged.*json\.$"
    ):
        again.state.restore(2)
    with pytest.raises(CheckpointError, match="holds no step 7 to restore"):
        again.state.restore(7)
    assert again.state.restore(1) == 1
    assert_identical(again.everything(), expected)
    assert Checkpointer(tmp_path).steps() == [1]  # the run is where it was then


def test_without_a_whole_checkpoint_there_is_no_way_out(tmp_path):
    run = Run(tmp_path)
    run.state.save(1)
    (tmp_path / "step-00000001" / "state.json").unlink()
    with pytest.raises(CheckpointError, match="No other checkpoint of this stage is whole"):
        run.state.restore()

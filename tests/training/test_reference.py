"""The reference's log-probs: what it says of each response, once, whatever the batches."""

import numpy as np
import pytest

from tfalign.data import LabelledRecord, PreferenceRecord, encode_labelled, encode_ranked
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import response_log_probs
from tfalign.text import train_byte_bpe
from tfalign.training.reference import FrozenReference

BYTES = train_byte_bpe([], 259)
PAIRS = [PreferenceRecord("p" * (1 + i % 4), "yes" * (1 + i % 3), "n") for i in range(7)]


@pytest.fixture(scope="module")
def model():
    model = CausalLM(GPTConfig(BYTES.vocab_size, 16, 1, 2, max_positions=32))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    return model


def test_each_response_has_its_own(model):
    bare = encode_ranked(PAIRS, BYTES)
    examples = FrozenReference(lambda: model, batch_size=3, columns=[3, 6])(bare)
    assert not bare.ref_log_probs.any()
    for index in range(len(PAIRS)):
        batch = examples.batch(np.array([index]), 5)
        expected = response_log_probs(model, batch).totals
        np.testing.assert_allclose(batch.ref_log_probs, expected, rtol=1e-4)
    assert len(np.unique(examples.ref_log_probs)) > 7


def test_a_file_is_written_once_and_read_again(model, tmp_path):
    file = tmp_path / "reference.npz"
    bare = encode_ranked(PAIRS, BYTES)
    examples = FrozenReference(lambda: model, 4, [6])(bare, file)
    again = FrozenReference(None, 4, [6])(bare, file)  # nothing is loaded
    np.testing.assert_array_equal(again.ref_log_probs, examples.ref_log_probs)
    assert [path.name for path in tmp_path.iterdir()] == ["reference.npz"]
    other = encode_ranked(PAIRS[:-1], BYTES)
    with pytest.raises(ValueError, match="of other examples. Received: 6 examples, 7 in the file"):
        FrozenReference(lambda: model, 4, [6])(other, file)


def test_labelled_answers_have_two(model):
    records = [LabelledRecord(f"p{i}", "yes", i > 2) for i in range(4)]
    examples = FrozenReference(lambda: model, 4, [6])(encode_labelled(records, BYTES))
    batch = examples.batch(np.arange(4), 6)
    expected = response_log_probs(model, batch).totals
    np.testing.assert_allclose(batch.ref_log_probs, expected, rtol=1e-4)


def test_a_reference_that_is_broken_is_told(model, tmp_path):
    variable = model.variables[0]
    kept = variable.numpy()
    variable.assign(np.full_like(kept, np.nan))
    records = [PreferenceRecord("a", "b", "c", source="f:1")]
    with pytest.raises(ValueError, match="^f:1: the reference's log-probs are not finite"):
        FrozenReference(lambda: model, 1, [2])(encode_ranked(records, BYTES), tmp_path / "it.npz")
    assert not list(tmp_path.iterdir())
    variable.assign(kept)

"""Next-token prediction: what counts as a target, and what a packed document may see."""

import numpy as np
import pytest

from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.types import LanguageModelBatch

V = 11
DOCUMENTS = [[1, 5, 2, 7], [3, 3, 9], [8, 4, 10, 6, 2], [7, 1]]


@pytest.fixture(scope="module", params=["learned", "rotary"])
def model(request):
    config = GPTConfig(V, 16, 2, 2, max_positions=16)
    if request.param == "rotary":
        config = config.replace(rotary_base=10_000.0, attention_window=2)
    model = CausalLM(config)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    return model


def rows_of(documents_per_row, columns):
    """LanguageModelBatch with the documents of a row one after the other."""
    token_ids = np.zeros((len(documents_per_row), columns), "int32")
    segment_ids = np.zeros_like(token_ids)
    loss_mask = np.zeros(token_ids.shape, "bool")
    for row, documents in enumerate(documents_per_row):
        start = 0
        for number, document in enumerate(documents, start=1):
            end = start + len(document)
            token_ids[row, start:end] = document
            segment_ids[row, start:end] = number
            loss_mask[row, start + 1 : end] = True  # nothing predicts a document's first token
            start = end
    return LanguageModelBatch(token_ids, segment_ids > 0, loss_mask, segment_ids)


def loss_and_weight(model, batch, chunk=None):
    loss, weight, _ = LanguageModelling(chunk)(model, batch, training=False)
    return float(loss), float(weight)


def test_is_the_sum_of_minus_log_p_over_targets(model):
    batch = rows_of([[document] for document in DOCUMENTS], 6)
    logits = np.asarray(model(batch.token_ids, padding_mask=batch.padding_mask)).astype("float64")
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -sum(
        log_probs[row, column - 1, token]
        for row, document in enumerate(DOCUMENTS)
        for column, token in enumerate(document)
        if column
    )
    loss, weight = loss_and_weight(model, batch)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert weight == 3 + 2 + 4 + 1


@pytest.mark.parametrize("chunk", [None, 5])
def test_packed_is_separate_documents(model, chunk):
    separate = rows_of([[document] for document in DOCUMENTS], 8)
    packed = rows_of([DOCUMENTS[:2], DOCUMENTS[2:]], 8)
    expected = loss_and_weight(model, separate)
    np.testing.assert_allclose(loss_and_weight(model, packed, chunk), expected, rtol=1e-5)
    one_document = packed._replace(segment_ids=np.minimum(packed.segment_ids, 1))
    leaking, _ = loss_and_weight(model, one_document)
    assert abs(leaking - expected[0]) > 0.1  # the documents would see each other without segments


def test_targets_outside_the_loss_mask_do_not_count(model):
    """A prompt is read and not predicted: the loss is that of the completion's tokens alone."""
    whole = rows_of([[document] for document in DOCUMENTS], 6)
    columns = np.arange(6)
    prompts, completions = (
        whole._replace(loss_mask=whole.loss_mask & side) for side in (columns < 2, columns >= 2)
    )
    loss, weight = loss_and_weight(model, completions)
    assert weight == 2 + 1 + 3
    np.testing.assert_allclose(
        loss + loss_and_weight(model, prompts)[0], loss_and_weight(model, whole)[0], rtol=1e-5
    )
    later = completions.token_ids.copy()
    later[0, 3] = 4  # the last target of the first document
    changed, _ = loss_and_weight(model, completions._replace(token_ids=later))
    assert changed != loss
    unmasked = completions.loss_mask.copy()
    unmasked[0, 3] = False
    without = completions._replace(loss_mask=unmasked)
    assert loss_and_weight(model, without) == loss_and_weight(
        model, without._replace(token_ids=later)
    )


def test_tokens_are_counted_per_row(model):
    _, _, metrics = LanguageModelling()(model, rows_of([DOCUMENTS[:2], DOCUMENTS[2:]], 8))
    total, count = metrics["tokens_per_row"]
    assert (float(total), float(count)) == (14, 2)

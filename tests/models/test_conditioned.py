"""Conditions: a prefix that only its own row sees, cached or not."""

import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign import backend
from tfalign.layers import IdPrefix, PatchPrefix, VectorPrefix
from tfalign.models import GPT, CausalLM, Conditioned, GPTConfig, separate_critic
from tfalign.models.lora import LoRA, WithoutAdapters, add_adapters

V, W, B, T, K = 13, 16, 3, 7, 2
GPT2 = GPTConfig(V, W, 2, 2, max_positions=24, initializer_range=0.3)
KINDS = {"gpt2": GPT2, "rotary": GPT2.replace(rotary_base=100.0, tied=False)}
_random = np.random.default_rng(0)
IDS = _random.integers(0, V, size=(B, T)).astype("int32")
MASK = np.array([[1] * 7, [0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1]], "bool")
USERS = np.array([2, 0, 2])


def conditioned(kind="gpt2", encoder=None):
    encoder = encoder or IdPrefix(3, K, W, initializer_range=1.0)
    made = Conditioned(GPT(KINDS[kind]), encoder)
    noise = np.random.default_rng(1)
    made.set_weights([w + 0.1 * noise.normal(size=w.shape) for w in made.get_weights()])
    return made


@pytest.fixture(scope="module", params=with_slow(list(KINDS), ["gpt2"]))
def model(request):
    return conditioned(request.param)


def test_the_columns_stand_before_the_tokens(model):
    """By the plain GPT: the same rows without padding, one at a time, behind their prefixes."""
    found = np.asarray(model(IDS, padding_mask=MASK, condition=USERS))
    for row, user, mask, states in zip(IDS, USERS, MASK, found):
        tokens = np.asarray(model.gpt.token_embedding(row[mask][None]))
        whole = np.concatenate([np.asarray(model.encoder.table)[user][None], tokens], axis=1)
        expected = np.asarray(model.gpt.from_embeddings(whole))[0, K:]
        np.testing.assert_allclose(states[mask], expected, atol=1e-5)


@pytest.mark.parametrize("pieces", [[1] * T, [4, 3]], ids=str)
def test_cached_equals_uncached(model, pieces):
    expected = np.asarray(model(IDS, padding_mask=MASK, condition=USERS))
    positions = np.maximum(np.cumsum(MASK, axis=1) - 1, 0).astype("int32")
    visible = np.pad(MASK, ((0, 0), (0, 2)), constant_values=True)
    cache, column, hidden = model.new_cache(B, T + 2, USERS), 0, []
    for size in pieces:
        columns = slice(column, column + size)
        output, cache = model.extend(IDS[:, columns], cache, column, visible, positions[:, columns])
        hidden.append(output)
        column += size
    found = np.concatenate([np.asarray(x) for x in hidden], axis=1)
    np.testing.assert_allclose(found[MASK], expected[MASK], atol=1e-5)


def test_another_condition_is_another_text():
    model = conditioned()
    one, other = (np.asarray(model(IDS, condition=np.array(users))) for users in (USERS, [2, 1, 2]))
    assert np.abs(one[1] - other[1]).max() > 0.1
    np.testing.assert_allclose(one[[0, 2]], other[[0, 2]], atol=1e-6)


def test_the_last_columns_alone():
    model = conditioned()
    whole = np.asarray(model(IDS, padding_mask=MASK, condition=USERS))
    last = model(IDS, padding_mask=MASK, last=3, condition=USERS)
    np.testing.assert_allclose(last, whole[:, -3:], atol=1e-5)


def test_gradients_reach_the_encoder_of_the_users_there_are():
    model = CausalLM(conditioned())

    def loss():
        return ops.sum(ops.square(model(IDS, padding_mask=MASK, condition=USERS))), ()

    table = model.backbone.encoder.table
    _, _, (gradient,) = backend.value_and_grad(loss, [table])
    sizes = np.abs(np.asarray(gradient)).max(axis=(1, 2))
    assert sizes[0] > 0 and sizes[2] > 0 and sizes[1] == 0


def test_an_image_is_cut_into_patches():
    """By hand: pixels count from 0, and the map takes the first of a patch."""
    layer = PatchPrefix((4, 4, 1), 2, 3)
    layer.build()
    layer.dense.kernel.assign(np.eye(4, 3))
    layer.places.assign(np.zeros((4, 3)))
    image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    assert np.asarray(layer(image))[0].tolist() == [[0, 1, 4], [2, 3, 6], [8, 9, 12], [10, 11, 14]]


def test_a_critic_starts_from_the_policys_backbone():
    policy = CausalLM(conditioned())
    critic = separate_critic(policy)
    assert critic.takes_condition and critic.backbone is not policy.backbone
    for one, other in zip(critic.backbone.get_weights(), policy.backbone.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_with_the_adapters_off_it_still_takes_its_condition():
    model = CausalLM(conditioned())
    before = np.asarray(model(IDS, condition=USERS))
    add_adapters(model, LoRA(rank=2))
    for weight in model.trainable_variables:
        weight.assign(np.ones(weight.shape))
    base = WithoutAdapters(model)
    assert base.takes_condition
    np.testing.assert_allclose(base(IDS, condition=USERS), before, atol=1e-5)
    assert np.abs(np.asarray(model(IDS, condition=USERS)) - before).max() > 0.1


def test_it_is_made_again_from_its_configuration():
    model = CausalLM(conditioned())
    again = CausalLM.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(IDS, condition=USERS), model(IDS, condition=USERS))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: m(IDS), "reads a condition before its tokens, and there is none"),
        (lambda m: m.new_cache(B, T), "reads a condition before its tokens, and there is none"),
        (lambda m: m(IDS, segment_ids=IDS, condition=USERS), "no place for a condition"),
        (lambda m: m.checked_condition([0, 3]), "from 0 to 2. Received: 3 in row 1"),
        (lambda m: m.checked_condition([[0]]), r"shape \(\). Received: an array of shape \(1, 1\)"),
        (
            lambda m: Conditioned(m.gpt, VectorPrefix(2, 1, W + 1)),
            f"Received: width={W + 1}, of a model of width {W}",
        ),
        (lambda m: CausalLM(m).save_pretrained("nowhere"), "no place for its prefix encoder"),
        (lambda m: IdPrefix(3, 0, W), "at least one column. Received: num_columns=0"),
        (lambda m: PatchPrefix((4, 5, 1), 2, W), r"patch_size=2, image_shape=\(4, 5, 1\)"),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(conditioned())

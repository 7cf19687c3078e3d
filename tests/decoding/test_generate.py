"""The decode loop: the model's own distribution, row by row, whatever stands around a row."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.decoding import Generator, Greedy, Sampler, generate
from tfalign.functional.log_probs import token_log_probs
from tfalign.models import CausalLM, ValueHead

R = 8
STOPS, PAD, TEMPERATURE, SEED = (3, 5), 1, 0.7, 4


@pytest.fixture(scope="module")
def generator(policy):
    return Generator(policy, R, Sampler(TEMPERATURE), STOPS, PAD)


@pytest.fixture(scope="module")
def generation(generator, prompts):
    return _numpy(generator(*prompts, seed=SEED))


def _numpy(generation):
    return generation._replace(
        **{k: np.asarray(v) for k, v in generation._asdict().items() if v is not None}
    )


def _eagerly(generator, token_ids, mask, seed=SEED, row_ids=None):
    """The loop without the compiler, a Python iteration a step."""
    row_ids = np.arange(len(mask)) if row_ids is None else row_ids
    arguments = (token_ids, mask, np.uint32(seed), np.asarray(row_ids, "int32"))
    return _numpy(generator.run(*map(ops.convert_to_tensor, arguments)))


def _same(left, right, atol=1e-5):
    np.testing.assert_array_equal(left.tokens, right.tokens)
    np.testing.assert_array_equal(left.mask, right.mask)
    np.testing.assert_allclose(left.log_probs, right.log_probs, atol=atol)


def _before_response(model, prompts, generation):
    """What the full, uncached model says before each token: hidden[B, R, W], logits[B, R, V]."""
    token_ids = np.concatenate([prompts.token_ids, generation.tokens], axis=1)
    mask = np.concatenate([prompts.mask, generation.mask], axis=1)
    hidden = model.backbone(token_ids, padding_mask=mask)[:, -R - 1 : -1]
    return hidden, model.logits(hidden)


def _right_padded(prompts):
    lengths = prompts.mask.sum(axis=1)
    return tuple(
        np.stack([np.roll(row, n) for row, n in zip(rows, lengths)])
        for rows in (prompts.token_ids, prompts.mask)
    )


def test_rows_end_at_their_stop_token_or_at_the_limit(generation):
    assert generation.tokens.dtype == np.int32 and generation.tokens.shape == (5, R)
    assert generation.log_probs.dtype == np.float32 and generation.mask.dtype == np.bool_
    assert generation.values is None
    lengths = generation.mask.sum(axis=1)
    assert lengths.min() < R and lengths.max() == R, "the seed no longer shows both endings"
    for tokens, log_probs, mask, length in zip(*generation[:3], lengths):
        np.testing.assert_array_equal(mask, np.arange(R) < length)
        assert not np.isin(tokens[: length - 1], STOPS).any()
        assert length == R or tokens[length - 1] in STOPS
        assert (log_probs[:length] < 0).all()
        np.testing.assert_array_equal(tokens[length:], PAD)
        np.testing.assert_array_equal(log_probs[length:], 0)


def test_log_probs_are_those_of_the_full_forward(policy, generation, prompts):
    _, logits = _before_response(policy, prompts, generation)
    expected = np.asarray(token_log_probs(logits, generation.tokens, TEMPERATURE))
    np.testing.assert_allclose(
        generation.log_probs[generation.mask], expected[generation.mask], atol=1e-5
    )


def test_log_probs_are_those_of_the_restricted_distribution(policy, prompts):
    sampler = Sampler(0.9, top_k=6, top_p=0.9, min_p=0.02)
    generation = _eagerly(Generator(policy, R, sampler, STOPS), *prompts)
    logits = np.asarray(_before_response(policy, prompts, generation)[1])
    restricted = ops.stack([sampler.distribution(logits[:, t]) for t in range(R)], axis=1)
    expected = np.asarray(token_log_probs(restricted, generation.tokens))
    mask = generation.mask
    np.testing.assert_allclose(generation.log_probs[mask], expected[mask], atol=1e-5)


def test_greedy_takes_the_likeliest_of_the_full_forward(policy, prompts):
    generation = _eagerly(Generator(policy, R, Greedy()), *prompts)
    logits = np.asarray(_before_response(policy, prompts, generation)[1])
    np.testing.assert_array_equal(generation.tokens, logits.argmax(axis=-1))
    expected = token_log_probs(logits, generation.tokens)
    np.testing.assert_allclose(generation.log_probs, expected, atol=1e-5)


def test_compiled_equals_eager(generator, generation, prompts):
    _same(generation, _eagerly(generator, *prompts))


def test_padding_side_is_irrelevant(generator, generation, prompts):
    _same(generation, _numpy(generator(*_right_padded(prompts), seed=SEED)))


def test_what_stands_at_padding_is_irrelevant(generator, generation, prompts):
    token_ids = np.where(prompts.mask, prompts.token_ids, 0)
    _same(generation, _numpy(generator(token_ids, prompts.mask, seed=SEED)), atol=0)


def test_order_of_rows_is_irrelevant(generator, generation, prompts):
    order = np.array([3, 0, 4, 2, 1])
    shuffled = generator(*(x[order] for x in prompts), seed=SEED, row_ids=order)
    _same(
        _numpy(shuffled),
        generation._replace(
            **{name: getattr(generation, name)[order] for name in ("tokens", "log_probs", "mask")}
        ),
    )


def test_a_row_does_not_see_the_others(generator, generation, prompts):
    """Row 2 alone, and among other prompts, says what it says in the batch."""
    others = prompts.token_ids[::-1].copy()
    others[2] = prompts.token_ids[2]
    mask = np.ones_like(prompts.mask)
    mask[2] = prompts.mask[2]
    among = _numpy(generator(others, mask, seed=SEED))
    alone = _eagerly(generator, *(x[2:3] for x in prompts), row_ids=[2])
    assert (among.tokens != generation.tokens).any()
    for other, row in ((among, 2), (alone, 0)):
        np.testing.assert_array_equal(other.tokens[row], generation.tokens[2])
        np.testing.assert_allclose(other.log_probs[row], generation.log_probs[2], atol=1e-5)


def test_the_seed_decides(generator, generation, prompts):
    _same(generation, _numpy(generator(*prompts, seed=SEED)), atol=0)
    drawn = {
        _numpy(generator(*prompts, seed=seed)).tokens.tobytes()
        for seed in (SEED, 0, 1, 2**31, 2**32 - 1)
    }
    assert len(drawn) == 5


def test_prompts_alike_get_different_responses(generator, prompts):
    alike = np.repeat(prompts.token_ids[:1], 5, axis=0), np.ones((5, 6), "bool")
    tokens = np.asarray(generator(*alike, seed=SEED).tokens)
    assert len({row.tobytes() for row in tokens}) > 2  # two may both have stopped at once
    tokens = np.asarray(generator(*alike, seed=SEED, row_ids=np.full(5, 9)).tokens)
    assert len({row.tobytes() for row in tokens}) == 1


def test_one_program_a_shape(new_counting_model):
    generator = Generator(new_counting_model(6), 2, Greedy())
    for seed in range(3):
        generator(np.full((2, 3), seed), np.ones((2, 3), "bool"), seed=seed)
    generator([[1, 1, 0], [0, 1, 0]], [[True, True, False], [False, True, False]])
    assert generator.compiled.traces == 1
    generator(np.ones((2, 4)), np.ones((2, 4), "bool"))
    assert generator.compiled.traces == 2


def test_values_are_those_of_the_states_before_the_tokens(policy, prompts):
    head = ValueHead()
    head.build((None, None, policy.config.width))
    head.dense.kernel.assign(np.random.default_rng(0).normal(size=head.dense.kernel.shape))
    head.dense.bias.assign([0.5])
    generator = Generator(policy, R, Sampler(TEMPERATURE), STOPS, PAD, value_head=head)
    generation = _eagerly(generator, *prompts)
    hidden, _ = _before_response(policy, prompts, generation)
    expected = np.where(generation.mask, head(hidden), 0.0)
    assert generation.values.dtype == np.float32
    np.testing.assert_allclose(generation.values, expected, atol=1e-5)


def test_a_model_that_counts_is_followed(counting):
    prompts = np.array([[0, 1, 2], [0, 0, 6], [7, 5, 3]])
    mask = np.array([[1, 1, 1], [0, 0, 1], [1, 1, 0]], "bool")  # the last is padded on the right
    generation = generate(
        counting, prompts, mask, max_new_tokens=5, stop_tokens=(5,), pad_id=9, seed=3
    )
    np.testing.assert_array_equal(
        generation.tokens, [[3, 4, 5, 9, 9], [7, 0, 1, 2, 3], [6, 7, 0, 1, 2]]
    )
    np.testing.assert_array_equal(np.sum(generation.mask, axis=1), [3, 5, 5])
    np.testing.assert_allclose(generation.log_probs, np.zeros((3, 5)), atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX runs no loop uncompiled")
@pytest.mark.parametrize("prompt, steps", [(2, 2), (3, 1), (4, 8), (6, 6)])
def test_the_loop_ends_with_the_last_row(counting, prompt, steps):
    """Counted where it cannot lie: each iteration asks the sampler once."""

    class Asked(Greedy):
        times = 0

        def choose(self, logits, uniforms):
            Asked.times += 1
            return super().choose(logits, uniforms)

    generator = Generator(counting, 8, Asked(), stop_tokens=(4,))
    both = np.array([[3], [prompt]], "int32")  # the first row ends at once
    generation = _eagerly(generator, both, np.ones((2, 1), "bool"))
    assert Asked.times == steps
    np.testing.assert_array_equal(generation.mask.sum(axis=1), [1, steps])


def test_a_first_token_that_stops_is_the_whole_response(counting):
    generator = Generator(counting, 4, stop_tokens=(0, 1), pad_id=2)
    generation = _eagerly(generator, np.array([[7], [0]]), np.ones((2, 1), "bool"))
    np.testing.assert_array_equal(generation.tokens, [[0, 2, 2, 2], [1, 2, 2, 2]])
    np.testing.assert_array_equal(generation.mask, [[1, 0, 0, 0]] * 2)


def test_one_new_token_suffices(counting):
    generation = _eagerly(Generator(counting, 1), np.array([[4, 6]]), np.ones((1, 2), "bool"))
    np.testing.assert_array_equal(generation.tokens, [[7]])


def test_mixed_precision_gives_float32_log_probs(policy, prompts):
    mixed = CausalLM(policy.config, dtype="mixed_bfloat16")
    mixed.set_weights(policy.get_weights())
    generation = _eagerly(Generator(mixed, R, Sampler(TEMPERATURE), STOPS, PAD), *prompts)
    assert generation.log_probs.dtype == np.float32
    _, logits = _before_response(policy, prompts, generation)
    expected = np.asarray(token_log_probs(logits, generation.tokens, TEMPERATURE))
    difference = (generation.log_probs - expected)[generation.mask]
    assert 0 < np.abs(difference).max() < 0.3  # bfloat16's rounding, not another distribution


def test_changed_weights_are_used_without_another_trace(new_counting_model):
    model = new_counting_model(6)
    prompt = [[3]]
    first = generate(model, prompt, max_new_tokens=3, sampler=Greedy())
    embedding = model.backbone.token_embedding
    embedding.kernel.assign(np.roll(np.asarray(embedding.kernel), 1, axis=1))  # count by two
    second = generate(model, prompt, max_new_tokens=3, sampler=Greedy())
    np.testing.assert_array_equal([first.tokens[0], second.tokens[0]], [[4, 5, 0], [5, 1, 3]])


def test_kept_programs_do_not_keep_their_model(new_counting_model):
    model = new_counting_model(4)
    generate(model, [[1]], max_new_tokens=2)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_an_empty_prompt_is_named(generator, prompts):
    mask = prompts.mask.copy()
    mask[3] = False
    with pytest.raises(ValueError, match="Row 3 of the prompts is empty"):
        generator(prompts.token_ids, mask)


def test_a_response_beyond_the_positions_is_refused(policy):
    tokens = np.ones((1, 20), "int32")
    with pytest.raises(ValueError, match="need 25 positions .prompt 20, max_new_tokens 5.* has 24"):
        generate(policy, tokens, max_new_tokens=5)


def test_the_last_position_is_used(policy):
    """Prompt and response as long as the positions go: as the full forward, to the last token."""
    prompt = np.random.default_rng(3).integers(0, 23, size=(1, 16)).astype("int32")
    generation = _eagerly(Generator(policy, 8, Greedy()), prompt, np.ones((1, 16), "bool"))
    token_ids = np.concatenate([prompt, generation.tokens], axis=1)
    logits = np.asarray(policy(token_ids))[:, 15:-1]
    np.testing.assert_array_equal(generation.tokens, logits.argmax(axis=-1))


@pytest.mark.parametrize("max_new_tokens", [0, -3])
def test_no_new_tokens_are_refused(policy, max_new_tokens):
    with pytest.raises(ValueError, match=f"Received: max_new_tokens={max_new_tokens}"):
        generate(policy, [[1]], max_new_tokens=max_new_tokens)

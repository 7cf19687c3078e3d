"""Trunks with heads are ordinary Keras models: a user's own fit, and .keras files."""

import keras
import numpy as np
import pytest

from tfalign.models import (
    BERT,
    GPT,
    BERTConfig,
    BERTPretrainer,
    CausalLM,
    Critic,
    GPTConfig,
    MaskedLM,
    NextSentenceClassifier,
    SeparateActorCritic,
    SequenceClassifier,
    SharedActorCritic,
    TokenClassifier,
    Transformer,
    TransformerConfig,
)

V, B, T = 11, 4, 6
GPT_CONFIG = GPTConfig(V, 16, 2, 2, max_positions=16)
LLAMA_CONFIG = GPT_CONFIG.replace(
    num_key_value_heads=1, rotary_base=100.0, norm="rms", gated=True, use_bias=False, tied=False
)
BERT_CONFIG = BERTConfig(V, 16, 2, 2, max_positions=16)
_random = np.random.default_rng(0)
IDS = _random.integers(0, V, size=(B, T)).astype("int32")
MASK = np.arange(T)[None, :] < np.array([6, 3, 5, 1])[:, None]
TYPES = _random.integers(0, 2, size=(B, T)).astype("int32")

PADDED = {"padding_mask": MASK}
PAIRED = {"padding_mask": MASK, "token_type_ids": TYPES}
MODELS = {
    "GPT": (lambda: GPT(GPT_CONFIG), PADDED),
    "Llama": (lambda: GPT(LLAMA_CONFIG), PADDED),
    "BERT": (lambda: BERT(BERT_CONFIG), PAIRED),
    "Transformer": (
        lambda: Transformer(TransformerConfig(V, 16, 2, 2, pre_norm=True)),
        {"target_ids": IDS[:, ::-1], "source_mask": MASK},
    ),
    "CausalLM": (lambda: CausalLM(LLAMA_CONFIG), PADDED),
    "Critic": (lambda: Critic(GPT_CONFIG), PADDED),
    "BERTPretrainer": (lambda: BERTPretrainer(BERT_CONFIG), PAIRED),
    "MaskedLM": (lambda: MaskedLM(BERT_CONFIG), PAIRED),
    "SequenceClassifier": (lambda: SequenceClassifier(BERT_CONFIG, 3, dropout=0.1), PAIRED),
    "NextSentenceClassifier": (lambda: NextSentenceClassifier(BERT_CONFIG), PAIRED),
    "TokenClassifier": (lambda: TokenClassifier(BERT_CONFIG, 5), PAIRED),
    "SharedActorCritic": (
        lambda: SharedActorCritic(CausalLM(GPT_CONFIG)),
        PADDED | {"response_length": 3},
    ),
    "SeparateActorCritic": (
        lambda: SeparateActorCritic(CausalLM(GPT_CONFIG), Critic(LLAMA_CONFIG)),
        PADDED | {"response_length": 3},
    ),
}
every_model = pytest.mark.parametrize("name", list(MODELS))


def _outputs(model, more):
    return [np.asarray(output) for output in keras.tree.flatten(model(IDS, **more))]


@every_model
def test_keras_file_round_trip(name, tmp_path):
    make, more = MODELS[name]
    model = make()
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    for output, expected in zip(_outputs(loaded, more), _outputs(model, more), strict=True):
        np.testing.assert_array_equal(output, expected)
    loaded_config, config = loaded.get_config(), model.get_config()
    assert loaded_config == config


@every_model
def test_weights_exist_from_construction_on(name):
    make, more = MODELS[name]
    model = make()
    before = len(model.weights)
    model(IDS, **more)
    assert len(model.weights) == before > 0


def test_trunk_may_be_given_and_is_shared():
    trunk = GPT(GPT_CONFIG, dtype="mixed_bfloat16")
    model = CausalLM(trunk)
    assert model.backbone is trunk and model.config is GPT_CONFIG
    assert model.dtype_policy.name == "mixed_bfloat16"
    np.testing.assert_array_equal(model(IDS), model.logits(trunk(IDS)))


def test_logits_by_a_kernel_taken_before_are_the_same():
    model = CausalLM(LLAMA_CONFIG)
    hidden = model.backbone(IDS)
    np.testing.assert_array_equal(
        model.logits(hidden, model.readout_kernel()), model.logits(hidden)
    )


def test_from_preset():
    model = CausalLM.from_preset("tiny_llama", vocab_size=17, dtype="mixed_bfloat16")
    assert model.config == GPTConfig.from_preset("tiny_llama", vocab_size=17)
    assert model.dtype_policy.name == "mixed_bfloat16"


def _loss_before_and_after(model, x, y, epochs=15):
    """What somebody else's script does: their optimizer, their loss, their fit."""
    keras.utils.set_random_seed(0)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(x, y, batch_size=16, epochs=epochs, verbose=0).history
    return history["loss"][0], history["loss"][-1], history["accuracy"][-1]


@pytest.mark.slow
def test_users_own_fit_of_a_causal_lm():
    """The next token is the last one plus one."""
    keras.utils.set_random_seed(0)
    starts = np.random.default_rng(0).integers(0, V, size=(64, 1))
    ids = (starts + np.arange(T + 1)) % V
    first, last, accuracy = _loss_before_and_after(
        CausalLM(GPT_CONFIG.replace(num_layers=1)), ids[:, :-1], ids[:, 1:]
    )
    assert first == pytest.approx(np.log(V), rel=0.2)
    assert last < 0.1 and accuracy > 0.99


@pytest.mark.slow
def test_users_own_fit_of_a_classifier_with_a_mask():
    """Is token 3 among the real ones? In a functional model, as Keras passes named inputs."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    ids = random.integers(0, 5, size=(128, T)).astype("int32")
    mask = np.arange(T) < random.integers(2, T + 1, size=(128, 1))
    labels = ((ids == 3) & mask).any(axis=1).astype("int32")
    inputs = {
        "token_ids": keras.Input((T,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input((T,), dtype="bool", name="padding_mask"),
    }
    classifier = SequenceClassifier(BERT_CONFIG.replace(num_layers=1, initializer_range=0.2))
    model = keras.Model(inputs, classifier(inputs["token_ids"], inputs["padding_mask"]))
    first, last, accuracy = _loss_before_and_after(
        model, {"token_ids": ids, "padding_mask": mask}, labels
    )
    assert last < 0.3 * first and accuracy > 0.95


@pytest.mark.slow
def test_users_own_fit_of_an_encoder_decoder():
    """Copy the source; the target so far is shifted right behind a start token 0."""
    keras.utils.set_random_seed(0)
    source = np.random.default_rng(0).integers(1, V, size=(64, 4)).astype("int32")
    shifted = np.pad(source[:, :-1], ((0, 0), (1, 0)))
    inputs = [keras.Input((4,), dtype="int32"), keras.Input((4,), dtype="int32")]
    transformer = Transformer(TransformerConfig(V, 32, 1, 2, pre_norm=True))
    model = keras.Model(inputs, transformer(*inputs))
    first, last, accuracy = _loss_before_and_after(model, [source, shifted], source, epochs=25)
    assert last < 0.4 * first and accuracy > 0.7  # 0.1 by chance

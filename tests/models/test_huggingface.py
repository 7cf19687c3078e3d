"""Hugging Face directories: out and in again, what is refused, and nothing half-done.

That ``transformers`` computes the same is checked by tests/parity, in an environment of its own.
"""

import json
import shutil

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tfalign.models import (
    BERT,
    GPT,
    BERTConfig,
    CausalLM,
    Critic,
    GPTConfig,
    MaskedLM,
    NeuralNGramConfig,
    RecurrentConfig,
    SequenceClassifier,
    TokenClassifier,
    from_pretrained,
    huggingface,
    save_pretrained,
)
from tfalign.models.huggingface import (
    TRANSPOSED,
    Architecture,
    Row,
    binding,
    gpt2,
    registry,
    shapes,
    tensors,
    writing,
)

V, B, T = 11, 2, 5
GPT2 = GPTConfig(V, 12, 2, 3, max_positions=9, dropout=0.1)
LLAMA = GPTConfig(
    V,
    12,
    2,
    6,
    num_key_value_heads=2,
    head_dim=4,
    hidden_dim=10,
    max_positions=9,
    rotary_base=500.0,
    norm="rms",
    norm_epsilon=1e-6,
    activation="silu",
    gated=True,
    use_bias=False,
    tied=False,
)
WINDOWED = LLAMA.replace(attention_window=2)
GEMMA2 = WINDOWED.replace(
    tied=True,
    activation="gelu_tanh",
    norm="zero_centered_rms",
    norm_placement="both",
    windowed_blocks=(0,),
    query_pre_attention_scalar=9,
    attention_softcap=2.0,
    logit_softcap=3.0,
    scaled_embedding=True,
)
GEMMA3 = GEMMA2.replace(head_norm=True, attention_softcap=None, local_rotary_base=10.0)
MIXTRAL = LLAMA.replace(num_experts=3, num_experts_per_token=2)
BERT_CONFIG = BERTConfig(V, 12, 2, 3, hidden_dim=10, max_positions=9, num_token_types=3)
DISTILBERT = BERT_CONFIG.replace(num_token_types=0, pooler_activation="relu")
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4}
IDS = np.random.default_rng(0).integers(0, V, size=(B, T)).astype("int32")
MASK = np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]], "bool")

CASES = {
    "GPT2LMHeadModel": lambda: CausalLM(GPT2),
    "GPT2LMHeadModel untied": lambda: CausalLM(GPT2.replace(tied=False, activation="gelu")),
    "GPT2Model": lambda: GPT(GPT2),
    "LlamaForCausalLM": lambda: CausalLM(LLAMA),
    "LlamaForCausalLM tied": lambda: CausalLM(LLAMA.replace(tied=True, use_bias=True)),
    "LlamaForCausalLM half biased": lambda: CausalLM(LLAMA.replace(attention_bias=True)),
    "LlamaForCausalLM scaled": lambda: CausalLM(LLAMA.replace(rotary_scaling=YARN)),
    "LlamaModel": lambda: GPT(LLAMA.replace(tied=True)),
    "LlamaModel untied": lambda: GPT(LLAMA),
    "LlamaForSequenceClassification": lambda: SequenceClassifier(LLAMA, 3),
    "MistralForCausalLM": lambda: CausalLM(WINDOWED.replace(windowed_blocks=(0, 1))),
    "MistralForCausalLM heads beside the width": lambda: CausalLM(
        LLAMA.replace(num_heads=5, num_key_value_heads=1)
    ),
    "Qwen2ForCausalLM": lambda: CausalLM(
        WINDOWED.replace(attention_bias=True, attention_output_bias=False)
    ),
    "Qwen3ForCausalLM": lambda: CausalLM(WINDOWED.replace(head_norm=True, windowed_blocks=(0,))),
    "Qwen3ForCausalLM dense": lambda: CausalLM(LLAMA.replace(head_norm=True, attention_bias=True)),
    "SmolLM3ForCausalLM": lambda: CausalLM(LLAMA.replace(unrotated_blocks=(1,))),
    "SmolLM3ForCausalLM windowed": lambda: CausalLM(WINDOWED.replace(unrotated_blocks=(0,))),
    "Gemma2ForCausalLM": lambda: CausalLM(GEMMA2),
    "Gemma2ForCausalLM uncapped": lambda: CausalLM(
        GEMMA2.replace(logit_softcap=None, attention_softcap=None, attention_bias=True)
    ),
    "Gemma3ForCausalLM": lambda: CausalLM(GEMMA3.replace(rotary_scaling=YARN)),
    "Gemma3TextForSequenceClassification": lambda: SequenceClassifier(GEMMA3, 3),
    "Phi3ForCausalLM": lambda: _read_as(
        "phi3", CausalLM(LLAMA.replace(head_dim=None, dropout=0.1, attention_dropout=0.2))
    ),
    "MixtralForCausalLM": lambda: CausalLM(MIXTRAL.replace(expert_capacity=1.25)),
    "Qwen3MoeForCausalLM": lambda: CausalLM(
        MIXTRAL.replace(head_norm=True, expert_dim=7, dense_blocks=(0,), router_loss=0.5)
    ),
    "XLMRobertaForMaskedLM": lambda: _read_as("xlm-roberta", MaskedLM(BERT_CONFIG)),
    "BertModel": lambda: BERT(BERT_CONFIG),
    "BertForMaskedLM": lambda: MaskedLM(BERT_CONFIG),
    "BertForSequenceClassification": lambda: SequenceClassifier(BERT_CONFIG, 3, dropout=0.2),
    "BertForTokenClassification": lambda: TokenClassifier(BERT_CONFIG, 5),
    "DistilBertModel": lambda: BERT(DISTILBERT),
    "DistilBertForMaskedLM": lambda: MaskedLM(DISTILBERT),
    "DistilBertForSequenceClassification": lambda: SequenceClassifier(DISTILBERT, 3, dropout=0.3),
    "DistilBertForTokenClassification": lambda: TokenClassifier(
        DISTILBERT.replace(dropout=0.3), 5, dropout=0.3
    ),
    "TfalignCausalLM banded": lambda: CausalLM(GPT2.replace(attention_window=2)),
    "TfalignCausalLM mixed": lambda: CausalLM(LLAMA.replace(norm="layer", rotary_base=None)),
    "TfalignCausalLM odd": lambda: CausalLM(GPT2.replace(rotary_base=10.0)),
    "TfalignCausalLM all of it": lambda: CausalLM(
        WINDOWED.replace(head_norm=True, rotary_scaling=YARN, unrotated_blocks=(1,), norm="layer")
    ),
    "TfalignCausalLM of experts": lambda: CausalLM(
        MIXTRAL.replace(unrotated_blocks=(1,), dense_blocks=(1,))
    ),
    "TfalignCausalLM of Gemma": lambda: CausalLM(
        GEMMA3.replace(unrotated_blocks=(1,), norm="layer", attention_softcap=1.0)
    ),
    "TfalignRecurrentLM": lambda: CausalLM(RecurrentConfig(V, 12, 2, dropout=0.1)),
    "TfalignRecurrentLM untied": lambda: CausalLM(RecurrentConfig(V, 12, cell="gru", tied=False)),
    "TfalignNeuralNGramLM": lambda: CausalLM(NeuralNGramConfig(V, 3, 4, 6, direct=True)),
}


def _read_as(model_type, model):
    """A model that several families can express, as if it was read from a directory of one."""
    model.backbone.model_type = model_type
    return model


def _filled(model):
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.fixture
def saved(tmp_path):
    """A GPT-2 directory and its model."""
    model = _filled(CausalLM(GPT2))
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


def _edit_config(directory, **changes):
    file = directory / "config.json"
    entries = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in entries.items() if v != "remove"}))


def _edit_tensors(directory, edit):
    file = directory / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


@pytest.mark.parametrize("name", list(CASES))
def test_round_trip(name, tmp_path):
    model = _filled(CASES[name]())
    architecture = model.save_pretrained(tmp_path / "new" / "model")
    assert architecture == name.split()[0]
    entries = json.loads((tmp_path / "new" / "model" / "config.json").read_text())
    assert entries["architectures"] == [architecture]
    loaded = from_pretrained(tmp_path / "new" / "model")
    assert type(loaded) is type(model)
    for weight, expected in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    np.testing.assert_array_equal(loaded(IDS, padding_mask=MASK), model(IDS, padding_mask=MASK))
    assert loaded.config.replace(**_none_filled(model.config)) == model.config
    head = {}
    if hasattr(model, "num_classes"):
        assert (loaded.num_classes, loaded.dropout) == (model.num_classes, model.dropout)
        head = {"num_classes": model.num_classes}
    _check_shapes(loaded, head)


def _check_shapes(model, head):
    """The tables that headers are checked by say of every weight what it is when it is built."""
    architecture = registry.fitting(model)
    config = architecture.family.complete(model.config)
    table = {**architecture.family.shapes(config), **architecture.shapes(config, head)}
    seen = 0
    for row, _, variables, _ in binding.bound(architecture, model):
        for path, variable in zip(row.paths, variables):
            whole = variable.whole if row.part is not None else variable
            assert shapes.shape_of(path, table) == tuple(whole.shape), path
            seen += not row.part  # the first of the experts, or all of it
    assert seen == len(model.weights)
    for row in (*architecture.rows, *architecture.family.rows(config)):
        for path in row.paths:
            owner = model if row in architecture.rows else registry.trunk_of(model)
            if binding.attribute(owner, path) is None:
                assert shapes.shape_of(path, table) is None, path


def _none_filled(config):
    """Fields that are None in the original hold the number None stands for after a round trip."""
    return {name: None for name, value in config.to_dict().items() if value is None}


def test_layouts_of_transformers(tmp_path):
    """GPT-2's projections stand side by side as [in, 3 out]; a Linear stands [out, in]."""
    gpt2, llama = _filled(CausalLM(GPT2)), _filled(CausalLM(LLAMA))
    gpt2.save_pretrained(tmp_path / "gpt2")
    llama.save_pretrained(tmp_path / "llama")
    tensors = load_file(tmp_path / "gpt2" / "model.safetensors")
    attention = gpt2.backbone.blocks[1].attention
    joined = tensors["transformer.h.1.attn.c_attn.weight"]
    assert joined.shape == (12, 36)
    for index, dense in enumerate((attention.query, attention.key, attention.value)):
        np.testing.assert_array_equal(joined[:, 12 * index : 12 * (index + 1)], dense.kernel)
    assert "lm_head.weight" not in tensors
    tensors = load_file(tmp_path / "llama" / "model.safetensors")
    attention = llama.backbone.blocks[1].attention
    np.testing.assert_array_equal(
        tensors["model.layers.1.self_attn.k_proj.weight"], np.transpose(attention.key.kernel)
    )
    assert tensors["lm_head.weight"].shape == (V, 12)


def test_entries_for_transformers_are_written(tmp_path):
    save_pretrained(CausalLM(GPT2), tmp_path, entries={"eos_token_id": 2})
    entries = json.loads((tmp_path / "config.json").read_text())
    assert entries["model_type"] == "gpt2" and entries["eos_token_id"] == 2
    assert entries["resid_pdrop"] == entries["attn_pdrop"] == 0.1
    assert entries["n_inner"] == 48 and entries["activation_function"] == "gelu_new"


def test_higher_floors_take_part_by_registering(tmp_path):
    """As tfalign.rewards does: a head of one's own over a family that is there already."""

    class Scorer(keras.Model):
        def __init__(self, config, **kwargs):
            super().__init__(**kwargs)
            self.backbone = GPT(config)
            self.head = keras.layers.Dense(1)
            self.head.build((None, config.width))

        @property
        def config(self):
            return self.backbone.config

        def call(self, token_ids):
            return self.head(self.backbone(token_ids))

    rows = (
        Row(("head.kernel",), "score.weight", TRANSPOSED),
        Row(("head.bias",), "score.bias", optional=True),
    )
    huggingface.register(Architecture("GPT2Scorer", gpt2.GPT2, Scorer, rows, "transformer."))
    try:
        model = _filled(Scorer(GPT2))
        assert save_pretrained(model, tmp_path) == "GPT2Scorer"
        np.testing.assert_array_equal(from_pretrained(tmp_path)(IDS), model(IDS))
        _edit_tensors(tmp_path, lambda tensors: tensors.pop("score.bias"))
        offsets = np.asarray(model(IDS)) - np.asarray(from_pretrained(tmp_path)(IDS))
        np.testing.assert_allclose(offsets, model.head.bias[0], rtol=1e-4)
    finally:
        registry._registered.pop()


def test_shards(tmp_path):
    model = _filled(CausalLM(LLAMA))
    save_pretrained(model, tmp_path, max_shard_bytes=2_000)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) > 3 and shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    loaded = from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded(IDS), model(IDS))
    save_pretrained(model, tmp_path)  # one file again: none of the shards stays
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    np.testing.assert_array_equal(from_pretrained(tmp_path)(IDS), model(IDS))


def test_tensors_are_read_in_pieces(tmp_path, monkeypatch):
    """Rows of a tensor lie on one axis of a kernel or the other, or in three kernels."""
    monkeypatch.setattr(tensors, "_PIECE", 25)
    for number, config in enumerate((LLAMA, GPT2)):
        model = _filled(CausalLM(config))
        model.save_pretrained(tmp_path / str(number))
        loaded = from_pretrained(tmp_path / str(number))
        for weight, expected in zip(loaded.weights, model.weights, strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_a_model_keeps_the_kind_it_was_loaded_from(tmp_path):
    """A Mistral without a window is a Llama to tfalign, and a RoBERTa a BERT."""
    CausalLM(LLAMA).save_pretrained(tmp_path / "llama")
    _edit_config(
        tmp_path / "llama",
        architectures=["MistralForCausalLM"],
        model_type="mistral",
        sliding_window=None,
    )
    model = from_pretrained(tmp_path / "llama")
    assert model.save_pretrained(tmp_path / "again") == "MistralForCausalLM"
    assert SequenceClassifier(model.backbone).save_pretrained(tmp_path / "classifier") == (
        "MistralForSequenceClassification"
    )


def test_roberta_skips_the_first_two_positions(tmp_path):
    model = _filled(MaskedLM(BERT_CONFIG.replace(num_token_types=1)))
    model.backbone.model_type = "roberta"
    assert model.save_pretrained(tmp_path) == "RobertaForMaskedLM"
    entries = json.loads((tmp_path / "config.json").read_text())
    assert (entries["max_position_embeddings"], entries["pad_token_id"]) == (11, 1)
    table = load_file(tmp_path / "model.safetensors")[
        "roberta.embeddings.position_embeddings.weight"
    ]
    np.testing.assert_array_equal(table[:2], np.zeros((2, 12)))
    np.testing.assert_array_equal(table[2:], model.backbone.position_embedding.embeddings)
    np.testing.assert_array_equal(from_pretrained(tmp_path)(IDS), model(IDS))
    _edit_config(tmp_path, pad_token_id=0)
    with pytest.raises(ValueError, match="pad_token_id must be 1. Received: pad_token_id=0"):
        from_pretrained(tmp_path)


def test_what_a_file_lacks_is_drawn_as_in_a_new_model(tmp_path):
    """transformers' masked LM has no pooler; a classifier that starts from it needs one."""
    MaskedLM(BERT_CONFIG.replace(width=120, initializer_range=0.5)).save_pretrained(tmp_path)

    def without_pooler(tensors):
        for name in [name for name in tensors if ".pooler." in name]:
            del tensors[name]

    _edit_tensors(tmp_path, without_pooler)
    pooler = from_pretrained(tmp_path).backbone.pooler
    assert np.std(pooler.kernel) == pytest.approx(0.5, rel=0.05)
    np.testing.assert_array_equal(pooler.bias, np.zeros(120))


def test_a_score_file_of_transformers_has_no_readout(tmp_path):
    SequenceClassifier(LLAMA, 3).save_pretrained(tmp_path)

    def as_transformers(tensors):
        del tensors["lm_head.weight"], tensors["score.bias"]

    _edit_tensors(tmp_path, as_transformers)
    loaded = from_pretrained(tmp_path)
    assert loaded.config.tied
    np.testing.assert_array_equal(loaded.head.dense.bias, np.zeros(3))


def test_missing_shard_and_shard_without_its_tensor(tmp_path):
    model = CausalLM(LLAMA)
    save_pretrained(model, tmp_path, max_shard_bytes=2_000)
    shards = sorted(tmp_path.glob("*.safetensors"))
    shutil.copy(shards[1], shards[0])
    with pytest.raises(ValueError, match=r"model-00001-of-.*: tensor '.*' of .* is missing"):
        from_pretrained(tmp_path)
    shards[0].unlink()
    with pytest.raises(ValueError, match=r"model-00001-of-\S+ is missing"):
        from_pretrained(tmp_path)


def test_shards_outside_the_directory_are_not_followed(saved):
    _, directory = saved
    index = {"weight_map": {"transformer.wte.weight": "../model.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.move(directory / "model.safetensors", directory.parent)
    with pytest.raises(ValueError, match="is missing"):
        from_pretrained(directory)


def test_bfloat16_files_and_models(saved, tmp_path):
    model, directory = saved

    def to_bfloat16(tensors):
        for name in tensors:
            tensors[name] = tensors[name].astype(ml_dtypes.bfloat16)

    _edit_tensors(directory, to_bfloat16)
    loaded = from_pretrained(directory)
    for weight, expected in zip(loaded.weights, model.weights):
        assert weight.dtype == "float32"
        np.testing.assert_allclose(weight, expected, rtol=2**-8)
    half = from_pretrained(directory, dtype="bfloat16")
    assert {weight.dtype for weight in half.weights} == {"bfloat16"}
    half.save_pretrained(tmp_path / "half")
    tensors = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(ml_dtypes.bfloat16)}
    mixed = from_pretrained(directory, dtype="mixed_bfloat16")
    assert mixed.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in mixed.weights} == {"float32"}


def test_dropout_may_be_turned_off(saved, tmp_path):
    _, directory = saved
    assert from_pretrained(directory).config.dropout == 0.1
    assert from_pretrained(directory, dropout=0.0).config.dropout == 0.0
    SequenceClassifier(BERT_CONFIG, dropout=0.3).save_pretrained(tmp_path / "bert")
    assert from_pretrained(tmp_path / "bert", dropout=0.0).dropout == 0.0


def test_published_spellings(saved, tmp_path):
    """The hub's gpt2 has no prefix and carries its masks; its first BERTs have LayerNorm.gamma."""
    model, directory = saved

    def as_on_the_hub(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = np.tril(np.ones((1, 1, 9, 9), "float32"))

    _edit_tensors(directory, as_on_the_hub)
    _edit_config(directory, tie_word_embeddings="remove", n_inner=None)
    np.testing.assert_array_equal(from_pretrained(directory)(IDS), model(IDS))

    masked_lm = _filled(MaskedLM(BERT_CONFIG))
    masked_lm.save_pretrained(tmp_path / "bert")

    def as_in_tensorflow(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            tensors[old.replace("LayerNorm.bias", "LayerNorm.beta")] = tensors.pop(name)
        tensors["cls.seq_relationship.weight"] = np.ones((2, 12), "float32")
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
        del tensors["bert.pooler.dense.weight"], tensors["bert.pooler.dense.bias"]

    _edit_tensors(tmp_path / "bert", as_in_tensorflow)
    with pytest.warns(UserWarning, match="cls.seq_relationship.weight' is left out"):
        loaded = from_pretrained(tmp_path / "bert")
    np.testing.assert_array_equal(loaded(IDS), masked_lm(IDS))


def test_rotary_settings_in_the_newer_spelling(tmp_path):
    CausalLM(LLAMA).save_pretrained(tmp_path)
    rotary = {"rope_theta": 123.0, "rope_type": "default"}
    _edit_config(tmp_path, rope_theta="remove", rope_scaling="remove", rope_parameters=rotary)
    assert from_pretrained(tmp_path).config.rotary_base == 123.0
    _edit_config(tmp_path, rope_parameters=rotary | {"rope_type": "yarn", "factor": 2.0})
    assert from_pretrained(tmp_path).config.rotary_scaling == {
        "rope_type": "yarn",
        "factor": 2.0,
        "original_max_position_embeddings": 9,
    }


@pytest.mark.parametrize(
    "scaling, message",
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "by linear, llama3, yarn; .*Received: 'dynamic'"),
        ({"type": "linear"}, "missing 1 required positional argument: 'factor'"),
        ({"type": "linear", "factor": 2.0, "top": 1}, "unexpected keyword argument 'top'"),
        ({"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}, "whole heads are turned"),
    ],
)
def test_rotary_settings_that_cannot_be_computed_are_refused(tmp_path, scaling, message):
    CausalLM(LLAMA).save_pretrained(tmp_path)
    _edit_config(tmp_path, rope_scaling=scaling)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"architectures": ["T5Model"]}, r"supported architectures are GPT2LMHead.*\['T5Model'\]"),
        ({"architectures": "remove"}, r"Received: architectures=\[\]"),
        ({"n_layer": "remove"}, "config.json: n_layer is missing"),
        ({"activation_function": "mish"}, "Received: activation_function='mish'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx must be Fal"),
        ({"n_head": 5}, "width=12, num_heads=5"),
        ({"n_layer": 3}, "tensor 'transformer.h.2.ln_1.weight' is missing"),
        ({"n_layer": 1}, "GPT2LMHeadModel has no tensor 'transformer.h.1"),
        ({"vocab_size": 10}, r"wte.weight' must have shape \(10, 12\). Received: shape=\(11, 12\)"),
    ],
)
def test_configuration_that_does_not_fit_is_refused(saved, changes, message):
    _, directory = saved
    _edit_config(directory, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(directory)


def test_tensors_that_do_not_fit_are_refused(saved):
    _, directory = saved
    name = "transformer.h.1.mlp.c_fc.weight"
    original = load_file(directory / "model.safetensors")
    for edit, message in (
        (lambda t: t.pop(name), f"tensor '{name}' is missing"),
        (lambda t: t.update({name: t[name][:, :5].copy()}), r"shape \(12, 48\). Received: .*12, 5"),
        (lambda t: t.update({name: t[name].astype("int8")}), "must be one of F64.*dtype=I8"),
        (lambda t: t.update(extra=t[name]), "has no tensor 'extra'"),
    ):
        save_file(original, directory / "model.safetensors")
        _edit_tensors(directory, edit)
        with pytest.raises(ValueError, match=message):
            from_pretrained(directory)


def test_damaged_files_are_refused(saved, tmp_path):
    _, directory = saved
    file = directory / "model.safetensors"
    data = file.read_bytes()
    for damaged in (data[:-1], data[:20], b"", b"version https://git-lfs.github.com/spec/v1\n"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="truncated or not a safetensors file"):
            from_pretrained(directory)
    file.unlink()
    with pytest.raises(ValueError, match="model.safetensors is missing"):
        from_pretrained(directory)
    (directory / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not JSON"):
        from_pretrained(directory)
    with pytest.raises(ValueError, match="config.json cannot be read"):
        from_pretrained(tmp_path / "nowhere")


def test_class_without_architecture_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="A Critic cannot be written.*no architecture of that"):
        save_pretrained(Critic(GPT2), tmp_path / "model")
    with pytest.raises(ValueError, match="GPT2Model cannot have attention_window=2; LlamaModel"):
        save_pretrained(GPT(GPT2.replace(attention_window=2)), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_other_files_stay_and_a_failed_save_harms_nothing(saved, monkeypatch):
    model, directory = saved
    (directory / "tokenizer.json").write_text("{}")

    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(writing, "save_file", fail)
    with pytest.raises(ValueError, match="cannot be written: No space left.*is unchanged"):
        _filled(CausalLM(LLAMA)).save_pretrained(directory)
    np.testing.assert_array_equal(from_pretrained(directory)(IDS), model(IDS))
    monkeypatch.undo()
    other = _filled(CausalLM(LLAMA))
    other.save_pretrained(directory)
    assert sorted(path.name for path in directory.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    np.testing.assert_array_equal(from_pretrained(directory)(IDS), other(IDS))

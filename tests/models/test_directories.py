"""Model directories of others: what is read from where, what is compared before it is dropped, what is
refused before anything is built, and what load and save keep."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tfalign.layers.positions import rotary_frequencies
from tfalign.models import (
    BERT,
    BERTConfig,
    CausalLM,
    GPTConfig,
    MaskedLM,
    SequenceClassifier,
    from_pretrained,
    read_config,
    save_pretrained,
)
from tfalign.models.huggingface import reading, writing
from tfalign.models.huggingface.json_files import read_object
from tfalign.rewards import RewardModel

V = 7
GPT2 = GPTConfig(V, 8, 1, 2, max_positions=6, hidden_dim=5)
LLAMA = GPT2.replace(
    rotary_base=100.0,
    norm="rms",
    gated=True,
    use_bias=False,
    tied=False,
    activation="silu",
    num_key_value_heads=1,
    head_dim=4,
)
BERT_CONFIG = BERTConfig(V, 8, 1, 2, hidden_dim=5, max_positions=6)
DISTILBERT = BERT_CONFIG.replace(num_token_types=0, pooler_activation="relu")
IDS = np.random.default_rng(0).integers(0, V, size=(2, 5)).astype("int32")


def _filled(model):
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    return model


def _edit(directory, **changes):
    file = directory / "config.json"
    entries = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in entries.items() if v != "remove"}))


def _add(directory, **tensors):
    """Tensors by name, "__" for dots."""
    file = directory / "model.safetensors"
    more = {name.replace("__", "."): np.asarray(array) for name, array in tensors.items()}
    save_file(load_file(file) | more, file)


@pytest.fixture
def gpt2(tmp_path):
    model = _filled(CausalLM(GPT2))
    model.save_pretrained(tmp_path / "gpt2")
    return model, tmp_path / "gpt2"


@pytest.fixture
def llama(tmp_path):
    model = _filled(CausalLM(LLAMA))
    model.save_pretrained(tmp_path / "llama")
    return model, tmp_path / "llama"


# Tensors are compared before they are dropped


def test_a_tied_model_with_a_head_of_its_own_is_untied(gpt2):
    """transformers: "both are present with different values, so we will NOT tie them"."""
    model, directory = gpt2
    table = np.asarray(model.backbone.token_embedding.embeddings)
    _add(directory, lm_head__weight=table)
    assert from_pretrained(directory).config.tied
    _add(directory, lm_head__weight=2 * table)
    loaded = from_pretrained(directory)
    assert not loaded.config.tied
    np.testing.assert_allclose(loaded(IDS), 2 * np.asarray(model(IDS)), rtol=1e-5)


_PLANES = rotary_frequencies(4, 100.0)[0]
_MASK = np.tril(np.ones((1, 1, 6, 6), "uint8"))


@pytest.mark.parametrize(
    "make, name, right, wrong",
    [
        (lambda: CausalLM(GPT2), "transformer.h.0.attn.bias", _MASK, _MASK[..., ::-1].copy()),
        (
            lambda: CausalLM(GPT2),
            "h.0.attn.masked_bias",
            np.array(-1e4, "float32"),
            np.zeros((), "float32"),
        ),
        (lambda: CausalLM(LLAMA), "model.rotary_emb.inv_freq", _PLANES, _PLANES / 2),
        (
            lambda: CausalLM(LLAMA),
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            _PLANES.astype("float16"),
            _PLANES[:1],
        ),
        (
            lambda: BERT(BERT_CONFIG),
            "embeddings.position_ids",
            np.arange(6)[None],
            np.arange(6)[None] + 1,
        ),
        (lambda: MaskedLM(BERT_CONFIG), "cls.predictions.decoder.weight", "table", "scaled"),
        (lambda: MaskedLM(BERT_CONFIG), "cls.predictions.decoder.bias", "bias", "scaled"),
        (lambda: MaskedLM(DISTILBERT), "vocab_projector.weight", "table", "scaled"),
    ],
)
def test_a_copy_or_a_constant_is_dropped_only_if_it_is_one(make, name, right, wrong, tmp_path):
    model = _filled(make())
    model.save_pretrained(tmp_path)
    if isinstance(right, str):
        copied = model.head.bias if right == "bias" else model.backbone.token_embedding.embeddings
        right, wrong = np.asarray(copied), 2 * np.asarray(copied)
    _add(tmp_path, **{name: right})
    np.testing.assert_array_equal(from_pretrained(tmp_path)(IDS), model(IDS))
    _add(tmp_path, **{name: wrong})
    with pytest.raises(ValueError, match=f"tensor '{name}' must be .* has no place for another"):
        from_pretrained(tmp_path)


def test_a_number_that_is_not_finite_is_neither_read_nor_written(gpt2, tmp_path):
    model, directory = gpt2
    for broken in (np.nan, np.inf):
        _add(directory, transformer__wpe__weight=np.full((6, 8), broken, "float32"))
        with pytest.raises(ValueError, match="'transformer.wpe.weight' holds a number that is not"):
            from_pretrained(directory)
        model.backbone.position_embedding.embeddings.assign(np.full((6, 8), broken))
        with pytest.raises(ValueError, match="is not written: transformer.wpe.weight holds a numb"):
            model.save_pretrained(tmp_path / "broken")
        assert not (tmp_path / "broken").exists()


# Settings


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"hidden_size": 9},
            "n_embd and hidden_size are one setting. Received: n_embd=8, hidden_s",
        ),
        ({"rope_theta": 10.0}, "rope_theta is no setting of a 'gpt2'"),
        ({"text_config": {"n_embd": 4}}, "text_config is no setting"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is no setting"),
        ({"n_ctx": 3}, "n_ctx contradicts n_positions=6"),
        ({"model_type": "llama"}, "model_type contradicts architectures: a GPT2LMHeadModel is of"),
        ({"architectures": ["GPT2LMHeadModel", "GPT2Model"]}, "architectures must hold one name"),
        ({"architectures": "GPT2LMHeadModel"}, "architectures must be a list with one name"),
        ({"n_layer": 10**6}, "n_layer must be a whole number from 1 to 10,000"),
        ({"n_layer": 0}, "n_layer must be .* Received: n_layer=0"),
        ({"n_head": -2}, "n_head must be .* Received: n_head=-2"),
        ({"vocab_size": True}, "vocab_size must be a whole number"),
        ({"vocab_size": [7]}, r"vocab_size must be .* Received: vocab_size=\[7\]"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon must be a number from 0"),
        ({"resid_pdrop": 1.5}, "resid_pdrop must be a number from 0 to below 1"),
        ({"activation_function": ["gelu"]}, "activation_function must be one of"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
    ],
)
def test_keys_and_values_of_gpt2_that_are_refused(gpt2, changes, message):
    _, directory = gpt2
    _edit(directory, **changes)
    with pytest.raises(ValueError, match=f"config.json: .*{message}"):
        read_config(directory)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rope_parameters": {"rope_theta": 7.0}}, "rope_theta stands twice. Received: "),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"factor": 3.0}},
            "rope_parameters contradicts rope_scaling",
        ),
        (
            {"rope_scaling": {"type": "linear", "rope_type": "yarn"}},
            "and the older type must be one",
        ),
        ({"rope_scaling": [1]}, "rope_scaling must be an object"),
        ({"rope_parameters": 3}, "rope_parameters must be an object"),
        ({"rope_theta": 0}, "rope_theta must be a positive number"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1.0"),
        ({"num_key_value_heads": 3}, "divisible by that of key-value heads"),
        ({"head_dim": 3}, "Rotary positions need an even head_dim"),
        ({"logits_scaling": 8.0}, "logits_scaling is no setting of a 'llama'"),
        ({"sliding_window": 3}, "sliding_window is no setting of a 'llama'"),
        ({"per_layer_config": {"0": {}}}, "per_layer_config is no setting"),
        ({"auto_map": {"AutoModel": "a.b"}}, "auto_map is no setting"),
    ],
)
def test_keys_and_values_of_llama_that_are_refused(llama, changes, message):
    _, directory = llama
    _edit(directory, **changes)
    with pytest.raises(ValueError, match=f"config.json: .*{message}"):
        read_config(directory)


def test_other_places_of_a_setting(gpt2, llama):
    _, directory = gpt2
    names = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    _edit(directory, n_embd="remove", n_layer="remove", n_head="remove", **names)
    assert read_config(directory).num_heads == 2
    _, directory = llama
    scaling = {"rope_type": "linear", "factor": 2.0}
    _edit(directory, rope_theta="remove", rope_parameters=scaling | {"rope_theta": 50})
    assert read_config(directory).rotary_base == 50
    assert read_config(directory).rotary_scaling == scaling


@pytest.mark.parametrize(
    "model, published",
    [
        (
            CausalLM(GPT2),  # gpt2, gpt2-medium, distilgpt2
            {"n_ctx": 6, "n_special": 0, "predict_special_tokens": True, "_num_labels": 1}
            | {"summary_type": "cls_index", "summary_first_dropout": 0.1, "torchscript": False}
            | {"summary_use_proj": True, "summary_activation": None, "pruned_heads": {}}
            | {"task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}}
            | {
                "gradient_checkpointing": False,
                "summary_proj_to_labels": True,
                "is_decoder": False,
            },
        ),
        (
            CausalLM(LLAMA),  # SmolLM2, TinyLlama
            {"is_llama_config": True, "rope_interleaved": False, "pretraining_tp": 1}
            | {"transformers.js_config": {"dtype": "q4"}, "torch_dtype": "bfloat16"}
            | {
                "_name_or_path": "a/b",
                "use_cache": True,
                "rope_scaling": None,
                "eos_token_id": [2, 3],
            },
        ),
        (
            BERT(BERT_CONFIG),  # bert-base-chinese, cross-encoders
            {"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12}
            | {"pooler_num_fc_layers": 3, "pooler_size_per_head": 128, "output_past": True}
            | {"pooler_type": "first_token_transform", "position_embedding_type": "absolute"}
            | {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}
            | {"sentence_transformers": {"version": "4.1.0"}, "classifier_dropout": None},
        ),
        (
            MaskedLM(DISTILBERT),  # distilbert-base-uncased
            {"tie_weights_": True, "sinusoidal_pos_embds": False, "qa_dropout": 0.1}
            | {"seq_classif_dropout": 0.2, "attention_dropout": 0.1},
        ),
    ],
)
def test_harmless_keys_of_published_models(model, published, tmp_path):
    model.save_pretrained(tmp_path / "a")
    _edit(tmp_path / "a", **published)
    from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    from_pretrained(tmp_path / "b")


def test_a_key_that_stands_twice(gpt2):
    _, directory = gpt2
    file = directory / "config.json"
    text = file.read_text()
    file.write_text(text.replace("{", '{"n_head": 2, ', 1))
    assert read_config(directory).num_heads == 2
    file.write_text(text.replace("{", '{"n_head": 4, ', 1))
    with pytest.raises(ValueError, match="the key 'n_head' stands twice, with different values"):
        read_config(directory)


def test_each_dropout_rate_is_its_own(gpt2, tmp_path):
    _, directory = gpt2
    _edit(directory, resid_pdrop=0.2, attn_pdrop=0.3, embd_pdrop=0.0)
    model = from_pretrained(directory)
    block = model.backbone.blocks[0]
    assert (block.dropout, block.attention.dropout) == (0.2, 0.3)
    assert model.backbone.embedding_dropout.rate == 0.0
    model.save_pretrained(tmp_path / "again")
    entries = json.loads((tmp_path / "again" / "config.json").read_text())
    rates = {"resid_pdrop": 0.2, "attn_pdrop": 0.3, "embd_pdrop": 0.0}
    assert {key: entries[key] for key in rates} == rates
    without = from_pretrained(directory, dropout=0.0)
    assert without.backbone.blocks[0].attention.dropout == 0.0
    # a Llama of transformers drops attention weights alone
    CausalLM(LLAMA.replace(attention_dropout=0.3)).save_pretrained(tmp_path / "llama")
    block = from_pretrained(tmp_path / "llama").backbone.blocks[0]
    assert (block.dropout, block.attention.dropout) == (0.0, 0.3)


@pytest.mark.parametrize(
    "names, message",
    [
        ({"0": "a", "2": "b"}, "id2label must name the classes 0, 1"),
        ({}, "id2label must name"),
        (["a", "b"], "id2label must be an object"),
        ({"0": "a"}, "num_labels contradicts id2label, which names 1. Received: num_labels=3"),
    ],
)
def test_labels_that_are_refused(names, message, tmp_path):
    SequenceClassifier(BERT_CONFIG, 3).save_pretrained(tmp_path)
    _edit(tmp_path, id2label=names, num_labels=3)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


# Which file is read, and what is refused before anything is built


def test_the_single_file_wins_over_shards_of_an_older_save(gpt2, tmp_path):
    model, directory = gpt2
    save_pretrained(_filled(CausalLM(LLAMA)), tmp_path / "old", max_shard_bytes=300)
    for file in (tmp_path / "old").glob("model*"):
        file.rename(directory / file.name)
    np.testing.assert_array_equal(from_pretrained(directory)(IDS), model(IDS))


def test_a_model_saved_over_a_keras_hub_preset(gpt2):
    model, directory = gpt2
    (directory / "task.json").write_text("{}")
    np.testing.assert_array_equal(from_pretrained(directory)(IDS), model(IDS))


def test_adapters_beside_a_model(gpt2):
    """transformers would add them, without a word."""
    _, directory = gpt2
    (directory / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="gpt2 holds adapters, which transformers would add"):
        from_pretrained(directory)


def test_a_tensor_that_stands_in_two_shards(gpt2):
    model, directory = gpt2
    save_pretrained(model, directory, max_shard_bytes=200)
    first, second = sorted(directory.glob("model-0*"))[:2]
    save_file(load_file(first) | load_file(second), second)
    with pytest.raises(ValueError, match="stands in model-00001-of-.*, too"):
        from_pretrained(directory)


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": []},
        {"weight_map": {"transformer.wte.weight": 3}},
        {"weight_map": 7},
        {},
        [],
    ],
)
def test_indexes_of_the_wrong_shape(gpt2, index):
    _, directory = gpt2
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="weight_map must be an object|must hold a JSON object"):
        from_pretrained(directory)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"n_layer": 9_999}, "9999 layers need more tensors than there are"),
        ({"n_layer": 10**25}, "n_layer must be a whole number"),
        ({"vocab_size": 10**9}, r"must have shape \(1000000000, 8\)"),
        ({"n_positions": 10**9}, r"wpe.weight' must have shape \(1000000000, 8\)"),
        ({"n_inner": 10**9}, r"must have shape \(8, 1000000000\)"),
        ({"n_embd": 10**8, "n_head": 1}, r"must have shape \(7, 100000000\)"),
    ],
)
def test_sizes_a_file_does_not_have_build_nothing(gpt2, monkeypatch, changes, message):
    _, directory = gpt2
    monkeypatch.setattr(reading, "weights_to_be_loaded", lambda: pytest.fail("a model is built"))
    _edit(directory, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(directory)


def test_more_classes_than_the_head_has_build_nothing(tmp_path, monkeypatch):
    SequenceClassifier(LLAMA, 3).save_pretrained(tmp_path)
    monkeypatch.setattr(reading, "weights_to_be_loaded", lambda: pytest.fail("a model is built"))
    _edit(tmp_path, id2label="remove", num_labels=10**9)
    with pytest.raises(ValueError, match=r"'score.weight' must have shape \(1000000000, 8\)"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "generation_config.json"])
@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_no_regular_file(gpt2, name, kind):
    _, directory = gpt2
    (directory / name).unlink(missing_ok=True)
    if kind == "folder":
        (directory / name).mkdir()
    elif hasattr(os, "mkfifo"):
        os.mkfifo(directory / name)
    with pytest.raises(ValueError, match=f"{name}.* is not a regular file"):
        from_pretrained(directory)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": ' + "9" * 6_000 + "}", "\x00", '{"a": tru', "\ud800"]
)
def test_what_is_not_json(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match="a.json is not JSON"):
        read_object(tmp_path / "a.json")


@pytest.mark.parametrize("call", [from_pretrained, read_config, CausalLM(GPT2).save_pretrained])
def test_remote_paths_are_refused(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Only local paths.*Received: hdfs://bucket/model"):
        call("hdfs://bucket/model")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_a_directory_loads_as_does_not_depend_on_imports(tmp_path):
    RewardModel(GPT2).save_pretrained(tmp_path)
    code = (
        "import sys; from tfalign.models import from_pretrained as f; print(type(f(sys.argv[1])))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert "RewardModel" in run.stdout


# What load and save keep


def test_load_and_save_keep_what_they_do_not_decide(gpt2, tmp_path):
    _, directory = gpt2
    ours = {"my_note": {"a": [1]}, "task_specific_params": {"x": {"top_k": 3}}}
    _edit(directory, eos_token_id=[2, 5], torch_dtype="float16", **ours)
    generation = {"eos_token_id": [2, 5], "temperature": 0.7, "bos_token_id": 1}
    (directory / "generation_config.json").write_text(json.dumps(generation))
    model = from_pretrained(directory)
    model.save_pretrained(tmp_path / "again", entries={"eos_token_id": 2, "pad_token_id": 0})
    entries = json.loads((tmp_path / "again" / "config.json").read_text())
    assert entries["eos_token_id"] == [2, 5] and entries["pad_token_id"] == 0
    assert {key: entries[key] for key in ours} == ours
    assert "torch_dtype" not in entries and entries["dtype"] == "float32"
    written = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert written == generation | {"pad_token_id": 0}
    model.save_pretrained(tmp_path / "third", entries={"eos_token_id": 4})  # another tokenizer's
    assert json.loads((tmp_path / "third" / "config.json").read_text())["eos_token_id"] == 4
    from_pretrained(tmp_path / "third")
    # the head is another, so that nothing is generated
    SequenceClassifier(model.backbone).save_pretrained(tmp_path / "classifier")
    assert not (tmp_path / "classifier" / "generation_config.json").exists()


def test_load_and_save_keep_the_names_of_classes(tmp_path):
    SequenceClassifier(BERT_CONFIG, 3).save_pretrained(tmp_path / "a")
    names = {"0": "bad", "1": "fair", "2": "good"}
    numbers = {name: int(number) for number, name in names.items()}
    _edit(tmp_path / "a", id2label=names, label2id=numbers)
    model = from_pretrained(tmp_path / "a")
    model.save_pretrained(tmp_path / "b")
    entries = json.loads((tmp_path / "b" / "config.json").read_text())
    assert (entries["id2label"], entries["label2id"]) == (names, numbers)
    SequenceClassifier(model.backbone, 2).save_pretrained(tmp_path / "c")
    entries = json.loads((tmp_path / "c" / "config.json").read_text())
    assert entries["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_files_are_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        save_pretrained(CausalLM(GPT2), tmp_path / "model", max_shard_bytes=300)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "model").iterdir()}
    assert modes == {0o640}


@pytest.mark.parametrize("name", ["save_file", "write_synced"])
def test_a_full_disk_leaves_the_old_files(gpt2, monkeypatch, name):
    model, directory = gpt2
    before = {file.name: file.read_bytes() for file in directory.iterdir()}

    def fail(file, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, name, fail)
    message = "gpt2 cannot be written: No space left on device. What was there is unchanged"
    with pytest.raises(ValueError, match=message):
        model.save_pretrained(directory)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before
    with pytest.raises(ValueError, match="cannot be written: No space left"):
        model.save_pretrained(directory.with_name("new"))
    assert not directory.with_name("new").exists()

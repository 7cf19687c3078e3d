"""Damaged model directories: each loads or is refused in one sentence that names a file, within bounds.

Every case takes a whole directory of a tiny model and damages one file of it, once or twice: a key of
config.json or adapter_config.json gets another value, goes, stands twice or comes from another family;
an index names other files; bytes or the header of a safetensors file change; or a file becomes a folder
or a FIFO. ``--fuzz=5000`` tries as many.
"""

import collections
import json
import os
import random
import shutil
import struct

import numpy as np
import pytest

from tfalign.models import (
    BERT,
    BERTConfig,
    CausalLM,
    GPTConfig,
    MaskedLM,
    SequenceClassifier,
    from_pretrained,
    save_pretrained,
)
from tfalign.models.lora import LoRA, add_adapters
from tfalign.models.peft import load_adapters, save_adapters

GPT2 = GPTConfig(5, 4, 1, 2, max_positions=6, hidden_dim=3)
LLAMA = GPT2.replace(
    rotary_base=100.0,
    norm="rms",
    gated=True,
    use_bias=False,
    tied=False,
    activation="silu",
    num_key_value_heads=1,
    head_dim=4,
    rotary_scaling={"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 3},
)
BERT_CONFIG = BERTConfig(5, 4, 1, 2, hidden_dim=3, max_positions=6)
MODELS = {
    "gpt2": lambda: CausalLM(GPT2),
    "llama": lambda: CausalLM(LLAMA),
    "qwen3": lambda: CausalLM(
        LLAMA.replace(head_norm=True, attention_window=2, windowed_blocks=(0,), rotary_scaling=None)
    ),
    "smollm3": lambda: CausalLM(LLAMA.replace(unrotated_blocks=(0,))),
    "own": lambda: CausalLM(GPT2.replace(attention_window=2)),
    "bert": lambda: BERT(BERT_CONFIG),
    "masked_lm": lambda: MaskedLM(BERT_CONFIG),
    "distilbert": lambda: SequenceClassifier(
        BERT_CONFIG.replace(num_token_types=0, pooler_activation="relu"), 3
    ),
    "classifier": lambda: SequenceClassifier(LLAMA, 3),
}
VALUES = [
    *(None, True, False, 0, -1, 1, 2, 3, 7, 10**6, 10**9, 10**25, 0.5, -0.5, 1.0, 2.5, 1e308),
    *(float("nan"), float("inf"), "", "x", "4", "gelu", "relu", "all-linear", "yarn", "lstm", "(["),
    *(
        [],
        [0],
        [1],
        [9],
        [-1],
        ["x"],
        [None],
        [[]],
        {},
        {"0": "a"},
        {"x": 1},
        {"rope_type": "yarn"},
    ),
    *(
        {"rope_type": "linear", "factor": 2.0},
        {"type": "dynamic"},
        ["LlamaForCausalLM"],
        ["q_proj"],
    ),
]
KEYS = [
    *(
        "hidden_size",
        "n_embd",
        "num_hidden_layers",
        "n_layer",
        "num_labels",
        "id2label",
        "text_config",
    ),
    *("rope_theta", "rope_scaling", "rope_parameters", "layer_types", "sliding_window", "head_dim"),
    *("use_sliding_window", "no_rope_layers", "architectures", "model_type", "quantization_config"),
    *(
        "partial_rotary_factor",
        "my_note",
        "torch_dtype",
        "tie_word_embeddings",
        "n_ctx",
        "pad_token_id",
    ),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern"),
    *("alpha_pattern", "modules_to_save", "use_rslora", "use_dora", "init_lora_weights", "bias"),
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Whole directories by name; "shards" and "adapters" beside those of ``MODELS``."""
    root = tmp_path_factory.mktemp("originals")
    for name, make in MODELS.items():
        make().save_pretrained(root / name)
    save_pretrained(MODELS["gpt2"](), root / "shards", max_shard_bytes=300)
    model = MODELS["llama"]()
    add_adapters(model, LoRA(rank=2, targets=("attention/query$",)))
    save_adapters(model, root / "adapters")
    return root


def _damage_json(file, dice):
    try:
        entries = json.loads(file.read_bytes())
        key = dice.choice([*entries, *KEYS])
    except (ValueError, TypeError, RecursionError):
        return  # damaged before
    if not isinstance(entries, dict):
        return
    kind = dice.randrange(8)
    if kind == 0:
        entries.pop(key, None)
    elif kind == 1 and isinstance(entries.get(key), dict | list) and entries[key]:
        inner = entries[key]
        at = dice.choice([*inner] if isinstance(inner, dict) else range(len(inner)))
        inner[at] = dice.choice(VALUES)
    else:
        entries[key] = dice.choice(VALUES)
    text = json.dumps(entries)
    if kind == 2:  # a key that stands twice
        text = f'{{"{key}": {json.dumps(dice.choice(VALUES))}, {text[1:]}'
    if kind == 3:
        text = text[: dice.randrange(len(text))]
    if kind == 4 and dice.random() < 0.3:
        text = dice.choice(["[" * 100_000, "[]", "3", "", "\ufeff{}", '{"a": ' + "9" * 6_000 + "}"])
    file.write_text(text)


def _damage_tensors(file, dice):
    data = bytearray(file.read_bytes())
    size = struct.unpack("<Q", data[:8])[0] if len(data) > 8 else 0
    kind = dice.randrange(5)
    if not 0 < size < len(data):
        return  # damaged before
    if kind == 0:  # bytes of the header, or anywhere
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(8 + size if dice.random() < 0.7 else len(data))] = dice.randrange(
                256
            )
    elif kind == 1:
        data = data[: dice.randrange(len(data))]
    elif kind == 2:
        data[:8] = struct.pack("<Q", dice.choice([0, 1, size - 1, size + 1, 2**32, 2**63]))
    else:
        try:
            header = json.loads(data[8 : 8 + size])
        except ValueError:
            return
        name = dice.choice([name for name in header if name != "__metadata__"])
        if kind == 3:
            header[dice.choice(["x", "lm_head.weight", "h.0.attn.bias"])] = header.pop(name)
        else:
            part = dice.choice(["dtype", "shape", "data_offsets"])
            others = [
                "F16",
                "I8",
                "F8_E4M3",
                "C64",
                [1],
                [0, 4],
                [4, -1],
                [2**40, 2**40],
                [0, 16],
                7,
            ]
            header[name][part] = dice.choice(others)
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + data[8 + size :]
    file.write_bytes(data)


def _replace_file(file, dice):
    file.unlink()
    kind = dice.randrange(3)
    if kind == 0:
        file.mkdir()
    elif kind == 1 and hasattr(os, "mkfifo"):
        os.mkfifo(file)


def _damage(directory, dice):
    for _ in range(dice.choice([1, 1, 2])):
        files = [file for file in sorted(directory.iterdir()) if file.is_file()]
        if not files:
            return
        file = dice.choice(files)
        if dice.random() < 0.03:
            _replace_file(file, dice)
        elif file.suffix == ".json":
            _damage_json(file, dice)
        elif dice.random() < 0.5:
            _damage_tensors(file, dice)
        else:
            _damage_json(dice.choice([f for f in files if f.suffix == ".json"] or [file]), dice)


def _outcome(load, directory):
    try:
        load(directory)
    except ValueError as error:
        text = str(error)
        is_sentence = str(directory) in text and "\n" not in text.rstrip() and len(text) < 2_000
        return "refused" if is_sentence else f"unclear: {text[:300]}"
    except Exception as error:  # noqa: BLE001  # what must not be
        return f"{type(error).__name__}: {str(error)[:300]}"
    return "loaded"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_loads_or_is_refused_in_one_sentence(originals, tmp_path, fuzz_cases, record_property):
    outcomes, names = collections.Counter(), [*MODELS, "shards", "adapters", "adapters"]
    base = CausalLM(LLAMA)
    loaders = {"adapters": lambda directory: load_adapters(base, directory)}
    for case in range(fuzz_cases(60)):
        dice = random.Random(case)
        name = dice.choice(names)
        directory = tmp_path / "case"
        shutil.copytree(originals / name, directory)
        _damage(directory, dice)
        outcome = _outcome(loaders.get(name, from_pretrained), directory)
        outcomes[outcome if outcome in ("loaded", "refused") else f"{case} {name}: {outcome}"] += 1
        shutil.rmtree(directory)
    record_property("outcomes", dict(outcomes))
    print(dict(outcomes))
    assert set(outcomes) == {"loaded", "refused"}


def test_every_original_loads(originals):
    for name in (*MODELS, "shards"):
        assert np.isfinite(from_pretrained(originals / name).get_weights()[0]).all()

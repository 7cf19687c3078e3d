"""The other side of ``run.py``: transformers writes models with their logits, and reads ours.

Runs in an environment of its own, which has torch and transformers and not tfalign:

    python tests/parity/transformers_side.py write FOLDER
    python tests/parity/transformers_side.py read FOLDER

``write`` makes FOLDER/<case>/theirs (a directory of save_pretrained) and theirs.npz (inputs,
outputs). ``read`` takes FOLDER/<case>/ours and inputs of theirs.npz and writes ours_by_them.npz.
"""

import pathlib
import sys

import numpy as np
import torch
import transformers
from transformers import BertConfig, GPT2Config, LlamaConfig

BATCH, LENGTH = 3, 11
REAL = (11, 4, 7)  # tokens of each row

_GPT2 = {"vocab_size": 37, "n_positions": 16, "bos_token_id": 0, "eos_token_id": 0}
_LLAMA = {"vocab_size": 37, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 0}
_BERT = {"vocab_size": 37, "max_position_embeddings": 16}
_BERT_ODD = _BERT | {
    "hidden_size": 30,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "intermediate_size": 50,
    "type_vocab_size": 3,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-6,
}
_BERT_PLAIN = _BERT | {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 96,
}

# case -> (class, configuration); odd head counts, tied and untied, biases, other activations
CASES = {
    "gpt2": ("GPT2LMHeadModel", GPT2Config(n_embd=24, n_layer=2, n_head=2, **_GPT2)),
    "gpt2_odd_untied": (
        "GPT2LMHeadModel",
        GPT2Config(
            n_embd=35,
            n_layer=3,
            n_head=5,
            n_inner=41,
            activation_function="gelu",
            layer_norm_epsilon=1e-4,
            tie_word_embeddings=False,
            **_GPT2,
        ),
    ),
    "gpt2_trunk": ("GPT2Model", GPT2Config(n_embd=24, n_layer=2, n_head=3, **_GPT2)),
    "llama_odd_untied": (
        "LlamaForCausalLM",
        LlamaConfig(
            hidden_size=30,
            num_hidden_layers=3,
            num_attention_heads=9,
            num_key_value_heads=3,
            head_dim=6,
            intermediate_size=43,
            rope_theta=777.0,
            rms_norm_eps=1e-5,
            **_LLAMA,
        ),
    ),
    "llama_tied_biased": (
        "LlamaForCausalLM",
        LlamaConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=1,
            intermediate_size=32,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            **_LLAMA,
        ),
    ),
    "gpt2_score": (
        "GPT2ForSequenceClassification",
        GPT2Config(n_embd=24, n_layer=2, n_head=3, num_labels=1, pad_token_id=0, **_GPT2),
    ),
    "llama_score": (
        "LlamaForSequenceClassification",
        LlamaConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=2,
            intermediate_size=32,
            num_labels=1,
            pad_token_id=0,
            **_LLAMA,
        ),
    ),
    "bert": ("BertModel", BertConfig(**_BERT_PLAIN)),
    "bert_odd": ("BertModel", BertConfig(**_BERT_ODD)),
    "bert_masked_lm": ("BertForMaskedLM", BertConfig(**_BERT_PLAIN)),
    "bert_masked_lm_odd": ("BertForMaskedLM", BertConfig(**_BERT_ODD)),
    "bert_classifier": (
        "BertForSequenceClassification",
        BertConfig(num_labels=3, classifier_dropout=0.3, **_BERT_PLAIN),
    ),
    "bert_tagger": ("BertForTokenClassification", BertConfig(num_labels=5, **_BERT_ODD)),
}


def _inputs(config):
    """Rows padded on the right and the same rows padded on the left."""
    random = np.random.default_rng(0)
    token_ids = random.integers(1, config.vocab_size, size=(BATCH, LENGTH))
    types = random.integers(0, getattr(config, "type_vocab_size", 1), size=(BATCH, LENGTH))
    mask = np.arange(LENGTH)[None, :] < np.array(REAL)[:, None]
    token_ids *= mask  # id 0 is padding, which transformers' scorers go by
    inputs = {}
    for side in ("right", "left"):
        shifts = [LENGTH - n if side == "left" else 0 for n in REAL]
        for name, rows in (("token_ids", token_ids), ("types", types), ("mask", mask)):
            inputs[f"{side}_{name}"] = np.stack([np.roll(r, s) for r, s in zip(rows, shifts)])
    return inputs


def _outputs(model, inputs):
    """Logits or hidden states; positions count real tokens, as in tfalign."""
    outputs = {}
    for side in ("right", "left"):
        mask = inputs[f"{side}_mask"].astype("int64")
        call = {
            "input_ids": torch.tensor(inputs[f"{side}_token_ids"]),
            "attention_mask": torch.tensor(mask),
            "position_ids": torch.tensor(np.maximum(np.cumsum(mask, axis=1) - 1, 0)),
        }
        if model.config.model_type == "bert":
            call["token_type_ids"] = torch.tensor(inputs[f"{side}_types"])
        with torch.no_grad():
            result = model(**call)
        outputs[f"{side}_output"] = result[0].numpy()
    return outputs


def write(folder):
    for case, (name, config) in CASES.items():
        torch.manual_seed(0)
        model = getattr(transformers, name)(config).eval()
        with torch.no_grad():  # norms and biases off their starting points
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        (folder / case).mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder / case / "theirs")
        inputs = _inputs(config)
        np.savez(folder / case / "theirs.npz", **inputs, **_outputs(model, inputs))


def read(folder):
    for case, (name, _) in CASES.items():
        model, report = getattr(transformers, name).from_pretrained(
            folder / case / "ours", output_loading_info=True
        )
        if report["missing_keys"] or report["mismatched_keys"]:
            raise SystemExit(f"{case}: transformers found {report}")
        inputs = dict(np.load(folder / case / "theirs.npz"))
        np.savez(folder / case / "ours_by_them.npz", **_outputs(model.eval(), inputs))


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](pathlib.Path(sys.argv[2]))

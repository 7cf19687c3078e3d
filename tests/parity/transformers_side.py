"""The other side of ``run.py``: transformers writes models with what they compute, and reads ours.

Runs in an environment of its own, which has torch, transformers and peft and not tfalign:

    python tests/parity/transformers_side.py write FOLDER PATTERN
    python tests/parity/transformers_side.py read FOLDER PATTERN

With a pattern only the models whose case it is found in, and nothing else. ``write`` makes FOLDER/models/<case>/theirs (a directory of save_pretrained) and theirs.npz (inputs,
outputs), FOLDER/chat (see ``chat_side``), FOLDER/adapters (see ``peft_side``) and FOLDER/spellings (see
``spellings_side``). ``read`` takes FOLDER/models/<case>/ours and inputs of theirs.npz and writes
ours_by_them.npz.
"""

import pathlib
import re
import sys

import chat_side
import numpy as np
import peft_side
import spellings_side
import torch
import transformers

torch.set_num_threads(1)  # the models are tiny
LENGTH, REAL = 40, (40, 13, 27)  # columns, and tokens of each row
CONTINUED = 100  # tokens decoded greedily
POSITIONS = LENGTH + CONTINUED

_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 35}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
# Two configurations of every kind: odd numbers of heads and sizes, tied and untied, biases,
# activations, windows shorter than the text, rotary positions stretched beyond their first length.
_ODD = {"hidden_size": 36, "num_hidden_layers": 3, "num_attention_heads": 9, "head_dim": 6}
_ODD |= {"num_key_value_heads": 3, "intermediate_size": 43, "rms_norm_eps": 1e-5}
_FEW = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
_FEW |= {"num_key_value_heads": 1, "intermediate_size": 32}
_BIASED = {"attention_bias": True, "tie_word_embeddings": True}
_WINDOWED = {"use_sliding_window": True, "sliding_window": 7}
_MIXED = _WINDOWED | {"max_window_layers": 1}
_BERT_ODD = {"hidden_size": 30, "num_hidden_layers": 3, "num_attention_heads": 5}
_BERT_ODD |= {"intermediate_size": 50, "layer_norm_eps": 1e-6}
_BERT_FEW = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
_BERT_FEW |= {"intermediate_size": 96}
_DISTIL_ODD = {"dim": 30, "n_layers": 3, "n_heads": 5, "hidden_dim": 50, "activation": "relu"}
_DISTIL_FEW = {"dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 96}
DECODERS = {
    "GPT2": (
        {"n_embd": 35, "n_layer": 3, "n_head": 5, "n_inner": 41, "tie_word_embeddings": False}
        | {"activation_function": "gelu", "layer_norm_epsilon": 1e-4},
        {"n_embd": 24, "n_layer": 2, "n_head": 3},
    ),
    "Llama": (
        _ODD | {"rope_parameters": _LLAMA3 | {"rope_theta": 777.0}},
        _FEW | _BIASED | {"mlp_bias": True},
    ),
    "Mistral": (
        _ODD | {"sliding_window": 7, "rope_parameters": _YARN | {"rope_theta": 500.0}},
        _FEW | {"sliding_window": None, "tie_word_embeddings": True},
    ),
    "Qwen2": (
        _ODD | _MIXED | {"rope_parameters": _YARN | {"rope_theta": 1e4, "beta_fast": 4.0}},
        _FEW | _WINDOWED | {"layer_types": ["sliding_attention", "full_attention"]},
    ),
    "Qwen3": (
        _ODD | _MIXED,
        _FEW | _BIASED | {"rope_parameters": {"rope_type": "linear", "factor": 3.0}},
    ),
    "Gemma2": (
        _ODD
        | {"sliding_window": 7, "query_pre_attn_scalar": 11, "tie_word_embeddings": False}
        | {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.5, "rope_theta": 777.0},
        _FEW
        | _BIASED
        | {"head_dim": 10, "sliding_window": 5, "hidden_activation": "silu"}
        | {"layer_types": ["full_attention", "sliding_attention"]},
    ),
    "Gemma3": (
        _ODD
        | {"sliding_window": 7, "query_pre_attn_scalar": 11, "rope_local_base_freq": 99.0}
        | {"sliding_window_pattern": 2, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        _FEW
        | _BIASED
        | {"head_dim": 10, "sliding_window": 5, "final_logit_softcapping": 2.0}
        | {"layer_types": ["full_attention", "sliding_attention"], "tie_word_embeddings": False},
    ),
    "Phi3": (
        _ODD | {"sliding_window": 7, "rope_parameters": {"rope_theta": 99.0}},
        _FEW | {"tie_word_embeddings": True, "hidden_act": "gelu"},
    ),
    "Mixtral": (
        _ODD
        | {"sliding_window": 7, "num_local_experts": 5, "num_experts_per_tok": 3}
        | {"rope_parameters": {"rope_theta": 99.0}},
        _FEW | {"tie_word_embeddings": True, "num_local_experts": 3, "hidden_act": "gelu"},
    ),
    "Qwen3Moe": (
        _ODD
        | {"num_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 11}
        | {"mlp_only_layers": [1], "norm_topk_prob": True}
        | _WINDOWED,
        _FEW
        | _BIASED
        | {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2}
        | {"moe_intermediate_size": 13, "decoder_sparse_step": 2},
    ),
    "SmolLM3": (
        _ODD | {"no_rope_layers": [1, 0, 1], "tie_word_embeddings": False},
        _FEW | _WINDOWED | {"no_rope_layers": [0, 1], "attention_bias": True},
    ),
}
ENCODERS = {
    "Bert": (_BERT_ODD | {"type_vocab_size": 3, "hidden_act": "gelu_new"}, _BERT_FEW),
    "Roberta": (_BERT_ODD | {"type_vocab_size": 1}, _BERT_FEW),
    "XLMRoberta": (_BERT_ODD | {"type_vocab_size": 1}, _BERT_FEW),
    "DistilBert": (_DISTIL_ODD, _DISTIL_FEW),
}


_AFTER_PADDING = ("Roberta", "XLMRoberta")  # whose positions begin behind the padding id
_OF_OTHERS = {
    "Gemma3": "Gemma3Text"
}  # what classes without an LM head, and configurations, begin with
# other implementations leave the soft caps of Gemma 2 out, and want experts of rounder sizes
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}


def _cases():
    """case -> (class, configuration)."""
    cases = {}
    for kind, (odd, few) in (DECODERS | ENCODERS).items():
        language_model = "ForMaskedLM"
        if kind in DECODERS:
            language_model = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
        for suffix, choices, more in (
            (language_model, odd, {}),
            (language_model, few, {}),
            ("Model", odd, {}),
            ("ForSequenceClassification", odd, {"num_labels": 1}),
            ("ForSequenceClassification", few, {"num_labels": 3}),
            ("ForTokenClassification", few, {"num_labels": 5 if kind in ENCODERS else 1}),
        ):
            pad = 1 if kind in _AFTER_PADDING else 0
            sizes = {"vocab_size": 37, "pad_token_id": pad, "bos_token_id": 2, "eos_token_id": 3}
            positions = "n_positions" if kind == "GPT2" else "max_position_embeddings"
            config = getattr(transformers, f"{_OF_OTHERS.get(kind, kind)}Config")(
                **{positions: POSITIONS + 2 * (kind in _AFTER_PADDING)}, **sizes, **choices, **more
            )
            stem = kind if suffix == language_model else _OF_OTHERS.get(kind, kind)
            name = f"{stem}{suffix}_{'odd' if choices is odd else 'few'}"
            if hasattr(transformers, f"{stem}{suffix}"):
                cases[name] = f"{stem}{suffix}", config
    return cases


CASES = _cases()


def _inputs(config):
    """Rows padded on the right and the same rows padded on the left."""
    random = np.random.default_rng(0)
    shape = (len(REAL), LENGTH)
    token_ids = random.integers(2, config.vocab_size, size=shape)
    types = random.integers(0, getattr(config, "type_vocab_size", 1), size=shape)
    mask = np.arange(LENGTH)[None, :] < np.array(REAL)[:, None]
    token_ids = np.where(mask, token_ids, config.pad_token_id)  # which transformers' scorers go by
    inputs = {}
    for side in ("right", "left"):
        shifts = [LENGTH - n if side == "left" else 0 for n in REAL]
        for name, rows in (("token_ids", token_ids), ("types", types), ("mask", mask)):
            inputs[f"{side}_{name}"] = np.stack([np.roll(r, s) for r, s in zip(rows, shifts)])
    return inputs


def _outputs(model, inputs):
    """Logits or hidden states, and the states after every block; positions count real tokens, as in
    tfalign."""
    outputs = {}
    kind = model.config.model_type
    for side in ("right", "left"):
        mask = inputs[f"{side}_mask"].astype("int64")
        first = 2 if kind in ("roberta", "xlm-roberta") else 0
        call = {
            "input_ids": torch.tensor(inputs[f"{side}_token_ids"]),
            "attention_mask": torch.tensor(mask),
            "position_ids": torch.tensor(np.maximum(np.cumsum(mask, axis=1) - 1, 0) + first),
        }
        if kind in ("bert", "roberta", "xlm-roberta"):
            call["token_type_ids"] = torch.tensor(inputs[f"{side}_types"])
        with torch.no_grad():
            result = model(**call, output_hidden_states=True)
        outputs[f"{side}_output"] = result[0].numpy()
        outputs[f"{side}_states"] = torch.stack(result.hidden_states[1:]).numpy()
    if type(model).__name__.endswith(("LMHeadModel", "ForCausalLM")):
        model.generation_config.eos_token_id = None
        continued = model.generate(
            torch.tensor(inputs["left_token_ids"]),
            attention_mask=torch.tensor(inputs["left_mask"].astype("int64")),
            max_new_tokens=CONTINUED,
            do_sample=False,
        )
        outputs["continued"] = continued[:, LENGTH:].numpy()
    return outputs


def _chosen(pattern):
    return {case: made for case, made in CASES.items() if re.search(pattern, case)}


def write(folder, pattern):
    if not pattern:
        chat_side.write(folder / "chat")
        peft_side.write(folder / "adapters")
        spellings_side.write(folder)
    folder = folder / "models"
    for case, (name, config) in _chosen(pattern).items():
        torch.manual_seed(0)
        model = getattr(transformers, name)._from_config(config, **EAGER).eval()
        with torch.no_grad():  # norms and biases off their starting points
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        (folder / case).mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder / case / "theirs")
        inputs = _inputs(config)
        np.savez(folder / case / "theirs.npz", **inputs, **_outputs(model, inputs))


def read(folder, pattern):
    if not pattern:
        peft_side.read(folder / "adapters")
    folder = folder / "models"
    for case, (name, _) in _chosen(pattern).items():
        model, report = getattr(transformers, name).from_pretrained(
            folder / case / "ours", output_loading_info=True, **EAGER
        )
        if report["missing_keys"] or report["mismatched_keys"]:
            raise SystemExit(f"{case}: transformers found {report}")
        inputs = dict(np.load(folder / case / "theirs.npz"))
        np.savez(folder / case / "ours_by_them.npz", **_outputs(model.eval(), inputs))


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](pathlib.Path(sys.argv[2]), sys.argv[3])

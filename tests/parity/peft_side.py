"""peft's side of the adapters' parity, called by ``transformers_side.py``: FOLDER/<case>/base (a model),
theirs (its adapter, random), theirs.npz (what both compute together)."""

import numpy as np
import peft
import torch
import transformers

IDS = np.random.default_rng(0).integers(2, 37, size=(3, 12))
_LLAMA = {"vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
_LLAMA |= {"num_key_value_heads": 1, "intermediate_size": 32, "pad_token_id": 0}
_GPT2 = {"vocab_size": 37, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 16}
_BERT = {"vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
_BERT |= {"intermediate_size": 32, "max_position_embeddings": 16, "num_labels": 3}
CASES = {
    "llama": ("LlamaForCausalLM", _LLAMA, {"target_modules": "all-linear", "r": 4}),
    "llama_dora": (
        "LlamaForCausalLM",
        _LLAMA,
        {"target_modules": ["q_proj", "down_proj"], "r": 3, "use_dora": True},
    ),
    "llama_ranks": (
        "LlamaForCausalLM",
        _LLAMA,
        {
            "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": {"layers.1.self_attn.v_proj": 2},
            "alpha_pattern": {"v_proj": 5},
            "use_rslora": True,
        },
    ),
    "gpt2": ("GPT2LMHeadModel", _GPT2, {"target_modules": ["c_attn", "c_fc"]}),
    "gpt2_dora": ("GPT2LMHeadModel", _GPT2, {"target_modules": ["c_attn"], "use_dora": True}),
    "bert": ("BertForSequenceClassification", _BERT, {"target_modules": ["query", "dense"]}),
    "llama_score": (
        "LlamaForSequenceClassification",
        _LLAMA | {"num_labels": 1},
        {"target_modules": ["q_proj"]},
    ),
    **{
        f"llama_{'tied' if tied else 'untied'}_{'_'.join(saved)}": (
            "LlamaForCausalLM",
            _LLAMA | {"tie_word_embeddings": tied},
            {"target_modules": ["q_proj"], "modules_to_save": saved},
        )
        for tied in (True, False)
        for saved in (
            ["embed_tokens"],
            ["lm_head"],
            ["embed_tokens", "lm_head"],
            ["norm"],
            ["input_layernorm", "o_proj"],
        )
    },
    "llama_layers": (
        "LlamaForCausalLM",
        _LLAMA,
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]},
    ),
    "llama_excluded": (
        "LlamaForCausalLM",
        _LLAMA,
        {"target_modules": "all-linear", "exclude_modules": r".*layers\.0\.mlp.*"},
    ),
    "gpt2_positions": (
        "GPT2LMHeadModel",
        _GPT2,
        {"target_modules": ["c_fc"], "modules_to_save": ["wpe", "ln_f", "c_attn"]},
    ),
    "gpt2_table": (
        "GPT2LMHeadModel",
        _GPT2,
        {"target_modules": ["c_fc"], "modules_to_save": ["wte"]},
    ),
    "gpt2_untied_table": (
        "GPT2LMHeadModel",
        _GPT2 | {"tie_word_embeddings": False},
        {"target_modules": ["c_fc"], "modules_to_save": ["wte", "ln_1"]},
    ),
    "bert_tables": (
        "BertForSequenceClassification",
        _BERT,
        {
            "target_modules": ["query"],
            "modules_to_save": ["word_embeddings", "position_embeddings", "LayerNorm", "pooler"],
        },
    ),
    "bert_tokens": (
        "BertForTokenClassification",
        _BERT,
        {"target_modules": ["value"], "task_type": "TOKEN_CLS"},
    ),
    "masked_lm": (
        "BertForMaskedLM",
        _BERT,
        {"target_modules": ["value"], "modules_to_save": ["transform"], "task_type": None},
    ),
    "roberta": (
        "RobertaForSequenceClassification",
        _BERT | {"max_position_embeddings": 18, "pad_token_id": 1},
        {"target_modules": ["query"], "modules_to_save": ["position_embeddings"]},
    ),
    "distilbert": (
        "DistilBertForSequenceClassification",
        {
            "vocab_size": 37,
            "dim": 24,
            "n_layers": 2,
            "n_heads": 3,
            "hidden_dim": 32,
            "num_labels": 3,
        },
        {"target_modules": ["q_lin"], "modules_to_save": ["pre_classifier", "sa_layer_norm"]},
    ),
}


def _task(name):
    return "SEQ_CLS" if name.endswith("SequenceClassification") else "CAUSAL_LM"


def _output(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor(IDS))[0].numpy()


def write(folder):
    for case, (name, sizes, choices) in CASES.items():
        torch.manual_seed(0)
        kind = getattr(transformers, name)
        base = kind(kind.config_class(bos_token_id=2, eos_token_id=3, **sizes))
        base.save_pretrained(folder / case / "base")
        defaults = {"r": 4, "lora_alpha": 8, "task_type": _task(name)}
        config = peft.LoraConfig(**defaults | choices)
        model = peft.get_peft_model(base, config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(folder / case / "theirs")
        np.savez(folder / case / "theirs.npz", ids=IDS, output=_output(model))


def read(folder):
    for case, (name, _, _) in CASES.items():
        base = getattr(transformers, name).from_pretrained(folder / case / "base")
        model = peft.PeftModel.from_pretrained(base, folder / case / "ours")
        np.savez(folder / case / "ours_by_them.npz", output=_output(model))

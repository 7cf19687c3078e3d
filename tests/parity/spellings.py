"""Odd spellings of configurations that both sides are given: data alone, for two interpreters.

A case is a base model and changes of its config.json (or adapter_config.json). Where transformers (or
peft) computes something, tfalign must compute the same or refuse the directory.
"""

REMOVE = "<remove>"
V, POSITIONS = 37, 40

_IDS = {"vocab_size": V, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_LLAMA = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
_LLAMA |= {"num_key_value_heads": 2, "intermediate_size": 20, "max_position_embeddings": POSITIONS}
_GPT2 = {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS}
_BERT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
_BERT |= {"intermediate_size": 20, "max_position_embeddings": POSITIONS}
_DISTIL = {"dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 20}
_DISTIL |= {"max_position_embeddings": POSITIONS}
_UNTIED, _TIED = {"tie_word_embeddings": False}, {"tie_word_embeddings": True}
_WINDOWS = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
_GEMMA = {"sliding_window": 4, "head_dim": 6, "query_pre_attn_scalar": 9}

# name -> (class of transformers, configuration)
BASES = {
    "llama": ("LlamaForCausalLM", _IDS | _LLAMA | _UNTIED),
    "mistral": ("MistralForCausalLM", _IDS | _LLAMA | _UNTIED | {"sliding_window": 4}),
    "qwen2": ("Qwen2ForCausalLM", _IDS | _LLAMA | _UNTIED | _WINDOWS),
    "qwen3": ("Qwen3ForCausalLM", _IDS | _LLAMA | _UNTIED | _WINDOWS | {"head_dim": 6}),
    "gemma2": ("Gemma2ForCausalLM", _IDS | _LLAMA | _UNTIED | _GEMMA),
    "gemma3": ("Gemma3ForCausalLM", _IDS | _LLAMA | _UNTIED | _GEMMA),
    "phi3": ("Phi3ForCausalLM", _IDS | _LLAMA | _UNTIED | {"sliding_window": 4}),
    "smollm3": ("SmolLM3ForCausalLM", _IDS | _LLAMA | _UNTIED | {"no_rope_layers": [1, 0]}),
    "gpt2": ("GPT2LMHeadModel", _IDS | _GPT2 | _UNTIED),
    "gpt2_tied": ("GPT2LMHeadModel", _IDS | _GPT2 | _TIED),
    "llama_classes": (
        "LlamaForSequenceClassification",
        _IDS | _LLAMA | _UNTIED | {"num_labels": 3},
    ),
    "bert": ("BertForMaskedLM", _IDS | _BERT),
    "bert_classes": ("BertForSequenceClassification", _IDS | _BERT | {"num_labels": 3}),
    "roberta": ("RobertaForMaskedLM", _IDS | _BERT | {"pad_token_id": 1}),
    "distilbert": ("DistilBertForMaskedLM", _IDS | _DISTIL),
}

_BASE_500 = {"rope_theta": 500.0}
_LINEAR = {"rope_type": "linear", "factor": 2.0}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_PLACED = {"rope_parameters": REMOVE, "rope_theta": REMOVE}

# for every decoder with rotary positions
_ROTARY = {
    "base beside": _PLACED | _BASE_500,
    "base within": {"rope_parameters": _BASE_500},
    "base within the older dict": _PLACED | {"rope_scaling": _BASE_500},
    "base twice, alike": {"rope_parameters": _BASE_500} | _BASE_500,
    "base twice, different": {"rope_parameters": _BASE_500, "rope_theta": 60.0},
    "base a string": {"rope_parameters": {"rope_theta": "500"}},
    "base an int": _PLACED | {"rope_theta": 500},
    "no base": _PLACED,
    "linear": {"rope_parameters": _LINEAR | _BASE_500},
    "linear, older": _PLACED
    | {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 500},
    "linear, int": {"rope_parameters": {"rope_type": "linear", "factor": 2}},
    "two dicts, alike": {"rope_parameters": _LINEAR, "rope_scaling": _LINEAR},
    "two dicts, different": {"rope_parameters": _LINEAR, "rope_scaling": _LINEAR | {"factor": 3.0}},
    "two dicts, a base in one": {"rope_parameters": _LINEAR | _BASE_500, "rope_scaling": _LINEAR},
    "older dict empty": {"rope_parameters": _LINEAR, "rope_scaling": {}},
    "older dict null": {"rope_parameters": _LINEAR, "rope_scaling": None},
    "newer dict null": {"rope_parameters": None, "rope_scaling": _LINEAR},
    "two names of the kind": {"rope_parameters": _LINEAR | {"type": "yarn"}},
    "the older name of the kind": {"rope_parameters": {"type": "linear", "factor": 2.0}},
    "default with a factor": {"rope_parameters": {"rope_type": "default", "factor": 2.0}},
    "yarn": {"rope_parameters": _YARN | _BASE_500},
    "yarn, its length beside": {
        "rope_parameters": {"rope_type": "yarn", "factor": 4.0},
        "original_max_position_embeddings": 10,
    },
    "yarn, no length": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}},
    "yarn, factor null": {"rope_parameters": _YARN | {"factor": None}},
    "yarn, more": {"rope_parameters": _YARN | {"beta_fast": 8, "truncate": False, "mscale": 0.7}},
    "llama3": {"rope_parameters": _LLAMA3 | {"original_max_position_embeddings": 9}},
    "llama3, no length": {"rope_parameters": _LLAMA3},
    "dynamic": {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
    "partial, beside": {"partial_rotary_factor": 0.5},
    "partial, within": {"rope_parameters": _BASE_500 | {"partial_rotary_factor": 0.5}},
    "partial, whole": {"partial_rotary_factor": 1.0},
    "by kind of layer": {"rope_parameters": {"full_attention": _BASE_500}},
}
# for those with the names of Llama
_NAMES = {
    "GPT-2's width": {"n_embd": 48},
    "GPT-2's layers": {"n_layer": 1},
    "within text_config": {"text_config": {"num_hidden_layers": 1, "rope_theta": 3.0}},
    "two dtypes": {"dtype": "float32", "torch_dtype": "float16"},
    "tied though it is not": _TIED,
    "groups null": {"num_key_value_heads": None},
    "groups absent": {"num_key_value_heads": REMOVE},
    "head_dim null": {"head_dim": None},
    "head_dim absent": {"head_dim": REMOVE},
    "activation": {"hidden_act": "gelu"},
    "activation, swish": {"hidden_act": "swish"},
    "activation, quick": {"hidden_act": "quick_gelu"},
    "epsilon": {"rms_norm_eps": 0.01},
    "epsilon, absent": {"rms_norm_eps": REMOVE},
    "epsilon, another name": {"layer_norm_eps": 0.5},
    "bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "a window": {"sliding_window": 3},
    "no window": {"sliding_window": None},
    "windows of a list": {"layer_types": ["sliding_attention", "full_attention"]},
    "windows of a list, used": {
        "layer_types": ["sliding_attention", "full_attention"],
        "use_sliding_window": True,
        "sliding_window": 3,
    },
    "windows of a short list": {"layer_types": ["sliding_attention"]},
    "windows unused": {"use_sliding_window": False},
    "windows of no layer": {"max_window_layers": 9},
    "another model's multiplier": {"attention_multiplier": 0.1, "logits_scaling": 8.0},
    "a cap": {"final_logit_softcapping": 1.0},
    "a layer of its own": {"per_layer_config": {"0": {"rms_norm_eps": 0.5}}},
    "tensor parallel": {"pretraining_tp": 2},
    "a note": {"my_note": "hello", "unsloth_version": "2"},
    "another model_type": {"model_type": "gemma"},
    "two architectures": {"architectures": ["LlamaForCausalLM", "MistralForCausalLM"]},
    "generation": {"temperature": 0.1, "top_k": 3, "max_length": 5, "num_beams": 2},
    "eos list": {"eos_token_id": [3, 4]},
}
_SMOLLM3 = {
    "rotated, a longer list": {"no_rope_layers": [1, 0, 1]},
    "rotated, a short list": {"no_rope_layers": [1]},
    "rotated, an empty list": {"no_rope_layers": []},
    "rotated, by interval": {"no_rope_layers": REMOVE, "no_rope_layer_interval": 2},
    "rotated, null": {"no_rope_layers": None},
    "rotated, both": {"no_rope_layers": [1, 1], "no_rope_layer_interval": 2},
}
_OF_GEMMA = {
    "activation, two names": {"hidden_act": "gelu", "hidden_activation": "gelu"},
    "activation, two": {"hidden_act": "relu", "hidden_activation": "gelu"},
    "activation": {"hidden_activation": "silu"},
    "a cap of scores": {"attn_logit_softcapping": 0.5},
    "no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    "caps absent": {"attn_logit_softcapping": REMOVE, "final_logit_softcapping": REMOVE},
    "scalar": {"query_pre_attn_scalar": 2},
    "scalar absent": {"query_pre_attn_scalar": REMOVE},
    "both directions": {"use_bidirectional_attention": True},
    "windows absent": {"layer_types": REMOVE},
    "windows by pattern": {"layer_types": REMOVE, "sliding_window_pattern": 2},
    "windows by the other pattern": {"layer_types": REMOVE, "_sliding_window_pattern": 2},
    "tied absent": {"tie_word_embeddings": REMOVE},
}
_OF_GEMMA3 = _OF_GEMMA | {
    "bases, older": {"rope_parameters": REMOVE, "rope_theta": 50.0, "rope_local_base_freq": 7.0},
    "bases, older, scaled": {
        **{"rope_parameters": REMOVE, "rope_local_base_freq": 7.0},
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "one base": {"rope_parameters": {"sliding_attention": {"rope_theta": 9.0}}},
    "both bases": {
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 9.0},
            "full_attention": _LINEAR | {"rope_theta": 77.0},
        },
    },
    "a scaled window": {"rope_parameters": {"sliding_attention": _LINEAR}},
    "local base twice": {
        "rope_parameters": {"sliding_attention": {"rope_theta": 9.0}},
        "rope_local_base_freq": 7.0,
    },
}
_OF_GPT2 = {
    "other names": {
        **dict.fromkeys(("n_embd", "n_layer", "n_head", "n_positions"), REMOVE),
        **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4},
        "max_position_embeddings": POSITIONS,
    },
    "both names, alike": {"hidden_size": 24, "num_hidden_layers": 2},
    "both names, different": {"num_attention_heads": 2},
    "both names, heads": {"n_head": 2, "num_attention_heads": 4},
    "n_ctx": {"n_ctx": POSITIONS},
    "another n_ctx": {"n_ctx": 7},
    "scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
    "not scaled": {"scale_attn_weights": False},
    "upcast": {"reorder_and_upcast_attn": True},
    "activation": {"activation_function": "relu"},
    "activation, another name": {"hidden_act": "relu"},
    "activation, exact": {"activation_function": "gelu"},
    "activation, fast": {"activation_function": "gelu_fast"},
    "epsilon": {"layer_norm_epsilon": 0.1},
    "epsilon, another name": {"layer_norm_eps": 0.1},
    "inner null": {"n_inner": None},
    "inner absent": {"n_inner": REMOVE},
    "inner, another name": {"intermediate_size": 40},
    "dropout": {"attn_pdrop": 0.0, "resid_pdrop": 0.2},
    "tied": _TIED,
    "untied": _UNTIED,
    "tied absent": {"tie_word_embeddings": REMOVE},
    "rotary": {"rope_theta": 500.0},
    "cross": {"add_cross_attention": True},
    "summary": {"summary_type": "mean", "summary_use_proj": False},
}
_OF_BERT = {
    "activation": {"hidden_act": "relu"},
    "activation, another name": {"activation": "relu", "hidden_activation": "relu"},
    "epsilon": {"layer_norm_eps": 0.1},
    "epsilon, another name": {"layer_norm_epsilon": 0.1},
    "a decoder": {"is_decoder": True},
    "relative positions": {"position_embedding_type": "relative_key"},
    "absolute positions": {"position_embedding_type": "absolute"},
    "untied": _UNTIED,
    "pruned": {"pruned_heads": {"0": [1]}},
    "nothing pruned": {"pruned_heads": {}},
    "chunks": {"chunk_size_feed_forward": 4},
    "dropout": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.5},
    "embedding size": {"embedding_size": 12},
    "pad": {"pad_token_id": 5},
    "within text_config": {"text_config": {"layer_norm_eps": 0.5}},
    "other names": {"dim": 24, "n_layers": 2},
}
_OF_DISTILBERT = {
    "other names": {
        **dict.fromkeys(("dim", "n_layers", "n_heads"), REMOVE),
        **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4},
    },
    "both names, different": {"num_attention_heads": 2},
    "activation": {"activation": "relu"},
    "activation, another name": {"hidden_act": "relu"},
    "sinusoids": {"sinusoidal_pos_embds": True},
    "epsilon": {"layer_norm_eps": 0.1},
    "untied": _UNTIED,
}
_OF_CLASSES = {
    "num_labels": {"id2label": REMOVE, "label2id": REMOVE, "num_labels": 3},
    "both, alike": {"num_labels": 3},
    "both, different": {"num_labels": 2},
    "names": {"id2label": {"0": "a", "1": "b", "2": "c"}},
    "fewer names": {"id2label": {"0": "a"}},
    "other numbers": {"id2label": {"1": "a", "2": "b", "3": "c"}},
    "regression": {"problem_type": "regression"},
    "dropout": {"classifier_dropout": 0.3},
}
_BY_BASE = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), _ROTARY | _NAMES),
    "smollm3": _ROTARY | _NAMES | _SMOLLM3,
    "phi3": _ROTARY | _NAMES,
    "gemma2": _ROTARY | _NAMES | _OF_GEMMA,
    "gemma3": _ROTARY | _NAMES | _OF_GEMMA3,
    **dict.fromkeys(("gpt2", "gpt2_tied"), _OF_GPT2),
    **dict.fromkeys(("bert", "roberta"), _OF_BERT),
    "distilbert": _OF_DISTILBERT,
    **dict.fromkeys(("llama_classes", "bert_classes"), _OF_CLASSES),
}
CASES = {
    f"{base}, {name}": (base, changes)
    for base, cases in _BY_BASE.items()
    for name, changes in {"as it is": {}, **cases}.items()
}

# Adapters: changes of adapter_config.json, on the adapter of one Llama: q_proj and v_proj, rank 4

_PATTERN = r".*layers\.[01]\.self_attn\.(q|v)_proj"
ADAPTERS = {
    "as it is": {},
    "a pattern": {"target_modules": _PATTERN},
    "a pattern of one layer": {"target_modules": r".*\.1\.self_attn\.(q|v)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "one fewer": {"target_modules": ["q_proj"]},
    "one more": {"target_modules": ["q_proj", "v_proj", "o_proj"]},
    "whole names": {
        "target_modules": [f"model.layers.{i}.self_attn.{m}_proj" for i in (0, 1) for m in "qv"]
    },
    "half a name": {"target_modules": ["proj"]},
    "excluded": {"exclude_modules": ["v_proj"]},
    "excluded by a pattern": {"exclude_modules": r".*layers\.0.*"},
    "excluded elsewhere": {"exclude_modules": ["lm_head"]},
    "layers, all": {"layers_to_transform": [0, 1]},
    "layers, one": {"layers_to_transform": [0]},
    "layers, an int": {"layers_to_transform": 1},
    "layers, none": {"layers_to_transform": []},
    "layers by their pattern": {"layers_to_transform": [0, 1], "layers_pattern": "layers"},
    "layers by another pattern": {"layers_to_transform": [0, 1], "layers_pattern": ["h"]},
    "a pattern without layers": {"layers_pattern": "layers"},
    "rank": {"r": 8},
    "rank, by pattern": {"r": 9, "rank_pattern": {"q_proj": 4, "v_proj": 4}},
    "rank, by a regular expression": {"r": 9, "rank_pattern": {r".*_proj": 4}},
    "alpha": {"lora_alpha": 3},
    "alpha, by pattern": {"alpha_pattern": {"v_proj": 3}},
    "alpha, by a regular expression": {"alpha_pattern": {r"layers\.1\..*": 3, "q_proj": 5}},
    "alpha, by half a name": {"alpha_pattern": {"proj": 3}},
    "alpha, by the whole name": {"alpha_pattern": {"model.layers.0.self_attn.q_proj": 3}},
    "rank-stabilised": {"use_rslora": True},
    "rank-stabilised, by pattern": {"use_rslora": True, "alpha_pattern": {"q_proj": 3}},
    "dora": {"use_dora": True},
    "biases": {"bias": "all"},
    "a bias of its own": {"lora_bias": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "gaussian": {"init_lora_weights": "gaussian"},
    "no initialisation": {"init_lora_weights": False},
    "fan in": {"fan_in_fan_out": True},
    "another kind": {"peft_type": "IA3"},
    "replicated": {"layer_replication": [[0, 2], [0, 2]]},
    "saved, which is not": {"modules_to_save": ["norm"]},
    "no task": {"task_type": None},
    "tokens": {"trainable_token_indices": [1, 2]},
    "unknown": {"some_new_option": True},
    "dropout": {"lora_dropout": 0.4},
}

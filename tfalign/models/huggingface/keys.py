"""The one check that every key of config.json is used, harmless, or refused.

A key that nothing uses is accepted

- if it is listed here or by the family: it says who wrote the file, how text is sampled, which numbers
  are printed, or how another head is trained;
- if its value is null, false or empty: what it stands for is off;
- if it is a note: nothing in its name sounds like a setting of a network.

Any other changes what somebody's model computes and is refused. ``save_pretrained`` writes accepted
keys again.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from tfalign.models.huggingface.kinds import shortened
from tfalign.models.huggingface.tables import Family

# who wrote the file, and how it is run
_RUN = """
architectures model_type transformers_version _name_or_path name_or_path _commit_hash dtype
torch_dtype use_cache attn_implementation _attn_implementation _attn_implementation_autoset
_flash_attn_2_enabled _experts_implementation experts_implementation gradient_checkpointing
output_attentions output_hidden_states output_past output_scores return_dict
return_dict_in_generate torchscript use_bfloat16 chunk_size_feed_forward pretraining_tp
transformers.js_config is_llama_config model_max_length tokenizer_class
"""
# heads and tasks: an architecture that has the head reads them, see ``Architecture.uses``
_TASKS = """
id2label label2id num_labels _num_labels num_choices problem_type finetuning_task
task_specific_params classifier_dropout prefix sbert_ce_default_activation_function
"""
# how text is sampled: transformers does not read it from here either
_SAMPLING = """
max_length max_new_tokens min_length do_sample early_stopping num_beams temperature top_k top_p
typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
bad_words_ids num_return_sequences remove_invalid_values exponential_decay_length_penalty
suppress_tokens begin_suppress_tokens epsilon_cutoff eta_cutoff encoder_repetition_penalty
num_assistant_tokens num_assistant_tokens_schedule assistant_confidence_threshold
assistant_lookbehind target_lookbehind num_beam_groups diversity_penalty
"""
_FIRST = """
n_special predict_special_tokens directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
pooler_size_per_head pooler_type
"""
_HARMLESS = frozenset((_RUN + _TASKS + _SAMPLING + _FIRST).split())
_TOKEN_ID = re.compile(r"[a-z_]*_token_ids?")
_SETTING = re.compile(
    r"hidden|layer|head|attn|attention|rope|rotary|rotate|position|norm|bias|emb|size|width|depth"
    r"|window|sliding|drop|scal|factor|multiplier|theta|expert|router|moe|vocab|quant|prun|lora"
    r"|adapter|mask|softcap|cap(ping)?(_|$)|clip|eps(_|$|ilon)|activation|config|weights|parallel"
    r"|residual|conv|ssm|mamba|encoder|decoder|cross|gate|interleav|sparse|bidirection|causal|auto_map"
    r"|(^|_)(act|dim|dims|tie|tied|mlp|ffn|ff|kv|qk|qkv|nope|num|n|use|is|no|add)(_|$)",
    re.IGNORECASE,
)


def check_keys(entries: dict, family: Family, used: Collection[str]) -> None:
    """
    Args:
        entries: of config.json.
        family: tables.Family.
        used: names of the keys that are read.

    Raises:
        ValueError: naming the first key that is not used and not harmless.
    """
    for key, value in entries.items():
        if key in family.only and value is not None and value != family.only[key]:
            raise ValueError(
                f"{key} must be {family.only[key]!r}. Received: {key}={shortened(value)}"
            )
        if not (key in used or key in family.only or is_harmless(key, value, family)):
            raise ValueError(
                f"{key} is no setting of a {family.model_type!r} that is used here, and not known to be"
                f" harmless. Received: {key}={shortened(value)}"
            )


def is_harmless(key: str, value: Any, family: Family) -> bool:
    """Whether an unused key of config.json says nothing about what is computed."""
    if key in _HARMLESS or key in family.harmless or _TOKEN_ID.fullmatch(key):
        return True
    is_off = value is None or value is False or (isinstance(value, str | list | dict) and not value)
    return is_off or not _SETTING.search(key)

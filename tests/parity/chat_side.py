"""Transformers' side of the chat templates' parity, called by ``transformers_side.py``: tokenizers of
several kinds with templates in the style of published models, and the ids it makes of conversations."""

import itertools
import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "user assistant system The order comes on Monday. 订单 你好",
    "Hi there,\n\n\nhow are you?",
] * 4
CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content"
    " + '<|im_end|>' + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start|>' + message['role'] + '<|end|>\n\n' + message['content'] | trim"
    " + '<|im_end|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set ns = namespace(head=messages[0]['content']) %}"
    "{% set messages = messages[1:] %}{% else %}{% set ns = namespace(head='') %}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' }}"
    "{% if loop.first and ns.head %}{{ '<<SYS>>\n' + ns.head + '\n<</SYS>>\n\n' }}{% endif %}"
    "{{ m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
GENERATION = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}<|start|>assistant\n"
    "{%- generation -%}\n{{ message.content }}{{ eos_token }}\n{%- endgeneration -%}"
    "{%- else -%}<|start|>{{ message.role }}\n{{ message.content | tojson }}\n{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|start|>assistant\n{%- endif -%}"
)
TEMPLATES = {"chatml": CHATML, "llama3": LLAMA3, "llama2": LLAMA2, "generation": GENERATION}
CONVERSATIONS = [
    [{"role": "user", "content": "Hi there,  "}],
    [
        {"role": "system", "content": "The order comes <on> Monday."},
        {"role": "user", "content": '订单 "2"?\n\n'},
        {"role": "assistant", "content": "你好. Monday."},
        {"role": "user", "content": " how are you?"},
        {"role": "assistant", "content": "The order\n\n\nis there."},
    ],
]
_SPECIAL = ["<unk>", "<s>", "<|im_end|>", "<|im_start|>", "<|start|>", "<|end|>"]


def _trained(model, trainer, normalizer=None, pre_tokenizer=None, decoder=None):
    core = Tokenizer(model)
    if normalizer:
        core.normalizer = normalizer
    if pre_tokenizer:
        core.pre_tokenizer = pre_tokenizer
    core.decoder = decoder
    core.train_from_iterator(TEXTS, trainer(special_tokens=_SPECIAL, show_progress=False))
    return core


def _tokenizers():
    def bpe(**more):
        return trainers.BpeTrainer(vocab_size=400, **more)

    def byte_bpe(**more):
        return bpe(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **more)

    def unigram(**more):
        return trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", **more)

    return {
        "byte_bpe": _trained(
            models.BPE(),
            byte_bpe,
            None,
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            decoders.ByteLevel(),
        ),
        "sentencepiece_bpe": _trained(
            models.BPE(unk_token="<unk>"),
            bpe,
            normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
            None,
            decoders.Replace("▁", " "),
        ),
        "metaspace_bpe": _trained(
            models.BPE(unk_token="<unk>"),
            bpe,
            None,
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            decoders.Metaspace(),
        ),
        "unigram": _trained(
            models.Unigram(), unigram, None, pre_tokenizers.Metaspace(), decoders.Metaspace()
        ),
    }


def write(folder):
    """FOLDER/<tokenizer>_<template>: the tokenizer, and expected.json of each conversation."""
    for (kind, core), (name, template) in itertools.product(
        _tokenizers().items(), TEMPLATES.items()
    ):
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=core,
            bos_token="<s>",
            eos_token="<|im_end|>",
            unk_token="<unk>",
            chat_template=template,
        )
        case = folder / f"{kind}_{name}"
        tokenizer.save_pretrained(case)
        expected = []
        for messages in CONVERSATIONS:
            open_ended = messages[-1]["role"] == "user"
            choices = {"add_generation_prompt": open_ended, "return_dict": True}
            marked = name == "generation"
            out = tokenizer.apply_chat_template(
                messages, return_assistant_tokens_mask=marked, **choices
            )
            text = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=open_ended
            )
            turns = [at for at, m in enumerate(messages) if m["role"] == "assistant"]
            asked = [
                tokenizer.apply_chat_template(messages[:at], add_generation_prompt=True)
                for at in turns
            ]
            expected.append(
                {
                    "messages": messages,
                    "open_ended": open_ended,
                    "text": text,
                    "token_ids": list(out["input_ids"]),
                    "asked": [list(prompt["input_ids"]) for prompt in asked],
                    "from_assistant": list(out["assistant_masks"]) if marked else None,
                }
            )
        (case / "expected.json").write_text(json.dumps(expected))

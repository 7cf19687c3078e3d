"""Transformers' side of the chat templates' styles: what it renders of each conversation.

    PATH/TO/python tests/parity/style_side.py tests/text/templates

where the interpreter has transformers (5.23 was used), writes rendered.json beside the templates, which
``tests/text/test_templates.py`` compares with. The templates are written for these tests, in the styles
of published models.
"""

import json
import pathlib
import sys

import tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = [
    *("<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]"),
    *("[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    *("<start_of_turn>", "<end_of_turn>", "<|user|>", "<|system|>", "<|assistant|>"),
    *("<|end|>", "<|tool|>", "<|/tool|>", "<｜User｜>", "<｜Assistant｜>"),
    *("<｜end▁of▁sentence｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
]
ADDED = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
ROLES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "description": "Finds an <order> & its 'state'",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
    },
}
CALL = {"id": "abcdefghi", "function": {"name": "find_order", "arguments": {"number": 7, "a": "é"}}}
USER = {"role": "user", "content": " Where is\n\nmy order 7? "}
ANSWER = {"role": "assistant", "content": "It comes on 'Monday'.\n"}
SYSTEM = {"role": "system", "content": "  Be kind & <brief>. "}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIt is there."}
CASES = [
    {"messages": [USER]},
    {"messages": [SYSTEM, USER], "open_ended": True},
    {
        "messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "谢谢 🙂"}],
        "open_ended": True,
    },
    {"messages": [USER, ANSWER, USER, THOUGHT]},
    {"messages": [USER, THOUGHT, USER], "open_ended": True},
    {"messages": [USER], "open_ended": True, "variables": {"tools": [TOOL]}},
    {"messages": [SYSTEM, USER], "open_ended": True, "variables": {"tools": [TOOL, TOOL]}},
    {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": '{"day": "Monday"}', "tool_call_id": "abcdefghi"},
            ANSWER,
        ],
        "variables": {"tools": [TOOL]},
    },
    {"messages": [USER, ANSWER | {"reasoning_content": "so it is"}]},
    {"messages": [USER, ANSWER | {"thinking": "so", "name": "bot"}]},
    {"messages": [USER], "open_ended": True, "variables": {"enable_thinking": False, "mine": None}},
    {"messages": [USER], "variables": {"date_string": "1 May 2026", "bos_token": "<other>"}},
    {"messages": [ANSWER, ANSWER]},
    {"messages": [SYSTEM | {"tools": "[]"}, USER], "variables": {"documents": [{"title": "t"}]}},
]


def make_tokenizer(template):
    """256 bytes, then the special tokens, then added ones that are not special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = tokenizers.Tokenizer(models.BPE({piece: at for at, piece in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    core.add_tokens(ADDED)
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, **ROLES)


def rendered(file, case):
    """A case with what transformers makes of it."""
    tokenizer = make_tokenizer(file.read_text(encoding="utf-8"))
    choices = {"add_generation_prompt": case.get("open_ended", False)} | case.get("variables", {})
    found = {"template": file.stem} | case
    try:
        text = tokenizer.apply_chat_template(case["messages"], tokenize=False, **choices)
        ids = tokenizer.apply_chat_template(case["messages"], **choices)["input_ids"]
        assert list(ids) == tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    except Exception as error:  # noqa: BLE001 (a template may raise anything)
        return found | {"refused": type(error).__name__}
    return found | {"text": text}


def main(folder):
    files = sorted(pathlib.Path(folder).glob("*.jinja"))
    cases = [rendered(file, case) for file in files for case in CASES]
    names = {"special": SPECIAL, "added": ADDED, "roles": ROLES}
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    text = json.dumps(names, ensure_ascii=False)[:-1] + ', "cases": [\n' + lines + "\n]}\n"
    (pathlib.Path(folder) / "rendered.json").write_text(text, encoding="utf-8")
    print(len(cases), "cases,", sum("refused" in case for case in cases), "refused")


if __name__ == "__main__":
    main(sys.argv[1])

"""Chat templates in the styles of published models render as transformers renders them, and nothing that
comes from outside can become a special token."""

from __future__ import annotations

import functools
import json
import pathlib

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from tfalign.text import (
    Message,
    Tokenizer,
    encode_conversation,
    render_conversation,
    train_byte_bpe,
)
from tfalign.text.written import Written, join, written

FOLDER = pathlib.Path(__file__).with_name("templates")
# made by tests/parity/style_side.py
RENDERED = json.loads((FOLDER / "rendered.json").read_text(encoding="utf-8"))
STYLES = sorted(file.stem for file in FOLDER.glob("*.jinja"))


@functools.cache
def tokenizer_of(template):
    """256 bytes, then the special tokens, then added ones that are not special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = tokenizers.Tokenizer(models.BPE({piece: at for at, piece in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(RENDERED["special"])
    core.add_tokens(RENDERED["added"])
    roles = {key.removesuffix("_token"): value for key, value in RENDERED["roles"].items()}
    return Tokenizer(core, roles, template)


def style(name):
    return tokenizer_of((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", STYLES)
def test_styles_render_as_transformers_renders_them(name):
    tokenizer, cases = style(name), [c for c in RENDERED["cases"] if c["template"] == name]
    assert len(cases) == 14
    for case in cases:
        open_ended, variables = case.get("open_ended", False), case.get("variables", {})
        if "refused" in case:
            with pytest.raises(ValueError, match="chat template refuses turns of"):
                render_conversation(tokenizer, case["messages"], open_ended, **variables)
            continue
        text = render_conversation(tokenizer, case["messages"], open_ended, **variables)
        assert text == case["text"]
        if open_ended:  # else what each turn is answered with may be written in another way
            ids = encode_conversation(tokenizer, case["messages"], True, **variables).token_ids
            assert ids == tokenizer.core.encode(text, add_special_tokens=False).ids


def special_ids(tokenizer, messages, open_ended=True, **variables):
    ids = encode_conversation(tokenizer, messages, open_ended, **variables).token_ids
    text = render_conversation(tokenizer, messages, open_ended, **variables)
    assert tokenizer.decode(ids, skip_special=False) == text
    return [tokenizer.token(token_id) for token_id in ids if tokenizer.is_special(token_id)]


SPELLINGS = RENDERED["special"]
PIECES = [*SPELLINGS, *(s[:3] for s in SPELLINGS), *(s[3:] for s in SPELLINGS)]
PIECES += [s.upper() for s in SPELLINGS] + [
    "x",
    " ",
    "\n",
    "|",
    "<",
    "|>",
    '"',
    "\\",
    "{{ eos_token }}",
]
hostile = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)


def _talk(content, name, arguments):
    """A conversation with somebody's text in every field."""
    call = {"id": "abcdefghi", "function": {"name": name, "arguments": {name: arguments}}}
    return [
        {"role": "user", "content": content, "name": name},
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "content": content, "name": name, "tool_call_id": "abcdefghi"},
        {"role": "assistant", "content": content, "reasoning_content": name},
        {"role": "user", "content": content + name, "more": arguments},
    ]


def _tools(name, arguments):
    function = {"name": name, "description": arguments, "parameters": {name: [arguments]}}
    return [{"type": "function", "function": function}]


@pytest.mark.parametrize("name", [name for name in STYLES if name not in ("llama2", "gemma")])
@given(content=hostile, tool=hostile, arguments=hostile)
def test_no_field_becomes_a_special_token(name, content, tool, arguments):
    tokenizer = style(name)
    found = special_ids(
        tokenizer, _talk(content, tool, arguments), tools=_tools(tool, arguments), documents=[]
    )
    assert found == special_ids(
        tokenizer, _talk("a", "b", "c"), tools=_tools("b", "c"), documents=[]
    )


@pytest.mark.parametrize("name", ["llama2", "gemma"])
@given(content=hostile, other=hostile)
def test_no_turn_becomes_a_special_token(name, content, other):
    talk = [Message("user", content), Message("assistant", other), Message("user", other)]
    calm = [Message("user", "a"), Message("assistant", "b"), Message("user", "b")]
    assert special_ids(style(name), talk) == special_ids(style(name), calm)


FILTERS = {
    "joined": "{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}",
    "joined by a filter": "{{ messages | map(attribute='content') | join('|') }}{{ eos_token }}",
    "joined by ~": "{{ messages[0].content ~ messages[1].content ~ eos_token }}",
    "joined by +": "{{ messages[0].content + '<' + messages[1].content + eos_token }}",
    "in a role's place": "{% for m in messages %}{{ '<|' + m.content + '|>' }}{% endfor %}</s>",
    "by its role": "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% endfor %}</s>",
    "upper": "{{ messages[0].content | upper }}{{ messages[1].content | lower }}{{ eos_token }}",
    "replaced": "{{ messages[0].content | replace('x', '') | replace(' ', '|') }}{{ eos_token }}",
    "replaced by a token": "{{ messages[0].content | replace('x', '<s>') }}{{ eos_token }}",
    "trimmed": "{% for m in messages %}{{ m.content | trim }}{{ m.content.strip('x') }}{% endfor %}</s>",
    "cut": "{{ messages[0].content[1:] ~ messages[1].content[:-1] }}{{ eos_token }}",
    "turned": "{{ messages[0].content[::-1] }}{{ messages[1].content | reverse }}{{ eos_token }}",
    "formatted": "{{ '%s|%s' % (messages[0].content, messages[1].content) }}{{ eos_token }}",
    "format": "{{ '{}{}'.format(messages[0].content, messages[1].content) }}{{ eos_token }}",
    "split": "{{ messages[0].content.split('x') | join }}{{ messages[1].content.split() | join }}</s>",
    "set": "{% set x %}{{ messages[0].content }}{{ messages[1].content }}{% endset %}{{ x }}</s>",
    "macro": "{% macro m(x) %}<|{{ x }}|>{% endmacro %}{{ m(messages[0].content) }}{{ eos_token }}",
    "json": "{{ messages | tojson }}{{ messages | string }}{{ eos_token }}",
    "keys": "{% for k, v in messages[0].items() %}{{ k }}{{ v }}{% endfor %}{{ eos_token }}",
    "letters": "{% for c in messages[0].content %}{{ c }}{% endfor %}{{ eos_token }}",
}


@pytest.mark.parametrize("template", FILTERS.values(), ids=FILTERS)
@given(first=hostile, second=hostile)
def test_no_operation_makes_a_special_token(template, first, second):
    """Not by what is joined, changed or taken apart on the way; nor by a role that is somebody's text."""
    messages = [
        {"role": "xuser", "content": first, first: second},
        {"role": second, "content": second},
    ]
    assert special_ids(tokenizer_of(template), messages) == ["</s>"]


def test_a_role_is_the_programs_word():
    """Phi writes '<|' + role + '|>'."""
    phi = style("phi")
    assert special_ids(phi, [Message("user", "a")], open_ended=False) == [
        "<|user|>",
        "<|end|>",
        "</s>",
    ]
    for role in ("end", "user|><|end", "USER", "s"):
        assert "<|end|>" not in special_ids(phi, [Message(role, "a")], open_ended=False)[:-2]


@pytest.mark.parametrize(
    "template",
    [
        "{{ '%s' % eos_token }}",
        "{{ '<|im_%s|>' | format('end') }}",
        "{{ ['<|im_', 'end|>'] | join }}",
        "{{ '<|im_' ~ 'end' + '|>' }}",
        "{{ '<|IM_END|>' | lower | trim }}",
        "{{ ' <|im_end|> '.strip() }}",
        "{{ 'x<|im_end|>x'[1:-1] }}",
        "{{ '<|im_end|>,b'.split(',')[0] }}",
        "{{ '<|im_XX|>'.replace('XX', 'end') }}",
        "{% set ns = namespace(x='') %}{% for c in [1] %}{% set ns.x = ns.x + '<|im_end|>' %}{% endfor %}"
        "{{ ns.x }}",
        "{% macro m() %}<|im_end|>{% endmacro %}{{ m() }}",
        "{% set x %}<|im_end|>{% endset %}{{ x | default('b') }}",
        "{{ messages[0].content if false else '<|im_end|>' }}",
        "{{ {'user': '<|im_end|>'}[messages[0].role] }}",
        "{{ ('<|im_end|>', 'a')[0] * 1 }}",
    ],
)
def test_what_the_template_writes_is_special(template):
    tokenizer = tokenizer_of(template)
    wanted = ["</s>"] if "eos_token" in template else ["<|im_end|>"]
    assert special_ids(tokenizer, [Message("user", "hi")]) == wanted


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            "content of message 1 must be a str. .*list",
        ),
        ([{"role": "user"}], "The content of message 1 must be a str. Received: NoneType"),
        ([{"role": 5, "content": "a"}], "The role of message 1 must be a str. Received: int"),
        ([Message("user", "a"), "b"], "Message 2 must have a role and a content. Received: str"),
        ([{"role": "user", "content": "a", "x": object()}], "A message must be made of .* object"),
        ([Message("user", "a \ud83d b")], "half a surrogate pair"),
        ([{"role": "user", "content": "a", "x\ufdd0": "a"}], "noncharacters"),
    ],
)
def test_messages_that_are_none(messages, sentence):
    with pytest.raises(ValueError, match=sentence):
        encode_conversation(style("chatml"), messages, open_ended=True)


def test_what_is_nested_too_deeply():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        render_conversation(style("chatml"), [Message("user", "a")], tools=deep)


def test_variables_that_are_none():
    with pytest.raises(ValueError, match="The template's date must be made of .* Received: object"):
        render_conversation(style("chatml"), [Message("user", "a")], date=object())


def test_messages_keep_their_spaces():
    """A special token's letters in a message do not make SentencePiece put a space in front of the rest."""
    trained = train_byte_bpe([], 259)
    assert trained.head_ids == (trained.bos_id,)
    vocab = {c: at for at, c in enumerate(["<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz</>:\n"])}
    core = tokenizers.Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    core.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(["</s>"])
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    template += "{% if add_generation_prompt %}assistant: {% endif %}"
    tokenizer = Tokenizer(core, {"eos": "</s>", "unk": "<unk>"}, template)
    talk = [Message("user", "a</s>b c"), Message("assistant", "d </s> e")]
    ids = encode_conversation(tokenizer, talk).token_ids
    assert (
        tokenizer.decode(ids).replace(" assistant", "assistant")
        == "user: a</s>b cassistant: d </s> e"
    )
    assert ids.count(tokenizer.eos_id) == 2


OPERATIONS = {
    "upper": lambda s, a: s.upper(),
    "lower": lambda s, a: s.lower(),
    "title": lambda s, a: s.title(),
    "capitalize": lambda s, a: s.capitalize(),
    "swapcase": lambda s, a: s.swapcase(),
    "strip": lambda s, a: s.strip(),
    "strip of": lambda s, a: s.strip(a),
    "lstrip": lambda s, a: s.lstrip(a),
    "rstrip": lambda s, a: s.rstrip(),
    "removeprefix": lambda s, a: s.removeprefix(a),
    "removesuffix": lambda s, a: s.removesuffix(a),
    "replace": lambda s, a: s.replace(a, "12"),
    "replace two": lambda s, a: s.replace("A", a, 2),
    "slice": lambda s, a: s[1:-1],
    "backwards": lambda s, a: s[::-2],
    "times": lambda s, a: 2 * s + s * 3,
    "between": lambda s, a: a + s + a,
    "join": lambda s, a: s.join([a, "1", a]),
    "percent": lambda s, a: (s.replace("%", "") + "%s-%5s-%%") % (a, a),
    "first": lambda s, a: s[0] if s else s,
    "last": lambda s, a: s[-1] if s else s,
    "zfill": lambda s, a: s.zfill(9),
    "center": lambda s, a: s.center(9),
    "expandtabs": lambda s, a: s.expandtabs(),
}
LISTS = {
    "split": lambda s, a: s.split(),
    "split at": lambda s, a: s.split(a or "A", 2),
    "split once": lambda s, a: s.split(None, 1),
    "rsplit": lambda s, a: s.rsplit(None, 1),
    "rsplit at": lambda s, a: s.rsplit(a or "A", 1),
    "splitlines": lambda s, a: s.splitlines(),
    "splitlines kept": lambda s, a: s.splitlines(True),
    "partition": lambda s, a: list(s.partition(a or "A")),
    "rpartition": lambda s, a: list(s.rpartition(a or "A")),
}
# letters are the template's own, digits and the rest are not
_parts = st.lists(
    st.one_of(st.text("ABß \n\r", max_size=4).map(written), st.text("12 \n%", max_size=3)),
    max_size=5,
)


@given(parts=_parts, argument=st.one_of(st.text("AB 1", max_size=2), st.sampled_from(["A", " "])))
def test_operations_are_those_of_str_and_trust_no_more(parts, argument):
    ours, plain = join(parts), "".join(parts)
    for name, operation in OPERATIONS.items():
        _check(name, operation(ours, argument), operation(plain, argument))
    for name, operation in LISTS.items():
        found, wanted = operation(ours, argument), operation(plain, argument)
        assert list(found) == wanted, name
        for text, other in zip(found, wanted):
            _check(name, text, other)


def _check(name, text, plain):
    assert text == plain and len(text) == len(plain), name
    if isinstance(text, Written):
        own = "".join(c for c, is_own in zip(str.__str__(text), text.own) if is_own)
        assert not set(own) & set("12%"), name

"""What is done to a ``tokenizers.Tokenizer``, and read off it, by way of its JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import tokenizers
from tokenizers import models

MOST_TOKENS = 1 << 22  # of a vocabulary, gaps included; the largest published ones have 2**20
_NO_WORD = "\0"  # before a word, makes it one that texts do not have
_FIND_WHOLE_WORDS = ("WordLevel", "WordPiece")


def from_json(text: str, name: str) -> tokenizers.Tokenizer:
    """A core out of a tokenizer.json.

    Raises:
        ValueError: if the text is none, naming it.
    """
    with one_sentence(f"{name} is not a tokenizer.json"):
        return tokenizers.Tokenizer.from_str(text)


@contextlib.contextmanager
def one_sentence(sentence: str) -> Iterator[None]:
    """Makes of whatever the library raises, which are bare exceptions and panics, a ValueError.

    Args:
        sentence: what it begins with.
    """
    try:
        yield
    except (ValueError, OSError, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 (a panic is no Exception)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{sentence}: {reason[:300]}") from None


def entries_of(component: Any) -> dict:
    """The JSON entries of a core's normalizer, pre-tokenizer or decoder; {} where there is none."""
    return {} if component is None else json.loads(component.__getstate__())


def check_size(core: tokenizers.Tokenizer) -> int:
    """The rows that an embedding needs: one more than the largest id.

    Raises:
        ValueError: if they are more than any vocabulary has, or there is no token.
    """
    ids = core.get_vocab().values()
    if not ids:
        raise ValueError("A tokenizer needs a vocabulary. Received: one without a token")
    largest = max(ids)
    if largest >= MOST_TOKENS:
        raise ValueError(
            f"A tokenizer's ids must be under {MOST_TOKENS}, or no embedding could hold them."
            f" Received: id {largest} in a vocabulary of {len(ids)} tokens"
        )
    return largest + 1


def copy(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A core of its own."""
    return tokenizers.Tokenizer.from_str(core.to_str())


def without_words(core: tokenizers.Tokenizer, spellings: frozenset[str]) -> tokenizers.Tokenizer:
    """A copy whose model makes none of these words out of a text; their ids stay taken."""
    entries = json.loads(core.to_str())
    model = entries["model"]
    spellings = spellings - {model.get("unk_token")}
    if model["type"] == "Unigram":  # a list of pieces with their log-probabilities
        hidden = spellings & {piece for piece, _ in model["vocab"]}
        model["vocab"] = [[_hide(piece, hidden), score] for piece, score in model["vocab"]]
    elif model["type"] in _FIND_WHOLE_WORDS or _merges_to(model, spellings):
        hidden = spellings & model["vocab"].keys()
        if "merges" in model:
            model["merges"] = [
                pair for pair in model["merges"] if not hidden & {*pair, "".join(pair)}
            ]
        model["vocab"] = {_hide(word, hidden): at for word, at in model["vocab"].items()}
    else:
        return copy(core)
    entries["added_tokens"] = [
        token for token in entries["added_tokens"] if token["content"] not in hidden
    ]
    return tokenizers.Tokenizer.from_str(json.dumps(entries))


def _merges_to(model, spellings):
    """Whether a BPE makes one of the words of its pieces, or takes it whole."""
    if model.get("ignore_merges") and spellings & model["vocab"].keys():
        return True
    return any("".join(pair) in spellings for pair in model["merges"])


def _hide(word, hidden):
    return _NO_WORD + word if word in hidden else word


def following(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The core for text that stands behind other text: nothing is put in front of it.

    Returns:
        a copy without SentencePiece's space in front and without ``add_prefix_space``; the core itself
        where there is nothing of the kind.
    """
    return _changed(core, {"always", "first"}, is_behind_text=True)


def after_special(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The core for text behind a special token: what is put in front of a whole text alone is not."""
    return _changed(core, {"first"}, is_behind_text=False)


def _changed(core, schemes, is_behind_text):
    entries = json.loads(core.to_str())
    before = json.dumps([entries["normalizer"], entries["pre_tokenizer"]])
    if is_behind_text:
        entries["normalizer"] = _without_prepend(entries["normalizer"])
    _put_nothing_in_front(entries["pre_tokenizer"], schemes, is_behind_text)
    if json.dumps([entries["normalizer"], entries["pre_tokenizer"]]) == before:
        return core
    changed = tokenizers.Tokenizer.from_str(json.dumps(entries))
    changed.encode_special_tokens = core.encode_special_tokens
    return changed


def _without_prepend(normalizer):
    if not normalizer or normalizer["type"] == "Prepend":
        return None
    if normalizer["type"] == "Sequence":
        inner = map(_without_prepend, normalizer["normalizers"])
        return normalizer | {"normalizers": [one for one in inner if one]}
    return normalizer


def _put_nothing_in_front(pre_tokenizer, schemes, is_behind_text):
    """Changes a pre-tokenizer's entries in place."""
    kind = (pre_tokenizer or {}).get("type")
    if kind == "Sequence":
        for inner in pre_tokenizer["pretokenizers"]:
            if inner["type"] in ("WhitespaceSplit", "Whitespace"):
                return  # spaces are gone: a word is told by what is put in front of it
            _put_nothing_in_front(inner, schemes, is_behind_text)
    elif kind == "Metaspace" and pre_tokenizer["prepend_scheme"] in schemes:
        pre_tokenizer["prepend_scheme"] = "never"
    elif kind == "ByteLevel" and is_behind_text:
        pre_tokenizer["add_prefix_space"] = False


def head_of(core: tokenizers.Tokenizer) -> tuple[int, ...] | None:
    """The ids that a core's post-processor puts in front of a text; None where it has none."""
    if core.post_processor is None:
        return None
    probe = tokenizers.Tokenizer(models.WordLevel({"a": 0}, "a"))
    probe.post_processor = core.post_processor
    encoding = probe.encode("a")
    return tuple(encoding.ids[: encoding.special_tokens_mask.index(0)])


def with_head(
    core: tokenizers.Tokenizer, before: Sequence[str] = (), behind: Sequence[str] = ()
) -> tokenizers.Tokenizer:
    """A core whose post-processor puts tokens around a text, around each of a pair.

    Args:
        core: ``tokenizers.Tokenizer``.
        before, behind: spellings of the tokens.
    """
    entries = json.loads(core.to_str())
    text = [_around(before, "A", 0, behind)]
    pair = [_around((), "B", 1, behind) if behind else _around(before, "B", 1, ())]
    entries["post_processor"] = {
        "type": "TemplateProcessing",
        "single": sum(text, []),
        "pair": sum(text + pair, []),
        "special_tokens": {
            spelling: {"id": spelling, "ids": [core.token_to_id(spelling)], "tokens": [spelling]}
            for spelling in (*before, *behind)
        },
    }
    return tokenizers.Tokenizer.from_str(json.dumps(entries))


def _around(before, name, type_id, behind):
    def special(spelling):
        return {"SpecialToken": {"id": spelling, "type_id": type_id}}

    text = {"Sequence": {"id": name, "type_id": type_id}}
    return [*map(special, before), text, *map(special, behind)]


def begins_anew_at_spaces(core: tokenizers.Tokenizer) -> bool:
    """Whether a space behind anything but white space begins a word of its own: so it is with GPT-2's
    pattern, where no added token stands across it."""
    split = entries_of(core.pre_tokenizer)
    is_gpt2 = split.get("type") == "ByteLevel" and split["use_regex"] and core.normalizer is None
    return is_gpt2 and all(token.special for token in core.get_added_tokens_decoder().values())


def byte_tokens(core: tokenizers.Tokenizer) -> frozenset[int]:
    """Ids that stand for one byte each and are decoded a whole run of them at a time: all bytes of
    the run, or U+FFFD for each. Empty for a core without byte fallback."""
    decoder = entries_of(core.decoder)
    parts = decoder["decoders"] if decoder.get("type") == "Sequence" else [decoder]
    if not any(part.get("type") == "ByteFallback" for part in parts):
        return frozenset()
    ids = (core.token_to_id(f"<0x{byte:02{case}}>") for byte in range(256) for case in "Xx")
    return frozenset(token_id for token_id in ids if token_id is not None)

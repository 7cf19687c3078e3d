"""Constraints out of what people write: regular expressions, JSON schemas, words that must or must not occur.

Each becomes an ``Automaton`` over a tokenizer's tokens, and ``a & b`` is both. Regular expressions and schemas are
compiled by the outlines-core library (``pip install tfalign[constraints]``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfalign.decoding.constraints import Automaton
from tfalign.files import as_path
from tfalign.text.byte_automata import compile_pattern, lift
from tfalign.text.json_patterns import json_pattern
from tfalign.text.token_bytes import text_pieces
from tfalign.text.word_search import word_search


def named_constraint(
    name: str, tokenizer: Any, vocab_size: int | None = None, max_new_tokens: int | None = None
) -> Automaton:
    """A constraint by what is written on a command line.

    Args:
        name: regex:PATTERN, json:FILE, json:SCHEMA, with:WORD,WORD or without:WORD,WORD.
        tokenizer, vocab_size, max_new_tokens: see ``regular_expression``.

    Raises:
        ValueError: if the name begins with none of these, or what follows is refused.
        ConstraintError, ImportError: see ``regular_expression``.
    """
    kind, _, given = name.partition(":")
    kinds = {
        "regex": regular_expression,
        "json": lambda text, *limits: json_schema(_schema(text), *limits),
        "with": lambda text, *limits: with_words(text.split(","), *limits),
        "without": lambda text, *limits: without_words(text.split(","), *limits),
    }
    if kind not in kinds or not given:
        raise ValueError(
            "A constraint is regex:PATTERN, json:FILE, json:SCHEMA, with:WORDS or without:WORDS. "
            f"Received: {name!r}"
        )
    return kinds[kind](given, tokenizer, vocab_size, max_new_tokens)


def _schema(text):
    """A schema's text, from a file or as it is."""
    return text if text.lstrip().startswith(("{", "true")) else _read(text)


def _read(file):
    path = as_path(file)
    if not path.is_file():
        raise ValueError(f"There is no file {path} of a JSON schema. Received: json:{file}")
    return path.read_text(encoding="utf-8")


def regular_expression(
    pattern: str,
    tokenizer: Any,
    vocab_size: int | None = None,
    max_new_tokens: int | None = None,
) -> Automaton:
    """Responses that match a regular expression as a whole.

    Args:
        pattern: str, see ``text.byte_automata.compile_pattern``.
        tokenizer: see ``text.token_bytes``; its ``stop_ids`` end a response.
        vocab_size: int, V of the model; the tokenizer's where None.
        max_new_tokens: int, R, by which every response has ended; None for no limit.

    Returns:
        Automaton.

    Raises:
        ValueError: if the pattern is refused, or the tokenizer has no stop token.
        ConstraintError: if no text of the vocabulary matches, or none within ``max_new_tokens``.
        ImportError: without outlines-core.
    """
    steps, accepting = compile_pattern(pattern)
    return _lifted(steps, accepting, tokenizer, vocab_size, max_new_tokens)


def json_schema(
    schema: str | Mapping[str, Any],
    tokenizer: Any,
    vocab_size: int | None = None,
    max_new_tokens: int | None = None,
) -> Automaton:
    """Responses that are JSON of a schema.

    Args:
        schema: JSON schema, as text or as a dict, see ``text.json_patterns``. What has no bound of its own is
            nested a few deep.
        tokenizer, vocab_size, max_new_tokens: see ``regular_expression``.

    Returns:
        Automaton.

    Raises:
        ValueError: if the schema is no JSON or is refused.
        ConstraintError, ImportError: see ``regular_expression``.
    """
    text = schema if isinstance(schema, str) else json.dumps(schema)
    try:
        pattern = json_pattern(json.loads(text))
    except ValueError as error:
        raise ValueError(f"The JSON schema is refused: {error}. Received: {text[:200]}") from error
    return regular_expression(pattern, tokenizer, vocab_size, max_new_tokens)


def without_words(
    words: Sequence[str],
    tokenizer: Any,
    vocab_size: int | None = None,
    max_new_tokens: int | None = None,
) -> Automaton:
    """Responses in which none of some words occurs, spelled in whatever tokens.

    Args:
        words: list of str; of one that is part of another word nothing is asked of what stands around it.
        tokenizer, vocab_size, max_new_tokens: see ``regular_expression``.

    Returns:
        Automaton.

    Raises:
        ValueError: if there is no word, or an empty one.
    """
    nodes, found = _search(_as_bytes(words))
    steps = np.where(found[nodes], -1, nodes)  # into a word there is no step
    return _lifted(steps, np.ones(len(nodes), "bool"), tokenizer, vocab_size, max_new_tokens)


def with_words(
    words: Sequence[str],
    tokenizer: Any,
    vocab_size: int | None = None,
    max_new_tokens: int | None = None,
) -> Automaton:
    """Responses in which each of some words occurs: before all have been said, none may end.

    Args:
        words: list of str.
        tokenizer, vocab_size, max_new_tokens: see ``regular_expression``. With a limit, the words come in time.

    Returns:
        Automaton.

    Raises:
        ValueError: if there is no word, or an empty one.
    """
    automaton = None
    for word in _as_bytes(words):
        nodes, found = _search([word])
        nodes[found] = np.nonzero(found)[0][:, None]  # once said, it stays said
        one = _lifted(nodes, found, tokenizer, vocab_size, None)
        automaton = one if automaton is None else automaton & one
    return automaton if max_new_tokens is None else automaton.within(max_new_tokens)


def _search(words):
    """The automaton that looks for words in bytes: (int32[N, 256] its next nodes, bool[N] whether one has just been
    read)."""
    search = word_search(words, 256)
    found = np.zeros(len(search.nodes), "bool")
    found[list(search.ends.values())] = True
    return search.nodes, search.with_suffixes(found)


def _lifted(steps, accepting, tokenizer, vocab_size, max_new_tokens):
    """From int32[N, 256] over bytes, -1 where there is no step, to an Automaton over tokens."""
    pieces = text_pieces(tokenizer)
    columns, kinds = lift(steps, pieces, vocab_size or len(pieces))
    return Automaton(columns[:, kinds], accepting, tokenizer.stop_ids, max_new_tokens)


def _as_bytes(words):
    if isinstance(words, str) or not words or not all(words):
        raise ValueError(f"words is a list of words, none empty. Received: words={words!r}")
    return [word.encode("utf-8") for word in words]

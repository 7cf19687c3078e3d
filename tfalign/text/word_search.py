"""Many words looked for at once (Aho and Corasick 1975, "Efficient string matching")."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class WordSearch(NamedTuple):
    """An automaton of N nodes, each of which is a beginning of a word; node 0 is that of no symbol.

    >>> found = word_search([(0, 1), (1,)], alphabet=2)
    >>> node = found.nodes[found.nodes[0, 0], 1]
    >>> bool(node == found.ends[0, 1]), found.suffixes[node] == found.ends[(1,)]
    (True, True)
    """

    nodes: np.ndarray  # int32[N, A], the longest beginning that has been read after one more symbol
    suffixes: list[int]  # of each node the longest other one with which it ends
    order: list[int]  # the nodes, shorter ones first
    ends: dict[tuple[int, ...], int]  # word -> its node

    def with_suffixes(self, marks: np.ndarray) -> np.ndarray:
        """bool[N, ...], marks of nodes, with those of the words that end where they do."""
        marks = marks.copy()
        for node in self.order:
            marks[node] |= marks[self.suffixes[node]]
        return marks


def word_search(words: Iterable[Sequence[int]], alphabet: int) -> WordSearch:
    """The automaton that looks for words.

    Args:
        words: sequences of symbols below ``alphabet``: bytes, or token ids.
        alphabet: int, A, how many symbols there are.
    """
    children, ends = _tree(words)
    nodes = np.zeros((len(children), alphabet), "int32")
    suffixes, order, pending = [0] * len(children), [], deque([0])
    while pending:
        node = pending.popleft()
        order.append(node)
        if node:
            nodes[node] = nodes[suffixes[node]]
        for symbol, child in children[node].items():
            suffixes[child] = int(nodes[node, symbol])
            nodes[node, symbol] = child
            pending.append(child)
    return WordSearch(nodes, suffixes, order, ends)


def _tree(words):
    """(symbol -> child of every node, word -> its node)."""
    children: list[dict[int, int]] = [{}]
    ends = {}
    for word in words:
        node = 0
        for symbol in word:
            if symbol not in children[node]:
                children[node][symbol] = len(children)
                children.append({})
            node = children[node][symbol]
        ends[tuple(word)] = node
    return children, ends

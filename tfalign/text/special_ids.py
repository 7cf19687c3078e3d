"""Ids of special tokens by their role, as properties of every tokenizer; and what an id is."""

from __future__ import annotations

import operator
from collections.abc import Iterable


class SpecialIds:
    """What has ``special_ids``, a mapping of role to id; a property is None where there is no such token."""

    @property
    def pad_id(self) -> int | None:
        """int or None, as the other properties."""
        return self.special_ids.get("pad")

    @property
    def bos_id(self) -> int | None:
        return self.special_ids.get("bos")

    @property
    def eos_id(self) -> int | None:
        return self.special_ids.get("eos")

    @property
    def unk_id(self) -> int | None:
        return self.special_ids.get("unk")

    @property
    def cls_id(self) -> int | None:
        return self.special_ids.get("cls")

    @property
    def sep_id(self) -> int | None:
        return self.special_ids.get("sep")

    @property
    def mask_id(self) -> int | None:
        return self.special_ids.get("mask")

    @property
    def head_ids(self) -> tuple[int, ...]:
        """What stands in front of a text in training and decoding: (BOS,), else (CLS,), else ()."""
        return _first_of(self.bos_id, self.cls_id)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Every id after which a response is over: (EOS,), else (SEP,), else ()."""
        return _first_of(self.eos_id, self.sep_id)

    def has_text(self, token_id: int) -> bool:
        """Whether ``decode`` makes anything of the token."""
        return not self.is_special(token_id)


def _first_of(*ids):
    return tuple(token_id for token_id in ids if token_id is not None)[:1]


def check_ids(row: Iterable[int], num_ids: int) -> list[int]:
    """Token ids as a list.

    Raises:
        ValueError: if one is not a whole number in [0, num_ids).
    """
    try:
        ids = list(map(operator.index, row))
    except TypeError:
        ids = None
    if ids is None or (ids and not 0 <= min(ids) <= max(ids) < num_ids):
        wrong = [at for at in row if not _is_id(at, num_ids)]
        raise ValueError(
            f"A token's id must be a whole number in [0, {num_ids}). Received: {wrong[0]}"
        )
    return ids


def _is_id(value, num_ids):
    try:
        return 0 <= operator.index(value) < num_ids
    except TypeError:
        return False

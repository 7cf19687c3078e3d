"""KerasHub's tokenizers with the methods of ``Tokenizer``."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Iterable
from typing import Any

from tfalign.text.special_ids import SpecialIds, check_ids

_ROLES = {"pad": "pad_token_id", "bos": "start_token_id", "eos": "end_token_id"}
_ANCHORS = ("\n", ".", "0", "a")  # texts that something may follow


class KerasHubTokenizer(SpecialIds):
    """A KerasHub tokenizer; special tokens in a text are its letters.

    Args:
        hub: ``keras_hub.tokenizers.Tokenizer``. A pad that is also the end is taken as absent.

    Attributes:
        special_ids: mapping of role to id.
        vocab_size: int.
        chat_template: None.
    """

    chat_template = None

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        spellings = sorted(filter(None, hub.special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, spellings)) or r"(?!)")
        ids = {role: getattr(hub, name, None) for role, name in _ROLES.items()}
        if ids["pad"] == ids["eos"]:
            ids["pad"] = None
        known = {role: int(token_id) for role, token_id in ids.items() if token_id is not None}
        self.special_ids = types.MappingProxyType(known)
        self.vocab_size = hub.vocabulary_size()

    @classmethod
    def from_preset(cls, preset: str | os.PathLike) -> KerasHubTokenizer:
        """The tokenizer of a KerasHub preset."""
        import keras_hub  # an extra

        return cls(keras_hub.tokenizers.Tokenizer.from_preset(str(preset)))

    @property
    def stop_ids(self) -> tuple[int, ...]:
        second = getattr(self.hub, "end_token2_id", None)  # Llama 3's end of a turn
        return super().stop_ids + (() if second is None else (int(second),))

    def is_special(self, token_id: int) -> bool:
        """Whether ``decode`` leaves the token out."""
        return token_id in self.special_ids.values() or token_id in self.stop_ids

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Text to ids."""
        return self.encode_batch([text], bos, eos)[0]

    def encode_batch(
        self, texts: Iterable[str], bos: bool = False, eos: bool = False
    ) -> list[list[int]]:
        """``encode`` of many texts."""
        head = [self.special_ids["bos"]] if bos else []
        tail = [self.special_ids["eos"]] if eos else []
        return [head + self._plain(text) + tail for text in texts]

    def encode_following(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of texts as they stand behind other text: nothing is put in front of them."""
        return [self._plain(text, follows=True) for text in texts]

    def _plain(self, text, follows=False):
        """Ids of a text; the spelling of a special token is tokenised in two pieces, and is none then."""
        cuts = [0, *(match.start() + 1 for match in self._special.finditer(text)), len(text)]
        pieces = [text[start:end] for start, end in zip(cuts, cuts[1:])]
        return [
            token_id
            for at, piece in enumerate(pieces)
            if piece
            for token_id in (self._behind(piece) if at or follows else self._alone(piece))
        ]

    def _alone(self, text):
        return [int(token_id) for token_id in self.hub.tokenize(text)]

    def _behind(self, text):
        """Ids of a text without what SentencePiece puts in front of one: what an anchor's get it by."""
        for anchor in _ANCHORS:
            before, both = self._alone(anchor), self._alone(anchor + text)
            if before and both[: len(before)] == before:
                return both[len(before) :]
        return self._alone(text)

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Ids to str, without special tokens.

        Raises:
            ValueError: if an id is none of the vocabulary's.
        """
        del skip_special  # KerasHub has no spelling of them to show
        kept = [at for at in check_ids(ids, self.vocab_size) if not self.is_special(at)]
        return self.hub.detokenize(kept) if kept else ""

    def decode_batch(self, rows: Iterable[Iterable[int]], skip_special: bool = True) -> list[str]:
        """``decode`` of many rows."""
        return [self.decode(row, skip_special) for row in rows]

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the tokenizer into a KerasHub preset."""
        self.hub.save_to_preset(str(directory))

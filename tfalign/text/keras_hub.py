"""KerasHub's tokenizers with the methods of ``Tokenizer``."""

from __future__ import annotations

import os
import re
import types

from tfalign.text.special_ids import SpecialIds

_ROLES = {"pad": "pad_token_id", "bos": "start_token_id", "eos": "end_token_id"}


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

    def __init__(self, hub):
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
    def from_preset(cls, preset: str | os.PathLike):
        """The tokenizer of a KerasHub preset."""
        import keras_hub  # an extra

        return cls(keras_hub.tokenizers.Tokenizer.from_preset(str(preset)))

    def is_special(self, token_id):
        """bool, whether ``decode`` leaves the token out."""
        return token_id in self.special_ids.values()

    def encode(self, text, bos=False, eos=False):
        """Text to ids, a list of int."""
        return self.encode_batch([text], bos, eos)[0]

    def encode_batch(self, texts, bos=False, eos=False):
        """``encode`` of many texts. Returns a list of lists of int."""
        head = [self.special_ids["bos"]] if bos else []
        tail = [self.special_ids["eos"]] if eos else []
        return [head + self._plain(text) + tail for text in texts]

    def _plain(self, text):
        """Ids of a text; the spelling of a special token is tokenised in two pieces, and is none then."""
        cuts = [0, *(match.start() + 1 for match in self._special.finditer(text)), len(text)]
        pieces = [text[start:end] for start, end in zip(cuts, cuts[1:])]
        return [int(i) for piece in pieces if piece for i in self.hub.tokenize(piece)]

    def decode(self, ids, skip_special=True):
        """Ids to str, without special tokens."""
        del skip_special  # KerasHub has no spelling of them to show
        kept = [int(i) for i in ids if not self.is_special(int(i))]
        return self.hub.detokenize(kept) if kept else ""

    def decode_batch(self, rows, skip_special=True):
        """``decode`` of many rows. Returns a list of str."""
        return [self.decode(row, skip_special) for row in rows]

    def save(self, directory):
        """Writes the tokenizer into a KerasHub preset."""
        self.hub.save_to_preset(str(directory))

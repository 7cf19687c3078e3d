"""Ids of special tokens by their role, as properties of every tokenizer."""

from __future__ import annotations


class SpecialIds:
    """What has ``special_ids``, a mapping of role to id; a property is None where there is no such token."""

    @property
    def pad_id(self):
        """int or None, as the other properties."""
        return self.special_ids.get("pad")

    @property
    def bos_id(self):
        return self.special_ids.get("bos")

    @property
    def eos_id(self):
        return self.special_ids.get("eos")

    @property
    def unk_id(self):
        return self.special_ids.get("unk")

    @property
    def cls_id(self):
        return self.special_ids.get("cls")

    @property
    def sep_id(self):
        return self.special_ids.get("sep")

    @property
    def mask_id(self):
        return self.special_ids.get("mask")

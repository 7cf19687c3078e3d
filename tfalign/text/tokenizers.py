"""Tokenizers with explicit special tokens, over the ``tokenizers`` library.

A special token is known by its role ("pad", "bos", "eos", "unk", "cls", "sep", "mask", or any role
of your own), and is written by whoever builds the sequence, never found in somebody's text: a user
who types ``<|eos|>`` gets its letters.
"""

from __future__ import annotations

import contextlib
import functools
import os
import types
from collections.abc import Iterable, Mapping, Sequence

import tokenizers

from tfalign.text import cores, tokenizer_files
from tfalign.text.special_ids import SpecialIds, check_ids
from tfalign.text.stream import without_spaces


class Tokenizer(SpecialIds):
    """A ``tokenizers.Tokenizer`` whose special tokens have roles.

    Args:
        core: ``tokenizers.Tokenizer``; the wrapper keeps a copy of its own. What its post-processor
            puts in front of a text is put there in training and decoding.
        special_tokens: mapping of role to spelling, for instance ``{"eos": "<|eos|>"}``. A "pad"
            spelled like the "eos" is taken as absent, since it would hide where a text ends.
        chat_template: str, the Jinja source that writes conversations, see ``text.chat``; None for none.
        clean_up: bool, whether ``decode`` takes out spaces before punctuation and within English
            contractions ("clean_up_tokenization_spaces" of transformers); text is lost by it.
        stop_ids: every id after which a response is over; the EOS (or SEP) alone where None.
        other_templates: name to chat template; "tool_use" is taken where tools are given.
        settings: further entries of tokenizer_config.json, which ``save`` writes again.
        num_ids: int, rows of the model's embedding where they are more than ``vocab_size``; ``decode``
            makes nothing of such an id.

    Attributes:
        special_tokens, special_ids: mappings of role to spelling, and of role to id.
        template_tokens: mapping of role to spelling, what a chat template may write, a pad that is the
            eos too.
        special_spellings: frozenset of str, those of all special tokens, of a role or not.
        vocab_size: int, one more than the largest id.
        head_ids: tuple of int, what stands in front of a text.
        stop_ids: tuple of int.

    Raises:
        ValueError: if a special token is not in the vocabulary, plain text can produce it, or an id is
            larger than any vocabulary's.

    >>> from tfalign.text import train_byte_bpe
    >>> tokenizer = train_byte_bpe(["hello world", "你好，世界"], vocab_size=300)
    >>> tokenizer.decode(tokenizer.encode("世界 <|eos|>"))
    '世界 <|eos|>'
    >>> tokenizer.encode("", eos=True) == [tokenizer.eos_id]
    True
    """

    def __init__(
        self,
        core: tokenizers.Tokenizer,
        special_tokens: Mapping[str, str],
        chat_template: str | None = None,
        clean_up: bool = False,
        stop_ids: Iterable[int] | None = None,
        other_templates: Mapping[str, str] | None = None,
        settings: Mapping | None = None,
        num_ids: int = 0,
    ) -> None:
        cores.check_size(core)
        self.template_tokens = types.MappingProxyType(dict(special_tokens))
        roles = _known_roles(core, special_tokens)
        self._hold(cores.copy(core), roles)
        self.chat_template = chat_template
        self.other_templates = types.MappingProxyType(dict(other_templates or {}))
        self.settings = types.MappingProxyType(dict(settings or {}))
        self.clean_up = clean_up
        self.special_tokens = types.MappingProxyType(roles)
        self.special_ids = types.MappingProxyType(
            {role: core.token_to_id(spelling) for role, spelling in roles.items()}
        )
        # Rows that an embedding needs; ids of a published vocabulary may have gaps.
        self.vocab_size = cores.check_size(self._special)
        self.num_ids = max(num_ids, self.vocab_size)
        self.usual_stop_ids = super().stop_ids
        self._stop_ids = self.usual_stop_ids if stop_ids is None else tuple(map(int, stop_ids))
        self._head_ids = self._put_in_front()
        self._check_plain_text_is_plain()

    def _hold(self, core, roles):
        """Takes a core in which special tokens count, and makes one of it in which they do not."""
        core.add_special_tokens(list(roles.values()))
        core.no_padding()
        core.no_truncation()
        core.encode_special_tokens = False
        self._special = core
        self._added = core.get_added_tokens_decoder()
        special = {at: token.content for at, token in self._added.items() if token.special}
        self._skipped = frozenset(special)
        self.special_spellings = frozenset(special.values())
        self._plain = cores.without_words(core, self.special_spellings - {roles.get("unk")})
        self._plain.encode_special_tokens = True
        self._plain.post_processor = None  # it would move where tokens begin

    @property
    def core(self) -> tokenizers.Tokenizer:
        """The library's tokenizer; not to be changed."""
        return self._special

    @property
    def head_ids(self) -> tuple[int, ...]:
        return self._head_ids

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self._stop_ids

    @functools.cached_property
    def byte_tokens(self) -> frozenset[int]:
        """Ids of byte fallback, see ``cores.byte_tokens``."""
        return cores.byte_tokens(self._special)

    @functools.cached_property
    def begins_anew_at_spaces(self) -> bool:
        """Whether the tokens from a space on, behind a letter, do not depend on what stands before."""
        return cores.begins_anew_at_spaces(self._special)

    def is_special(self, token_id: int) -> bool:
        """Whether ``decode`` leaves the token out."""
        return token_id in self._skipped

    def has_text(self, token_id: int) -> bool:
        """Whether ``decode`` makes anything of the token: it is not special, and there is one."""
        return not self.is_special(token_id) and self.token(token_id) is not None

    def encode(
        self, text: str, bos: bool = False, eos: bool = False, allow_special: bool = False
    ) -> list[int]:
        """Text to ids.

        Args:
            text: str.
            bos: bool, put the "bos" token in front.
            eos: bool, put the "eos" token behind.
            allow_special: bool, read the spelling of a special token as that token. Only for text
                that the program itself wrote: in a user's text it would let the user end a turn.

        Returns:
            list of int.

        Raises:
            ValueError: if the text holds half a surrogate pair, or the token asked for is absent.
        """
        return self.encode_batch([text], bos, eos, allow_special)[0]

    def encode_batch(
        self,
        texts: Iterable[str],
        bos: bool = False,
        eos: bool = False,
        allow_special: bool = False,
    ) -> list[list[int]]:
        """``encode`` of many texts, on all cores."""
        head = [self._required("bos")] if bos else []
        tail = [self._required("eos")] if eos else []
        rows = _encode_all(self._special if allow_special else self._plain, texts)
        return [head + ids + tail for ids in rows] if head or tail else rows

    def encode_following(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of texts as they stand behind other text: nothing is put in front of them.

        Where it is known what stands before, ``text.encode_joined`` has the tokens of the whole.
        """
        return _encode_all(self._following, texts)

    def encode_written(
        self, text: str, special: Sequence[tuple[int, int]], follows: bool = False
    ) -> tuple[list[int], list[int]]:
        """Ids of a text in which special tokens stand at known places, and nowhere else.

        Args:
            text: str.
            special: where special tokens are spelled that count as such, (start, end) each, in order.
            follows: bool, whether other text stands before it, as for ``encode_following``.

        Returns:
            the ids, and where in the text each begins.

        Raises:
            ValueError: if the text holds half a surrogate pair, or the vocabulary has a special token
                for what is plain text.
        """
        if follows:
            end = special[0][0] if special else len(text)
            ids, starts = self._located(self._following, text[:end], 0)
            rest = [(start - end, stop - end) for start, stop in special]
            more, more_starts = (
                self.encode_written(text[end:], rest) if end < len(text) else ([], [])
            )
            return ids + more, starts + [end + start for start in more_starts]
        encoding = _encode_one(self._locating, text)
        found = [
            (start, end)
            for at, (start, end) in zip(encoding.ids, encoding.offsets)
            if at in self._skipped and at != self.unk_id
        ]
        if len(found) == len(special) and all(
            start <= wanted_start and wanted_end <= end
            for (start, end), (wanted_start, wanted_end) in zip(found, special)
        ):
            return encoding.ids, [start for start, _ in encoding.offsets]
        return self._in_pieces(text, special)

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Ids (ints, or an integer array) to str; bytes that are not UTF-8 become U+FFFD.

        Raises:
            ValueError: if an id is none of the vocabulary's, nor of the model's embedding.
        """
        return self.decode_batch([ids], skip_special)[0]

    def decode_batch(self, rows: Iterable[Iterable[int]], skip_special: bool = True) -> list[str]:
        """``decode`` of many rows, on all cores."""
        rows = [check_ids(row, self.num_ids) for row in rows]
        with cores.one_sentence("The tokenizer has no text for ids"):
            texts = self._special.decode_batch(rows, skip_special_tokens=skip_special)
        return [without_spaces(text) for text in texts] if self.clean_up else texts

    def decode_spaced(self, ids: Iterable[int]) -> str:
        """``decode`` before spaces are cleaned up."""
        with cores.one_sentence("The tokenizer has no text for ids"):
            return self._special.decode(check_ids(ids, self.num_ids))

    def token(self, token_id: int) -> str | None:
        """The vocabulary's spelling of the id, or None where there is none."""
        token_id = int(token_id)
        return self._special.id_to_token(token_id) if 0 <= token_id < self.vocab_size else None

    def to_json(self, pretty: bool = False) -> str:
        """What tokenizer.json would hold."""
        return self._special.to_str(pretty=pretty)

    def save(self, directory: str | os.PathLike) -> None:
        """Writes ``tokenizer.json`` and what belongs to it into ``directory``, as transformers reads
        it; stop ids that config.json there does not say go into generation_config.json.

        Raises:
            OSError: if that fails; files that were there before are whole.
        """
        tokenizer_files.write(directory, self)

    @classmethod
    def load(
        cls, path: str | os.PathLike, special_tokens: Mapping[str, str] | None = None
    ) -> Tokenizer:
        """Reads a ``tokenizer.json``, of ours or anybody's, and what stands beside it.

        Args:
            path: the file, or the directory that holds it.
            special_tokens: mapping of role to spelling; by default what ``tokenizer_config.json``
                beside it says, else the usual spellings among its special tokens.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not a tokenizer, or a file beside it is not what it should be.
        """
        with cores.one_sentence(f"{path} is not a tokenizer"):
            return cls(**tokenizer_files.read(path, special_tokens))

    @functools.cached_property
    def _following(self):
        return cores.following(self._plain)

    @functools.cached_property
    def _after_special(self):
        return cores.after_special(self._plain)

    @functools.cached_property
    def _locating(self):
        if self._special.post_processor is None:
            return self._special
        core = cores.copy(self._special)
        core.post_processor = None
        return core

    def _put_in_front(self):
        head = cores.head_of(self._special)
        if head is not None:
            return head
        if self.bos_id is None:
            return super().head_ids
        return (self.bos_id,) if self.settings.get("add_bos_token") else ()

    def _in_pieces(self, text, special):
        """``encode_written`` where the library would find other special tokens than those."""
        ids, starts, begin, core = [], [], 0, self._plain
        for start, end in [*special, (len(text), len(text))]:
            token_id = self._special.token_to_id(text[start:end]) if start < end else None
            added = self._added.get(token_id)
            piece = text[begin:start]
            piece = piece.rstrip() if added is not None and added.lstrip else piece
            more, more_starts = self._located(core, piece, begin)
            if not self._skipped.isdisjoint(set(more) - {self.unk_id}):
                raise ValueError(
                    "The tokenizer has a special token for what is plain text here."
                    f" Received: {piece[:200]!r}"
                )
            ids, starts, begin, core = ids + more, starts + more_starts, end, self._after_special
            if token_id is not None:
                ids.append(token_id)
                starts.append(start)
            if added is not None and added.rstrip:
                begin += len(text) - end - len(text[end:].lstrip())
        return ids, starts

    def _located(self, core, text, begin):
        encoding = _encode_one(core, text)
        return encoding.ids, [begin + start for start, _ in encoding.offsets]

    def _required(self, role):
        if role not in self.special_ids:
            known = ", ".join(self.special_ids) or "none"
            raise ValueError(f"The tokenizer has no {role} token. Received roles: {known}")
        return self.special_ids[role]

    def _check_plain_text_is_plain(self):
        for role, token_id in self.special_ids.items():
            spelling = self.special_tokens[role]
            if role != "unk" and (spelling.isalnum() or token_id in self.encode(spelling)):
                raise ValueError(
                    f"The {role} token must not be a word that plain text can hold; use brackets "
                    f"around letters, as in '<|eos|>'. Received: {spelling!r}"
                )


def _known_roles(core, special_tokens):
    """Role to spelling; a pad that is also eos is none."""
    roles = dict(special_tokens)
    if "eos" in roles and roles.get("pad") == roles["eos"]:
        del roles["pad"]
    for role, spelling in roles.items():
        if core.token_to_id(spelling) is None:
            raise ValueError(f"The {role} token must be in the vocabulary. Received: {spelling!r}")
    return roles


def _encode_all(core, texts):
    texts = list(texts)
    with _about(texts):
        return [
            encoding.ids for encoding in core.encode_batch_fast(texts, add_special_tokens=False)
        ]


def _encode_one(core, text):
    with _about([text]):
        return core.encode(text, add_special_tokens=False)


@contextlib.contextmanager
def _about(texts):
    """Says which of the texts is none, where the library fails."""
    try:
        with cores.one_sentence("The tokenizer has no tokens for a text"):
            yield
    except ValueError as error:
        raise ValueError(_why_not_text(texts) or str(error)) from None


def _why_not_text(texts):
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return f"Text {index} must be a str. Received: {type(text).__name__}"
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return (
                f"Text {index} is not Unicode text: half a surrogate pair at character "
                f"{error.start}. Received: {text[error.start : error.start + 1]!a}"
            )
    return None

"""Text out of tokens as they come."""

from __future__ import annotations

from typing import Any

from tfalign.threads import one_thread_at_a_time

_REPLACEMENT = "\ufffd"
# What loses its spaces, one after the other, when a decoded text is cleaned up as transformers does.
_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
_REACH = max(map(len, _SPACED)) - 1  # characters behind a space that decide whether it goes


def without_spaces(text: str) -> str:
    """A text without the spaces before punctuation and within English contractions."""
    for spaced in _SPACED:
        text = text.replace(spaced, spaced.strip())
    return text


class StreamDecoder:
    """Text out of tokens as they come, never a character that a later token could change.

    What ``push`` returned so far, and ``flush`` at the end, add up to ``tokenizer.decode`` of all. Of a
    tokenizer with byte fallback (Llama 2's), a run of bytes comes when it is over, since one broken
    byte breaks all of its characters.

    Args:
        tokenizer: any tokenizer of the library.

    >>> from tfalign.text import train_byte_bpe
    >>> tokenizer = train_byte_bpe(["a"], vocab_size=259)
    >>> stream = StreamDecoder(tokenizer)
    >>> [stream.push(token_id) for token_id in tokenizer.encode("好!")]
    ['', '', '好', '!']
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._byte_tokens = getattr(tokenizer, "byte_tokens", frozenset())
        self._decode = getattr(tokenizer, "decode_spaced", tokenizer.decode)
        self._window = []  # ids whose text is not all out, after one whose text is
        self._num_shown = 0  # characters of the window's text that are out
        self._cleaning = _CleaningUp() if getattr(tokenizer, "clean_up", False) else None

    @one_thread_at_a_time
    def push(self, token_id: int) -> str:
        """Takes the next token. Returns the further text that is now certain, often ''."""
        text = self._pushed(int(token_id))
        return self._cleaning.push(text) if self._cleaning else text

    @one_thread_at_a_time
    def flush(self) -> str:
        """Ends the text. Returns what was held back, U+FFFD for broken characters."""
        text = self._decode(self._window)[self._num_shown :]
        self._window, self._num_shown = [], 0
        return self._cleaning.push(text) + self._cleaning.flush() if self._cleaning else text

    def _pushed(self, token_id):
        if not self._tokenizer.has_text(token_id):
            self._decode([token_id])  # refuses what is no id at all
            return ""
        self._window.append(token_id)
        if token_id in self._byte_tokens:
            return ""
        text = self._decode(self._window)
        certain = text.rstrip(_REPLACEMENT)  # it may be the start of a character
        fresh = certain[self._num_shown :]
        self._num_shown = max(self._num_shown, len(certain))
        if certain == text:
            # A decoder may treat the very first token on its own, so one stays as context.
            self._window = [token_id]
            self._num_shown = len(self._decode(self._window))
        return fresh


class _CleaningUp:
    """``without_spaces``, of text that comes in parts."""

    def __init__(self):
        self._held = ""

    def push(self, text):
        self._held += text
        end = len(self._held)
        while end and " " in self._held[max(end - _REACH, 0) : end]:
            end -= 1
        certain, self._held = self._held[:end], self._held[end:]
        return without_spaces(certain)

    def flush(self):
        text, self._held = without_spaces(self._held), ""
        return text

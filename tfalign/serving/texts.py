"""The text of a response as its tokens come, ended by stop strings."""

from __future__ import annotations

from collections.abc import Sequence

from tfalign.text import StreamDecoder, Tokenizer
from tfalign.threads import one_thread_at_a_time


class StoppedText:
    """Text that is certain: never half a character, never part of a stop string.

    Args:
        tokenizer: ``tfalign.text.Tokenizer``.
        stops: strings that end the text and are not part of it.

    Attributes:
        is_stopped: bool, whether a stop string has come.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.is_stopped = False

    @one_thread_at_a_time
    def push(self, token_id: int) -> str:
        """Takes a token. Returns str, the further text that is certain now."""
        return self._release(self._decoder.push(token_id), is_last=False)

    @one_thread_at_a_time
    def flush(self) -> str:
        """Ends the text. Returns str, what was held back."""
        return self._release(self._decoder.flush(), is_last=True)

    def _release(self, text, is_last):
        if self.is_stopped:
            return ""
        self._held += text
        places = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if places:
            self.is_stopped = True
            return self._held[: min(places)]
        kept = 0 if is_last else self._could_begin_a_stop()
        certain = self._held[: len(self._held) - kept]
        self._held = self._held[len(certain) :]
        return certain

    def _could_begin_a_stop(self):
        """int, characters at the end that a stop string may begin with."""
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, min(len(stop), len(self._held) + 1))
                if self._held.endswith(stop[:size])
            ),
            default=0,
        )

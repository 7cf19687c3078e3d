"""Pairs of whole transcripts, as in hh-rlhf (Bai et al. 2022)."""

from __future__ import annotations

import os
from typing import Any

from tfalign.data.readers.values import read_texts
from tfalign.data.records import BadRecordError

_ASSISTANT_TURN = "\n\nAssistant:"


def split_transcripts(row: dict[str, Any] | BadRecordError, where: str) -> dict[str, str]:
    """Two transcripts to prompt and answers, and the chosen one as text and completion too.

    The prompt ends with the last "Assistant:" of what the two have in common.

    Raises:
        BadRecordError: the row itself if it is one; if a transcript is missing or no text, or the two
            share no turn.
    """
    chosen, rejected = read_texts(row, ("chosen", "rejected"), where).values()
    shared = os.path.commonprefix([chosen, rejected])
    start = shared.rfind(_ASSISTANT_TURN)
    if start < 0:
        raise BadRecordError(where, "the transcripts share no 'Assistant:' turn")
    end = start + len(_ASSISTANT_TURN)
    return {
        "text": chosen,
        "prompt": chosen[:end],
        "completion": chosen[end:],
        "chosen": chosen[end:],
        "rejected": rejected[end:],
    }

"""Chinese advertisements for clothes from their attributes: the AdvertiseGen data (Shao et al. 2019)."""

from __future__ import annotations

import json
import os
import re

from tfalign.applications.content.briefs import Brief, Told
from tfalign.applications.content.slots import SlotChecker
from tfalign.files import as_path

_CLAUSE = re.compile(r"[^，。！？；,!?;]*[，。！？；,!?;]?")
_UNKNOWN = "<UNK>"

CHECKER = SlotChecker({})
"""A slot is told where its value stands in the text; nothing else is known to be a claim."""


def read_clothing(*files: str | os.PathLike) -> list[Told]:
    """Briefs with their texts, of JSON lines with "content" (attributes, "类型#裙*颜色#白色") and "summary".

    Clauses with the data's placeholder for unknown words are left out of the texts.

    Args:
        files: paths.

    Raises:
        ValueError: naming file and line of a row without attributes or without a text.
    """
    told = []
    for file in files:
        with as_path(file).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line)
                pairs = [part.partition("#")[::2] for part in row.get("content", "").split("*")]
                text = without_unknown(row.get("summary", ""))
                if not text or not all(name and value for name, value in pairs):
                    raise ValueError(
                        f"{file}:{number}: a row has attributes in content and a text in summary. "
                        f"Received: {row!r}"
                    )
                told.append(Told(Brief(tuple(dict.fromkeys(pairs)), language="zh"), (text,)))
    return told


def without_unknown(text: str) -> str:
    """A text without the clauses in which a word is unknown.

    >>> without_unknown("时尚<UNK>，很美。显瘦，")
    '很美。显瘦，'
    """
    return "".join(clause for clause in _CLAUSE.findall(text) if _UNKNOWN not in clause)

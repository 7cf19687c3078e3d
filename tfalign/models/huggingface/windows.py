"""Sliding windows as config.json states them: which blocks have one."""

from __future__ import annotations

from collections.abc import Sequence

from tfalign.models.huggingface.kinds import SWITCH, shortened

WINDOWED, DENSE = "sliding_attention", "full_attention"


def read_windows(entries: dict, window: int | None, types: Sequence[str]) -> dict:
    """Entries with the window and the numbers of the blocks it applies to, or with neither."""
    windowed = tuple(i for i, kind in enumerate(types) if kind == WINDOWED)
    if windowed and window is None:
        raise ValueError(
            f"layer_types has a {WINDOWED!r}, for which sliding_window must be used and a number."
        )
    return entries | {
        "sliding_window": window if windowed else None,
        "windowed_blocks": windowed or None,
    }


def stated_types(entries: dict) -> list[str] | None:
    """``layer_types``, or None."""
    types, count = entries.get("layer_types"), entries.get("num_hidden_layers", 0)
    if types is None:
        return None
    if (
        not isinstance(types, list)
        or len(types) != count
        or any(kind not in (WINDOWED, DENSE) for kind in types)
    ):
        raise ValueError(
            f"layer_types must say {WINDOWED!r} or {DENSE!r} of each of {count} layers."
            f" Received: layer_types={shortened(types)}"
        )
    return types


def used_window(entries: dict, default: int | None) -> int | None:
    """``sliding_window`` where ``use_sliding_window`` says so, else None."""
    used = entries.get("use_sliding_window", False)
    SWITCH.check("use_sliding_window", used)
    return entries.get("sliding_window", default) if used else None


def layer_types(entries: dict) -> list[str]:
    """``layer_types`` of entries with ``windowed_blocks``."""
    windowed = entries["windowed_blocks"] or ()
    blocks = range(entries["num_hidden_layers"])
    return [WINDOWED if block in windowed else DENSE for block in blocks]


def without_blocks(entries: dict) -> dict:
    """Entries without ``windowed_blocks``, which no config.json has."""
    return {key: value for key, value in entries.items() if key != "windowed_blocks"}

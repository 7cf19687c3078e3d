"""What a setting's value may be, by the setting's name in tfalign's configurations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Kind(NamedTuple):
    what: str
    accepts: Callable[[Any], bool]

    def check(self, key: str, value: Any) -> None:
        """
        Raises:
            ValueError: if the value of the key is not of this kind.
        """
        if not self.accepts(value):
            raise ValueError(f"{key} must be {self.what}. Received: {key}={shortened(value)}")


def shortened(value: Any) -> str:
    """A value in a message, at most 100 characters of it; an int of a million digits has no repr."""
    try:
        text = repr(value)
    except ValueError:
        text = "an integer of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _is_whole(value, least, most):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: Any) -> bool:
    """Whether it is finite, and no bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


_MOST = 2**31 - 1  # what an int32 index reaches
COUNT = Kind("a whole number from 1 on", lambda v: _is_whole(v, 1, _MOST))
_COUNT_OR_NONE = Kind("a whole number from 0 on", lambda v: _is_whole(v, 0, _MOST))
_LAYERS = Kind("a whole number from 1 to 10,000", lambda v: _is_whole(v, 1, 10_000))
_RATE = Kind("a number from 0 to below 1", lambda v: is_number(v) and 0 <= v < 1)
_POSITIVE = Kind("a positive number", lambda v: is_number(v) and v > 0)
_NOT_NEGATIVE = Kind("a number from 0 on", lambda v: is_number(v) and v >= 0)
SWITCH = Kind("true or false", lambda v: isinstance(v, bool))
_NAME = Kind("a name", lambda v: isinstance(v, str))
OBJECT = Kind("an object", lambda v: isinstance(v, dict))
NUMBERS = Kind(
    "a list of whole numbers",
    lambda v: isinstance(v, list | tuple) and all(_is_whole(item, 0, _MOST) for item in v),
)

KINDS = {
    **dict.fromkeys(
        ("vocab_size", "width", "num_heads", "num_key_value_heads", "head_dim", "hidden_dim"), COUNT
    ),
    **dict.fromkeys(
        ("max_positions", "attention_window", "order", "embedding_width", "hidden_width"), COUNT
    ),
    **dict.fromkeys(("num_experts", "num_experts_per_token", "expert_dim"), COUNT),
    "expert_capacity": _POSITIVE,
    "router_loss": _NOT_NEGATIVE,
    "normalized_routing": SWITCH,
    "dense_blocks": NUMBERS,
    "num_layers": _LAYERS,
    "num_token_types": _COUNT_OR_NONE,
    **dict.fromkeys(("rotary_base", "local_rotary_base", "query_pre_attention_scalar"), _POSITIVE),
    **dict.fromkeys(("attention_softcap", "logit_softcap"), _POSITIVE),
    "norm_epsilon": _NOT_NEGATIVE,
    "initializer_range": _NOT_NEGATIVE,
    **dict.fromkeys(("dropout", "attention_dropout", "embedding_dropout"), _RATE),
    **dict.fromkeys(("gated", "use_bias", "attention_bias", "attention_output_bias"), SWITCH),
    **dict.fromkeys(("head_norm", "tied", "direct", "scaled_embedding"), SWITCH),
    **dict.fromkeys(("activation", "norm", "norm_placement", "cell", "pooler_activation"), _NAME),
    "rotary_scaling": OBJECT,
    "windowed_blocks": NUMBERS,
    "unrotated_blocks": NUMBERS,
}

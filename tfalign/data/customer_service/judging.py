"""What the gold reward says of responses in detail: its parts, and whether facts are the customer's own."""

from __future__ import annotations

import numpy as np

from tfalign.data.customer_service.gold import gold_components, names_own

_CHECKS = {
    "right order number": "order",
    "right city": "city",
    "right product": "product",
    "right user name": "user",
}


def gold_details(prompts: list[str], responses: list[str]) -> tuple[dict, dict]:
    """(parts of the gold reward, checks: 1 where right, 0 where wrong, NaN where nothing is named), each a
    dict of name to float64[N]."""
    rows = list(map(gold_components, prompts, responses))
    parts = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    checks = {
        name: np.array(
            [names_own(slot, *pair) for pair in zip(prompts, responses)], dtype="float64"
        )
        for name, slot in _CHECKS.items()
    }
    return parts, checks

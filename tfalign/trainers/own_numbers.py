"""What holds where an option is not given: the numbers of each algorithm and each preference loss.

The numbers themselves are in ``training.algorithms`` and ``training.preferences``, with their sources; a test
compares. They stand here once more because this module imports neither Keras nor TensorFlow, so that
``tfalign align --algorithm=grpo --help`` prints at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfalign.trainers.on_policy_options import AlgorithmOptions, CreditOptions, KLOptions
from tfalign.trainers.options import LossOptions

_EVERY = {
    "minibatch_size": "batch_size",
    "group_size": 1,
    "update_epochs": 1,
    "redraws": 0,
    "drop_zero_spread": False,
    "overlong_share": 0.0,
    "kl_coefficient": 0.05,
    "kl_in": "reward",
}
_POLICY = _EVERY | {"entropy_coefficient": 0.0, "aggregate": "token_mean", "kl_estimator": "k3"}
_RETURNS = _POLICY | {"gamma": 1.0, "whiten_advantages": False}
_CRITIC = _RETURNS | {
    "gae_lambda": 0.95,
    "value_coefficient": 0.1,
    "whiten_rewards": False,
    "whiten_advantages": True,
}
_CLIP = {"clip": 0.2, "clip_high": "clip"}
_GROUPS = {"group_size": 8, "kl_coefficient": 0.0, "kl_in": "loss"}
_QUARTERS = {"minibatch_size": "batch_size / 4"}

ALGORITHM_NUMBERS: Mapping[str, Mapping[str, Any]] = {
    "ppo": _CRITIC | _QUARTERS | {"update_epochs": 4, "clip": 0.2, "value_clip": 0.2},
    "a2c": _CRITIC,
    "vtrace": _POLICY | {"gamma": 1.0, "value_coefficient": 0.5, "whiten_rewards": False},
    "reinforce": _RETURNS,
    "reinforce_moving": _RETURNS,
    "reinforce_baseline": _CRITIC | {"gae_lambda": 1.0, "whiten_advantages": False},
    "reinforce_is": _RETURNS | {"cap": 5.0},
    "reinforce_pp": _RETURNS | _CLIP | {"kl_coefficient": 0.01, "whiten_advantages": True},
    "remax": _RETURNS,
    "rloo": _POLICY | {"group_size": 4},
    "grpo": _POLICY | _GROUPS | _CLIP | {"aggregate": "sequence_mean", "kl_coefficient": 0.04},
    "dr_grpo": _POLICY | _GROUPS | _CLIP | {"aggregate": "fixed_length_mean"},
    "dapo": _POLICY
    | _GROUPS
    | _QUARTERS
    | {"clip": 0.2, "clip_high": 0.28, "redraws": 2, "drop_zero_spread": True}
    | {"overlong_share": 0.2},
    "cispo": _POLICY | _GROUPS | _QUARTERS | {"cap": 5.0},
    "gspo": _POLICY
    | _GROUPS
    | _QUARTERS
    | {"clip": 3e-4, "clip_high": 4e-4, "aggregate": "sequence_mean"},
    "turn_ppo": _CRITIC | _QUARTERS | {"update_epochs": 4, "clip": 0.2, "value_clip": 0.2},
    "turn_grpo": _POLICY | _GROUPS | _CLIP | {"aggregate": "sequence_mean", "kl_coefficient": 0.04},
    "online_dpo": _EVERY | _GROUPS | {"group_size": 2, "beta": 0.1},
    "rejection_sampling": _POLICY | _GROUPS,
}
"""Name of an algorithm -> name of an option -> its number; an option that is absent has no use with it."""

_PAIRS = {"beta": 0.1, "nll_coefficient": 0.0}
LOSS_NUMBERS: Mapping[str, Mapping[str, Any]] = {
    "dpo": _PAIRS | {"label_smoothing": 0.0},
    "cdpo": _PAIRS | {"label_smoothing": 0.1},
    "robust_dpo": _PAIRS | {"label_smoothing": 0.1},
    "slic": _PAIRS,
    "ipo": _PAIRS | {"per_token": True},
    "kto": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    "orpo": {"beta": 0.1, "nll_coefficient": 1.0},
    "simpo": _PAIRS | {"beta": 2.5, "gamma": 1.375},
    "cpo": {"beta": 0.1, "nll_coefficient": 1.0},
}
"""Name of a preference loss -> name of an option -> its number, see ``ALGORITHM_NUMBERS``."""


def of_algorithm(name: str) -> dict[str, str]:
    """What ``--help`` says of the options whose numbers are an algorithm's own.

    >>> of_algorithm("grpo")["group_size"], of_algorithm("grpo")["gae_lambda"]
    ('grpo: 8', 'not used by grpo')
    """
    return _told(name, ALGORITHM_NUMBERS, (AlgorithmOptions, CreditOptions, KLOptions))


def of_loss(name: str) -> dict[str, str]:
    """The same of a preference loss.

    >>> of_loss("simpo")["beta"]
    'simpo: 2.5'
    """
    return _told(name, LOSS_NUMBERS, (LossOptions,))


def _told(name: str, table, records: Iterable[type]) -> dict[str, str]:
    if name not in table:  # the flag itself is refused, with the names that exist
        return {}
    fields = [field for kind in records for field in dataclasses.fields(kind)]
    own = [f.name for f in fields if f.default is None and f.name not in ("chunk", "target_kl")]
    numbers = table[name]
    return {
        option: f"{name}: {_shown(numbers[option])}" if option in numbers else f"not used by {name}"
        for option in own
    }


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)

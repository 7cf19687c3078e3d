"""The on-policy algorithms by name: a credit, an objective and their paper's numbers.

All run on the same RolloutWorker, Learner and loop. What a paper's numbers are for is large models;
sizes of groups and coefficients are its, learning rates are the experiment's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tfalign.functional.aggregation import fixed_length_mean, token_mean
from tfalign.functional.importance import log_ratio_to_go
from tfalign.functional.kl import k3
from tfalign.objectives import (
    A2C,
    GRPO,
    GSPO,
    PPO,
    OnlineDPO,
    PolicyObjective,
    Reinforce,
    TruncatedImportance,
    VTrace,
)
from tfalign.training.baselines import GreedyBaseline, MovingBaseline
from tfalign.training.credit import (
    GAE,
    Credit,
    GroupCentred,
    GroupRelative,
    LeaveOneOut,
    NoCredit,
    RewardsAlone,
    RewardToGo,
    TurnLevel,
    TurnRelative,
)
from tfalign.training.selection import best_and_worst, best_of_groups


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """An on-policy algorithm: credit assignment, objective, and the paper's numbers.

    Attributes:
        credit: see ``training.credit``.
        objective: see ``objectives``; its KL coefficient is 0, ``kl_coefficient`` says it.
        source: where its numbers come from.
        kl_coefficient: beta, of the KL in the reward or in the loss.
        kl_in: "reward" or "loss".
        group_size: completions of a prompt.
        epochs: passes over a batch of rollouts.
        minibatches: updates of a pass.
        baseline: makes what is subtracted from returns, see ``training.baselines``; None for 0.
        redraws: see ``RolloutConfig``.
        drop_zero_spread: see ``RolloutConfig``.
        overlong_share: ``RolloutConfig.overlong_buffer`` as a fraction of the longest response.
        arrange: what is learned from instead of the rollouts, see ``training.selection``; None for
            them.

    Raises:
        ValueError: if the KL is where it cannot be, or an option has nothing to act on.
    """

    credit: Credit
    objective: PolicyObjective | OnlineDPO
    source: str
    kl_coefficient: float = 0.05
    kl_in: str = "reward"
    group_size: int = 1
    epochs: int = 1
    minibatches: int = 1
    baseline: Callable | None = None
    redraws: int = 0
    drop_zero_spread: bool = False
    overlong_share: float = 0.0
    arrange: Callable | None = None

    def __post_init__(self) -> None:
        if self.kl_in not in ("reward", "loss"):
            raise ValueError(f'kl_in is "reward" or "loss". Received: kl_in={self.kl_in!r}')
        if self.arrange is not None and self.kl_in == "reward":
            raise ValueError(
                "What compares responses by their scores has no KL in the reward. "
                "Received: kl_in=reward"
            )
        if self.kl_coefficient and not self._has_kl_in_loss and self.kl_in == "loss":
            raise ValueError(
                f"{type(self.objective).__name__} has no KL term. "
                f"Received: kl_coefficient={self.kl_coefficient}"
            )
        if self.baseline is not None and not self.credit.takes_baseline:
            raise ValueError(
                f"{type(self.credit).__name__} subtracts no baseline. Received: baseline="
                f"{self.baseline!r}"
            )
        estimator = getattr(self.objective, "kl_estimator", k3)
        if estimator is not k3 and not (self.kl_in == "loss" and self.kl_coefficient):
            raise ValueError(
                "kl_estimator is of the KL in the loss, and there is none. Received: kl_estimator="
                f"{estimator.__name__}, kl_in={self.kl_in}, kl_coefficient={self.kl_coefficient}"
            )

    @property
    def needs_critic(self) -> bool:
        return self.credit.needs_values

    @property
    def loss(self) -> PolicyObjective:
        """The objective, with the KL penalty where that is in the loss."""
        if not self._has_kl_in_loss:
            return self.objective
        in_loss = self.kl_coefficient if self.kl_in == "loss" else 0.0
        return dataclasses.replace(self.objective, kl_coefficient=in_loss)

    @property
    def _has_kl_in_loss(self):
        return isinstance(self.objective, PolicyObjective)


ALGORITHMS = {
    "ppo": Algorithm(
        GAE(),
        PPO(),
        "Schulman et al. 2017; Ziegler et al. 2019; Huang et al. 2024",
        epochs=4,
        minibatches=4,
    ),
    "a2c": Algorithm(GAE(), A2C(), "Mnih et al. 2016; Huang et al. 2022"),
    "vtrace": Algorithm(RewardsAlone(), VTrace(), "Espeholt et al. 2018"),
    "reinforce": Algorithm(RewardToGo(), Reinforce(), "Williams 1992"),
    "reinforce_moving": Algorithm(
        RewardToGo(), Reinforce(), "Williams 1992, section 2", baseline=MovingBaseline
    ),
    "reinforce_baseline": Algorithm(
        GAE(gae_lambda=1.0, whiten_advantages=False), A2C(), "Sutton and Barto 2018, section 13.4"
    ),
    "reinforce_is": Algorithm(
        RewardToGo(),
        TruncatedImportance(log_ratio=log_ratio_to_go),
        "Precup et al. 2000; truncated as by Ionides 2008",
    ),
    "reinforce_pp": Algorithm(
        RewardToGo(whiten_advantages=True),
        GRPO(aggregate=token_mean),
        "Hu 2025, REINFORCE++",
        kl_coefficient=0.01,
    ),
    "remax": Algorithm(RewardToGo(), Reinforce(), "Li et al. 2023", baseline=GreedyBaseline),
    "rloo": Algorithm(LeaveOneOut(), Reinforce(), "Ahmadian et al. 2024", group_size=4),
    "grpo": Algorithm(
        GroupRelative(),
        GRPO(),
        "Shao et al. 2024; their groups are of 64",
        kl_coefficient=0.04,
        kl_in="loss",
        group_size=8,
    ),
    "dr_grpo": Algorithm(
        GroupCentred(),
        GRPO(aggregate=fixed_length_mean),
        "Liu et al. 2025",
        kl_coefficient=0.0,
        kl_in="loss",
        group_size=8,
    ),
    "dapo": Algorithm(
        GroupRelative(),
        GRPO(aggregate=token_mean, clip_high=0.28),
        "Yu et al. 2025; their groups are of 16, and drawn until they spread",
        kl_coefficient=0.0,
        kl_in="loss",
        group_size=8,
        minibatches=4,
        redraws=2,
        drop_zero_spread=True,
        overlong_share=0.2,
    ),
    "cispo": Algorithm(
        GroupRelative(),
        TruncatedImportance(),
        "MiniMax 2025; Khatri et al. 2025",
        kl_coefficient=0.0,
        kl_in="loss",
        group_size=8,
        minibatches=4,
    ),
    "gspo": Algorithm(
        GroupRelative(),
        GSPO(),
        "Zheng et al. 2025",
        kl_coefficient=0.0,
        kl_in="loss",
        group_size=8,
        minibatches=4,
    ),
    "turn_ppo": Algorithm(
        TurnLevel(),
        PPO(),
        "Zhou et al. 2024, ArCHer's critic of turns; else as ppo",
        epochs=4,
        minibatches=4,
    ),
    "turn_grpo": Algorithm(
        TurnRelative(),
        GRPO(),
        "Zeng et al. 2025, MT-GRPO; else as grpo",
        kl_coefficient=0.04,
        kl_in="loss",
        group_size=8,
    ),
    "online_dpo": Algorithm(
        NoCredit(),
        OnlineDPO(),
        "Guo et al. 2024, OAIF",
        kl_coefficient=0.0,
        kl_in="loss",
        group_size=2,
        arrange=best_and_worst,
    ),
    "rejection_sampling": Algorithm(
        NoCredit(),
        Reinforce(),
        "Dong et al. 2023, RAFT; Touvron et al. 2023 take the best of up to 100",
        kl_coefficient=0.0,
        kl_in="loss",
        group_size=8,
        arrange=best_of_groups,
    ),
}

POLICY_GRADIENTS = tuple(name for name, chosen in ALGORITHMS.items() if chosen.arrange is None)
"""Those that follow advantages; the others compare whole responses."""


def algorithm(name: str | Algorithm, **changes: Any) -> Algorithm:
    """An algorithm with some of its numbers changed.

    Args:
        name: a key of ``ALGORITHMS``, or an Algorithm.
        **changes: by the name of a field of Algorithm, of its credit or of its objective.

    Returns:
        Algorithm.

    Raises:
        ValueError: if the name is unknown, or a change is of nothing this algorithm has.

    >>> algorithm("rloo", group_size=2).group_size
    2
    >>> algorithm("rloo", clip=0.1)
    Traceback (most recent call last):
    ValueError: clip does not apply to the algorithm rloo. Received: clip=0.1
    """
    if not isinstance(name, Algorithm) and name not in ALGORITHMS:
        raise ValueError(f"Algorithms are {', '.join(ALGORITHMS)}. Received: {name!r}")
    chosen = name if isinstance(name, Algorithm) else ALGORITHMS[name]
    parts = {"": chosen, "credit": chosen.credit, "objective": chosen.objective}
    changed = {part: {} for part in parts}
    for field, value in changes.items():
        part = next((part for part, record in parts.items() if field in _fields(record)), None)
        if part is None:
            raise ValueError(
                f"{field} does not apply to the algorithm {name}. Received: {field}={value}"
            )
        changed[part][field] = value
    for part in ("credit", "objective"):
        if changed[part]:
            record = changed[""].get(part, parts[part])
            changed[""][part] = dataclasses.replace(record, **changed[part])
    return dataclasses.replace(chosen, **changed[""])


def _fields(record):
    return {field.name for field in dataclasses.fields(record)}

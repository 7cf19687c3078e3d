"""The preference losses by name: an objective with its paper's numbers.

What a paper's numbers are for is large models; coefficients are its, learning rates are the
experiment's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tfalign.objectives import CPO, DPO, IPO, KTO, ORPO, RobustDPO, SimPO, SLiC


@dataclasses.dataclass(frozen=True)
class PreferenceLoss:
    """A preference loss: an objective with its paper's numbers.

    Attributes:
        objective: see ``objectives``.
        source: where its numbers come from.
    """

    objective: Callable
    source: str

    @property
    def needs_pairs(self) -> bool:
        """Whether it learns from pairs; else from single responses labelled desirable or undesirable."""
        return not isinstance(self.objective, KTO)


PREFERENCE_LOSSES = {
    "dpo": PreferenceLoss(DPO(), "Rafailov et al. 2023, section 6"),
    "cdpo": PreferenceLoss(
        DPO(label_smoothing=0.1), "Mitchell 2023; the share of wrong labels is the data's"
    ),
    "robust_dpo": PreferenceLoss(
        RobustDPO(), "Chowdhury et al. 2024; the share of wrong labels is the data's"
    ),
    "slic": PreferenceLoss(SLiC(), "Zhao et al. 2023; Liu et al. 2024"),
    "ipo": PreferenceLoss(IPO(), "Azar et al. 2023"),
    "kto": PreferenceLoss(KTO(), "Ethayarajh et al. 2024"),
    "orpo": PreferenceLoss(ORPO(), "Hong et al. 2024, for Mistral"),
    "simpo": PreferenceLoss(SimPO(), "Meng et al. 2024, for Llama 3"),
    "cpo": PreferenceLoss(CPO(), "Xu et al. 2024"),
}


def preference_loss(name: str, **changes: Any) -> PreferenceLoss:
    """A loss with some of its numbers changed.

    Args:
        name: str, a key of ``PREFERENCE_LOSSES``.
        **changes: by the name of a field of its objective.

    Returns:
        PreferenceLoss.

    Raises:
        ValueError: if the name is unknown, or a change is of nothing this loss has.

    >>> preference_loss("ipo", beta=0.3).objective.beta
    0.3
    >>> preference_loss("ipo", gamma=1.0)
    Traceback (most recent call last):
    ValueError: gamma does not apply to the loss ipo. Received: gamma=1.0
    """
    if name not in PREFERENCE_LOSSES:
        raise ValueError(f"Losses are {', '.join(PREFERENCE_LOSSES)}. Received: {name!r}")
    chosen = PREFERENCE_LOSSES[name]
    known = {field.name for field in dataclasses.fields(chosen.objective)}
    for field, value in changes.items():
        if field not in known:
            raise ValueError(
                f"{field} does not apply to the loss {name}. Received: {field}={value}"
            )
    objective = dataclasses.replace(chosen.objective, **changes)
    return dataclasses.replace(chosen, objective=objective)

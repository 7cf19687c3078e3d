"""What a policy answered, how the answers were judged, and the tables that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfalign.evaluation.markdown import escape_cell, table
from tfalign.evaluation.statistics import mean_interval, wilson_interval


@dataclass(frozen=True)
class PolicyEvaluation:
    """What one policy answered to the report's prompts, and how it was judged.

    Attributes:
        responses: N strings, one a prompt.
        scores: float[N], the reward model's; None for none.
        gold: float[N], the gold reward; None where there is none.
        kl: float[N], nats per response, to the reference policy; None for none.
        lengths: int[N], tokens; None for none.
        parts: float[N] by name, the parts of the gold reward.
        checks: float[N] by name: 1 where a response passes, 0 where it fails, NaN where the check
            does not apply.
    """

    responses: Sequence[str]
    scores: np.ndarray | None = None
    gold: np.ndarray | None = None
    kl: np.ndarray | None = None
    lengths: np.ndarray | None = None
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    checks: Mapping[str, np.ndarray] = field(default_factory=dict)


def measured(policy: PolicyEvaluation) -> dict[str, Any]:
    """The parts and checks of one policy, for ``report.json``.

    Args:
        policy: whose parts and checks are summarised.

    Returns:
        dict, of what there is: ``{"gold_parts": {"addresses": 0.61, ...}, "checks": {"right order
        number": {"value": 0.98, "ci95": [0.95, 0.99], "passed": 211, "of": 215}}}``; a check that
        applies to no response has only ``"of": 0``.
    """
    values: dict[str, Any] = {}
    if policy.parts:
        values["gold_parts"] = {name: float(np.mean(part)) for name, part in policy.parts.items()}
    if policy.checks:
        values["checks"] = {name: _share(check) for name, check in policy.checks.items()}
    return values


def _share(check: np.ndarray) -> dict[str, Any]:
    applies = np.asarray(check)[~np.isnan(check)]
    if not applies.size:
        return {"of": 0}
    passed = int(applies.sum())
    share = wilson_interval(passed, applies.size)
    ends = [share.low, share.high]
    return {"value": share.value, "ci95": ends, "passed": passed, "of": int(applies.size)}


def parts_section(policies: Mapping[str, PolicyEvaluation]) -> str:
    """A table of the gold reward's parts and of the checks, a column a policy; "" for none.

    Args:
        policies: by name, as ``Report.policies``.
    """
    values = {name: measured(policy) for name, policy in policies.items()}
    rows = [
        [escape_cell(part), *(_part_cell(policy, part) for policy in policies.values())]
        for part in _names(policy.parts for policy in policies.values())
    ] + [
        [
            escape_cell(check),
            *(_check_cell(v.get("checks", {}).get(check)) for v in values.values()),
        ]
        for check in _names(policy.checks for policy in policies.values())
    ]
    if not rows:
        return ""
    explained = (
        "Means of the gold reward's parts, each from -1 to 1, and the share of responses that pass a"
        " check among those it applies to (95% intervals)."
    )
    header = ["", *(name.upper() for name in policies)]
    return "\n\n".join(["## Parts of the gold reward", explained, table(header, rows)])


def _names(groups) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _part_cell(policy: PolicyEvaluation, part: str) -> str:
    values = policy.parts.get(part)
    if values is None:
        return ""
    if len(values) < 2:
        return f"{float(np.mean(values)):.2f}"
    mean = mean_interval(np.asarray(values))
    return f"{mean.value:.2f} ({mean.low:.2f} to {mean.high:.2f})"


def _check_cell(share: Mapping[str, Any] | None) -> str:
    if not share or not share["of"]:
        return ""
    low, high = share["ci95"]
    ends = f"{low:.1%} to {high:.1%}"
    return f"{share['value']:.1%} ({ends}; {share['passed']} of {share['of']})"


def samples_section(
    prompts: Sequence[str], policies: Mapping[str, PolicyEvaluation], shown: int
) -> str:
    """The first prompts with every policy's response and its gold reward, or its score."""
    shown = min(shown, len(prompts))
    if not policies or not shown:
        return ""
    chosen = f"The first {shown} prompts, not a selection."
    return "\n\n".join(["## Samples", chosen, _answers(prompts, policies, range(shown))])


def worst_section(
    prompts: Sequence[str], policies: Mapping[str, PolicyEvaluation], shown: int
) -> str:
    """The last policy's worst responses by the gold reward; "" where it has none."""
    shown = min(shown, len(prompts))
    if not policies or not shown:
        return ""
    name, policy = list(policies.items())[-1]
    if policy.gold is None:
        return ""
    order = np.argsort(policy.gold, kind="stable")[:shown]
    failed = [
        f"{int(np.sum(np.asarray(check) == 0))} fail the check “{check_name}”"
        for check_name, check in policy.checks.items()
    ]
    of_all = f"Of {len(prompts)} responses {int(np.sum(np.asarray(policy.gold) < 0))} have a gold reward below 0"
    chosen = (
        f"The {shown} responses of {name.upper()} with the lowest gold reward. "
        + "; ".join([of_all, *map(escape_cell, failed)])
        + "."
    )
    return "\n\n".join(["## Worst responses", chosen, _answers(prompts, {name: policy}, order)])


def _answers(prompts, policies, rows) -> str:
    judge, part = ("gold", "gold")
    if all(policy.gold is None for policy in policies.values()):
        judge, part = ("score", "scores")
    header = ["prompt"]
    for name, policy in policies.items():
        header.append(name.upper())
        if getattr(policy, part) is not None:
            header.append(f"{judge}, {name.upper()}")
    lines = []
    for row in rows:
        cells = [escape_cell(prompts[row])]
        for policy in policies.values():
            cells.append(escape_cell(policy.responses[row]))
            if getattr(policy, part) is not None:
                cells.append(f"{getattr(policy, part)[row]:.2f}")
        lines.append(cells)
    return table(header, lines)

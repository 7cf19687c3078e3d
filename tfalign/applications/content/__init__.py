"""Content: advertisements, stories and articles that say what a brief asks for, and nothing that is not allowed.

Briefs and people's texts (``tasks``), checks of slots and of compliance, rewards and costs for the trainers, measures, and
``compose``, the whole of it. A name is imported when it is first asked for; ``options`` imports neither Keras nor
TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfalign.lazy import lazily

if TYPE_CHECKING:
    from tfalign.applications.content.briefs import Brief, Told, brief_of, relexicalise
    from tfalign.applications.content.compliance import CHINESE, ENGLISH, Compliance, Rule
    from tfalign.applications.content.demands import DemandedSlots
    from tfalign.applications.content.measures import measure
    from tfalign.applications.content.options import ComposeOptions
    from tfalign.applications.content.rewards import Banned, Claims, Coverage, SlotReward
    from tfalign.applications.content.slots import SlotChecker, SlotErrors
    from tfalign.applications.content.tasks import Task, task_of
    from tfalign.applications.content.writing import Writer

_HOMES = {
    "Banned": "rewards",
    "Brief": "briefs",
    "CHINESE": "compliance",
    "Claims": "rewards",
    "Compliance": "compliance",
    "ComposeOptions": "options",
    "Coverage": "rewards",
    "DemandedSlots": "demands",
    "ENGLISH": "compliance",
    "Rule": "compliance",
    "SlotChecker": "slots",
    "SlotErrors": "slots",
    "SlotReward": "rewards",
    "Task": "tasks",
    "Told": "briefs",
    "Writer": "writing",
    "brief_of": "briefs",
    "measure": "measures",
    "relexicalise": "briefs",
    "task_of": "tasks",
}

__all__ = [
    "CHINESE",
    "ENGLISH",
    "Banned",
    "Brief",
    "Claims",
    "Compliance",
    "ComposeOptions",
    "Coverage",
    "DemandedSlots",
    "Rule",
    "SlotChecker",
    "SlotErrors",
    "SlotReward",
    "Task",
    "Told",
    "Writer",
    "brief_of",
    "measure",
    "relexicalise",
    "task_of",
]


__getattr__ = lazily(__name__, _HOMES)

"""Who may pack, and batches of rollouts in packed rows, see ``data.response_packing``."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfalign.data.response_packing import packed_rows
from tfalign.models import GPT
from tfalign.models.lora import WithoutAdapters
from tfalign.types import LabelledResponses, RankedResponses, Rollout


def packed_batch(batch: Rollout, parts: int) -> Rollout:
    """A batch of rollouts that is updated on in packed rows, see ``packed_rows``.

    Raises:
        ValueError: if it is something else, which compares whole responses.
    """
    if not isinstance(batch, Rollout):
        raise ValueError(
            "Packed updates are of response tokens, and this algorithm compares whole responses. Received: "
            f"packed=True, a batch of {type(batch).__name__}"
        )
    rows = packed_rows(batch.token_ids, batch.padding_mask, batch.response_mask, parts)
    return batch._replace(packed=rows)


def packed_responses(
    batch: RankedResponses | LabelledResponses, parts: int
) -> RankedResponses | LabelledResponses:
    """A batch of several responses to each prompt in packed rows, see ``packed_rows``; parts: of the prompts."""
    flat = (np.asarray(x).reshape(-1, np.shape(x)[-1]) for x in batch[:3])
    return batch._replace(packed=packed_rows(*flat, parts))


def check_packs(*models: Any) -> None:
    """Raises a ValueError if rows cannot be packed: for models other than ``GPT``, or on a mesh of devices."""
    for model in models:
        check_keeps_apart(model)
    if keras.distribution.distribution() is not None:
        raise ValueError(
            "Packed rows are of one device, or of replicas each of which packs its own, and a program on a mesh "
            f"spans all. Received: packed=True, {keras.distribution.distribution()}"
        )


def check_keeps_apart(model: Any) -> None:
    """Raises a ValueError if a model does not keep apart the texts that share a row: if it is none with a ``GPT``."""
    is_base = isinstance(model, WithoutAdapters)  # of the policy, which is checked too
    if not is_base and not isinstance(model.backbone, GPT):
        raise ValueError(
            "Packed rows need a GPT, which keeps the texts in a row apart. Received: packed=True, a backbone of "
            f"type {type(model.backbone).__name__}"
        )

"""A reward model: a GPT or BERT trunk with a scalar head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from tfalign import backend
from tfalign.data.response_packing import packed_texts
from tfalign.models import GPT, ScalarRewardHead
from tfalign.models.config import ModelConfig
from tfalign.models.tasks import TaskModel
from tfalign.types import Array


@keras.saving.register_keras_serializable("tfalign")
class RewardModel(TaskModel):
    """Scores a prompt with its response (Stiennon et al. 2020, section 3.4).

    Args:
        backbone: GPT or BERT, or a configuration of either.

    Call arguments:
        token_ids: int32[B, T].
        padding_mask: bool[B, T], true at real tokens, padding on either side.
        token_type_ids: int32[B, T], for a BERT; None for all 0.

    Returns:
        float32[B], read where the trunk's ``pool`` reads: at a GPT's last real token, at a BERT's
        first.
    """

    backbone_class = GPT

    def __init__(
        self, backbone: keras.Model | ModelConfig | Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(backbone, **kwargs)
        self.head = ScalarRewardHead(dtype=self.dtype_policy, name="head")
        self.head.build((None, self.config.width))

    def call(
        self,
        token_ids: Array,
        padding_mask: Array,
        token_type_ids: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        hidden = self._hidden(token_ids, padding_mask, token_type_ids, training)
        return self.head(self.backbone.pool(hidden, padding_mask))


class LearnedReward:
    """A reward model as a reward function of rollouts, compiled.

    Args:
        model: RewardModel.
    """

    def __init__(self, model: RewardModel) -> None:
        self.model = model

        def score(token_ids, padding_mask):
            return model(token_ids, padding_mask=padding_mask, training=False)

        self.compiled = backend.jit_rows(score, model.variables)

    def __reduce__(self) -> tuple[type, tuple]:
        """What it is made of: another process compiles its own program."""
        return type(self), (self.model,)

    def __call__(self, token_ids: Array, padding_mask: Array, response_mask: Array) -> Array:
        """float32[B], scores of int32[B, T] prompts with responses.

        Args:
            token_ids: int32[B, T].
            padding_mask: bool[B, T].
            response_mask: bool[B, R], of the last R columns; not used.
        """
        del response_mask
        return self.compiled(token_ids, padding_mask)

    def normalize(self, batches: Iterable[tuple[Array, Array]]) -> dict[str, float]:
        """Scales and shifts the model's head so that these samples score N(0, 1).

        Args:
            batches: iterable of (token_ids int32[B, T], padding_mask bool[B, T]) sampled from
                the reference policy.

        Returns:
            dict: "mean" and "std" of the scores before, "count".

        Raises:
            ValueError: if all samples score the same.
        """
        scores = np.concatenate([np.asarray(self.compiled(*batch)) for batch in batches])
        scores = scores.astype("float64")  # where the squares of large scores are numbers too
        mean, std = float(scores.mean()), float(scores.std())
        self.model.head.normalize(mean, std)
        return {"mean": mean, "std": std, "count": len(scores)}


class PackedReward(LearnedReward):
    """A reward model as a reward function of rollouts, compiled, which reads several texts in a row, see
    ``data.response_packing``: as many programs as there are sizes of rows.

    Args:
        model: RewardModel with a GPT.
    """

    def __init__(self, model: RewardModel) -> None:
        super().__init__(model)
        self._parts = backend.replicas()

        def score(rows):
            given = {"segment_ids": rows.segment_ids, "places": rows.places}
            return model.head(model.backbone(rows.token_ids, training=False, **given)[0])

        self.compiled_packed = backend.jit_rows(score, model.variables)

    def __call__(self, token_ids: Array, padding_mask: Array, response_mask: Array) -> Array:
        del response_mask
        return self.compiled_packed(packed_texts(token_ids, padding_mask, self._parts))

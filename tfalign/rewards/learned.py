"""A reward model: a GPT or BERT trunk with a scalar head."""

from __future__ import annotations

import keras
import numpy as np

from tfalign import backend
from tfalign.models import BERT, GPT, BERTConfig, ScalarRewardHead

_TRUNKS = {"GPT": GPT, "BERT": BERT}


@keras.saving.register_keras_serializable("tfalign")
class RewardModel(keras.Model):
    """Scores a prompt with its response (Stiennon et al. 2020, section 3.4).

    Args:
        backbone: GPT or BERT, or a configuration of either.

    Call arguments:
        token_ids: int32[B, T].
        padding_mask: bool[B, T], true at real tokens, padding on either side.

    Returns:
        float32[B], read at the last real token.
    """

    def __init__(self, backbone, **kwargs):
        super().__init__(**kwargs)
        self.backbone = self._trunk(backbone)
        self.head = ScalarRewardHead(dtype=self.dtype_policy, name="head")
        self.head.build((None, None, self.backbone.config.width))
        self.built = True

    def _trunk(self, backbone):
        if isinstance(backbone, keras.Model):
            return backbone
        if isinstance(backbone, dict):
            return _TRUNKS[backbone["trunk"]](backbone["config"], dtype=self.dtype_policy)
        trunk = BERT if isinstance(backbone, BERTConfig) else GPT
        return trunk(backbone, dtype=self.dtype_policy, name="backbone")

    @property
    def config(self):
        return self.backbone.config

    def call(self, token_ids, padding_mask, training=None):
        hidden = self.backbone(token_ids, padding_mask=padding_mask, training=training)
        return self.head(hidden, padding_mask=padding_mask)

    def get_config(self):
        trunk = type(self.backbone).__name__
        return super().get_config() | {
            "backbone": {"trunk": trunk, "config": self.config.to_dict()}
        }


class LearnedReward:
    """A reward model as a reward function of rollouts, compiled.

    Args:
        model: RewardModel.
    """

    def __init__(self, model):
        self.model = model

        def score(token_ids, padding_mask):
            return model(token_ids, padding_mask=padding_mask, training=False)

        self.compiled = backend.jit(score, model.variables)

    def __call__(self, token_ids, padding_mask, response_mask):
        """float32[B], scores of int32[B, T] prompts with responses.

        Args:
            token_ids: int32[B, T].
            padding_mask: bool[B, T].
            response_mask: bool[B, R], of the last R columns; not used.
        """
        del response_mask
        return self.compiled(token_ids, padding_mask)

    def normalize(self, batches):
        """Sets the model's gain and shift so that these samples score N(0, 1).

        Args:
            batches: iterable of (token_ids int32[B, T], padding_mask bool[B, T]) sampled from
                the reference policy.

        Returns:
            dict: "mean" and "std" of the scores before, "count".

        Raises:
            ValueError: if all samples score the same.
        """
        scores = np.concatenate([np.asarray(self.compiled(*batch)) for batch in batches])
        mean, std = float(scores.mean()), float(scores.std())
        self.model.head.normalize(mean, std)
        return {"mean": mean, "std": std, "count": len(scores)}

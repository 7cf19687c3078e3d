"""Looking inside a model: where it attends, what its layers would say, which tokens it answers for."""

from tfalign.interpretability.attention_maps import attention_maps
from tfalign.interpretability.integrated_gradients import Attributions, integrated_gradients
from tfalign.interpretability.logit_lens import logit_lens

__all__ = ["Attributions", "attention_maps", "integrated_gradients", "logit_lens"]

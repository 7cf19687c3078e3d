"""How reward models stand in Hugging Face directories: ``transformers``' one-label sequence
classifiers where the trunk is a GPT, with the bias and the normalisation as further tensors."""

from __future__ import annotations

from tfalign.models.architectures import BERT_FAMILY, GPT2, LLAMA, READOUT, TFALIGN_GPT
from tfalign.models.huggingface import TRANSPOSED, Architecture, Row, register
from tfalign.rewards.learned import RewardModel

_HEAD = (
    Row(("head.dense.kernel",), "score.weight", TRANSPOSED),
    Row(("head.dense.bias",), "score.bias", optional=True),
    Row(("head.gain",), "score.gain", optional=True),
    Row(("head.shift",), "score.shift", optional=True),
    READOUT._replace(optional=True),  # an untied trunk brings its read-out along
)

for _name, _family, _prefix in (
    ("GPT2ForSequenceClassification", GPT2, "transformer."),
    ("LlamaForSequenceClassification", LLAMA, "model."),
    ("TfalignRewardModel", TFALIGN_GPT, "backbone."),
    ("TfalignBertRewardModel", BERT_FAMILY, "bert."),
):
    register(
        Architecture(
            _name, _family, RewardModel, _HEAD, _prefix, write_head=lambda model: {"num_labels": 1}
        )
    )

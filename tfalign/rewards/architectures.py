"""Reward models in Hugging Face directories: ``transformers``' sequence classifiers with one label;
those of steps its token classifiers with one label."""

from __future__ import annotations

from tfalign.models.architectures import (
    CLASSIFIER,
    DECODERS,
    ENCODERS,
    SCORE,
    TFALIGN_GPT,
    has_one_label,
    tied_unless_stored,
)
from tfalign.models.huggingface import Architecture, register
from tfalign.rewards.learned import RewardModel
from tfalign.rewards.process import ProcessRewardModel

# GPT-2's token classifier calls the head what others' sequence classifiers do
_STEP_CLASSIFIER = tuple(
    row._replace(name=row.name.replace("score", "classifier")) for row in SCORE
)
_ONE_LABEL = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}

for _name, _family in (DECODERS | ENCODERS).items():
    _is_decoder = _name in DECODERS
    register(
        Architecture(
            f"{_name}ForSequenceClassification",
            _family,
            RewardModel,
            SCORE if _is_decoder else CLASSIFIER[_name],
            _family.prefix,
            write_head=lambda model: _ONE_LABEL,
            applies=has_one_label,
            **({"adapt": tied_unless_stored} if _is_decoder else {}),
        )
    )
register(Architecture("TfalignRewardModel", TFALIGN_GPT, RewardModel, SCORE, "backbone."))

for _name, _family in DECODERS.items():
    register(
        Architecture(
            f"{_name}ForTokenClassification",
            _family,
            ProcessRewardModel,
            _STEP_CLASSIFIER if _name == "GPT2" else SCORE,
            _family.prefix,
            write_head=lambda model: _ONE_LABEL,
            applies=has_one_label,
            adapt=tied_unless_stored,
        )
    )
register(
    Architecture("TfalignProcessRewardModel", TFALIGN_GPT, ProcessRewardModel, SCORE, "backbone.")
)

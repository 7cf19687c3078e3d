"""Reward models in Hugging Face directories: ``transformers``' sequence classifiers with one label;
those of steps its token classifiers with one label."""

from __future__ import annotations

from tfalign.models.huggingface.bert import CLASSIFIER, ENCODERS
from tfalign.models.huggingface.decoders import DECODERS
from tfalign.models.huggingface.heads import LABELS, SCORE, has_one_label, tied_unless_stored
from tfalign.models.huggingface.own import TFALIGN_GPT
from tfalign.models.huggingface.shapes import score_shapes
from tfalign.models.huggingface.tables import Architecture
from tfalign.rewards.learned import RewardModel
from tfalign.rewards.process import ProcessRewardModel

# GPT-2's token classifier calls the head what others' sequence classifiers do
_STEP_CLASSIFIER = tuple(
    row._replace(name=row.name.replace("score", "classifier")) for row in SCORE
)
_ONE_LABEL = {
    "write_head": lambda model: {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}},
    "applies": has_one_label,
    "uses": LABELS,
    "shapes": score_shapes,
}
_UNTIED = {"adapt": tied_unless_stored}


def _scorer(name, family, model_class, rows, **more):
    return Architecture(name, family, model_class, rows, family.prefix, **more)


ARCHITECTURES = (
    *(
        _scorer(
            f"{name}ForSequenceClassification", family, RewardModel, SCORE, **_ONE_LABEL, **_UNTIED
        )
        for name, family in DECODERS.items()
    ),
    *(
        _scorer(
            f"{name}ForSequenceClassification", family, RewardModel, CLASSIFIER[name], **_ONE_LABEL
        )
        for name, family in ENCODERS.items()
    ),
    _scorer("TfalignRewardModel", TFALIGN_GPT, RewardModel, SCORE, shapes=score_shapes),
    *(
        _scorer(
            f"{name}ForTokenClassification",
            family,
            ProcessRewardModel,
            _STEP_CLASSIFIER if name == "GPT2" else SCORE,
            **_ONE_LABEL,
            **_UNTIED,
        )
        for name, family in DECODERS.items()
    ),
    _scorer(
        "TfalignProcessRewardModel", TFALIGN_GPT, ProcessRewardModel, SCORE, shapes=score_shapes
    ),
)

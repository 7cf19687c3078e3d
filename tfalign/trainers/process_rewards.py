"""Process reward modelling: is each step of a response right?"""

from __future__ import annotations

from tfalign.data import BatchStream, StepsRecord, encode_steps
from tfalign.objectives import ProcessRewardModelling
from tfalign.rewards import ProcessRewardModel
from tfalign.trainers.adapters import adapt
from tfalign.trainers.base import opened
from tfalign.trainers.data import buckets, held_out_batches
from tfalign.trainers.options import ProcessRewardOptions
from tfalign.trainers.supervised import SupervisedTrainer


class ProcessRewardTrainer(SupervisedTrainer):
    """Trains a process reward model (Uesato et al. 2022; Lightman et al. 2023).

    Data are records with "prompt", "steps" (a list of texts) and "labels" (a list of true and false); steps
    are separated by a line break, which must be one token.

    Args: see ``SupervisedTrainer``; options are a ``ProcessRewardOptions``.
    """

    options_class = ProcessRewardOptions
    default_stage = "process_reward"

    def _build(self, model, data, held_out):
        options = self.options
        pretrained = opened(model, options.update.precision)
        self.tokenizer = pretrained.tokenizer
        own = pretrained.model if pretrained is not model else model.copy_of_model()
        self.model = ProcessRewardModel(own.backbone)
        adapt(self.model.backbone, options.lora)
        limits = {"max_tokens": options.length}
        train, test = self._examples(StepsRecord, encode_steps, data, held_out, **limits)
        columns, rows = buckets(options.length), options.update.batch_size
        self._learn(
            self.model,
            ProcessRewardModelling(),
            BatchStream(train, rows, columns, seed=options.run.seed),
            held_out_batches(test, rows, columns),
            len(train),
        )

    def save(self) -> None:
        self._save(self.model, self.options.lora)

"""Aligns a policy with preferences directly: DPO, or any loss that needs no reward model.

    python -m experiments.preference --run_dir=runs/dpo --policy=runs/demo/models/sft
    python -m experiments.preference --loss=ipo --policy=DIR --run_dir=runs/ipo
    python -m experiments.preference --loss=kto --policy=DIR --data=liked.jsonl --unpaired
    python -m experiments.preference --policy=DIR --data=mine.jsonl --on_bad=skip

The third reads JSON lines with "prompt", "completion" and "label" (true where it was liked), the
fourth "prompt", "chosen" and "rejected". The losses and their papers' numbers stand in
``tfalign.training.preferences``; an option of -1 or "" is the loss's own number, and one that it has
no use for is refused. The reference's log-probs are computed once, before the first update, and kept
in RUN_DIR. Writes RUN_DIR/models/LOSS. About two minutes on two CPU cores for the embedded data.
"""

from __future__ import annotations

from experiments import adapters, stages
from experiments.launch import launch
from tfalign.data import (
    BatchStream,
    LabelledRecord,
    PreferenceRecord,
    encode_labelled,
    encode_ranked,
    unpaired,
)
from tfalign.models import from_pretrained
from tfalign.options import option, option_record
from tfalign.training.preferences import PREFERENCE_LOSSES, preference_loss
from tfalign.training.reference import FrozenReference

_YES_NO = ("", "true", "false")


@option_record
class PreferenceConfig(stages.SupervisedConfig):
    run_dir: str = option("runs/preference", "where the run lives")
    loss: str = option("dpo", "how the policy learns", list(PREFERENCE_LOSSES))
    policy: str = option("runs/sft/models/sft", "directory of the model to start from")
    reference: str = option("", "directory of the reference; --policy where empty")
    lora: adapters.AdapterConfig = option(adapters.AdapterConfig(), "low-rank adapters")
    data: str = option(
        stages.EMBEDDED,
        '"embedded", FILE.jsonl with "prompt", "chosen" and "rejected", anthropic:FILE, '
        "tfds:NAME:SPLIT",
    )
    unpaired: bool = option(
        False, 'records have "prompt", "completion" and "label" instead; for --loss=kto'
    )
    max_prompt_tokens: int = option(48, "longest prompt", at_least=1)
    max_new_tokens: int = option(48, "longest response", at_least=1)
    beta: float = option(-1.0, "of the loss: see it", above=0, also=(-1,))
    label_smoothing: float = option(
        -1.0, "probability that a label is wrong", at_least=0, below=0.5, also=(-1,)
    )
    gamma: float = option(
        -1.0, "by how much the preferred response should lead", at_least=0, also=(-1,)
    )
    nll_coefficient: float = option(
        -1.0, "weight of the chosen response's likelihood", at_least=0, also=(-1,)
    )
    desirable_weight: float = option(-1.0, "of responses that were liked", at_least=0, also=(-1,))
    undesirable_weight: float = option(-1.0, "of responses that were not", at_least=0, also=(-1,))
    per_token: str = option("", "log-ratios in mean over tokens instead of summed", _YES_NO)
    chunk: int = option(-1, "positions whose logits are computed at a time", at_least=1, also=(-1,))
    steps: int = option(300, "updates", at_least=1)
    learning_rate: float = option(2e-4, "at its peak", above=0)

    def __post_init__(self):
        super().__post_init__()
        chosen = chosen_loss(self)
        if self.unpaired and chosen.needs_pairs:
            raise ValueError(f"--loss={self.loss} learns from pairs. Received: unpaired=True")


_CHANGES = (
    "beta",
    "label_smoothing",
    "gamma",
    "nll_coefficient",
    "desirable_weight",
    "undesirable_weight",
    "chunk",
)


def chosen_loss(config):
    """The PreferenceLoss a config names, with the numbers it gives instead of the paper's.

    Raises:
        ValueError: if an option is given that the loss has no use for.
    """
    given = {name: getattr(config, name) for name in _CHANGES if getattr(config, name) != -1}
    if config.per_token:
        given["per_token"] = config.per_token == "true"
    return preference_loss(config.loss, **given)


def learn_preferences(config, run, stage=None):
    """Trains and saves the policy; goes on from the newest checkpoint of the run.

    Args:
        config: PreferenceConfig.
        run: RunDirectory.
        stage: str, what checkpoints, metrics and the model go by; None for the loss's name.
    """
    stage = stage or config.loss
    chosen = chosen_loss(config)
    model = from_pretrained(config.policy, dtype=config.precision, dropout=0.0)
    tokenizer = stages.load_tokenizer(config.policy)
    train, test = (
        stages.tell(f"{stage} {split}", _encoded(config, chosen, tokenizer, split))
        for split in ("train", "test")
    )
    columns = stages.buckets(config.max_prompt_tokens)
    if chosen.objective.needs_reference:
        directory = config.reference or config.policy
        reference = FrozenReference(
            lambda: from_pretrained(directory, dtype=config.precision), config.batch_size, columns
        )
        train = reference(train, run.file(f"{stage}_reference_train.npz"))
        test = reference(test, run.file(f"{stage}_reference_test.npz"))
        del reference
    adapters.adapt(model, config.lora)
    batches = BatchStream(train, config.batch_size, columns, seed=config.seed)
    held_out = BatchStream(test, min(config.batch_size, len(test)), columns, epochs=1)
    stages.train(run, stage, model, chosen.objective, batches, list(held_out), config)
    adapters.save_model(run, stage, model, tokenizer, config.lora, config.policy)


def _encoded(config, chosen, tokenizer, split):
    """RankedExamples, or LabelledExamples for KTO, for which pairs are taken apart."""
    kind = LabelledRecord if config.unpaired else PreferenceRecord
    records = stages.read(config.data, kind, split, config.on_bad, config.data_dir)
    if not chosen.needs_pairs and not config.unpaired:
        records = unpaired(records)
    encode = encode_ranked if chosen.needs_pairs else encode_labelled
    limits = config.max_prompt_tokens, config.max_new_tokens
    return encode(records, tokenizer, *limits, on_bad=config.on_bad)


def main(config):
    learn_preferences(config, stages.open_run(config.loss, config))


if __name__ == "__main__":
    launch(PreferenceConfig, main, __doc__)

"""Splits Anthropic's helpful-base preferences (Bai et al. 2022) into JSON lines for the pipeline.

    python -m experiments.tasks.prepare_hh_rlhf --source=$DATA/hh-rlhf/helpful-base.test.jsonl.gz
    python -m experiments.pipeline --config=hh_rlhf

Dialogues are split by a hash of their opening turn: the prompt of one record is often the beginning
of another's, and no dialogue may be in both splits. The chosen transcripts are the pretraining text, their last
responses the completions. Writes text, sft, preferences and prompts as OUTPUT/KIND.SPLIT.jsonl.
Seconds.

Result: 1,903 dialogues for training and 445 held out; the pipeline's numbers are in docs/results/hh_rlhf.md.
"""

from __future__ import annotations

from experiments.launch import launch
from experiments.tasks.prepared import write_kinds
from tfalign.data import PreferenceRecord, PromptRecord, read_records, split_by_prompt
from tfalign.options import option, option_record


@option_record
class PrepareConfig:
    source: str = option(
        "helpful-base.test.jsonl.gz", 'JSON lines with "chosen" and "rejected", may be gzipped.'
    )
    output: str = option("runs/hh_rlhf_data", "Directory of the written JSON lines.")
    test_fraction: float = option(
        0.2, "Fraction of opening turns that is held out.", above=0, below=1
    )
    on_bad: str = option(
        "skip", "Bad records: stop at the first, or skip and count.", ("stop", "skip")
    )


def main(config):
    records = read_records(f"anthropic:{config.source}", PreferenceRecord, config.on_bad)
    print(f"dialogues: {records.summary()}")
    openings = [PromptRecord(_opening(record)) for record in records]
    held_out = {record.prompt for record in split_by_prompt(openings, config.test_fraction)[1]}
    for split in ("train", "test"):
        chosen = [
            record for record in records if (_opening(record) in held_out) == (split == "test")
        ]
        write_kinds(config.output, split, _kinds(chosen))


def _opening(record):
    """The opening turn of a record's dialogue."""
    return record.prompt.partition("\n\nAssistant:")[0]


def _kinds(records):
    return {
        "text": [{"text": r.prompt + r.chosen} for r in records],
        "sft": [{"prompt": r.prompt, "completion": r.chosen} for r in records],
        "preferences": [
            {"prompt": r.prompt, "chosen": r.chosen, "rejected": r.rejected} for r in records
        ],
        "prompts": [{"prompt": r.prompt} for r in records],
    }


if __name__ == "__main__":
    launch(PrepareConfig, main, __doc__)

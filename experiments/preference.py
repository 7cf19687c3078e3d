"""Aligns a policy with preferences directly, by DPO or another loss without a reward model.

    python -m experiments.preference --run_dir=runs/dpo --model=runs/demo/models/sft
    python -m experiments.preference --loss=ipo --model=DIR --run_dir=runs/ipo
    python -m experiments.preference --loss=kto --model=DIR --data=liked.jsonl --unpaired
    python -m experiments.preference --model=DIR --data=mine.jsonl --on_bad=skip

The third command reads JSON lines with "prompt", "completion" and "label" (true for a liked completion), the
fourth "prompt", "chosen" and "rejected". The losses and their papers' numbers are in
``tfalign.training.preferences``: they hold for options that are not given, and an option that the loss does not
use is refused. The reference's log-probs are computed once, before the first update, and stored in RUN_DIR.
Writes RUN_DIR/models/LOSS. About two minutes on two CPU cores for the embedded data.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("preference", __doc__)

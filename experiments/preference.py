"""Aligns a policy with preferences directly: DPO, or any loss that needs no reward model.

    python -m experiments.preference --run_dir=runs/dpo --model=runs/demo/models/sft
    python -m experiments.preference --loss=ipo --model=DIR --run_dir=runs/ipo
    python -m experiments.preference --loss=kto --model=DIR --data=liked.jsonl --unpaired
    python -m experiments.preference --model=DIR --data=mine.jsonl --on_bad=skip

The third reads JSON lines with "prompt", "completion" and "label" (true where it was liked), the
fourth "prompt", "chosen" and "rejected". The losses and their papers' numbers stand in
``tfalign.training.preferences``; an option of -1 or "" is the loss's own number, and one that it has
no use for is refused. The reference's log-probs are computed once, before the first update, and kept
in RUN_DIR. Writes RUN_DIR/models/LOSS. About two minutes on two CPU cores for the embedded data.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("preference", __doc__)

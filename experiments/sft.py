"""Fine-tunes a language model on prompts with completions.

    python -m experiments.sft --run_dir=runs/sft --model=runs/pretrain/models/pretrain
    python -m experiments.sft --model=DIR --data=mine.jsonl --run_dir=runs/mine_sft

The second command reads JSON lines with "prompt" and "completion". The loss is that of the completion's tokens,
with ``--conversations`` that of all assistant messages in JSON lines with "messages". ``--lora.rank=8`` trains
adapters, which are also written to RUN_DIR/models/sft_adapters.
Writes RUN_DIR/models/sft. About 30 seconds on two CPU cores for the embedded data.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("sft", __doc__)

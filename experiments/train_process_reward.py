"""Trains a process reward model, which judges each step of a response.

    python -m experiments.train_process_reward --model=DIR --data=steps.jsonl --run_dir=runs/steps

Reads JSON lines with "prompt", "steps" (a list of texts) and "labels" (a list of true and false); steps
are separated by a line break, which must be one token. The backbone starts from the given language model
(Uesato et al. 2022; Lightman et al. 2023). Writes RUN_DIR/models/process_reward, which
``rewards.ProcessReward`` uses as a reward.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("process_reward", __doc__)

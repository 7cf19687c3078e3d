"""Runs the whole pipeline: pretrains, fine-tunes, trains a reward model, aligns with PPO and evaluates.

    python -m experiments.pipeline --config=demo           # as `make demo`
    python -m experiments.pipeline --config=mine.json --run_dir=runs/mine
    python -m experiments.pipeline --config=demo --seed=1 --ppo.steps=50 --run_dir=runs/seed1

Options of a stage are dotted flags, or nested objects of the config file. A finished stage is not repeated; an
interrupted one continues from its newest checkpoint. Everything is in RUN_DIR: models/, checkpoints/,
metrics.jsonl, TensorBoard events, and at the end report.md with its plots.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("pipeline", __doc__)

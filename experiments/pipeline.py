"""The whole road: pretrain, fine-tune, learn a reward, align with PPO, evaluate.

    python -m experiments.pipeline --config=demo           # what `make demo` runs
    python -m experiments.pipeline --config=mine.json --run_dir=runs/mine
    python -m experiments.pipeline --config=demo --seed=1 --ppo.steps=50 --run_dir=runs/seed1

Options of a stage are dotted flags, or nested objects of the config file. A stage that is done is
not run again; one that was killed goes on from its newest checkpoint. Everything lives in RUN_DIR:
models/, checkpoints/, metrics.jsonl, TensorBoard events, and at the end report.md with its pictures.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("pipeline", __doc__)

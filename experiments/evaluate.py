"""Compares a policy before and after alignment on held-out prompts, and writes the report.

    python -m experiments.evaluate --run_dir=runs/demo_eval --before=runs/demo/models/sft \\
        --after=runs/demo/models/ppo --reward=runs/demo/models/reward_model

Samples one response per prompt from both policies, scores them with the reward model (and, for the embedded
data, the gold reward and its parts), and measures the KL of the aligned policy to the one before. Writes
report.md, report.json and plots/*.png to RUN_DIR. About 30 seconds on two CPU cores.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("evaluate", __doc__)

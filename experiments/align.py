"""Aligns a policy with a learned reward by PPO, or by any on-policy algorithm.

    python -m experiments.align --run_dir=runs/ppo --model=runs/sft/models/sft \\
        --reward=runs/reward/models/reward_model
    python -m experiments.align --algorithm=grpo --model=DIR --reward=DIR
    python -m experiments.align --model=DIR --reward=DIR --data=prompts.jsonl
    python -m experiments.align --model=DIR --reward=DIR --costs=unsafe=DIR --cost_limits=0
    python -m experiments.align --algorithm=vtrace --refresh_every=8 --model=DIR --reward=DIR
    python -m experiments.align --model=DIR --reward=DIR1,DIR2,DIR3 --ensemble=worst

The third command reads JSON lines with "prompt"; the fourth keeps another model's mean score below a limit; in
the fifth a policy of up to seven batches ago samples, as in asynchronous training; the sixth uses the lowest of
three rewards.

The default is PPO as in Ziegler et al. 2019 and Stiennon et al. 2020, with the details of "The N
implementation details of RLHF with PPO" (Huang et al. 2024); the learning rate is larger than theirs because
the models are smaller. The other algorithms and their papers' numbers are in ``tfalign.training.algorithms``:
they hold for options that are not given, and an option that the algorithm does not use is refused. Writes
RUN_DIR/models/ALGORITHM. About two minutes on two CPU cores for the embedded data.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("align", __doc__)

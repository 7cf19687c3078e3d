"""Aligns a policy with a learned reward by PPO, or by any on-policy algorithm.

    python -m experiments.align --run_dir=runs/ppo --model=runs/sft/models/sft \\
        --reward=runs/reward/models/reward_model
    python -m experiments.align --algorithm=grpo --model=DIR --reward=DIR
    python -m experiments.align --model=DIR --reward=DIR --data=prompts.jsonl
    python -m experiments.align --model=DIR --reward=DIR --cost_model=DIR --cost_limit=0
    python -m experiments.align --algorithm=vtrace --refresh_every=8 --model=DIR --reward=DIR
    python -m experiments.align --model=DIR --reward=DIR1,DIR2,DIR3 --ensemble=worst

The third reads JSON lines with "prompt"; the fourth holds a second model's mean score under a limit;
in the fifth the policy of up to seven batches ago samples, as where sampling runs beside training;
the sixth trusts the least of three rewards.
The default is PPO as Ziegler et al. 2019 and Stiennon et al. 2020 have it, with the details of "The N
implementation details of RLHF with PPO"; the learning rate is larger than theirs, as the models are
smaller. The others and their papers' numbers stand in ``tfalign.training.algorithms``; an option of
-1 or "" is the algorithm's own number, and one that it has no use for is refused. Writes
RUN_DIR/models/ALGORITHM. About two minutes on two CPU cores for the embedded data.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("align", __doc__)

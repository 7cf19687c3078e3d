"""Estimates what a run needs before it is started: parameters, memory by component, operations per step.

    python -m experiments.plan --model=gpt2 --algorithm=ppo --device=h100 --batch_size=64

The same as ``tfalign plan``; see ``tfalign.planning.plan``.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("plan", __doc__)

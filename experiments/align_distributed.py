"""Aligns a policy as ``experiments.align``, with responses from several processes or machines.

    python -m experiments.align_distributed --actors=2 --model=DIR --reward=DIR
    ... --staleness=1                        # one step off-policy: actors respond while the learner updates
    ... --staleness=4 --corrected=false      # asynchronous, without importance correction
    ... --staleness=4 --fixed_age            # exactly 4 updates old: reproducible whatever the timing
    ... --address=auto                       # the machines of a running Ray cluster

Takes all options of ``experiments.align``, and these. Ray actors respond to the prompts and score the
responses, each a part of every batch; the learner, in this process, computes advantages and updates. With
--staleness=0 it equals ``align`` up to rounding: the same prompts, random numbers and updates. With
--staleness=N up to N batches are sampled before they are needed, by a policy that is at most N updates old;
"age" in metrics.jsonl is the actual number, and --corrected takes probability ratios to the policy that
sampled. An actor that dies is replaced, and its prompts are sampled again ("redone"). The same command
continues a run; it starts sampling again with the policy of the checkpoint, with --fixed_age too.

Needs Ray (``pip install tfalign[ray]``). On a cluster, models and data must be readable by all machines.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("align_distributed", __doc__)

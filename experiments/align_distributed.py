"""Aligns a policy as ``experiments.align`` does, with responses from several processes or machines.

    python -m experiments.align_distributed --actors=2 --model=DIR --reward=DIR
    ... --staleness=1                        # one step late: actors respond while the learner updates
    ... --staleness=4 --corrected=false      # asynchronous; treat rollouts as if they were today's
    ... --staleness=4 --fixed_age            # always 4 late: the same run whatever the timing
    ... --address=auto                       # the machines of a Ray cluster that is running

All options of ``experiments.align``, and these. Ray actors respond to the prompts and score the responses,
each a part of every batch; the learner, in this process, compares, credits and updates. With --staleness=0 it
is ``align`` to rounding: the same prompts, random numbers and updates. With more, up to so many batches are made
before they are needed, by a policy that is as many updates older at most; "age" in metrics.jsonl is
how many it was, and --corrected takes ratios to the policy that sampled. An actor that dies is replaced,
and its prompts are answered again ("redone"). The same command continues a run; with --fixed_age, too, it
begins anew with the policy it has then.

Needs Ray (``pip install tfalign[ray]``). On a cluster, models and data must be readable by all machines.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("align_distributed", __doc__)

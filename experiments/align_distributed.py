"""Aligns a policy as ``experiments.align`` does, with responses from several processes or machines.

    python -m experiments.align_distributed --actors=2 --policy=DIR --reward_model=DIR
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

from __future__ import annotations

from experiments import align, stages
from experiments.launch import launch
from tfalign import backend
from tfalign.options import option, option_record


@option_record
class AlignDistributedConfig(align.AlignConfig):
    run_dir: str = option("runs/align_distributed", "where the run lives")
    actors: int = option(2, "processes that respond and score", at_least=1)
    staleness: int = option(0, "batches that are made before they are needed, at most", at_least=0)
    fixed_age: bool = option(
        False, "responses by the policy of exactly --staleness updates before, not by the newest"
    )
    address: str = option("", "of a Ray cluster; one is started on this machine without")

    @property
    def samples_with_an_older_policy(self):
        return True  # of 0 updates, with --staleness=0

    def __post_init__(self):
        super().__post_init__()
        prompts = self.batch_size // align.chosen_algorithm(self).group_size
        if prompts < self.actors:
            raise ValueError(
                "Every actor must have a prompt of a batch. "
                f"Received: {self.actors} actors, {prompts} prompts"
            )
        for name, alone in (("refresh_every", 1), ("cost_model", "")):
            if getattr(self, name) != alone:
                raise ValueError(
                    f"--{name} is for one process. Received: {name}={getattr(self, name)}"
                )


def main(config):
    from tfalign.data.customer_service import gold_reward

    if len(backend.gather_from_processes(0)) > 1:
        raise ValueError("The learner of align_distributed is one process, which may have devices")
    try:
        from experiments.rollout_actors import RemoteResponses
    except ImportError as error:
        raise ValueError("align_distributed needs Ray: pip install 'tfalign[ray]'") from error

    gold = gold_reward if config.data == stages.EMBEDDED else None
    run = stages.open_run(config.algorithm, config)
    remote = RemoteResponses(config)
    try:
        align.align(config, run, gold, remote=remote)
    finally:
        remote.close()


if __name__ == "__main__":
    launch(AlignDistributedConfig, main, __doc__)

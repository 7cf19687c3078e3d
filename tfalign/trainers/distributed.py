"""On-policy alignment with responses from several processes or machines."""

from __future__ import annotations

from tfalign import backend
from tfalign.trainers.on_policy import OnPolicyTrainer
from tfalign.trainers.on_policy_options import DistributedOptions


class DistributedOnPolicyTrainer(OnPolicyTrainer):
    """Aligns a policy as ``OnPolicyTrainer`` does; Ray actors respond and score, each a part of every batch.

    With ``staleness=0`` it is ``OnPolicyTrainer`` to rounding: the same prompts, random numbers and updates.
    With more, up to so many batches are sampled before they are needed, by a policy that is as many updates
    older at most; "age" in the metrics is how many it was. An actor that dies is replaced, and its prompts
    are answered again ("redone"). To held-out prompts the learner's process responds, with the newest policy.

    The arguments are those of ``OnPolicyTrainer``; options are a ``DistributedOptions``. The model must have a
    directory, which all machines can read.

    Raises:
        ValueError: if Ray is not installed, the learner is several processes, or an actor has no prompt.
    """

    options_class = DistributedOptions

    def _make_worker(self, reward, costs, records):
        if len(backend.gather_from_processes(0)) > 1:
            raise ValueError("The learner is one process, which may have several devices")
        try:
            from tfalign.trainers.rollout_actors import Job, RemoteResponses
        except ImportError as error:
            raise ValueError(f"Actors need Ray: pip install 'tfalign[ray]' ({error})") from error
        prompts = self.options.update.batch_size // self.algorithm.group_size
        actors = self.options.actor_options.actors
        if prompts < actors:
            raise ValueError(
                "Every actor must have a prompt of a batch. "
                f"Received: {actors} actors, {prompts} prompts"
            )
        if self.pretrained.directory is None:
            raise ValueError("The model must be saved first, for actors to load it")
        if self.constraint is not None:
            raise ValueError(
                "Actors are told of a constraint by the option of that name. Received: a "
                f"{type(self.constraint).__name__}"
            )
        directory, known = str(self.pretrained.directory), self.examples.records
        job = Job(directory, reward, known, self.algorithm, self.options, self.tools)
        self.remote = RemoteResponses(job, self.num_steps)
        return super()._make_worker(reward, costs, records)

    def _older(self, copy, reward, config, limits):
        return self.remote

    def train(self) -> dict[str, float]:
        try:
            return super().train()
        finally:
            self.remote.close()

    def _begin(self, first_step):
        self.remote.begin(self.prompts, first_step + 1)

    def _update(self, step):
        self.remote.publish(self.pretrained.model)
        metrics = super()._update(step)
        return metrics | {"age": self.remote.age, "redone": float(self.remote.redone)}

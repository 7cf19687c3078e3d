"""Distribution of generation over workers: every part of every batch once, however many workers are lost, and
by a policy that is not too old.

Bookkeeping alone: no processes, no arrays, no clock.
"""

from __future__ import annotations

import collections
from typing import Any, NamedTuple


class Job(NamedTuple):
    """A part of the prompts of a batch."""

    step: int  # of the learner, which will use it
    part: int


class Dealer:
    """Assigns jobs to workers, and collects their results.

    The learner uses batches in the order of its steps. While it waits for the batch of step s, the
    batches up to s + ``staleness`` may be worked on, so a batch is never made by a policy that is
    more than ``staleness`` updates older than the one that learns from it. 0 is synchronous, 1 is one
    step late, more is asynchronous within that bound.

    Args:
        parts: int, jobs of a batch.
        staleness: int, batches that may be worked on beyond the one that is waited for.
        first_step: int, the first that is waited for.
        last_step: int, the last there is.
        fixed_age: bool, whether every batch is to be made by the policy of exactly ``staleness`` updates
            before (the first ones by the first), though there may be a newer one: then results do
            not depend on who was fast.
        most_losses: int, of one job; then it is the job that kills workers.

    Attributes:
        step: int, whose batch is waited for.
        redone: int, jobs that were dealt anew because their worker was lost.

    Raises:
        ValueError: if parts is not positive or staleness negative.
    """

    def __init__(
        self,
        parts: int,
        staleness: int,
        first_step: int,
        last_step: int,
        fixed_age: bool = False,
        most_losses: int = 5,
    ) -> None:
        if parts < 1 or staleness < 0:
            raise ValueError(
                "There must be a part at least, and staleness cannot be negative. "
                f"Received: parts={parts}, staleness={staleness}"
            )
        self.parts = parts
        self.staleness = staleness
        self.step = first_step
        self.last_step = last_step
        self.redone = 0
        self._first_step = first_step
        self._fixed_age = fixed_age
        self._most_losses = most_losses
        self._waiting = collections.deque()  # jobs of begun batches that nobody works on
        self._begun = first_step - 1  # the last step whose jobs were made
        self._dealt = {}  # worker -> (Job, version of the policy it works with)
        self._losses = collections.Counter()
        self._results = {}  # Job -> (result, age)

    def deal(self, worker: Any) -> Job | None:
        """The job a worker is to do now, with the policy of ``version_for`` it, or None where there is none.

        Raises:
            ValueError: if the worker has a job already.
        """
        if worker in self._dealt:
            raise ValueError(f"{worker} has not done {self._dealt[worker][0]} yet")
        newest = min(self.step + self.staleness, self.last_step)
        if not self._waiting and self._begun < newest:
            self._begun += 1
            self._waiting.extend(Job(self._begun, part) for part in range(self.parts))
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        self._dealt[worker] = job, self.version_for(job)
        return job

    def version_for(self, job: Job) -> int:
        """int, the step at whose beginning the policy was what the job is to be done with now."""
        if self._fixed_age:
            return max(job.step - self.staleness, self._first_step)
        return self.step

    def take_in(self, worker: Any, result: Any) -> None:
        """What the worker's job has come to; the worker is free then."""
        job, version = self._dealt.pop(worker)
        self._results[job] = result, job.step - version

    def lose(self, worker: Any, reason: str) -> None:
        """The worker is gone; its job, if it had one, is the next to be dealt.

        Args:
            worker: as dealt to.
            reason: str, of the last one's end.

        Raises:
            ChildProcessError: if the job has lost too many.
        """
        if worker not in self._dealt:
            return
        job, _ = self._dealt.pop(worker)
        self._losses[job] += 1
        if self._losses[job] >= self._most_losses:
            raise ChildProcessError(
                f"{self._losses[job]} workers were lost one after the other over part {job.part} "
                f"of the batch of step {job.step}, the last one because: {reason}"
            )
        self.redone += 1
        self._waiting.appendleft(job)

    def is_complete(self) -> bool:
        """Whether all parts of the batch that is waited for have come."""
        return all(Job(self.step, part) in self._results for part in range(self.parts))

    def collect(self) -> list[tuple[Any, int]]:
        """The batch that was waited for, [(result, age of its policy in updates)] part by part; the
        next one is waited for from now on."""
        jobs = [Job(self.step, part) for part in range(self.parts)]
        batch = [self._results.pop(job) for job in jobs]
        self.step += 1
        return batch

"""Jobs dealt to workers that come and go: each once, in bounded staleness."""

from __future__ import annotations

import numpy as np
import pytest

from tfalign.training.dealing import Dealer, Job


@pytest.mark.parametrize("fixed_age", [False, True])
@pytest.mark.parametrize("staleness", [0, 1, 4])
@pytest.mark.parametrize("seed", range(20))
def test_every_part_is_learned_from_once_whoever_dies(staleness, seed, fixed_age):
    """Workers finish and die in an order that is drawn; what a worker was given is its result."""
    random = np.random.default_rng(seed)
    parts, last = int(random.integers(1, 4)), 40
    dealer = Dealer(parts, staleness, 1, last, fixed_age, most_losses=10**6)
    working, learned, losses = {}, [], 0
    while dealer.step <= last:
        for worker in range(3):
            job = None if worker in working else dealer.deal(worker)
            if job is not None:
                assert dealer.step <= job.step <= dealer.step + staleness
                working[worker] = job
        if dealer.is_complete():
            for job, age in dealer.collect():
                assert 0 <= age <= staleness
                if fixed_age:
                    assert age == min(staleness, job.step - 1)
                learned.append(job)
            continue
        worker = int(random.choice(list(working)))
        job = working.pop(worker)
        if random.random() < 0.3:
            dealer.lose(worker, "drawn")
            losses += 1
        else:
            dealer.take_in(worker, job)
    assert learned == [Job(step, part) for step in range(1, last + 1) for part in range(parts)]
    assert dealer.redone == losses > 0


def test_one_step_late_works_ahead_of_the_learner():
    dealer = Dealer(1, 1, 1, 3)
    assert [dealer.deal("a"), dealer.deal("b"), dealer.deal("c")] == [Job(1, 0), Job(2, 0), None]
    dealer.take_in("b", "second")
    assert not dealer.is_complete()
    dealer.take_in("a", "first")
    assert dealer.collect() == [("first", 0)]
    assert dealer.collect() == [("second", 1)]
    assert dealer.deal("a") == Job(3, 0)
    assert dealer.deal("b") is None  # there are no more


def test_a_worker_without_a_job_may_go():
    dealer = Dealer(1, 0, 1, 1)
    dealer.lose("a", "gone")
    assert dealer.redone == 0


def test_what_cannot_be():
    with pytest.raises(ValueError, match="parts=0, staleness=0"):
        Dealer(0, 0, 1, 1)
    with pytest.raises(ValueError, match="parts=1, staleness=-1"):
        Dealer(1, -1, 1, 1)
    dealer = Dealer(1, 0, 7, 9, most_losses=2)
    dealer.deal("a")
    with pytest.raises(ValueError, match=r"a has not done Job\(step=7, part=0\) yet"):
        dealer.deal("a")
    dealer.lose("a", "no memory")
    dealer.deal("b")
    said = "2 workers were lost .* part 0 of the batch of step 7, the last one because: no model"
    with pytest.raises(ChildProcessError, match=said):
        dealer.lose("b", "no model")

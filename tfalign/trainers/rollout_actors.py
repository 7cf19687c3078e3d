"""Ray actors that respond and score, and the learner's end of them.

An actor has the policy and the reward of its ``Job`` and knows nothing of the run. The weights of each
update are put into Ray's object store once; on the learner's machine its actors read them there,
without a copy each.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import ray
from keras import tree

from tfalign import backend
from tfalign.data import BatchStream
from tfalign.pretrained import load
from tfalign.rewards import RewardError
from tfalign.tools import Toolbox
from tfalign.trainers.adapters import adapt
from tfalign.trainers.on_policy_options import ActorOptions, OnPolicyOptions
from tfalign.trainers.on_policy_parts import rollout_config, stop_tokens
from tfalign.trainers.rewards import Context, resolve_reward
from tfalign.trainers.speakers import resolve_user
from tfalign.training import interruption
from tfalign.training.algorithms import Algorithm
from tfalign.training.dealing import Dealer
from tfalign.training.on_policy import rollout_seed
from tfalign.training.responses import Responder, ScoredResponses
from tfalign.types import Generation, NumberedPrompts


class Job(NamedTuple):
    """What actors do."""

    model: str  # directory of the policy
    reward: Any  # see ``resolve_reward``
    records: Sequence[Any]  # of the prompts
    algorithm: Algorithm
    options: OnPolicyOptions
    tools: Toolbox | None  # that the policy may call


@ray.remote(num_cpus=1)
class RolloutActor:
    """A process that responds to prompts.

    Args:
        job: Job.
    """

    def __init__(self, job: Job) -> None:
        options = job.options
        pretrained = load(job.model, dtype=options.update.precision)
        tokenizer, self._policy = pretrained.tokenizer, pretrained.model
        adapt(self._policy, options.lora)
        dtype, stops = options.update.precision, stop_tokens(options, tokenizer)
        scored = options.reward_options, dtype, stops, options.responses.packed
        context = Context(tokenizer, job.records, *scored)
        reward = resolve_reward(job.reward, context)
        user = resolve_user(job.tools, reward, context, options.turns)
        size = self._policy.config.vocab_size
        config = rollout_config(job.algorithm, options, tokenizer, size, user)
        self._respond = Responder(self._policy, reward, config)
        self._version = None

    def respond(
        self,
        weights: Sequence[np.ndarray],
        version: int,
        prompts: tuple[np.ndarray, ...],
        seed: int,
        row_ids: np.ndarray,
    ) -> ScoredResponses:
        """ScoredResponses of NumPy arrays.

        Args:
            weights: list of arrays, the policy's.
            version: int, the weights'; those it has already are not set again.
            prompts, seed, row_ids: see ``Responder``.
        """
        if version != self._version:
            self._policy.set_weights(weights)
            self._version = version
        answers = self._respond(NumberedPrompts(*prompts), seed, row_ids)
        return tree.map_structure(lambda x: x if x is None else np.asarray(x), answers)


class RemoteResponses:
    """``Responder`` of a policy whose copies live in actors.

    A lost actor is replaced and what it was doing is done again, by the same random numbers: which
    actor answers a prompt, and how often it had to be asked, changes nothing.

    Args:
        job: Job.
        num_steps: updates of the whole training.

    Attributes:
        corrected, variables: see ``OlderResponder``; actors leave nothing for a checkpoint.
        age: float, by how many updates the policies were older that drew the last batch.
        redone: int, parts of batches that were asked for again.
    """

    def __init__(self, job: Job, num_steps: int) -> None:
        self._job = job
        self._num_steps = num_steps
        self._options: ActorOptions = job.options.actor_options
        self.corrected = job.options.responses.corrected
        self.variables = {}
        self._actors = {}
        self._pending = {}  # what an actor was asked for -> its number
        self.age = 0.0

    @property
    def redone(self) -> int:
        return self._dealer.redone

    def begin(self, prompts: BatchStream, first_step: int) -> None:
        """Starts the actors, where the run stands. What is wrong with models and data is known by then.

        Args:
            prompts: BatchStream, at the batch of ``first_step``; it stays there.
            first_step: int.
        """
        self._start()
        self._prompts = copy.copy(prompts)
        self._asked = {}  # step -> Prompts, from the first that is not used yet
        options = self._options
        self._dealer = Dealer(
            options.actors, options.staleness, first_step, self._num_steps, options.fixed_age
        )
        self._weights = {}  # step -> the policy's at its beginning

    def _start(self):
        os.environ.setdefault("RAY_worker_niceness", "0")  # else actors give way to the learner
        ray.init(
            address=self._options.address or None,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": _environment()},
        )
        interruption.handle_again()  # Ray ends the learner at once
        for number in range(self._options.actors):
            self._replace(number)

    def publish(self, policy: keras.Model) -> None:
        """Makes the policy's weights those of the step that begins."""
        step = self._dealer.step
        self._weights = {at: kept for at, kept in self._weights.items() if self._is_needed(at)}
        self._weights[step] = ray.put([backend.to_numpy(weight) for weight in policy.weights])

    def _is_needed(self, step):
        return self._options.fixed_age and step >= self._dealer.step - self._options.staleness

    def __call__(
        self, prompts: NumberedPrompts, seed: int, row_ids: np.ndarray | None = None
    ) -> ScoredResponses:
        """ScoredResponses to the learner's next batch, which must be the stream's, with the seed of its
        step.

        Raises:
            RewardError: what an actor's reward raised.
            ChildProcessError: if actors are lost again and again.
        """
        del seed, row_ids  # those of the step
        step = self._dealer.step
        while True:
            self._ask()
            if self._dealer.is_complete():
                break
            self._listen()
        asked = self._asked.pop(step, None)
        if not np.array_equal(asked.token_ids, prompts.token_ids):
            raise RuntimeError(f"The prompts of step {step} are not those that were asked for")
        batch = self._dealer.collect()
        self.age = float(np.mean([age for _, age in batch]))
        for answers, _ in batch:
            if isinstance(answers, RewardError):
                raise answers
        return _joined([answers for answers, _ in batch])

    def close(self) -> None:
        ray.shutdown()

    def _ask(self):
        """Gives every idle actor a job, if there is one."""
        for number in set(self._actors) - set(self._pending.values()):
            job = self._dealer.deal(number)
            if job is None:
                return
            asked = self._prompts_of(job.step)
            rows = np.arange(len(asked.token_ids), dtype="int32")
            rows = np.array_split(rows, self._dealer.parts)[job.part]
            prompts = asked.each(lambda field, rows=rows: np.asarray(field)[rows])
            version = self._dealer.version_for(job)
            reference = self._actors[number].respond.remote(
                self._weights[version],
                version,
                (*prompts, prompts.rows, prompts.condition),
                rollout_seed(self._job.options.run.seed, job.step),
                rows,
            )
            self._pending[reference] = number

    def _listen(self):
        """Waits for one actor's answer, or its end."""
        (reference,), _ = ray.wait(list(self._pending), num_returns=1)
        number = self._pending.pop(reference)
        try:
            self._dealer.take_in(number, ray.get(reference))
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, RewardError):
                raise
            self._dealer.take_in(number, error.cause)
        except ray.exceptions.RayActorError as error:
            self._dealer.lose(number, str(error).strip().splitlines()[-1].strip())
            self._replace(number)

    def _replace(self, number):
        self._actors[number] = RolloutActor.remote(self._job)

    def _prompts_of(self, step):
        while step not in self._asked:
            self._asked[max(self._asked, default=self._dealer.step - 1) + 1] = next(self._prompts)
        return self._asked[step]


def _joined(parts):
    """ScoredResponses of all parts, one under the other."""

    def stack(*fields):
        return None if fields[0] is None else np.concatenate(fields)

    generation = Generation(*map(stack, *(part.generation for part in parts)))
    return ScoredResponses(generation, *map(stack, *(part[1:] for part in parts)))


def _environment():
    """What an actor's process must be told: where the package is, and the backend."""
    path = [str(Path(__file__).resolve().parent.parent.parent), os.environ.get("PYTHONPATH", "")]
    told = {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    names = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TFALIGN_DATA_DIR")
    return told | {name: os.environ[name] for name in names if name in os.environ}

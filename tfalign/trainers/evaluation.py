"""Evaluation of policies on held-out prompts, and the report that compares two of them."""

from __future__ import annotations

import io
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfalign import backend
from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.evaluation.report import (
    PolicyEvaluation,
    Report,
    RewardModelEvaluation,
    report_values,
    write_report,
)
from tfalign.models import Actor
from tfalign.models.actor_critic import copy_weights
from tfalign.options import changed
from tfalign.pretrained import Pretrained
from tfalign.trainers.base import opened
from tfalign.trainers.data import Data, held_out_records
from tfalign.trainers.on_policy import texts
from tfalign.trainers.on_policy_options import RewardOptions
from tfalign.trainers.options import EvaluateOptions
from tfalign.trainers.rewards import Context, resolve_reward
from tfalign.training.credit import RewardToGo
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.training.run_directory import METRICS, RunDirectory, package_versions

Details = Callable[[list[str], list[str]], tuple[Mapping[str, Any], Mapping[str, Any]]]


class PolicyEvaluator:
    """Lets one policy after another respond to held-out prompts, and measures the responses.

        evaluator = PolicyEvaluator("runs/b/models/sft", "runs/c/models/reward_model", "prompts.jsonl")
        evaluator("runs/d/models/ppo").scores.mean()

    Args:
        reference: the policy that KL is measured to, and whose tokenizer is used: a directory, or what
            ``tfalign.load`` returned.
        reward: see ``trainers.rewards.resolve_reward``.
        prompts: records with "prompt": a source, of which the test split is used, or a sequence.
        gold: ``(prompt, response) -> float``, a judge that nothing is trained on; None for none.
        details: ``(prompts, responses) -> (parts, checks)``, see ``PolicyEvaluation``; None for none.
        options, changes: an ``EvaluateOptions``, and options by their names.

    Attributes:
        prompts: list of str.
    """

    def __init__(
        self,
        reference: str | os.PathLike | Pretrained,
        reward: Any,
        prompts: Data,
        *,
        gold: Callable[[str, str], float] | None = None,
        details: Details | None = None,
        options: EvaluateOptions | None = None,
        **changes: Any,
    ) -> None:
        self.options = changed(options or EvaluateOptions(), **changes)
        self.gold, self.details = gold, details
        self._pretrained = opened(reference, None)
        self._tokenizer = self._pretrained.tokenizer
        options = self.options
        examples = encode_prompts(
            held_out_records(prompts, PromptRecord, options.data_options),
            self._tokenizer,
            options.max_prompt_tokens,
            options.data_options.on_bad,
        )
        context = Context(self._tokenizer, examples.records, RewardOptions(), None)
        self._reward = resolve_reward(reward, context)
        rows = min(options.batch_size, len(examples))
        batches = BatchStream(examples, rows, [options.max_prompt_tokens], epochs=1)
        self._batches = list(itertools.islice(batches, max(options.num_prompts // rows, 1)))
        self.prompts = [
            self._tokenizer.decode(ids[mask].tolist())
            for batch in self._batches
            for ids, mask in zip(batch.token_ids, batch.mask)
        ]
        self._worker: RolloutWorker | None = None

    def __call__(self, model: str | os.PathLike | Pretrained) -> PolicyEvaluation:
        """One sampled response of a policy to every prompt, measured."""
        worker = self._worker_for(opened(model, None).model)
        responses, scores, kl, lengths = [], [], [], []
        for index, batch in enumerate(self._batches):
            rollout, _ = worker(batch, self.options.seed + index, kl_coefficient=0.0)
            responses += texts(self._tokenizer, rollout)[1]
            scores.append(np.asarray(rollout.scores))
            kl.append(np.sum(np.asarray(rollout.log_probs) - np.asarray(rollout.ref_log_probs), 1))
            lengths.append(np.sum(np.asarray(rollout.response_mask), 1))
        golds = None
        if self.gold is not None:
            golds = np.array(list(map(self.gold, self.prompts, responses)))
        parts, checks = self.details(self.prompts, responses) if self.details else ({}, {})
        return PolicyEvaluation(
            responses,
            np.concatenate(scores),
            golds,
            np.concatenate(kl),
            np.concatenate(lengths),
            parts,
            checks,
        )

    def _worker_for(self, policy):
        """RolloutWorker of this policy; one of another policy of its shape is compiled already."""
        if self._worker and self._worker.actor_critic.policy.config == policy.config:
            copy_weights(policy, self._worker.actor_critic.policy)
            return self._worker
        config = RolloutConfig(
            self.options.max_new_tokens,
            temperature=self.options.temperature,
            stop_tokens=self._tokenizer.stop_ids,
            pad_id=self._tokenizer.pad_id,
        )
        reference = self._pretrained.copy_of_model()
        self._worker = RolloutWorker(Actor(policy), reference, self._reward, config, RewardToGo())
        return self._worker


def compare(
    evaluator: PolicyEvaluator,
    before: str | os.PathLike,
    after: str | os.PathLike,
    run: RunDirectory,
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Writes the report on two policies into a run's directory.

    Args:
        evaluator: PolicyEvaluator.
        before, after: directories of the policies.
        run: RunDirectory, whose metrics are drawn.
        seconds: stage to wall clock; None for none.

    Returns:
        What report.json holds.
    """
    options = evaluator.options
    report = Report(
        title=options.title,
        summary=options.summary,
        command=command(),
        prompts=evaluator.prompts,
        before=evaluator(before),
        after=evaluator(after),
        reward_model=_held_out_scores(run.path / "reward_model_scores.npz"),
        seconds=dict(seconds or {}),
        versions=package_versions(),
        before_name=options.before_name,
        after_name=options.after_name,
    )
    if not backend.is_chief():
        return report_values(report)
    metrics = run.path / METRICS  # of the stages before, where they ran in this run
    run.begin()
    return write_report(report, run.path, metrics if metrics.exists() else None)


def command() -> str:
    """The shell command this process was started by."""
    spec = sys.modules["__main__"].__spec__
    if spec is not None:
        return " ".join(map(shlex.quote, ["python", "-m", spec.name, *sys.argv[1:]]))
    program = Path(sys.argv[0])
    shown = ["python", *sys.argv] if program.suffix == ".py" else [program.name, *sys.argv[1:]]
    return " ".join(map(shlex.quote, shown))


def _held_out_scores(file):
    if not file.exists():
        return None
    with np.load(io.BytesIO(file.read_bytes())) as scores:
        return RewardModelEvaluation(scores["chosen"], scores["rejected"])

"""On-policy alignment: PPO, GRPO and every other algorithm of ``training.algorithms``."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.pretrained import Pretrained
from tfalign.trainers import on_policy_parts as parts
from tfalign.trainers.adapters import adapt, reference_of
from tfalign.trainers.base import Trainer, name_of, name_of_data, opened
from tfalign.trainers.data import Data, encoded, training_records
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.optimizers import make_optimizer
from tfalign.trainers.rewards import Context, first_model, resolve_reward
from tfalign.trainers.samples import prompts_of
from tfalign.training.algorithms import Algorithm
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.responses import OlderResponder
from tfalign.training.rollouts import RolloutWorker
from tfalign.training.run_directory import RunDirectory


class OnPolicyTrainer(Trainer):
    """Aligns a policy with a reward.

        def shorter(prompt, response):
            return -len(response)

        OnPolicyTrainer("runs/b/models/sft", shorter, "prompts.jsonl", algorithm="grpo", run_dir="runs/d").train()

    Args:
        model: a directory, or what ``tfalign.load`` returned, which is trained itself; the reference is a
            copy, or with ``lora`` its base.
        reward: see ``trainers.rewards.resolve_reward``.
        prompts: records with "prompt": a source, or a sequence of texts, dicts or records.
        algorithm: a name of ``training.algorithms.ALGORITHMS``, or an Algorithm.
        gold: ``(prompt, response) -> float``, logged beside the reward and never trained on; None for none.
        options, run_dir, stage, callbacks, changes: see ``Trainer``; options are an ``OnPolicyOptions``.

    Attributes:
        worker: RolloutWorker.
        examples: PromptExamples.
        prompts: BatchStream of them.
        algorithm: Algorithm, with the numbers of the options.
    """

    options_class = OnPolicyOptions

    def __init__(
        self,
        model: str | os.PathLike | Pretrained,
        reward: Any,
        prompts: Data,
        algorithm: str | Algorithm = "ppo",
        *,
        gold: Callable[[str, str], float] | None = None,
        options: OnPolicyOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        self.default_stage = algorithm if isinstance(algorithm, str) else "align"
        start = {
            "model": name_of(model),
            "data": name_of_data(prompts),
            "reward": _name_of_reward(reward),
            "algorithm": self.default_stage,
        }
        super().__init__(start, options, run_dir, stage, callbacks, changes)
        self.gold = gold
        with self._building():
            self._build(model, reward, prompts, algorithm)

    def _build(self, model, reward, prompts, algorithm):
        self.algorithm = parts.chosen_algorithm(algorithm, self.options)
        self.pretrained = opened(model, self.options.update.precision)
        self.tokenizer = self.pretrained.tokenizer
        self.examples = self._encoded(prompts)
        self.worker = self._make_worker(reward, self.examples.records)
        self.learner = self._make_learner()
        self.prompts = BatchStream(
            self.examples,
            self.options.update.batch_size // self.algorithm.group_size,
            [self.options.responses.max_prompt_tokens],
            seed=self.options.run.seed,
        )
        self.kl_control = parts.kl_control(self.algorithm, self.options)
        shown = prompts_of(self.examples.records)
        self._sample(self.pretrained.model, shown, self.options.samples)

    @property
    def num_steps(self) -> int:
        run = self.options.run
        if run.epochs is None:
            return run.steps
        prompts = self.options.update.batch_size // self.algorithm.group_size
        return math.ceil(run.epochs * len(self.examples) / prompts)

    def _encoded(self, prompts):
        options = self.options.data_options
        return encoded(
            self.stage,
            encode_prompts,
            training_records(prompts, PromptRecord, options),
            tokenizer=self.tokenizer,
            max_prompt_tokens=self.options.responses.max_prompt_tokens,
            on_bad=options.on_bad,
        )

    def _make_worker(self, reward, records):
        options, chosen = self.options, self.algorithm
        dtype, policy = options.update.precision, self.pretrained.model
        context = Context(self.tokenizer, records, options.reward_options, dtype)
        reward = resolve_reward(reward, context)
        reference = None if options.lora else self.pretrained.copy_of_model()
        copy = self.pretrained.copy_of_model() if options.responses.refresh_every > 1 else None
        actor_critic = parts.actor_critic(chosen, options, policy, first_model(reward))
        for model in filter(None, (policy, copy)):
            adapt(model, options.lora)
        size = policy.config.vocab_size
        config = parts.rollout_config(chosen, options, self.tokenizer, size, reward)
        self.algorithm = parts.under(chosen, config.constraint)
        limit = parts.cost_limit(options.reward_options, dtype)
        return RolloutWorker(
            actor_critic,
            reference_of(policy, options.lora, lambda: reference),
            reward,
            config,
            chosen.credit,
            chosen.baseline and chosen.baseline(),
            limit,
            self._older(copy, reward, config, limit),
        )

    def _older(self, copy, reward, config, limit):
        """Who responds instead of the policy, with older copies of it; None for nobody."""
        corrected = self.options.responses.corrected
        return copy and OlderResponder(copy, reward, config, limit, corrected)

    def _make_learner(self):
        options, chosen = self.options, self.algorithm
        size = parts.minibatch_size(chosen, options)
        updates = self.num_steps * chosen.epochs * (options.update.batch_size // size)
        optimizer = make_optimizer(options.update, updates)
        return Learner(self.worker.actor_critic, chosen.loss, optimizer, options.update.accumulate)

    def _update(self, step):
        options = self.options
        every = options.responses.refresh_every
        if every > 1 and step % every == 1:
            self.worker.older.refresh(self.pretrained.model)
        rollout, metrics = improve(
            self.worker,
            self.learner,
            next(self.prompts),
            self.kl_control,
            seed=options.run.seed,
            step=step,
            epochs=self.algorithm.epochs,
            minibatch_size=parts.minibatch_size(self.algorithm, options),
            target_kl=options.kl_penalty.target_kl,
            on_bad=options.reward_options.on_bad_reward,
            arrange=self.algorithm.arrange,
        )
        if self.gold is not None and rollout is not None:
            metrics["gold_reward"] = self._mean_gold(rollout)
        return metrics

    def _mean_gold(self, rollout):
        return float(np.mean(list(map(self.gold, *texts(self.tokenizer, rollout)))))

    def _stateful(self):
        return {"prompts": self.prompts, "kl": self.kl_control} | self.worker.stateful

    def _more_variables(self):
        return self.worker.variables

    def save(self) -> None:
        self._save(self.pretrained.model, self.options.lora)
        self.pretrained.directory = self.model_directory


def texts(tokenizer: Any, rollout: Any) -> tuple[list[str], list[str]]:
    """Prompts and responses of a rollout as text."""
    token_ids, mask = np.asarray(rollout.token_ids), np.asarray(rollout.padding_mask)
    length = rollout.response_mask.shape[1]
    sides = (slice(None, -length), slice(-length, None))
    return tuple(
        tokenizer.decode_batch([row[side][m[side]].tolist() for row, m in zip(token_ids, mask)])
        for side in sides
    )


def _name_of_reward(reward):
    """What a run's config.json calls a reward."""
    if isinstance(reward, str | os.PathLike):
        return os.fspath(reward)
    if isinstance(reward, Pretrained):
        return name_of(reward)
    if inspect.isroutine(reward):
        return f"{reward.__module__}:{reward.__qualname__}"
    return f"({type(reward).__name__} in Python)"

"""On-policy alignment: PPO, GRPO and every other algorithm of ``training.algorithms``."""

from __future__ import annotations

import inspect
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.decoding.constraints import Constraint
from tfalign.pretrained import Pretrained
from tfalign.rewards import RewardError
from tfalign.trainers import on_policy_parts as parts
from tfalign.trainers.adapters import adapt, reference_of
from tfalign.trainers.base import name_of, names_of_data, opened
from tfalign.trainers.data import Data, encoded, split_records, training_records
from tfalign.trainers.evaluated import Criterion, EvaluatedTrainer
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.optimizers import make_optimizer
from tfalign.trainers.rewards import Context, first_model, resolve_reward
from tfalign.trainers.samples import prompts_of
from tfalign.trainers.speakers import resolve_user, toolbox_of
from tfalign.training.algorithms import Algorithm
from tfalign.training.batch_work import operations_of_rollouts
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve, rollout_seed
from tfalign.training.response_means import ResponseMeans
from tfalign.training.responses import OlderResponder
from tfalign.training.rollouts import RolloutWorker
from tfalign.training.run_directory import RunDirectory


class OnPolicyTrainer(EvaluatedTrainer):
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
        costs: name -> what is charged a Lagrange multiplier so that its mean stays at or below a limit, in the forms
            of the reward; ``cost_limits`` has the limits, see ``training.lagrange``. Logged as "cost_NAME" and
            "price_NAME".
        held_out: held-out prompts in either form, whose mean reward is logged as "eval_score" every
            ``eval_every`` steps and after the last, and decides which weights are best; None for the test
            split of a source where ``eval_every`` is given, else for none. A reward that finds records by
            their rows finds those of held-out prompts after those of training.
        tools: functions that the policy may call in its turns, see ``tools.Toolbox``, or their names
            "FILE.py:NAME"; prompts in a chat template tell it which there are. What is rewarded is what it says
            after all results.
        constraint: which tokens may come next: words, as the option of the same name, or an object, see
            ``decoding.constraints``.
        options, run_dir, stage, callbacks, changes: see ``Trainer``; options are an ``OnPolicyOptions``.

    Attributes:
        worker: RolloutWorker.
        examples: PromptExamples.
        prompts: BatchStream of them.
        held_out: PromptExamples of the held-out prompts; None where there are none.
        evaluate: ResponseMeans of those.
        algorithm: Algorithm, with the numbers of the options.
        gold: ``(prompt, response) -> float``, logged beside the reward as "gold_reward" and never trained on; None,
            until it is set.
        tools: Toolbox; None where there are no tools.
        constraint: as given, where it is an object.
    """

    options_class = OnPolicyOptions
    criterion = Criterion("eval_score", -1.0, "highest held-out reward")

    def __init__(
        self,
        model: str | os.PathLike | Pretrained,
        reward: Any,
        prompts: Data,
        algorithm: str | Algorithm = "ppo",
        *,
        costs: Mapping[str, Any] | None = None,
        held_out: Data | None = None,
        tools: Sequence[str | Callable] = (),
        constraint: str | Constraint | None = None,
        options: OnPolicyOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        self.default_stage = algorithm if isinstance(algorithm, str) else "align"
        names = {"reward": _address_of(reward), "algorithm": self.default_stage}
        start = {"model": name_of(model)} | names_of_data(prompts, held_out)
        if tools:
            names["tools"] = [_address_of(tool) for tool in tools]
        if isinstance(constraint, str):
            changes["constraint"], constraint = constraint, None
        elif constraint is not None:
            names["constraint"] = _address_of(constraint)
        if costs:
            names["costs"] = {name: _address_of(cost) for name, cost in costs.items()}
        super().__init__(start | names, options, run_dir, stage, callbacks, changes)
        self.gold = None
        self.constraint = constraint
        with self._building():
            self._build(model, reward, costs or {}, prompts, algorithm, held_out, tools)

    def _build(self, model, reward, costs, prompts, algorithm, held_out, tools):
        self.tools = toolbox_of(tools, self.options.turns)
        self.algorithm = parts.chosen_algorithm(algorithm, self.options)
        self.pretrained = opened(model, self.options.update.precision)
        self.tokenizer = self.pretrained.tokenizer
        train, test = self._records(prompts, held_out)
        self.examples = self._encoded(self.stage, train)
        self.held_out = self._encoded(f"{self.stage} held out", test) if test else None
        self._check_held_out(self.held_out)
        known = self.examples.records + (self.held_out.records if self.held_out else ())
        self.worker = self._make_worker(reward, costs, known)
        self.learner = self._make_learner()
        self.evaluate = self._make_evaluation()
        self._watch(self.pretrained.model)
        self.prompts = BatchStream(
            self.examples,
            self.options.update.batch_size // self.algorithm.group_size,
            [self.options.responses.max_prompt_tokens],
            seed=self.options.run.seed,
        )
        self.kl_control = parts.kl_control(self.algorithm, self.options)
        shown = prompts_of(self.examples.records)
        self._sample(self.pretrained.model, shown, self.options.evaluation)

    @property
    def num_steps(self) -> int:
        run = self.options.run
        if run.epochs is None:
            return run.steps
        prompts = self.options.update.batch_size // self.algorithm.group_size
        return math.ceil(run.epochs * len(self.examples) / prompts)

    def _records(self, prompts, held_out):
        """(training records, those that are evaluated on)."""
        options, evaluation = self.options.data_options, self.options.evaluation
        has_split = isinstance(prompts, str) and evaluation.eval_every is not None
        if held_out is None and not has_split:
            return training_records(prompts, PromptRecord, options), ()
        train, test = split_records(prompts, PromptRecord, options, held_out)
        return train, test[: evaluation.eval_prompts]

    def _encoded(self, what, records):
        return encoded(
            what,
            encode_prompts,
            records,
            tokenizer=self.tokenizer,
            max_prompt_tokens=self.options.responses.max_prompt_tokens,
            on_bad=self.options.data_options.on_bad,
            **({"tools": self.tools.schemas} if self.tools else {}),
        )

    def _make_worker(self, reward, costs, records):
        options, chosen = self.options, self.algorithm
        dtype, policy = options.update.precision, self.pretrained.model
        stops = parts.stop_tokens(options, self.tokenizer)
        scored = options.reward_options, dtype, stops, options.responses.packed
        context = Context(self.tokenizer, records, *scored)
        reward = resolve_reward(reward, context)
        costs = {name: resolve_reward(cost, context) for name, cost in costs.items()}
        limits = parts.cost_limits(costs, options.reward_options)
        reference = None if options.lora else self.pretrained.copy_of_model()
        copy = self.pretrained.copy_of_model() if options.responses.refresh_every > 1 else None
        self._scorer = first_model(reward)
        actor_critic = parts.actor_critic(chosen, options, policy, self._scorer)
        for model in filter(None, (policy, copy)):
            adapt(model, options.lora)
        size = policy.config.vocab_size
        user = resolve_user(self.tools, reward, context, options.turns)
        given = options, self.tokenizer, size, user, self.constraint
        config = parts.rollout_config(chosen, *given)
        self.algorithm = parts.under(chosen, config.constraint)
        return RolloutWorker(
            actor_critic,
            reference_of(policy, options.lora, lambda: reference),
            reward,
            config,
            chosen.credit,
            chosen.baseline and chosen.baseline(),
            limits,
            self._older(copy, reward, config, limits),
        )

    def _older(self, copy, reward, config, limits):
        """Who responds instead of the policy, with older copies of it; None for nobody."""
        corrected = self.options.responses.corrected
        return copy and OlderResponder(copy, reward, config, limits, corrected)

    def _make_learner(self):
        options, chosen = self.options, self.algorithm
        size = parts.minibatch_size(chosen, options)
        updates = self.num_steps * chosen.epochs * (options.update.batch_size // size)
        optimizer = make_optimizer(options.update, updates)
        return Learner(self.worker.actor_critic, chosen.loss, optimizer, options.update.accumulate)

    def _make_evaluation(self):
        options = self.options
        return ResponseMeans(
            self.worker,
            options.update.batch_size,
            options.responses.max_prompt_tokens,
            rollout_seed(options.run.seed, 0),  # of no step
            first_record=len(self.examples),
        )

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
        self.watch.note(metrics, *self._work(rollout, metrics))
        if self.gold is not None and rollout is not None:
            metrics["gold_reward"] = self._mean_gold(rollout)
        return metrics | self._evaluated(step)

    def _work(self, rollout, metrics):
        """(tokens sampled, operations) of a step; None of a batch that was left alone."""
        if rollout is None:
            return None, None
        size = parts.minibatch_size(self.algorithm, self.options)
        lora = self.options.lora
        rank = 0 if lora is None else lora.rank
        operations = operations_of_rollouts(
            self.worker.actor_critic, self._scorer, rollout, size, metrics["updates"], rank
        )
        return round(metrics["response_length"] * len(rollout.scores)), operations

    def _measured(self, step):
        try:
            return super()._measured(step)
        except RewardError as error:
            if self.options.reward_options.on_bad_reward == "stop":
                raise
            warnings.warn(f"The evaluation after step {step} is skipped: {error}", stacklevel=2)
            return {}

    def _mean_gold(self, rollout):
        return float(np.mean(list(map(self.gold, *texts(self.tokenizer, rollout)))))

    def _stateful(self):
        own = {"prompts": self.prompts, "kl": self.kl_control}
        return own | self.worker.stateful | super()._stateful()

    def _more_variables(self):
        return self.worker.variables | super()._more_variables()

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


def _address_of(given):
    """What a run's config.json calls a reward, or a tool."""
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    if isinstance(given, Pretrained):
        return name_of(given)
    if inspect.isroutine(given):
        return f"{given.__module__}:{given.__qualname__}"
    return f"({type(given).__name__} in Python)"

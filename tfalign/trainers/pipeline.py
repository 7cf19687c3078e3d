"""The whole road: pretrain, fine-tune, learn a reward, align, evaluate."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Callable
from typing import Any

from tfalign import backend, data
from tfalign.data.customer_service import gold_details, gold_reward
from tfalign.evaluation.naive_bayes import NaiveBayes
from tfalign.files import is_whole, write_json_atomically
from tfalign.options import changed, to_dict
from tfalign.trainers.base import open_run
from tfalign.trainers.data import EMBEDDED, read_split
from tfalign.trainers.evaluation import PolicyEvaluator, compare
from tfalign.trainers.fine_tuning import FineTuner
from tfalign.trainers.on_policy import OnPolicyTrainer
from tfalign.trainers.pipeline_options import PipelineOptions
from tfalign.trainers.pretraining import Pretrainer
from tfalign.trainers.reward_modelling import RewardTrainer
from tfalign.trainers.saving import model_directory
from tfalign.training.run_directory import RunDirectory


class Pipeline:
    """Pretraining, fine-tuning, reward modelling, alignment and the report, in one run directory.

    A stage that is done is not run again; one that was killed goes on from its newest checkpoint.

        Pipeline(run_dir="runs/mine", options=build(PipelineOptions, {"ppo": {"steps": 50}})).train()

    Args:
        run_dir: directory of the run.
        options, changes: a ``PipelineOptions``, and options by their names.

    Attributes:
        gold: the judge that nothing is trained on, a function of prompt and response; None for none.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike,
        options: PipelineOptions | None = None,
        **changes: Any,
    ) -> None:
        self.options = changed(options or PipelineOptions(), **changes)
        self.run = open_run(run_dir, to_dict(self.options))
        self._models = {
            name: model_directory(self.run.path, name)
            for name in ("pretrain", "sft", "reward_model", "ppo")
        }
        try:
            self.gold = self._judge()
            if not any(is_whole(path) for path in self._models.values()):
                self._check_sources()
        except BaseException:
            self.run.close()
            raise

    def train(self) -> dict[str, Any]:
        """Runs the stages that are not done yet, and the report.

        Returns:
            What report.json holds.
        """
        seconds = SecondsOfRun(self.run)
        resume_from = self.options.resume_from
        stages = {
            "pretrain": self._pretrain,
            "sft": self._fine_tune,
            "reward_model": self._train_reward,
            "ppo": self._align,
        }
        with self.run:
            for name, make in stages.items():
                if is_whole(self._models[name]):
                    print(f"{name}: done before")
                    continue
                seconds.measure(name, lambda make=make, at=resume_from: make(at).train())
                resume_from = None  # of the stage that goes on, not of those after it
            return seconds.measure("evaluate", lambda: self._evaluate(seconds.seconds))

    def _settings(self, stage, resume_from=None):
        """What every stage's trainer is given."""
        own = {"data_dir": self.options.data_dir, "seed": self.options.seed}
        return {"options": stage.options, "run_dir": self.run, "resume_from": resume_from} | own

    def _pretrain(self, resume_from):
        stage = self.options.pretrain
        return Pretrainer(stage.data, **self._settings(stage, resume_from))

    def _fine_tune(self, resume_from):
        stage = self.options.sft
        model = self._models["pretrain"]
        return FineTuner(model, stage.data, **self._settings(stage, resume_from))

    def _train_reward(self, resume_from):
        stage = self.options.reward_model
        model = self._models["sft"]
        return RewardTrainer(model, stage.data, **self._settings(stage, resume_from))

    def _align(self, resume_from):
        stage = self.options.ppo
        trainer = OnPolicyTrainer(
            self._models["sft"],
            self._models["reward_model"],
            stage.data,
            stage.algorithm,
            stage="ppo",
            **self._settings(stage, resume_from),
        )
        trainer.gold = self.gold
        return trainer

    def _evaluate(self, seconds):
        stage, models = self.options.evaluate, self._models
        evaluator = PolicyEvaluator(
            models["sft"],
            models["reward_model"],
            stage.data,
            gold=self.gold,
            details=gold_details if stage.data == EMBEDDED else None,
            options=stage.options,
            data_dir=self.options.data_dir,
            seed=self.options.seed,
        )
        return compare(evaluator, models["sft"], models["ppo"], self.run, seconds)

    def _judge(self):
        if self.options.ppo.data == EMBEDDED:
            return gold_reward
        return NaiveBayes.load(self.options.judge) if self.options.judge else None

    def _check_sources(self):
        """Reads what every stage will read, once, so that what is wrong with it is said before the first."""
        options = self.options
        sft_kind = data.CompletionRecord
        if options.sft.options.conversations:
            sft_kind = data.ConversationRecord
        reward_kind = data.PreferenceRecord
        if options.reward_model.options.rankings:
            reward_kind = data.RankedRecord
        kinds = [
            (options.pretrain, data.TextRecord),
            (options.sft, sft_kind),
            (options.reward_model, reward_kind),
            (options.ppo, data.PromptRecord),
            (options.evaluate, data.PromptRecord),
        ]
        with contextlib.redirect_stdout(io.StringIO()):  # the stages print how much they read
            for stage, kind in kinds:
                if stage.data != EMBEDDED:
                    settings = changed(stage.options.data_options, data_dir=options.data_dir)
                    for split in ("train", "test"):
                        read_split(stage.data, kind, split, settings)


class SecondsOfRun:
    """Wall-clock seconds by stage that survive a restart: each stage's are added up in seconds.json.

    Args:
        run: RunDirectory.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        file = run.path / "seconds.json"
        self.seconds: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def measure(self, name: str, function: Callable[[], Any]) -> Any:
        """Calls a function and remembers how long it took, interrupted or not."""
        start = time.perf_counter()
        try:
            return function()
        finally:
            passed = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + passed
            if backend.is_chief():
                write_json_atomically(self._run.file("seconds.json"), self.seconds)

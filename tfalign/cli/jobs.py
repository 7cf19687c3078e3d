"""The jobs of ``tfalign JOB``: where each has its options and what it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


def _named(name: str) -> Callable[[], Mapping[str, Any]]:
    return lambda: importlib.import_module(f"tfalign.cli.configs.{name}").CONFIG


NAMED = {name: _named(name) for name in ("demo", "smoke")}
"""Configs that come with the library."""


class Job(NamedTuple):
    """A job of the command line; nothing it names is imported before it is run."""

    about: str
    record: str  # of tfalign.cli.records
    function: str  # of ``module``, called with the record
    module: str = "tfalign.cli.run"
    configs: Mapping[str, Callable[[], Mapping[str, Any]]] = {}
    own_numbers: Callable[[Sequence[str]], Mapping[str, Any]] = lambda argv: {}


JOBS = {
    "pretrain": Job("pretrain a GPT and its tokenizer on text", "PretrainJob", "pretrain"),
    "sft": Job("fine-tune a language model on completions", "FineTuneJob", "fine_tune"),
    "reward": Job("train a reward model on preferences", "RewardJob", "train_reward"),
    "process_reward": Job(
        "train a process reward model on labelled steps", "ProcessRewardJob", "train_process_reward"
    ),
    "align": Job("align a policy with a reward: PPO, GRPO, ...", "AlignJob", "align"),
    "align_distributed": Job(
        "the same with responses from several processes", "AlignDistributedJob", "align_distributed"
    ),
    "preference": Job("align a policy with preferences: DPO, ...", "PreferenceJob", "preference"),
    "evaluate": Job("compare a policy before and after alignment", "EvaluateJob", "evaluate"),
    "pipeline": Job("all of the above in one run", "PipelineJob", "pipeline", configs=NAMED),
    "demo": Job("the pipeline on embedded data, in minutes", "DemoJob", "pipeline"),
    "generate": Job("continue prompts with a model", "GenerateJob", "generate"),
    "serve": Job("serve a model over HTTP", "ServeJob", "serve", module="tfalign.cli.serve"),
    "export": Job("write a SavedModel or a LiteRT file", "ExportJob", "export"),
}

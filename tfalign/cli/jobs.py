"""The jobs of ``tfalign JOB``: where each has its options and what it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tfalign.trainers.own_numbers import of_algorithm, of_loss


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
    own_numbers: Callable[[Sequence[str]], Mapping[str, str]] = lambda argv: {}
    process_kind: str = "Process"  # of tfalign.cli.launch


def _numbers(
    flag: str, default: str, numbers_of: Callable[[str], Mapping[str, str]]
) -> Callable[[Sequence[str]], Mapping[str, str]]:
    """What a job's ``--help`` says of the options whose numbers depend on what a flag names."""

    def told(argv):
        named = default
        for argument, following in zip(argv, [*argv[1:], default]):
            name, equals, value = argument.lstrip("-").partition("=")
            if argument.startswith("-") and name == flag:
                named = value if equals else following
        return numbers_of(named)

    return told


_OF_ALGORITHM = _numbers("algorithm", "ppo", of_algorithm)

JOBS = {
    "pretrain": Job("pretrain a GPT and its tokenizer on text", "PretrainJob", "pretrain"),
    "sft": Job("fine-tune a language model on completions", "FineTuneJob", "fine_tune"),
    "distill": Job("distil a teacher into a smaller model", "DistillJob", "distill"),
    "reward": Job("train a reward model on preferences", "RewardJob", "train_reward"),
    "process_reward": Job(
        "train a process reward model on labelled steps", "ProcessRewardJob", "train_process_reward"
    ),
    "align": Job(
        "align a policy with a reward: PPO, GRPO, ...",
        "AlignJob",
        "align",
        own_numbers=_OF_ALGORITHM,
    ),
    "align_distributed": Job(
        "the same with responses from several processes",
        "AlignDistributedJob",
        "align_distributed",
        own_numbers=_OF_ALGORITHM,
    ),
    "preference": Job(
        "align a policy with preferences: DPO, ...",
        "PreferenceJob",
        "preference",
        own_numbers=_numbers("loss", "dpo", of_loss),
    ),
    "pretrain_bert": Job(
        "pretrain a BERT and its tokenizer on text", "MaskedPretrainJob", "pretrain_bert"
    ),
    "classify": Job("fine-tune an encoder to classify texts", "ClassifyJob", "classify"),
    "tag": Job("fine-tune an encoder to tag words", "TagJob", "tag"),
    "similarity": Job("fine-tune an encoder to embed sentences", "SimilarityJob", "similarity"),
    "evaluate": Job("compare a policy before and after alignment", "EvaluateJob", "evaluate"),
    "pipeline": Job("all of the above in one run", "PipelineJob", "pipeline", configs=NAMED),
    "demo": Job("the pipeline on embedded data, in minutes", "DemoJob", "pipeline"),
    "compose": Job(
        "write texts that say what briefs ask for",
        "ComposeJob",
        "compose",
        module="tfalign.applications.content.compose",
    ),
    "dialogue": Job(
        "teach a model to serve callers, with simulated users",
        "DialogueJob",
        "train_dialogue",
        module="tfalign.applications.dialogue.training",
        own_numbers=_numbers("algorithm", "rloo", of_algorithm),
    ),
    "search": Job("search texts by meaning", "SearchJob", "search", module="tfalign.cli.search"),
    "ngram": Job(
        "estimate n-grams from a text, or measure a perplexity",
        "NGramJob",
        "ngram",
        module="tfalign.cli.ngram",
    ),
    "benchmark": Job("measure a model on TruthfulQA or gsm8k", "BenchmarkJob", "benchmark"),
    "report": Job("write a run's report from its metrics", "ReportJob", "report"),
    "generate": Job(
        "continue prompts with a model", "GenerateJob", "generate", module="tfalign.cli.talk"
    ),
    "chat": Job("chat with a model in the terminal", "ChatJob", "chat", module="tfalign.cli.talk"),
    "serve": Job("serve a model over HTTP", "ServeJob", "serve", module="tfalign.cli.serve"),
    "plan": Job(
        "say what a run will need: memory, operations, seconds at best",
        "PlanJob",
        "print_plan",
        module="tfalign.planning.plan",
        process_kind="WithoutDevices",
    ),
    "export": Job("write a SavedModel or a LiteRT file", "ExportJob", "export"),
}

"""What the jobs run, in a few lines each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tfalign import trainers
from tfalign.cli import records
from tfalign.installed import needing_tensorflow
from tfalign.pretrained import load
from tfalign.trainers.base import Trainer


def pretrain(job: records.PretrainJob) -> None:
    """Pretrains a GPT."""
    _train(trainers.Pretrainer(job.data, **_of(job)))


def fine_tune(job: records.FineTuneJob) -> None:
    """Fine-tunes a language model."""
    _train(trainers.FineTuner(job.model, job.data, **_of(job)))


def distill(job: records.DistillJob) -> None:
    """Distils a teacher."""
    _train(trainers.DistillationTrainer(job.model, job.teacher, job.data, **_of(job)))


def train_reward(job: records.RewardJob) -> None:
    """Trains a reward model."""
    _train(trainers.RewardTrainer(job.model, job.data, **_of(job)))


def train_process_reward(job: records.ProcessRewardJob) -> None:
    """Trains a process reward model."""
    _train(trainers.ProcessRewardTrainer(job.model, job.data, **_of(job)))


def align(job: records.AlignJob) -> None:
    """Aligns a policy with a reward."""
    _train(_aligning(trainers.OnPolicyTrainer, job))


def align_distributed(job: records.AlignDistributedJob) -> None:
    """Aligns a policy with responses from several processes."""
    _train(_aligning(trainers.DistributedOnPolicyTrainer, job))


def _aligning(trainer, job):
    given = (job.model, job.reward, job.data, job.algorithm)
    costs = dict(cost.split("=", 1) for cost in job.costs)
    made = trainer(*given, costs=costs, tools=job.tools, **_of(job))
    made.gold = gold_of(job.data)
    return made


def preference(job: records.PreferenceJob) -> None:
    """Aligns a policy with preferences."""
    _train(trainers.PreferenceTrainer(job.model, job.data, **_of(job)))


def pretrain_bert(job: records.MaskedPretrainJob) -> None:
    """Pretrains a BERT."""
    _train(trainers.MaskedPretrainer(job.data, **_of(job)))


def classify(job: records.ClassifyJob) -> None:
    """Fine-tunes a classifier."""
    _train(trainers.ClassificationTrainer(job.model, job.data, **_of(job)))


def tag(job: records.TagJob) -> None:
    """Fine-tunes a tagger."""
    _train(trainers.TaggingTrainer(job.model, job.data, **_of(job)))


def similarity(job: records.SimilarityJob) -> None:
    """Fine-tunes a sentence encoder, or measures it as it is."""
    trainer = trainers.SimilarityTrainer(job.model, job.data, **_of(job))
    if job.train:
        _train(trainer)
    else:
        trainer.report()


def _of(job: Any) -> dict[str, Any]:
    """What every trainer takes of a job."""
    return {"options": job.options, "run_dir": job.run_dir}


def _train(trainer: Trainer) -> None:
    """A whole training, and its report."""
    from tfalign import backend
    from tfalign.trainers.evaluation import command
    from tfalign.trainers.reporting import report_run

    trainer.train()
    if backend.is_chief():
        report_run(trainer.run.path, command())
        print(f"report: {trainer.run.path}/report.md")


def gold_of(data: str) -> Callable[[str, str], float] | None:
    """The reward that judges the embedded data and that nothing is trained on; None for other data."""
    if data != "embedded":
        return None
    from tfalign.data.customer_service import gold_reward

    return gold_reward


def evaluate(job: records.EvaluateJob) -> None:
    """Writes the report on two policies."""
    from tfalign.data.customer_service import gold_details
    from tfalign.options import to_dict
    from tfalign.trainers.base import open_run
    from tfalign.trainers.evaluation import PolicyEvaluator, compare

    with open_run(job.run_dir, {"evaluate": to_dict(job)}, "evaluate") as run:
        gold = gold_of(job.data)
        evaluator = PolicyEvaluator(
            job.before,
            job.reward,
            job.data,
            gold=gold,
            details=gold and gold_details,
            options=job.options,
        )
        compare(evaluator, job.before, job.after, run)
    print(f"report: {job.run_dir}/report.md")


def pipeline(job: records.PipelineJob) -> None:
    """Runs all stages and the report."""
    from tfalign.trainers.pipeline import Pipeline

    values = Pipeline(job.run_dir, job.options).train()
    shown = ("gold_reward", "win_rate_vs_sft", "kl")
    ppo = values.get("ppo", {})
    print(json.dumps({name: ppo[name] for name in shown if name in ppo}))
    print(f"report: {job.run_dir}/report.md")


def report(job: records.ReportJob) -> None:
    """Writes a run's report from its metrics."""
    from tfalign.trainers.reporting import report_run

    report_run(job.run_dir)
    print(f"report: {job.run_dir}/report.md")


def benchmark(job: records.BenchmarkJob) -> None:
    """Prints a task's numbers with their 95% intervals."""
    from tfalign.trainers import benchmarks

    pretrained, limits = load(job.model), {"limit": job.questions, "rows": job.batch_size}
    if job.task == "truthfulqa":
        found = benchmarks.truthfulqa(pretrained, job.data, **limits)
    else:
        limits |= {"shots": job.shots, "max_new_tokens": job.max_new_tokens}
        found = benchmarks.gsm8k(pretrained, job.data, job.examples, **limits)
    for name, interval in found.items():
        print(f"{name}: {interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]")


def export(job: records.ExportJob) -> None:
    """Writes a SavedModel or a LiteRT file."""
    from tfalign.decoding import Sampler
    from tfalign.decoding.patterns import named_constraint
    from tfalign.models.lora import quantize

    with needing_tensorflow("A SavedModel or LiteRT file"):
        from tfalign.serving.litert import export_litert
        from tfalign.serving.saved_model import export_saved_model

    pretrained = load(job.model)
    model, tokenizer = pretrained.model, pretrained.tokenizer
    if job.int8:
        quantize(model)
    chosen, limits = job.sampling, (model.config.vocab_size, job.max_new_tokens)
    choices = {
        "constraint": job.constraint and named_constraint(job.constraint, tokenizer, *limits),
        "batch_size": job.batch_size,
        "max_prompt_tokens": job.max_prompt_tokens,
        "max_new_tokens": job.max_new_tokens,
        "sampler": Sampler(chosen.temperature, chosen.top_k or 0, chosen.top_p, chosen.min_p),
        "stop_tokens": tokenizer.stop_ids,
    }
    if job.format == "litert":
        size = export_litert(model, job.output, pad_id=tokenizer.pad_id or 0, **choices)
        print(f"{job.output}: {size:,} bytes")
        return
    signatures = export_saved_model(model, tokenizer, job.output, job.version, **choices)
    for name, inputs in signatures.items():
        print(f"{job.output}/{job.version}: {name}({', '.join(inputs)})")

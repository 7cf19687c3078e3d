"""What the jobs run, in a few lines each."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tfalign import trainers
from tfalign.cli import records
from tfalign.pretrained import load


def pretrain(job: records.PretrainJob) -> None:
    """Pretrains a GPT."""
    trainers.Pretrainer(job.data, options=job.options, run_dir=job.run_dir).train()


def fine_tune(job: records.FineTuneJob) -> None:
    """Fine-tunes a language model."""
    trainers.FineTuner(job.model, job.data, options=job.options, run_dir=job.run_dir).train()


def train_reward(job: records.RewardJob) -> None:
    """Trains a reward model."""
    trainers.RewardTrainer(job.model, job.data, options=job.options, run_dir=job.run_dir).train()


def train_process_reward(job: records.ProcessRewardJob) -> None:
    """Trains a process reward model."""
    trainers.ProcessRewardTrainer(
        job.model, job.data, options=job.options, run_dir=job.run_dir
    ).train()


def align(job: records.AlignJob) -> None:
    """Aligns a policy with a reward."""
    _align(trainers.OnPolicyTrainer, job)


def align_distributed(job: records.AlignDistributedJob) -> None:
    """Aligns a policy with responses from several processes."""
    _align(trainers.DistributedOnPolicyTrainer, job)


def _align(trainer, job):
    given = (job.model, job.reward, job.data, job.algorithm)
    settings = {"gold": gold_of(job.data), "options": job.options, "run_dir": job.run_dir}
    trainer(*given, **settings).train()


def preference(job: records.PreferenceJob) -> None:
    """Aligns a policy with preferences."""
    trainers.PreferenceTrainer(
        job.model, job.data, options=job.options, run_dir=job.run_dir
    ).train()


def gold_of(data: str):
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


def generate(job: records.GenerateJob) -> None:
    """Prints continuations as their tokens come."""
    from tfalign.decoding import Greedy, Sampler, Streamer
    from tfalign.text import StreamDecoder

    pretrained = load(job.model)
    model, tokenizer = pretrained.model, pretrained.tokenizer
    sampler = Greedy() if job.greedy else Sampler(job.temperature, job.top_k, job.top_p, job.min_p)
    streamer = Streamer(model, job.max_new_tokens, sampler, tokenizer.stop_ids)
    positions = model.config.max_positions
    longest = None if positions is None else positions - job.max_new_tokens
    for index, prompt in enumerate(_prompts(job.prompt)):
        ids = [*tokenizer.head_ids, *tokenizer.encode(prompt)]
        if longest is not None and len(ids) > longest:
            raise ValueError(
                f"The prompt has {len(ids)} tokens; with max_new_tokens={job.max_new_tokens} "
                f"the model takes {longest}"
            )
        decoder = StreamDecoder(tokenizer)
        for token in streamer(ids, seed=job.seed + index):
            if token not in tokenizer.stop_ids:
                print(decoder.push(token), end="", flush=True)
        print(decoder.flush())


def _prompts(given: str) -> Iterator[str]:
    """The prompt given, or those typed until an empty line; \\n in one is a line break."""
    if given:
        yield given.replace("\\n", "\n")
        return
    while True:
        try:
            line = input("> ")
        except EOFError:
            return
        if not line:
            return
        yield line.replace("\\n", "\n")


def export(job: records.ExportJob) -> None:
    """Writes a SavedModel or a LiteRT file."""
    from tfalign.decoding import Sampler
    from tfalign.models.lora import quantize
    from tfalign.serving.litert import export_litert
    from tfalign.serving.saved_model import export_saved_model

    pretrained = load(job.model)
    model, tokenizer = pretrained.model, pretrained.tokenizer
    if job.int8:
        quantize(model)
    choices = {
        "batch_size": job.batch_size,
        "max_prompt_tokens": job.max_prompt_tokens,
        "max_new_tokens": job.max_new_tokens,
        "sampler": Sampler(job.temperature, job.top_k, job.top_p),
        "stop_tokens": tokenizer.stop_ids,
    }
    if job.format == "litert":
        size = export_litert(model, job.output, pad_id=tokenizer.pad_id or 0, **choices)
        print(f"{job.output}: {size:,} bytes")
        return
    signatures = export_saved_model(model, tokenizer, job.output, job.version, **choices)
    for name, inputs in signatures.items():
        print(f"{job.output}/{job.version}: {name}({', '.join(inputs)})")

"""The option records of the jobs: the few options everybody needs, and the trainer's.

This module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from tfalign.applications.content.options import ComposeOptions
from tfalign.applications.dialogue.options import DialogueOptions
from tfalign.cli.configs import demo
from tfalign.cli.measuring_records import BenchmarkJob as BenchmarkJob
from tfalign.cli.measuring_records import NGramJob as NGramJob
from tfalign.options import build, option, option_record, record
from tfalign.planning.options import PlanOptions
from tfalign.serving.settings import Limits
from tfalign.trainers.encoder_options import (
    ClassificationOptions,
    MaskedPretrainOptions,
    SimilarityOptions,
    TaggingOptions,
)
from tfalign.trainers.on_policy_options import (
    ALGORITHMS,
    DistributedOptions,
    OnPolicyOptions,
    TurnOptions,
)
from tfalign.trainers.options import (
    CONSTRAINT_HELP,
    DistillOptions,
    EvaluateOptions,
    FineTuneOptions,
    PreferenceOptions,
    PretrainOptions,
    ProcessRewardOptions,
    RewardTrainOptions,
)
from tfalign.trainers.pipeline_options import PipelineOptions

_DATA = '"embedded", a file of {}, or tfds:NAME:SPLIT; TRAIN::TEST names both splits.'
_TOOLS = "Functions that the model may call, each FILE.py:NAME or MODULE:NAME."


def _run_dir(name):
    return option(f"runs/{name}", "Run directory; the same command continues the run in it.")


@option_record
class PretrainJob:
    """Pretrains a GPT and its tokenizer on text."""

    run_dir: str = _run_dir("pretrain")
    data: str = option("embedded", _DATA.format('records with "text"'))
    options: PretrainOptions = record(PretrainOptions(), "Pretraining")


@option_record
class FineTuneJob:
    """Fine-tunes a language model on prompts with completions."""

    run_dir: str = _run_dir("sft")
    model: str = option("runs/pretrain/models/pretrain", "Directory of the model to fine-tune.")
    data: str = option("embedded", _DATA.format('records with "prompt" and "completion"'))
    options: FineTuneOptions = record(FineTuneOptions(), "Fine-tuning")


@option_record
class DistillJob:
    """Distils a teacher into a smaller language model."""

    run_dir: str = _run_dir("distill")
    model: str = option("runs/small/models/sft", "Directory of the student.")
    teacher: str = option(
        "runs/align/models/ppo", "Directory of the teacher, of the same tokenizer."
    )
    data: str = option(
        "embedded", _DATA.format('records with "prompt" and, for --responses=data, "completion"')
    )
    options: DistillOptions = record(DistillOptions(), "Distillation")


@option_record
class RewardJob:
    """Trains a reward model on preferences."""

    run_dir: str = _run_dir("reward")
    model: str = option(
        "runs/sft/models/sft", "Language model or encoder whose backbone and tokenizer are used."
    )
    data: str = option("embedded", _DATA.format('records with "prompt", "chosen", "rejected"'))
    options: RewardTrainOptions = record(RewardTrainOptions(), "Reward modelling")


@option_record
class ProcessRewardJob:
    """Trains a process reward model on labelled steps."""

    run_dir: str = _run_dir("process_reward")
    model: str = option("runs/sft/models/sft", "Language model whose backbone is used.")
    data: str = option("steps.jsonl", 'A file of records with "prompt", "steps" and "labels".')
    options: ProcessRewardOptions = record(ProcessRewardOptions(), "Process reward modelling")


@option_record
class AlignJob:
    """Aligns a policy with a reward by PPO, GRPO or another on-policy algorithm."""

    run_dir: str = _run_dir("align")
    model: str = option("runs/sft/models/sft", "Directory of the policy, and of its reference.")
    reward: str = option(
        "runs/reward/models/reward_model",
        "Directory of a reward model (several, comma-separated: an ensemble), FILE.py:NAME or "
        "MODULE:NAME of a function of (prompt, response) or (prompt, response, record).",
    )
    data: str = option("embedded", _DATA.format('records with "prompt"'))
    algorithm: str = option("ppo", "Algorithm.", ALGORITHMS)
    costs: tuple[str, ...] = option(
        (), "Costs whose means are limited, each NAME=REWARD in the forms of --reward."
    )
    tools: tuple[str, ...] = option((), _TOOLS)
    options: OnPolicyOptions = record(OnPolicyOptions())

    def __post_init__(self) -> None:
        for cost in self.costs:
            if not all(cost.partition("=")):
                raise ValueError(f"--costs are each NAME=REWARD. Received: costs={cost}")


@option_record
class AlignDistributedJob(AlignJob):
    """Aligns a policy as `align`, with responses from several processes or machines."""

    run_dir: str = _run_dir("align_distributed")
    options: DistributedOptions = record(DistributedOptions())


@option_record
class PreferenceJob:
    """Aligns a policy with preferences directly, by DPO or another loss."""

    run_dir: str = _run_dir("preference")
    model: str = option("runs/sft/models/sft", "Directory of the policy, and of its reference.")
    data: str = option("embedded", _DATA.format('records with "prompt", "chosen", "rejected"'))
    options: PreferenceOptions = record(PreferenceOptions(), "Preferences")


@option_record
class MaskedPretrainJob:
    """Pretrains a BERT and its tokenizer on text."""

    run_dir: str = _run_dir("pretrain_bert")
    data: str = option(
        "embedded",
        "TRAIN::TEST, text files (.gz too): wikitext's, or blank lines between documents; or a source of "
        'records with "text".',
    )
    options: MaskedPretrainOptions = record(MaskedPretrainOptions(), "Masked pretraining")


_ENCODER = "Hugging Face directory of an encoder, with its tokenizer."
_TWO = "TRAIN::TEST names both splits."


@option_record
class ClassifyJob:
    """Fine-tunes an encoder to classify texts."""

    run_dir: str = _run_dir("classify")
    model: str = option("runs/pretrain_bert/models/pretrain_bert", _ENCODER)
    data: str = option("texts.jsonl", f'A source of records with "text" and "label"; {_TWO}')
    options: ClassificationOptions = record(ClassificationOptions(), "Classification")


@option_record
class TagJob:
    """Fine-tunes an encoder to tag words: named entities."""

    run_dir: str = _run_dir("tag")
    model: str = option("runs/pretrain_bert/models/pretrain_bert", _ENCODER)
    data: str = option("sentences.jsonl", f'A source of records with "words" and "tags"; {_TWO}')
    options: TaggingOptions = record(TaggingOptions(), "Tagging")


@option_record
class SimilarityJob:
    """Fine-tunes an encoder to embed sentences, or measures it as it is."""

    run_dir: str = _run_dir("similarity")
    model: str = option("runs/pretrain_bert/models/pretrain_bert", _ENCODER)
    data: str = option(
        "pairs.jsonl", f'A source of records with "first", "second" and "score"; {_TWO}'
    )
    train: bool = option(True, "Train first; else the model is measured as it is.")
    options: SimilarityOptions = record(SimilarityOptions(), "Sentence similarity")


@option_record
class EvaluateJob:
    """Compares a policy before and after alignment on held-out prompts, and writes the report."""

    run_dir: str = _run_dir("evaluate")
    before: str = option("runs/sft/models/sft", "Directory of the policy before alignment.")
    after: str = option("runs/align/models/ppo", "Directory of the policy after alignment.")
    reward: str = option("runs/reward/models/reward_model", "The reward, as of `tfalign align`.")
    data: str = option("embedded", _DATA.format('records with "prompt"'))
    options: EvaluateOptions = record(EvaluateOptions(), "Evaluation")


@option_record
class SamplerOptions:
    """Sampling."""

    temperature: float = option(1.0, "Sampling temperature.", above=0)
    top_k: int | None = option(None, "Keep the k likeliest tokens; none: all.", at_least=1)
    top_p: float = option(
        1.0, "Keep the likeliest tokens up to this probability.", above=0, at_most=1
    )
    min_p: float = option(
        0.0, "Keep tokens of this fraction of the likeliest's probability.", at_least=0, at_most=1
    )


@option_record
class SamplingOptions(SamplerOptions):
    """Sampling."""

    greedy: bool = option(False, "Take the likeliest token instead of sampling.")
    seed: int = option(0, "Random seed of sampling.", at_least=0)

    def __post_init__(self) -> None:
        sampled = (self.temperature, self.top_k, self.top_p, self.min_p) != (1.0, None, 1.0, 0.0)
        if self.greedy and sampled:
            raise ValueError("greedy excludes temperature, top_k, top_p and min_p")


@option_record
class GenerateJob:
    """Continues prompts with a model, token by token."""

    model: str = option("runs/demo/models/ppo", "Directory of the model.")
    prompt: str | None = option(
        None, "Prompt, \\n for a line break; none: lines typed, until an empty one."
    )
    max_new_tokens: int = option(64, "Maximum response length, tokens.", at_least=1)
    constraint: str | None = option(None, CONSTRAINT_HELP)
    sampling: SamplingOptions = record(SamplingOptions())


@option_record
class ChatJob:
    """Chats with a model whose tokenizer has a chat template, until an empty line."""

    model: str = option("runs/sft/models/sft", "Directory of the model.")
    system: str | None = option(None, "System message.")
    max_new_tokens: int = option(256, "Maximum length of a turn, tokens.", at_least=1)
    constraint: str | None = option(None, CONSTRAINT_HELP)
    tools: tuple[str, ...] = option((), _TOOLS)
    turns: TurnOptions = record(TurnOptions(max_turns=8))
    sampling: SamplingOptions = record(SamplingOptions())


@option_record
class ComposeJob(ComposeOptions):
    """Writes what briefs ask for: fine-tuning on people's texts, then GRPO towards the briefs."""


@option_record
class DialogueJob(DialogueOptions):
    """Teaches a small model to serve callers: fine-tuning on dialogues, then RL against simulated users."""


@option_record
class SearchJob:
    """Finds the texts that mean what a query means, or with no model are worded like it."""

    index: str = option(
        "embedded:en",
        "Folder of an index; or texts: a .txt file of one a line, another source of records with "
        '"text", "embedded:en", "embedded:zh".',
    )
    query: str | None = option(None, "What is searched for; none: lines typed in the terminal.")
    model: str | None = option(
        None,
        "Directory of an encoder; none: what the index was made with, and for texts their runs of characters.",
    )
    k: int = option(5, "Texts found for a query.", at_least=1)
    length: int = option(128, "Maximum length that is read of a text, tokens.", at_least=1)
    save: str | None = option(None, "Folder to save the index of the texts to; none: not saved.")


@option_record
class ReportJob:
    """Writes a run's report anew from its metrics: a table of all stages, and the learning curves."""

    run_dir: str = option("runs/demo", "Run directory.")


@option_record
class ExportJob:
    """Writes a model as a SavedModel for TF Serving, or as a LiteRT file."""

    model: str = option("runs/demo/models/ppo", "Directory of the model.")
    output: str = option("served/model", "Folder of the SavedModel, or the LiteRT file.")
    format: str = option("saved_model", "What to write.", ("saved_model", "litert"))
    version: int = option(1, "Version of the SavedModel; TF Serving takes the highest.", at_least=1)
    batch_size: int = option(8, "Maximum prompts of a call.", at_least=1)
    max_prompt_tokens: int = option(48, "Maximum prompt length, tokens.", at_least=1)
    max_new_tokens: int = option(48, "Maximum response length, tokens.", at_least=1)
    constraint: str | None = option(None, CONSTRAINT_HELP)
    sampling: SamplerOptions = record(SamplerOptions())
    int8: bool = option(False, "Hold the kernels in 8 bits.")


@option_record
class PlanJob(PlanOptions):
    """Says what a run will need before it is started: parameters, memory, operations, seconds at best."""


@option_record
class PipelineJob:
    """Pretrains, fine-tunes, learns a reward, aligns and evaluates, in one run directory."""

    run_dir: str = _run_dir("pipeline")
    options: PipelineOptions = record(PipelineOptions(), "All stages")


@option_record
class ServeJob:
    """Serves a model over HTTP with OpenAI's interface: completions and chat, streamed or whole."""

    model: str = option("runs/demo/models/ppo", "Directory of the model.")
    name: str | None = option(None, "What the model is called; none: the directory's name.")
    host: str = option("127.0.0.1", "Address to listen at.")
    port: int = option(8000, "Port to listen at; 0 takes a free one.", at_least=0, at_most=65535)
    rows: int = option(32, "Responses decoded at once.", at_least=1, at_most=4096)
    length: int | None = option(
        None, "Maximum tokens of prompt and response; none: all that the model has.", at_least=2
    )
    most_waiting: int = option(500, "Maximum requests that wait for a row.", at_least=1)
    int8: bool = option(False, "Hold the kernels in 8 bits.")
    feedback: str | None = option(
        None,
        "File of JSON lines that feedback is added to, by POST /v1/feedback and the page /label; none: it is refused.",
    )
    label_prompts: str | None = option(
        None, 'A source of records with "prompt" that the page /label shows; none: they are typed.'
    )
    profiles: str | None = option(
        None,
        "Folder of users' profiles, which a request's user selects; none: it changes nothing.",
    )
    limits: Limits = record(Limits(), "Limits, and who may use the server")

    def __post_init__(self) -> None:
        if self.label_prompts and not self.feedback:
            raise ValueError(
                "--label_prompts are of the page /label, which needs --feedback=FILE. "
                f"Received: label_prompts={self.label_prompts!r}"
            )


_DEMO = build(PipelineJob, demo.CONFIG)


@option_record
class DemoJob:
    """Pretrains, fine-tunes, learns a reward, aligns and evaluates on embedded customer-service data."""

    run_dir: str = _run_dir("demo")
    options: PipelineOptions = record(_DEMO.options, "All stages")

"""What the training experiments share: data by name, models by directory, runs that resume."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import shutil
import time

import keras
import numpy as np

from tfalign import backend, data
from tfalign.files import local_path, write_json_atomically
from tfalign.models import CausalLM, GPTConfig
from tfalign.options import option, option_record
from tfalign.text import Tokenizer
from tfalign.text.keras_hub import KerasHubTokenizer
from tfalign.training.evaluator import Evaluator
from tfalign.training.learner import Learner
from tfalign.training.loggers import LOGGERS, make_logger
from tfalign.training.loop import run_steps
from tfalign.training.optimizers import WarmupDecay, adafactor, adamw, lamb
from tfalign.training.processes import Processes
from tfalign.training.run_directory import FollowedRun, RunDirectory
from tfalign.training.run_state import RunState

EMBEDDED = "embedded"
_CHAT = "chat:"
HARMLESS = {
    "run_dir",
    "data_dir",
    "log_every",
    "save_every",
    "log_to",
    "resume_from",
}  # a continued run may change these
ADVICE = {  # and these not: what to do instead
    "steps": "the learning rate follows a schedule over --steps, so that a longer run is another one:"
    " choose that number, or another --run_dir, where training may start from this run's model."
}
KINDS = {
    data.TextRecord: "text",
    data.CompletionRecord: "completions",
    data.PreferenceRecord: "preferences",
    data.PromptRecord: "prompts",
}


OPTIMIZERS = {
    "adamw": adamw,
    "adamw_bfloat16": functools.partial(adamw, momentum_dtype="bfloat16"),
    "adafactor": adafactor,
    "lamb": lamb,
}


def resume_option():
    """The option of a training that says at which checkpoint it goes on."""
    return option(
        -1,
        "Step of the checkpoint to continue from, -1 for the newest; later ones are removed.",
        at_least=0,
        also=(-1,),
    )


@option_record
class SupervisedConfig:
    """The options that pretraining, fine-tuning and reward modelling share."""

    data_dir: str = option("runs/data", "where datasets are built")
    on_bad: str = option("stop", "what a bad or over-long record does", ["stop", "skip"])
    precision: str = option("float32", "Keras dtype policy", ["float32", "mixed_bfloat16"])
    batch_size: int = option(32, "rows of a batch, or pairs", at_least=1)
    accumulate: int = option(1, "micro-batches a batch is cut into", at_least=1)
    steps: int = option(250, "updates", at_least=1)
    learning_rate: float = option(5e-4, "at its peak", above=0)
    warmup_steps: int = option(20, "updates until the peak", at_least=0)
    weight_decay: float = option(0.01, "of matrices", at_least=0)
    optimizer: str = option("adamw", "what updates", list(OPTIMIZERS))
    seed: int = option(0, "of initialisation, shuffling and sampling", at_least=0, below=2**32)
    log_every: int = option(10, "updates between lines in metrics.jsonl", at_least=1)
    log_to: str = option(
        "", "metrics go to TensorBoard, and to these: wandb, mlflow", LOGGERS, list_of=str
    )
    save_every: int = option(100, "updates between checkpoints", at_least=1)
    resume_from: int = resume_option()

    def __post_init__(self):
        check_warmup(self)


def check_warmup(config):
    """Raises a ValueError unless the learning rate reaches its peak within the training."""
    if 0 < config.steps < config.warmup_steps:
        raise ValueError(
            "--warmup_steps must not exceed --steps. "
            f"Received: warmup_steps={config.warmup_steps}, steps={config.steps}"
        )


def read(source, kind, split, on_bad="stop", data_dir="", test_fraction=0.1):
    """Records of a source: "embedded" for the customer-service dataset (which has its own split),
    else what ``data.read_records`` reads, split by a hash of the prompt.

    Args:
        source: str; "train.jsonl::test.jsonl" names a file for each split, "chat:" before it all
            makes of prompts what the user says, for a model that has a chat template.
        kind: a record class.
        split: "train" or "test".
        on_bad: "stop" or "skip".
        data_dir: str, where datasets are built.
        test_fraction: float, share of prompts held out where the source has no split.

    Returns:
        sequence of records; what was skipped is printed.
    """
    arguments = source, kind, split, on_bad, data_dir, test_fraction
    if not backend.is_chief():
        backend.wait_for_others()  # a dataset is built by one process, and read by the others
        return _read(*arguments)
    records = _read(*arguments)
    backend.wait_for_others()
    return records


def _read(source, kind, split, on_bad, data_dir, test_fraction):
    if source.startswith(_CHAT):
        records = _read(source.removeprefix(_CHAT), kind, split, on_bad, data_dir, test_fraction)
        return [data.as_conversation(record) for record in records]
    if source == EMBEDDED:
        rows = data.load_customer_service(KINDS[kind], split, data_dir)
        return [kind(source=f"{EMBEDDED}:{split}:{i}", **row) for i, row in enumerate(rows)]
    train_source, _, test_source = source.partition("::")
    if test_source:
        chosen = train_source if split == "train" else test_source
        records = data.read_records(chosen, kind, on_bad, data_dir or None)
        print(f"{chosen}: {records.summary()}")
        return records
    records = data.read_records(source, kind, on_bad, data_dir or None)
    print(f"{source}: {records.summary()}")
    return data.split_by_prompt(records, test_fraction)[0 if split == "train" else 1]


def new_model(preset, vocab_size, max_positions, precision, **sizes):
    """A CausalLM with random weights; sizes of 0 keep the preset's."""
    changes = {name: value for name, value in sizes.items() if value}
    config = GPTConfig.from_preset(
        preset, vocab_size=vocab_size, max_positions=max_positions, **changes
    )
    return CausalLM(config, dtype=precision)


def model_directory(run, stage):
    """Where a stage leaves its model and tokenizer."""
    return run.path / "models" / stage


def load_tokenizer(directory):
    """The tokenizer of a model's directory, a Hugging Face one or a KerasHub preset."""
    if (local_path(directory) / "task.json").is_file():
        return KerasHubTokenizer.from_preset(directory)
    return Tokenizer.load(directory)


def open_run(stage, config):
    """The run directory of one stage started by itself."""
    return run_directory(config.run_dir, {stage: dataclasses.asdict(config)}, stage)


def run_directory(path, config, stage=""):
    """A RunDirectory for the process that writes files, a FollowedRun for the others.

    Args:
        path: str.
        config: dict of options.
        stage: str, the key in ``config`` under which they are, if they are one stage's alone.

    Raises:
        ValueError: in every process, if the first cannot have the directory.
    """
    processes = Processes(backend.process_index(), backend.gather_from_processes)

    def open_directory():
        def flag(key):
            return "--" + key.removeprefix(f"{stage}." if stage else "")

        return RunDirectory(path, config, HARMLESS, processes, flag, ADVICE)

    refused = ValueError(f"{path}: the first process cannot have this run directory")
    return processes.first_alone(open_directory, refused) or FollowedRun(path, config, processes)


def resumable(run, stage, learner, stateful, resume_from=-1, keep_last=2, more_variables=None):
    """The stage's RunState, restored to a checkpoint, the newest unless another step is given:
    (run_state, steps done)."""
    variables = {"model": learner.model.variables, "optimizer": learner.optimizer.variables}
    state = RunState(
        run.checkpointer(stage, keep_last=keep_last), variables | (more_variables or {}), stateful
    )
    step = state.restore(None if resume_from == -1 else resume_from)
    if step:
        print(f"{stage}: continuing after step {step}")
    return state, step


def seed_everything(seed):
    """Weights are initialised from this seed; all later randomness is counter-based."""
    keras.utils.set_random_seed(seed)


class Stopwatch:
    """Wall-clock seconds, printed and kept by name."""

    def __init__(self):
        self.seconds = {}

    def measure(self, name, function):
        """Calls a function of no arguments and remembers how long it took, interrupted or not."""
        start = time.perf_counter()
        try:
            return function()
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class SecondsOfRun(Stopwatch):
    """Seconds by stage that survive a restart: each stage's are added up in seconds.json.

    Args:
        run: RunDirectory.
    """

    def __init__(self, run):
        super().__init__()
        self._run, self._file = run, run.path / "seconds.json"
        if self._file.exists():
            self.seconds = json.loads(self._file.read_text())

    def measure(self, name, function):
        try:
            return super().measure(name, function)
        finally:
            if backend.is_chief():
                write_json_atomically(self._run.file("seconds.json"), self.seconds)


def ramp_stages(ramp):
    """The stages of a --ramp, list of (updates, rows, length).

    >>> ramp_stages("100:8x32,200:16x64")
    [(100, 8, 32), (200, 16, 64)]
    """
    growing = []
    for stage in filter(None, ramp.split(",")):
        match = re.fullmatch(r"(\d+):(\d+)x(\d+)", stage)
        if not match or not all(map(int, match.groups())):
            raise ValueError(f"A stage of --ramp is UPDATES:ROWSxLENGTH. Received: {stage!r}")
        growing.append(tuple(map(int, match.groups())))
    return growing


def longest_row(length, ramp):
    """int, columns of the longest rows of a training with a ``ramp``."""
    return max([length, *(columns for _, _, columns in ramp_stages(ramp))])


def ramped(ramp, stream, rows, length):
    """The stream of a training's batches, smaller ones first where a ``ramp`` says so.

    Args:
        ramp: str, see ``ramp_stages``; "" for none.
        stream: ``(rows, length) -> BatchStream``.
        rows, length: ints, of the last batches.
    """
    last = stream(rows, length)
    growing = [(count, stream(*shape)) for count, *shape in ramp_stages(ramp)]
    return data.Ramp(growing, last) if growing else last


def buckets(length):
    """Columns a batch may have: ``length``, and two thirds of it; each is a program of its own."""
    return [-(-2 * length // 3), length]


def train(run, stage, model, objective, batches, held_out, config, optimizer=None):
    """Supervised training of one stage, from its newest checkpoint to ``config.steps``.

    Held-out means are logged with the last step.

    Args:
        run: RunDirectory.
        stage: str, its name in metrics and checkpoints.
        model: keras.Model.
        objective: see ``tfalign.objectives``.
        batches: BatchStream.
        held_out: list of batches.
        config: SupervisedConfig.
        optimizer: keras optimizer; None for the config's, with warm-up and cosine decay to a tenth.
    """
    if optimizer is None:
        make = OPTIMIZERS[config.optimizer]
        optimizer = make(warmup_decay(config), config.weight_decay)
    learner = Learner(model, objective, optimizer, config.accumulate)
    evaluator = Evaluator(model, objective)
    state, first_step = resumable(run, stage, learner, {"batches": batches}, config.resume_from)

    def update(step):
        metrics = learner.update(next(batches))
        return metrics | evaluator(held_out) if step == config.steps else metrics

    repeat(run, stage, update, config, state, first_step)


def warmup_decay(config):
    """The learning rate of supervised training: warm-up and cosine decay to a tenth."""
    return WarmupDecay(config.learning_rate, config.steps, config.warmup_steps, final=0.1)


def repeat(run, stage, update, config, state, first_step):
    """``run_steps`` with a config's ``steps``, ``log_every`` and ``save_every``, logged to the run."""
    names = [name for name in config.log_to.split(",") if name]
    loggers = [
        make_logger(
            name,
            project="tfalign",
            run_id=run.id,
            run_name=run.path.resolve().name,
            stage=stage,
            config=run.config,
            directory=run.path,
        )
        for name in names
        if backend.is_chief()
    ]
    with run.metrics(stage, resume_step=first_step) as metrics:
        run_steps(
            update,
            config.steps,
            state,
            metrics,
            first_step=first_step,
            log_every=config.log_every,
            save_every=config.save_every,
            name=stage,
            callbacks=loggers,
            gather=backend.gather_from_processes,
        )


def ppo_optimizer(config, clip_norm=1.0, kind="adam"):
    """An optimizer with linear decay to 0 over all updates of a PPO run; of PPO_OPTIMIZERS."""
    minibatches = config.batch_size // config.minibatch_size
    updates = config.steps * config.epochs * minibatches
    schedule = WarmupDecay(config.learning_rate, updates, shape="linear")
    return PPO_OPTIMIZERS[kind](schedule, clip_norm)


_ADAM = {"weight_decay": 0.0, "beta_2": 0.999, "epsilon": 1e-5}
PPO_OPTIMIZERS = {
    "adam": lambda schedule, clip_norm: keras.optimizers.Adam(
        schedule, epsilon=1e-5, global_clipnorm=clip_norm
    ),
    "adam_bfloat16": lambda schedule, clip_norm: adamw(
        schedule, clip_norm=clip_norm, momentum_dtype="bfloat16", **_ADAM
    ),
    "adafactor": lambda schedule, clip_norm: adafactor(schedule, 0.0, clip_norm),
}


def save_model(run, stage, model, tokenizer, labels=(), entries=None):
    """Leaves model and tokenizer in the run; the directory is there when both are whole, and every
    process finds it when this returns.

    Args:
        run, stage, model, tokenizer: what goes where.
        labels: sequence of str, names of a classifier's classes.
        entries: dict of further entries of the model's config.json.
    """
    run.begin()
    final = model_directory(run, stage)
    writing = final.with_name(f".{final.name}.writing")
    if backend.is_chief():
        shutil.rmtree(writing, ignore_errors=True)
    ids = {f"{role}_token_id": tokenizer.special_ids.get(role) for role in ("bos", "pad")}
    if tokenizer.eos_id is not None:
        stops = list(tokenizer.stop_ids)
        ids["eos_token_id"] = stops if len(stops) > 1 else stops[0]
    more = {name: at for name, at in ids.items() if at is not None} | (entries or {})
    if labels:
        more["id2label"] = {str(at): label for at, label in enumerate(labels)}
        more["label2id"] = {label: at for at, label in enumerate(labels)}
    model.save_pretrained(writing, entries=more)
    if backend.is_chief():
        tokenizer.save(writing)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(writing, final)
    backend.wait_for_others()


def tell(what, examples):
    """Prints how many examples were encoded, and which were left out."""
    print(f"{what}: {examples.summary()}")
    return examples


def texts(tokenizer, rollout):
    """Prompts and responses of a rollout as text: (list of str, list of str)."""
    token_ids, mask = np.asarray(rollout.token_ids), np.asarray(rollout.padding_mask)
    length = rollout.response_mask.shape[1]
    sides = (slice(None, -length), slice(-length, None))
    return tuple(
        tokenizer.decode_batch([row[side][m[side]].tolist() for row, m in zip(token_ids, mask)])
        for side in sides
    )

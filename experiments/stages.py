"""What the training experiments share: data by name, models by directory, runs that resume."""

from __future__ import annotations

import dataclasses
import functools
import time

import keras

from tfalign import backend
from tfalign.models import CausalLM, GPTConfig
from tfalign.options import option, option_record
from tfalign.trainers import base, saving
from tfalign.trainers.data import read_split
from tfalign.trainers.options import DataOptions
from tfalign.training.evaluator import Evaluator
from tfalign.training.learner import Learner
from tfalign.training.loggers import LOGGERS, make_logger
from tfalign.training.loop import run_steps
from tfalign.training.optimizers import WarmupDecay, adafactor, adamw, lamb
from tfalign.training.run_state import RunState

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
    """Records of one split of a source, see ``tfalign.trainers.data``.

    Args:
        source: str.
        kind: a record class.
        split: "train" or "test".
        on_bad, data_dir, test_fraction: see ``DataOptions``.
    """
    return read_split(source, kind, split, DataOptions(data_dir, test_fraction, on_bad))


def new_model(preset, vocab_size, max_positions, precision, **sizes):
    """A CausalLM with random weights; sizes of 0 keep the preset's."""
    changes = {name: value for name, value in sizes.items() if value}
    config = GPTConfig.from_preset(
        preset, vocab_size=vocab_size, max_positions=max_positions, **changes
    )
    return CausalLM(config, dtype=precision)


def model_directory(run, stage):
    """Where a stage leaves its model and tokenizer."""
    return saving.model_directory(run.path, stage)


def open_run(stage, config):
    """The run directory of one stage started by itself."""
    return base.open_run(config.run_dir, {stage: dataclasses.asdict(config)}, stage)


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


def save_model(run, stage, model, tokenizer, labels=(), entries=None):
    """Leaves model and tokenizer in the run, see ``tfalign.trainers.saving``."""
    run.begin()
    saving.save_model(model_directory(run, stage), model, tokenizer, labels, entries)


def tell(what, examples):
    """Prints how many examples were encoded, and which were left out."""
    print(f"{what}: {examples.summary()}")
    return examples

"""A whole training: what all trainers share."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from tfalign import backend
from tfalign.data import is_mixture
from tfalign.files import AnyPath
from tfalign.models import CausalLM
from tfalign.options import changed, to_dict
from tfalign.pretrained import Pretrained, load
from tfalign.trainers.options import RunOptions, SampleOptions, step_range
from tfalign.trainers.samples import SampleTexts
from tfalign.trainers.saving import merge_and_save_adapters, model_directory, save_model
from tfalign.training.learner import Learner
from tfalign.training.loggers import make_logger
from tfalign.training.loop import run_steps
from tfalign.training.processes import Processes
from tfalign.training.run_directory import FollowedRun, RunDirectory
from tfalign.training.run_state import RunState
from tfalign.training.step_watch import StepWatch, Unwatched, peak_of_devices
from tfalign.training.trace import Trace
from tfalign.types import LoRA

HARMLESS = frozenset(
    {"run_dir", "data_dir", "disk_dir", "log_every", "save_every", "background_save"}
    | {"log_to", "resume_from", "profile_steps", "peak_tflops"}
    | {"sample_every", "sample_prompts", "sample_tokens", "sample_temperature"}
)
"""Options that a continued run may change."""
ADVICE = {
    "steps": "the learning rate follows a schedule over --steps, so that a longer run is another one:"
    " choose that number, or another --run_dir, where training may start from this run's model."
}
"""What to do instead of changing another one."""


class Trainer:
    """A whole training, which a kill does not harm: the same call goes on from the newest checkpoint, bit for
    bit.

    A trainer makes its parts when it is constructed, and writes nothing until ``train``: a mistake leaves
    nothing behind.

    Args:
        start: what the training starts from, as the run's config.json records it.
        options: the trainer's option record; ``options_class()`` where None.
        run_dir: directory of the run, or an open RunDirectory of several stages; None to leave no files.
        stage: name in metrics, checkpoints and models; the trainer's own where None.
        callbacks: ``keras.callbacks.Callback`` objects, see ``training.loop.run_steps``.
        changes: options by their names, see ``options.changed``.

    Attributes:
        options: the option record.
        tokenizer: the tokenizer.
        learner: Learner, with the model that is trained.
        run: RunDirectory, which no other process has.
        samples: SampleTexts that are written while training; None for none.
        watch: StepWatch of the training that is running.
    """

    options_class: type
    default_stage: str

    def __init__(
        self,
        start: Mapping[str, Any],
        options: Any = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self.options = changed(options or self.options_class(), **(changes or {}))
        self.stage: str = stage or self.default_stage
        self.callbacks = tuple(callbacks)
        self.learner: Learner
        self.tokenizer: Any
        self.samples: SampleTexts | None = None
        self.watch: StepWatch | Unwatched = Unwatched()
        self._start = dict(start)
        self._temporary = tempfile.TemporaryDirectory() if run_dir is None else None
        self._owns_run = not isinstance(run_dir, RunDirectory)
        self.run = run_dir
        if self._owns_run:
            path = self._temporary.name if run_dir is None else run_dir
            self.run = open_run(path, self.recorded(), self.stage)
        keras.utils.set_random_seed(self.options.run.seed)

    def train(self) -> dict[str, float]:
        """Trains to the last step and saves the model to ``RUN_DIR/models/STAGE``.

        Returns:
            The last step's metrics.

        Raises:
            Interrupted: after SIGTERM or SIGINT, when the running step has ended and is saved.
        """
        try:
            return self._train()
        finally:
            self._close()

    def _close(self):
        """Gives the run's directory back, as it was if nothing was done."""
        if self._owns_run:
            self.run.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @contextlib.contextmanager
    def _building(self):
        """Within it a mistake leaves nothing behind."""
        try:
            yield
        except BaseException:
            self._close()
            raise

    def recorded(self) -> dict[str, Any]:
        """What the run's config.json holds, and a continued run must agree with."""
        return {self.stage: self._start | to_dict(self.options)}

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        return self.options.run.steps

    def _train(self):
        self._prepare()
        variables = {
            "model": self.learner.model.variables,
            "optimizer": self.learner.optimizer.variables,
        }
        state = RunState(
            self.run.checkpointer(self.stage, keep_last=2),
            variables | self._more_variables(),
            self._stateful(),
            self.options.run.background_save,
        )
        first_step = state.restore(self.options.run.resume_from)
        if first_step:
            print(f"{self.stage}: continuing after step {first_step}")
        self._begin(first_step)
        metrics = self._loop(state, first_step)
        self._end()
        self.save()
        return metrics

    def _loop(self, state, first_step):
        options: RunOptions = self.options.run
        self.watch = self._new_watch()
        with contextlib.ExitStack() as stack:
            return run_steps(
                self._sampling(stack, first_step),
                self._last_step(first_step),
                state,
                stack.enter_context(self.run.metrics(self.stage, resume_step=first_step)),
                first_step=first_step,
                log_every=options.log_every,
                save_every=options.save_every,
                name=self.stage,
                callbacks=[*self._loggers(), *self.callbacks],
                model=self.learner.model,
                gather=backend.gather_from_processes,
                watch=self.watch,
            )

    def _new_watch(self):
        run, trace = self.options.run, None
        steps = step_range(run.profile_steps)
        if steps is not None and backend.is_chief():
            trace = Trace(steps, self.run.file("events") / self.stage)
        precision = self.learner.model.dtype_policy.name
        return StepWatch(trace, peak_of_devices(precision, run.peak_tflops))

    def _sample(self, model: CausalLM, prompts: Iterable[Any], options: SampleOptions) -> None:
        """Asks for sample texts, if the options do."""
        if options.sample_every is not None:
            seed = self.options.run.seed
            self.samples = SampleTexts(model, self.tokenizer, prompts, options, seed)
            self._sample_every = options.sample_every

    def _sampling(self, stack, first_step):
        """``_update``, with sample texts."""
        if self.samples is None:
            return self._update
        log = stack.enter_context(self.run.samples(self.stage, resume_step=first_step))

        def update(step):
            metrics = self._update(step)
            if step % self._sample_every == 0:
                with self.watch.paused():
                    log.write(step, self.samples.prompts, self.samples())
            return metrics

        return update

    def _loggers(self):
        return [
            make_logger(
                name,
                project="tfalign",
                run_id=self.run.id,
                run_name=self.run.path.resolve().name,
                stage=self.stage,
                config=self.run.config,
                directory=self.run.path,
            )
            for name in self.options.run.log_to
            if backend.is_chief()
        ]

    def _prepare(self) -> None:
        """Makes what needs the run's directory."""

    def _begin(self, first_step: int) -> None:
        """Is called before the first update, with the number of those already done."""

    def _last_step(self, first_step: int) -> int:
        """The step at which a training that goes on after ``first_step`` ends."""
        return self.num_steps

    def _end(self) -> None:
        """Is called after the last update, before what was trained is saved."""

    def _update(self, step: int) -> dict[str, Any]:
        """One step; what it says of itself."""
        raise NotImplementedError

    def _stateful(self) -> dict[str, Any]:
        """What a checkpoint holds besides variables, see ``RunState``."""
        return {}

    def _more_variables(self) -> dict[str, Sequence[Any]]:
        """Variables a checkpoint holds besides the learner's, see ``RunState``."""
        return {}

    def save(self) -> None:
        """Saves what was trained."""
        raise NotImplementedError

    @property
    def model_directory(self) -> AnyPath:
        """Where the model goes."""
        return model_directory(self.run.path, self.stage)

    def _save(self, model, lora: LoRA | None = None, **more):
        """The model and the tokenizer, and the adapters beside them."""
        adapters = model_directory(self.run.path, f"{self.stage}_adapters")
        merge_and_save_adapters(adapters, model, self._start.get("model", ""), lora)
        save_model(self.model_directory, model, self.tokenizer, **more)


def open_run(path: str | os.PathLike, config: Mapping[str, Any], stage: str = "") -> RunDirectory:
    """A RunDirectory for the process that writes files, a FollowedRun for the others.

    Args:
        path: the run's directory.
        config: what its config.json holds.
        stage: the key in ``config`` under which the options are, if they are one stage's alone.

    Raises:
        ValueError: in every process, if the first cannot have the directory.
    """
    processes = Processes(backend.process_index(), backend.gather_from_processes)

    def flag(key):
        return "--" + key.removeprefix(f"{stage}." if stage else "").rpartition(".")[2]

    def open_directory():
        return RunDirectory(path, config, HARMLESS, processes, flag, ADVICE)

    refused = ValueError(f"{path}: the first process cannot have this run directory")
    return processes.first_alone(open_directory, refused) or FollowedRun(path, config, processes)


def opened(
    model: str | os.PathLike | Pretrained, precision: str | None, **changes: Any
) -> Pretrained:
    """A model that a trainer was given.

    Args:
        model: a directory, or what ``tfalign.load`` returned, which is then trained itself.
        precision: Keras dtype policy; None for the model's own.
        changes: to the configuration of a model that is loaded, such as ``dropout=0.0``.

    Raises:
        ValueError: if a loaded model has another precision or configuration.
    """
    if not isinstance(model, Pretrained):
        return load(model, dtype=precision, **changes)
    own = {name: getattr(model.model.config, name) for name in changes}
    own["precision"], wanted = model.model.dtype_policy.name, changes | {"precision": precision}
    for name, value in wanted.items():
        if value is not None and own[name] != value:
            raise ValueError(
                f"The model must have {name}={value}; load it with that. Received: {name}={own[name]}"
            )
    return model


def name_of(model: str | os.PathLike | Pretrained) -> str:
    """What a run's config.json calls a model.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(model, str | os.PathLike | Pretrained):
        raise ValueError(
            "A model is a directory, or what tfalign.load returns. "
            f"Received: {type(model).__name__}"
        )
    directory = model.directory if isinstance(model, Pretrained) else model
    return "(made in Python)" if directory is None else os.fspath(directory)


def name_of_data(data: Any) -> str:
    """What a run's config.json calls data."""
    if is_mixture(data):
        return ",".join(f"{weight}*{source}" for source, weight in data.items())
    return data if isinstance(data, str) else f"({type(data).__name__} in Python)"


def names_of_data(data: Any, held_out: Any) -> dict[str, str]:
    """The same of training data and held-out data, which may be None."""
    names = {"data": name_of_data(data)}
    return names if held_out is None else names | {"held_out": name_of_data(held_out)}

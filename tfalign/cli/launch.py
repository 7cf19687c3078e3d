"""Runs a job: help, flags, config file, devices, and mistakes in one sentence."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from tfalign import program_cache
from tfalign.cli.config_files import read_file
from tfalign.cli.flags import define_flags, parsed
from tfalign.cli.help import help_text, is_asked_for, show
from tfalign.installed import needing_tensorflow
from tfalign.options import option, option_record, record, to_dict
from tfalign.trainers.options import DeviceOptions

USERS, NOWHERE = "user", "off"  # of --compile_cache
Configs = Mapping[str, Callable[[], Mapping[str, Any]]]


@option_record
class ProcessOptions:
    """Config file, memory, compiled programs, errors."""

    config: str | None = option(None, "Options from a JSON or YAML file, or a named config.")
    keep_freed_memory: bool = option(
        True, "Keep up to 1 GiB of freed memory in the process (glibc): fewer page faults."
    )
    compile_cache: str = option(
        USERS,
        f"Directory that keeps compiled programs for the next start, at most 2 GiB; {USERS}: in the "
        f"user's cache directory; {NOWHERE}: none.",
    )
    traceback: bool = option(False, "Show the full traceback of an error.")


@option_record
class Process:
    """What every job takes beside its own options; not recorded in a run's config.json."""

    process: ProcessOptions = record(ProcessOptions())
    devices: DeviceOptions = record(DeviceOptions())


@option_record
class WithoutDevices:
    """The same of a job that chooses its devices itself, or uses none. Compiled programs are not kept, since some of these
    jobs read what XLA writes down as it compiles: of a program that it finds compiled it writes nothing."""

    process: ProcessOptions = record(ProcessOptions(compile_cache=NOWHERE))


def launch(
    kind: type,
    run: Callable[[Any], None],
    about: str,
    argv: Sequence[str] | None = None,
    command: str | None = None,
    configs: Configs | None = None,
    own_numbers: Callable[[Sequence[str]], Mapping[str, str]] = lambda argv: {},
    process_kind: type = Process,
) -> None:
    """Parses flags, builds the job's options and calls ``run`` with them.

    A mistake in flags, files or data ends the program with one sentence and exit code 2. SIGTERM and SIGINT end
    it with 143 and 130: a training after the step that is running, with a checkpoint; all else, and at a
    second signal, at once.

    Args:
        kind: the job's option record.
        run: ``options -> None``.
        about: what the job does, for ``--help``.
        argv: the program's name and its flags; ``sys.argv`` where None.
        command: how it is called, for ``--help``.
        configs: named configs of ``--config``.
        own_numbers: ``argv ->`` see ``help_text``.
        process_kind: what the job takes beside its own options: ``Process``, or ``WithoutDevices``.
    """
    argv = list(sys.argv if argv is None else argv)
    command = command or _command()
    if is_asked_for(argv):
        process = help_text("", "", process_kind).split("\n", 4)[4]
        show(help_text(command, about, kind, own_numbers(argv)) + process)
        return
    flag_values = flags.FlagValues()
    show_traceback = "--traceback" in argv
    try:
        options, process = _read(kind, process_kind, argv, flag_values, configs or {})
        _run(run, options, process)
    except (ValueError, OSError, flags.Error) as error:
        if show_traceback:
            traceback.print_exc()
        print(
            f"error: {str(error).removeprefix('FATAL Flags parsing error:').strip()}",
            file=sys.stderr,
        )
        sys.exit(2)


def _read(kind, process_kind, argv, flag_values, configs):
    for one in (kind, process_kind):
        define_flags(one, flag_values)
    _, *others = flag_values(argv)
    if others:
        raise ValueError(f"Arguments are given as --flag=value. Received: {others[0]}")
    process = parsed(process_kind, flag_values)
    return parsed(kind, flag_values, _config(process.process.config, configs)), process


def _config(name, configs):
    if not name:
        return {}
    if name in configs:
        return configs[name]()
    if not name.endswith((".json", ".yaml", ".yml")):
        known = ", ".join(sorted(configs)) or "none"
        raise ValueError(f"A config is a .json or .yaml file, or one of: {known}. Received: {name}")
    return read_file(name)


def _run(run, options, process):
    _keep_programs(process.process.compile_cache)  # before TensorFlow or JAX is imported
    with needing_tensorflow("Keras' backend", ', or JAX: pip install "tfalign[jax]"'):
        from tfalign.training import allocator, devices, interruption  # imports Keras

    if process.process.keep_freed_memory:
        allocator.keep_freed_memory()

    scope = contextlib.nullcontext()
    if isinstance(process, Process):
        scope = devices.scope(process.devices, to_dict(options))
    with interruption.handled(), scope:
        interruption.handle_again()
        run(options)


def _keep_programs(where):
    if where == NOWHERE:
        return
    try:
        program_cache.keep_programs(None if where == USERS else where)
    except OSError as error:
        if where != USERS:
            raise
        print(f"Compiled programs are not kept: {error}", file=sys.stderr)


def _command():
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return sys.argv[0] if spec is None else f"python -m {spec.name}"

"""From option records to absl flags and back: each experiment says its options once.

A config is an option record, see ``tfalign.options``; a field that is itself one gives dotted flags
(``--ppo.steps=200``). Values come from the defaults, then from ``--config`` (a name in experiments/configs
or a JSON file), then from flags.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
import traceback
from pathlib import Path

from absl import app, flags, logging

from experiments import allocator, devices
from tfalign import options
from tfalign.training import interruption

FLAGS = flags.FLAGS


def launch(config_class, run, doc, aliases=None, on_devices=True):
    """Runs an experiment's main: parses flags, builds the config, calls ``run(config)``.

    Mistakes in flags, files and data end the program with one sentence and exit code 2; ``--traceback``
    shows where they were noticed. SIGTERM and SIGINT end it with 143 and 130: a training after the update
    that is running, with a checkpoint; all else, and at a second signal, at once.

    Args:
        config_class: the option record.
        run: ``config -> None``.
        doc: str, shown above the flags by ``--help``.
        aliases: dict, other names of flags to theirs.
        on_devices: bool, whether it has the flags of ``devices``, and runs where they say.
    """
    define_flags(config_class)
    for other, name in (aliases or {}).items():
        flags.DEFINE_alias(other, name)
    flags.DEFINE_string("config", None, "a name in experiments/configs, or a JSON file, of options")
    flags.DEFINE_bool(
        "keep_freed_memory",
        True,
        "keep up to 1 GiB of freed memory in the process (glibc): fewer page faults",
    )
    flags.DEFINE_bool("traceback", False, "show the full traceback of an error")
    if on_devices:
        devices.define_flags()
    sys.modules["__main__"].__doc__ = doc
    for module in (__name__, devices.__name__):  # what --help shows
        for flag in FLAGS.flags_by_module_dict().get(module, []):
            FLAGS.register_key_flag_for_module(sys.argv[0], flag)

    def main(argv):
        logging.set_verbosity(logging.WARNING)
        try:
            if len(argv) > 1:
                raise ValueError(f"Arguments are given as --flag=value. Received: {argv[1]}")
            config = parse_config(config_class)
            if FLAGS.keep_freed_memory:
                allocator.keep_freed_memory()
            with (
                interruption.handled(),
                devices.scope(FLAGS, config) if on_devices else contextlib.nullcontext(),
            ):
                interruption.handle_again()
                run(config)
        except (ValueError, OSError) as error:
            if FLAGS.traceback:
                traceback.print_exc()
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    app.run(main)


def define_flags(config_class, prefix=""):
    """One flag for each field, dotted for nested configs."""
    for field in dataclasses.fields(config_class):
        name, default = prefix + field.name, options.default_of(field)
        if dataclasses.is_dataclass(default):
            define_flags(type(default), name + ".")
        else:
            choices = None if field.metadata["list_of"] else field.metadata["choices"]
            _define(name, default, options.help_of(field), choices)


def parse_config(config_class, flag_values=FLAGS):
    """The config of the flags given and the file named by ``--config``.

    Raises:
        ValueError: naming the unknown key or the contradictory flags.
    """
    values = read_config(flag_values.config) if flag_values.config else {}

    def given(name):
        flag = flag_values[name]
        return flag.value if flag.present else None

    return options.build(config_class, values, given)


def read_config(name):
    """The options of a JSON file, or of the module of that name in experiments/configs."""
    if not name.endswith(".json"):
        if not (Path(__file__).parent / "configs" / f"{name}.py").exists():
            known = sorted(p.stem for p in (Path(__file__).parent / "configs").glob("[a-z]*.py"))
            raise ValueError(f"Configs are {', '.join(known)}, or a .json file. Received: {name}")
        return importlib.import_module(f"experiments.configs.{name}").CONFIG
    return options.read_json(name)


def _define(name, default, help, choices):
    if choices:
        flags.DEFINE_enum(name, default, list(choices), help)
        return
    define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }[type(default)]
    define(name, default, help)

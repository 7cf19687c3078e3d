"""From a frozen dataclass to absl flags and back: each experiment says its options once.

A config is a frozen dataclass whose fields are made by ``option(default, help)``; a field that is
itself such a dataclass gives dotted flags (``--ppo.steps=200``). Values come from the defaults,
then from ``--config`` (a name in experiments/configs or a JSON file), then from flags.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import sys
import traceback
import typing
from pathlib import Path

from absl import app, flags, logging

from experiments import devices

FLAGS = flags.FLAGS


def option(default, help, choices=None):
    """A field of a config.

    Args:
        default: bool, int, float, str, or a config dataclass instance; the type is the flag's.
        help: str, for ``--help``.
        choices: the strings allowed; None for any.
    """
    metadata = {"help": help, "choices": choices}
    if dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def launch(config_class, run, doc, aliases=None, on_devices=True):
    """Runs an experiment's main: parses flags, builds the config, calls ``run(config)``.

    Mistakes in flags, files and data end the program with one sentence; ``--traceback`` shows
    where they were noticed.

    Args:
        config_class: the frozen dataclass.
        run: ``config -> None``.
        doc: str, shown above the flags by ``--help``.
        aliases: dict, other names of flags to theirs.
        on_devices: bool, whether it has the flags of ``devices``, and runs where they say.
    """
    define_flags(config_class)
    for other, name in (aliases or {}).items():
        flags.DEFINE_alias(other, name)
    flags.DEFINE_string("config", None, "a name in experiments/configs, or a JSON file, of options")
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
            with devices.scope(FLAGS, config) if on_devices else contextlib.nullcontext():
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
        name, default = prefix + field.name, _default(field)
        if dataclasses.is_dataclass(default):
            define_flags(type(default), name + ".")
        else:
            _define(name, default, field.metadata["help"], field.metadata["choices"])


def parse_config(config_class, flag_values=FLAGS):
    """The config of the flags given and the file named by ``--config``.

    Raises:
        ValueError: naming the unknown key or the contradictory flags.
    """
    values = read_config(flag_values.config) if flag_values.config else {}
    return build(config_class, values, flag_values)


def build(config_class, values, flag_values=None, prefix=""):
    """A config from nested dicts, and flags over them.

    Args:
        config_class: the frozen dataclass.
        values: dict of field name to value or nested dict.
        flag_values: absl FlagValues, those present win; None for none.
        prefix: str, of the flags' names.

    Raises:
        ValueError: naming an unknown key, or a value of the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(
            f"There is no option {prefix}{unknown[0]}; there are {', '.join(sorted(fields))}"
        )
    chosen = {}
    for name, field in fields.items():
        default = _default(field)
        if dataclasses.is_dataclass(default):
            nested = dataclasses.asdict(default) | values.get(name, {})
            chosen[name] = build(type(default), nested, flag_values, f"{prefix}{name}.")
        elif flag_values is not None and flag_values[prefix + name].present:
            chosen[name] = flag_values[prefix + name].value
        elif name in values:
            chosen[name] = _checked(prefix + name, values[name], default)
    return config_class(**chosen)


def read_config(name):
    """The options of a JSON file, or of the module of that name in experiments/configs."""
    if not name.endswith(".json"):
        if not (Path(__file__).parent / "configs" / f"{name}.py").exists():
            known = sorted(p.stem for p in (Path(__file__).parent / "configs").glob("[a-z]*.py"))
            raise ValueError(f"Configs are {', '.join(known)}, or a .json file. Received: {name}")
        return importlib.import_module(f"experiments.configs.{name}").CONFIG
    try:
        return json.loads(Path(name).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}:{error.lineno}: not JSON: {error.msg}") from error


def _default(field):
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory()


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


def _checked(name, value, default):
    wanted = typing.cast(type, type(default))
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise ValueError(f"{name} must be of type {wanted.__name__}. Received: {value!r}")
    return value

"""``--help`` of a job: its options in groups, the important ones first."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping

from tfalign.cli.flags import value_type
from tfalign.options import Leaf, leaves

_INDENT = 26


def show(text: str) -> None:
    """Prints a text whose reader may stop early, as ``| head`` does."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def help_text(
    command: str, about: str, kind: type, own_numbers: Mapping[str, str] | None = None
) -> str:
    """What ``--help`` prints.

    Args:
        command: such as "tfalign align".
        about: what the job does.
        kind: its option record.
        own_numbers: name of an option whose default is None to what then holds, such as "ppo: 0.2".
    """
    lines = [f"{command}: {about.strip()}", "", f"usage: {command} [--FLAG=VALUE ...]"]
    heading = None
    for leaf in leaves(kind):
        group = _heading(leaf)
        if group != heading:
            lines += ["", group]
            heading = group
        lines += _entry(leaf, (own_numbers or {}).get(leaf.name))
    return "\n".join(lines) + "\n"


def _heading(leaf: Leaf) -> str:
    return leaf.heading or "Main options"


def _entry(leaf: Leaf, own: str | None) -> list[str]:
    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    flag = f"  --{leaf.name}"
    text = f"{leaf.field.metadata['help']} {_facts(leaf, own)}"
    body = textwrap.wrap(text, width - _INDENT)
    if len(flag) >= _INDENT - 1:
        return [flag, *(" " * _INDENT + line for line in body)]
    first, *rest = body
    return [flag.ljust(_INDENT) + first, *(" " * _INDENT + line for line in rest)]


def _facts(leaf: Leaf, own: str | None) -> str:
    """Type, choices, range and default, in brackets."""
    facts = []
    choices = leaf.field.metadata["choices"]
    facts.append("|".join(choices) if choices else value_type(leaf.hint).__name__)
    if leaf.field.metadata["range"] is not None:
        facts.append(str(leaf.field.metadata["range"]))
    if own is not None:
        facts.append(own)
    elif leaf.default is not None and leaf.default != () and leaf.default != "":
        facts.append(f"default: {_shown(leaf.default)}")
    return f"[{'; '.join(facts)}]"


def _shown(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else value


def is_asked_for(argv: list[str]) -> bool:
    """Whether the arguments ask for help."""
    return any(argument in ("--help", "-h", "-help", "--helpfull") for argument in argv)

"""Who may import whom: the floors and walls of the design, read off the syntax trees.

An import within a function counts as much as one at the top of a file.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# A module belongs to the first pattern that matches the whole of its name. Parts of one floor do
# not import each other; within a part, modules may.
PARTS = [
    (0, "records", r"tfalign\.(types|options)"),
    (0, "files", r"tfalign\.files(\..+)?"),
    (0, "threads", r"tfalign\.threads"),
    (0, "lazy", r"tfalign\.lazy"),
    (0, "installed", r"tfalign\.installed"),
    (0, "child_process", r"tfalign\.child_process"),
    (0, "functional", r"tfalign\.functional(\..+)?"),
    (0, "backend", r"tfalign\.backend(\..+)?"),
    (1, "program_cache", r"tfalign\.program_cache"),
    (1, "layers", r"tfalign\.layers(\..+)?"),
    (1, "text", r"tfalign\.text(\..+)?"),
    (2, "models", r"tfalign\.models(\..+)?"),
    (2, "data", r"tfalign\.data(\..+)?"),
    (3, "decoding", r"tfalign\.decoding(\..+)?"),
    (3, "interpretability", r"tfalign\.interpretability(\..+)?"),
    (3, "environments.mdp", r"tfalign\.environments\.mdp"),
    (4, "rewards", r"tfalign\.rewards(\..+)?"),
    (4, "tools", r"tfalign\.tools(\..+)?"),
    (4, "objectives", r"tfalign\.objectives(\..+)?"),
    (4, "language_models", r"tfalign\.language_models(\..+)?"),
    (5, "training", r"tfalign\.training(\..+)?"),
    (5, "evaluation", r"tfalign\.evaluation(\..+)?"),
    (5, "serving", r"tfalign\.serving(\..+)?"),
    (5, "pretrained", r"tfalign\.pretrained"),
    (6, "planning", r"tfalign\.planning(\..+)?"),
    (6, "trainers", r"tfalign\.trainers(\..+)?"),
    (6, "enumerable", r"tfalign\.enumerable(\..+)?"),
    (6, "environments", r"tfalign\.environments(\..+)?"),
    *(
        (7, f"applications.{name}", rf"tfalign\.applications\.{name}(\..+)?")
        for name in ("content", "dialogue", "knowledge", "personalisation", "search")
    ),
    (7, "the package's root", r"tfalign(\.applications)?"),
    (8, "cli", r"tfalign\.(cli(\..+)?|__main__)"),
    (9, "experiments", r"experiments(\..+)?"),
]

# Who alone may import what lies outside.
TF_AGENTS_FACES = r"tfalign\.environments\.(?!mdp|gymnasium)\w+"
WALLS = {
    "tf_agents": rf"{TF_AGENTS_FACES}|experiments(\..+)?",
    "gymnasium": r"tfalign\.environments\.gymnasium\w*|experiments(\..+)?",
    "tensorflow_datasets": r"tfalign\.data(\..+)?",
    "tensorflow": r"tfalign\.backend\.tensorflow(_devices|_measuring)?|tfalign\.(data|training)(\..+)?"
    rf"|tfalign\.serving\.(saved_model|byte_bpe|litert)|{TF_AGENTS_FACES}"
    r"|experiments(\..+)?",
    "jax": r"tfalign\.backend\.jax(_devices|_ahead|_splash|_context|_measuring)?|tfalign\.training\.devices|experiments(\..+)?",
    "ray": r"tfalign\.trainers\.rollout_actors",
    "datasets": r"tfalign\.data\.readers\.hugging_face|experiments\.peers(\..+)?",
    "pyarrow": r"tfalign\.data\.readers\.parquet",
    "keras_hub": r"tfalign\.(models|text)\.keras_hub",
}


# How a file is opened, looked for, moved or removed other than by a path's own methods.
BY_ITSELF = (
    r"open|(os|shutil)\.(open|replace|rename|remove|unlink|mkdir|makedirs|listdir|walk|stat|scandir|rmdir|rmtree"
    r"|copy\w*|move)|os\.path\.(exists|isdir|isfile|getsize)|(pathlib\.)?Path"
)
# Who may do so beside tfalign.files, since it is about this machine alone.
ON_THIS_MACHINE = {
    "tfalign.child_process": "/proc",
    "tfalign.cli.help": "the terminal",
    "tfalign.data.files": "what TensorFlow Datasets downloaded",
    "tfalign.data.prepared": "a bucket's copy",
    "tfalign.data.readers.documents": "os.walk of a local folder; a bucket's is listed",
    "tfalign.data.readers.tfds": "the copy's folder of manual files",
    "tfalign.planning.compiled": "what XLA writes",
    "tfalign.program_cache": "XLA's cache of this machine",
    "tfalign.rewards.callables": "a Python file",
    "tfalign.text.tokenizer_files": "files of a local folder that are renamed together",
    "tfalign.trainers.evaluation": "the name of the running program",
    "tfalign.trainers.rollout_actors": "where this package lies",
    "tfalign.training.bucket_checkpoint": "a file on its way into a bucket",
    "tfalign.training.checkpoint": "folders that are renamed",
    "tfalign.training.lock_records": "/proc",
    "tfalign.training.run_lock": "flock",
}

parsed = functools.cache(ast.parse)


def read_modules(root):
    """Dotted name -> (file, syntax tree) of every module of ``tfalign`` and ``experiments``."""
    modules = {}
    for package in ("tfalign", "experiments"):
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = file, parsed(file.read_bytes())
    return modules


def imports_of(name, modules):
    """(imported dotted name, line) pairs; ``from package import module`` names the module."""
    file, tree = modules[name]
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                member = f"{source}.{alias.name}"
                yield (member if member in modules else source), node.lineno


def private_names(name, modules):
    """(private name of another part of the library, line) pairs that a module imports or reads."""
    for node in ast.walk(modules[name][1]):
        if isinstance(node, ast.ImportFrom) and re.match("tfalign", node.module or ""):
            private = [alias.name for alias in node.names if alias.name.startswith("_")]
            private *= part_of(node.module) != part_of(name)
        elif isinstance(node, ast.Attribute) and re.match(r"_(?!_|replace$|asdict$)", node.attr):
            private = [] if ast.unparse(node.value) in ("self", "cls") else [node.attr]
        else:
            continue
        yield from ((found, node.lineno) for found in private)


def part_of(name):
    for floor, part, pattern in PARTS:
        if re.fullmatch(pattern, name):
            return floor, part
    raise LookupError(f"{name} stands on no floor: give it one in PARTS")


def violations(root):
    """One sentence an import that the design forbids."""
    modules = read_modules(root)
    found = []
    for name, (file, _) in modules.items():
        floor, part = part_of(name)
        for imported, line in imports_of(name, modules):
            where = f"{file.relative_to(root)}:{line}: {name} imports {imported}"
            package = imported.split(".")[0]
            if package in WALLS and not re.fullmatch(WALLS[package], name):
                found.append(f"{where}, which it must not")
            if package not in ("tfalign", "experiments"):
                continue
            other_floor, other_part = part_of(imported)
            if other_part != part and other_floor >= floor:
                found.append(f"{where}: {part} is on floor {floor}, {other_part} on {other_floor}")
    return found


def cycle(root):
    """The modules of one import cycle, or None."""
    modules = read_modules(root)
    graph = {
        name: {imported for imported, _ in imports_of(name, modules) if imported in modules}
        for name in modules
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]


def test_floors_and_walls():
    assert not violations(REPOSITORY)


def test_applications_use_public_names_only():
    modules = read_modules(REPOSITORY)
    applications = [name for name in modules if name.startswith("tfalign.applications.")]
    assert not {name: found for name in applications if (found := [*private_names(name, modules)])}


def opened_by_itself(root):
    """One place a call that opens, looks for or moves a file though its module is not in ``tfalign.files``."""
    found = []
    for name, (file, tree) in read_modules(root).items():
        if (
            re.fullmatch(r"tfalign\.files(\..+)?|experiments(\..+)?", name)
            or name in ON_THIS_MACHINE
        ):
            continue
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        found += [
            f"{file.relative_to(root)}:{call.lineno}: {ast.unparse(call.func)}"
            for call in calls
            if re.fullmatch(BY_ITSELF, ast.unparse(call.func))
        ]
    return found


def test_files_are_opened_in_one_place():
    assert not opened_by_itself(REPOSITORY)
    assert set(ON_THIS_MACHINE) <= set(read_modules(REPOSITORY))


@pytest.mark.parametrize(
    "call", ["open('a')", "os.path.isdir('a')", "Path('a')", "shutil.rmtree(a)"]
)
def test_finds_a_planted_opening(tmp_path, call):
    plant(tmp_path, tfalign__models__gpt=f"def f():\n    {call}", tfalign__files__a=call)
    (found,) = opened_by_itself(tmp_path)
    assert found.startswith("tfalign/models/gpt.py:2:")


def test_no_import_cycle():
    assert cycle(REPOSITORY) is None


def test_reads_the_whole_package():
    modules = read_modules(REPOSITORY)
    assert {"tfalign", "tfalign.types", "tfalign.backend.jax", "tfalign.training.learner"} <= set(
        modules
    )


def plant(root, **sources):
    """Writes modules; ``tfalign__models__gpt="import os"`` is tfalign/models/gpt.py."""
    for name, source in sources.items():
        file = root.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("tfalign__layers__masks", "from tfalign.models import gpt"),  # up
        ("tfalign__layers__masks", "from tfalign import models"),
        ("tfalign__layers__masks", "import tfalign.models.gpt as g"),
        ("tfalign__layers__masks", "from ..models.gpt import GPT"),
        ("tfalign__layers__masks", "def f():\n    import tfalign.models.gpt"),
        ("tfalign__data__records", "from tfalign.models import gpt"),  # sideways
        ("tfalign__environments__mdp", "from tfalign.decoding import generate"),
        ("tfalign__decoding__stream", "from tfalign.environments import tf_policy"),
        ("tfalign__training__loop", "import experiments.align"),
        ("tfalign__models__gpt", "import tensorflow as tf"),  # walls
        ("tfalign__rewards__learned", "def f():\n    from tensorflow.keras import layers"),
        ("tfalign__training__loop", "import tensorflow_datasets"),
        ("tfalign__environments__tf_policy", "import gymnasium"),
        ("tfalign__environments__gymnasium_face", "import tf_agents"),
        ("tfalign__environments__mdp", "import tensorflow"),
        ("tfalign__training__learner", "import jax"),
    ],
)
def test_finds_a_planted_violation(tmp_path, importer, source):
    plant(tmp_path, tfalign__models__gpt="", tfalign__decoding__generate="")
    plant(tmp_path, tfalign__models____init__="", tfalign__environments__tf_policy="")
    plant(tmp_path, experiments__align="import tensorflow, tfalign.models.gpt")
    assert not violations(tmp_path)
    plant(tmp_path, **{importer: source})
    (found,) = violations(tmp_path)
    line = source.count("\n") + 1
    assert found.startswith(f"{importer.replace('__', '/')}.py:{line}:")


@pytest.mark.parametrize(
    "source", ["from tfalign.models.gpt import _llama", "import keras\nkeras.Model._lock"]
)
def test_finds_a_planted_private_name(tmp_path, source):
    plant(tmp_path, tfalign__models__gpt="", tfalign__applications__search__index=source)
    modules = read_modules(tmp_path)
    ((_, line),) = private_names("tfalign.applications.search.index", modules)
    assert line == source.count("\n") + 1


def test_finds_a_planted_cycle(tmp_path):
    plant(
        tmp_path,
        tfalign__training__learner="def f():\n    from tfalign.training import replicas",
        tfalign__training__replicas="import keras",
    )
    assert cycle(tmp_path) is None
    plant(tmp_path, tfalign__training__replicas="from tfalign.training.learner import f")
    assert set(cycle(tmp_path)) == {"tfalign.training.learner", "tfalign.training.replicas"}


def test_a_module_without_a_floor_is_told(tmp_path):
    plant(tmp_path, tfalign__new_part__module="")
    with pytest.raises(LookupError, match="tfalign.new_part.module stands on no floor"):
        violations(tmp_path)

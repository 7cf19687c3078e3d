"""README and docs/ tell the truth: their Python runs as it stands, their commands have the flags that they are
given, and their links lead somewhere.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import inspect
import json
import pathlib
import re
import runpy
import shlex
import shutil
import types

import numpy as np
import pytest
from absl import flags

import experiments.launch
import tfalign
from tfalign.cli import launch, records
from tfalign.cli.flags import define_flags
from tfalign.cli.jobs import JOBS

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TOP = [ROOT / name for name in ("README.md", "BUILD_NOTES.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]
GUIDES = sorted(DOCS.glob("*.md"))
TESTED_ELSEWHERE = {"algorithms.md"}  # tests/training/test_documented_algorithm.py


def blocks(page):
    """A page's blocks of Python that are no doctests."""
    found = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in found if ">>>" not in block]


def only(page, word):
    """The one block with this word."""
    (block,) = [block for block in blocks(page) if word in block]
    return block


def run(page, scope=None):
    """Runs all blocks of a page, one after the other; what they leave."""
    scope = {} if scope is None else scope
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), scope)
    return scope


# --- Python


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """The directory of a tiny language model, of a single block and the bytes as its tokens."""
    from tfalign.models import CausalLM
    from tfalign.text import train_byte_bpe

    model = CausalLM.from_preset("tiny_llama", vocab_size=259, num_layers=1, max_positions=256)
    path = tmp_path_factory.mktemp("tiny") / "model"
    tfalign.Pretrained(model, train_byte_bpe([], 259)).save(path)
    return path


@pytest.fixture
def tiny(directory, tmp_path, monkeypatch):
    """A folder in which ``tfalign.load`` finds the tiny model whatever it is asked for."""
    load = tfalign.load
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfalign, "load", lambda _: load(directory), raising=False)


@pytest.mark.slow
def test_the_layers_example_trains():
    scope = {}
    exec(only(TOP[0], "TransformerBlock"), scope)
    losses = scope["model"].history.history["loss"]
    assert losses[-1] < losses[0]


def test_text_goes_in_and_out(tiny):
    scope = {}
    exec(only(TOP[0], "Sampler"), scope)
    assert scope["out"].tokens.shape == (1, 20)


@pytest.mark.slow
def test_get_started_from_the_first_line_to_the_last(tiny):
    """Its blocks one after the other, with few steps; README and the home page have the same ten lines."""
    page, scope = DOCS / "get_started.md", {}
    ten_lines = only(page, ".train()")
    assert len([line for line in ten_lines.splitlines() if line]) <= 10
    assert ten_lines == only(TOP[0], ".train()") == only(DOCS / "index.md", ".train()")
    assert "steps=20" in ten_lines
    few = ten_lines.replace("steps=20", "steps=1, batch_size=16, max_new_tokens=4")
    for block in blocks(page):
        exec(few if block == ten_lines else block, scope)
    assert pathlib.Path("runs/mine/models/grpo/model.safetensors").exists()
    prompt, record = json.loads(pathlib.Path("prompts.jsonl").read_text().splitlines()[0]).values()
    written = runpy.run_path("rewards.py")["reward"]
    given = (prompt, "Order 500 is cancelled.", {"answer": record})
    assert written(*given) == scope["reward"](*given) == 1.0
    scope["trainer"].run.close()


def test_options(tiny, directory):
    shutil.copytree(directory, "runs/a/models/pretrain")
    pathlib.Path("sft.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 200)
    trainer = run(DOCS / "options.md")["trainer"]
    assert (trainer.num_steps, trainer.options.update.learning_rate) == (300, 1e-4)
    trainer.run.close()


def test_a_loop_of_ones_own_ends_where_it_is_asked_to():
    import signal

    steps, saved = [], []

    def update():
        steps.append(len(steps))
        if len(steps) == 3:
            signal.raise_signal(signal.SIGTERM)

    state = types.SimpleNamespace(save=saved.append)
    with contextlib.suppress(
        SystemExit, KeyboardInterrupt, tfalign.training.interruption.Interrupted
    ):
        scope = {"first": 1, "last": 9, "update": update, "run_state": state}
        exec(only(DOCS / "runs.md", "Deferred"), scope)
    assert saved == [3]


@pytest.mark.slow
def test_a_training_is_watched(tiny, directory):
    shutil.copytree(directory, "runs/a/models/pretrain")
    rows = [json.dumps({"prompt": f"a{i}", "completion": "b"}) for i in range(400)]
    pathlib.Path("sft.jsonl").write_text("\n".join(rows))
    block = only(DOCS / "runs.md", "keep_best").replace("steps=2000", "steps=2, warmup_steps=1")
    scope = {}
    exec(block.replace("every=100", "every=1"), scope)
    assert scope["trainer"].best.step in (1, 2)
    assert len(pathlib.Path("runs/b/samples.jsonl").read_text().splitlines()) == 2 * 4


@pytest.mark.slow
def test_a_run_in_a_bucket(directory):
    from tfalign.files import as_path

    bucket = as_path("memory://docs")
    tfalign.load(directory).save(bucket / "smoke/models/sft")
    rows = [json.dumps({"prompt": f"a{i}", "completion": "b"}) for i in range(400)]
    (bucket / "sft.jsonl").write_text("\n".join(rows))
    block = only(DOCS / "buckets.md", "FineTuner").replace("gs://my-bucket", str(bucket))
    exec(block.replace("steps=250", "steps=2, warmup_steps=1, save_every=1"), {})
    left = {path.relative_to(bucket / "c").as_posix() for path in (bucket / "c").rglob()}
    assert {"config.json", "metrics.jsonl", "models/sft/model.safetensors"} <= left
    assert {
        "checkpoints/sft/step-00000001/state.json",
        "checkpoints/sft/step-00000002/state.json",
    } <= left
    assert not left & {"run.lock", "models/sft/.writing"}


def test_pretrained(directory):
    from tfalign.text import Tokenizer

    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    talk, _, adapters, _ = blocks(DOCS / "pretrained.md")
    tokenizer = Tokenizer.load(directory)
    tokenizer.chat_template = template
    scope = {"tokenizer": tokenizer}
    exec(talk, scope)
    assert len(scope["token_ids"]) == len(scope["from_assistant"])
    assert any(scope["from_assistant"])
    scope = {"directory": directory}
    exec(adapters, scope)
    assert all("adapter" in variable.path for variable in scope["model"].trainable_variables)


@pytest.mark.slow  # trains a classifier
def test_an_encoder_is_fine_tuned(tmp_path, monkeypatch):
    from tfalign.models import BERT, BERTConfig
    from tfalign.text import train_word_piece

    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"good {i}" if i % 2 else f"bad {i}", "label": str(i % 2)} for i in range(400)]
    pathlib.Path("reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tokenizer = train_word_piece(["good bad 0 1 2 3 4 5 6 7 8 9"], 60)
    model = BERT(BERTConfig(tokenizer.vocab_size, 16, 1, 2, max_positions=128))
    tfalign.Pretrained(model, tokenizer).save("minilm")
    scope = {}
    exec(
        only(DOCS / "pretrained.md", "ClassificationTrainer").replace("steps=250", "steps=30"),
        scope,
    )
    assert 0 < scope["trainer"].results["accuracy"] <= 1


@pytest.mark.slow
def test_serving(directory):
    pytest.importorskip("starlette")
    pytest.importorskip("outlines_core")
    scope = run(DOCS / "serving.md", {"directory": directory})
    assert callable(scope["app"]) and scope["late"] in (True, False)
    assert scope["number"] in (147, 148) and scope["answered"] is not None


@pytest.mark.slow  # compiles a beam search
def test_encoders():
    from tfalign.models import Transformer, TransformerConfig

    model = Transformer(TransformerConfig(9, 8, 1, 2))
    given = {"model": model, "bos": 0, "eos": 1, "source_mask": np.ones((2, 3), "bool")}
    given["source_ids"] = np.array([[2, 3, 4], [5, 6, 7]])
    exec(only(DOCS / "encoders.md", "BeamSearch"), given)


@pytest.mark.slow  # trains a BERT
def test_a_bert_is_pretrained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = "\n\n".join(f"Topic {d} is here. So is {d} again.\nAnd {d} ends." for d in range(2000))
    for name in ("train.txt", "test.txt"):
        pathlib.Path(name).write_text(texts)
    scope = {}
    block = only(DOCS / "encoders.md", "MaskedPretrainer")
    exec(block.replace("steps=6000", "steps=2, warmup_steps=1, vocab_size=200"), scope)
    assert scope["trainer"].results["masked_majority"] > 0


@pytest.mark.slow
def test_the_driver_of_tf_agents():
    if importlib.util.find_spec("tf_agents") is None:
        pytest.skip("tf-agents is not installed")
    import tensorflow as tf

    from tfalign.environments.tasks import repeat_prompt
    from tfalign.models import CausalLM, GPTConfig

    mdp, seen = repeat_prompt(vocab_size=4, max_new_tokens=3), []
    model = CausalLM(GPTConfig(4, 8, 1, 2, max_positions=8))
    scope = {"mdp": mdp, "model": model, "tf": tf, "observers": [lambda step: seen.append(step)]}
    exec(only(DOCS / "mdp.md", "driver").replace("64 * 1000", "64"), scope)
    assert seen


@pytest.mark.parametrize(
    "page",
    [page for page in GUIDES if ">>>" in page.read_text("utf-8")],
    ids=lambda page: page.stem,
)
def test_the_doctests_run(page):
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 1 and results.failed == 0


def test_every_block_of_python_is_run():
    """A page with blocks has a test above, which names it."""
    tests = pathlib.Path(__file__).read_text(encoding="utf-8")
    missing = {page.name for page in GUIDES if blocks(page) and f'"{page.name}"' not in tests}
    assert not missing


# --- commands


def commands():
    """(page, module of experiments or None, words) of every command in pages and experiments' docstrings."""
    for file in [*PAGES, *sorted((ROOT / "experiments").rglob("*.py"))]:
        text = file.read_text(encoding="utf-8").replace("\\\\\n", " ").replace("\\\n", " ")
        pattern = r"(?:tfalign|python -m experiments\.([\w.]+)) +((?:[a-z]\w* +)?--[^`#\n|]*)"
        for module, rest in re.findall(pattern, text):
            words = [
                word
                for word in shlex.split(rest.replace("...", ""))
                if "=NAME" not in word and "$" not in word and word != "--help"
            ]
            yield file.relative_to(ROOT).as_posix(), module, words


def main_of(module):
    return ROOT / "experiments" / f"{module.replace('.', '/')}.py"


def job_of(module):
    """The library's job that a module of experiments is the main of; None for none."""
    match = re.search(r'launch_job\("(\w+)"', main_of(module).read_text(encoding="utf-8"))
    return match and match[1]


def job_commands():
    for page, module, words in commands():
        job, rest = (words[0], words[1:]) if not module else (job_of(module), words)
        if job in JOBS:
            yield page, job, rest


def experiment_commands():
    found = {}
    for _, module, words in commands():
        if module and job_of(module) is None:
            found.setdefault(module, []).extend(words)
    return sorted((module, sorted(set(words))) for module, words in found.items())


def define_all(record, words, process):
    """Parses words as flags of a record, and of what the process takes."""
    values = flags.FlagValues()
    define_flags(record, values)
    define_flags(process, values)
    values(["tfalign", *words])


def shown(value):
    return "_" if isinstance(value, list) else value


@pytest.mark.parametrize(("page", "job", "words"), job_commands(), ids=shown)
def test_a_command_has_the_flags_that_it_is_given(page, job, words):
    define_all(getattr(records, JOBS[job].record), words, getattr(launch, JOBS[job].process_kind))


@pytest.mark.parametrize(("module", "words"), experiment_commands(), ids=shown)
def test_an_experiment_has_the_flags_that_it_is_given(module, words, monkeypatch):
    """Its main is run up to where it would begin."""
    launched = []
    signature = inspect.signature(experiments.launch.launch)

    def launch_nothing(*args, **named):
        call = signature.bind(*args, **named)
        call.apply_defaults()
        launched.append(call.arguments)

    monkeypatch.setattr(experiments.launch, "launch", launch_nothing)
    runpy.run_path(str(main_of(module)), run_name="__main__")
    (call,) = launched
    define_all(call["record"], words, call["process_kind"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_name_experiments_that_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"python -m experiments\.([\w.]+\w)", text)):
        assert main_of(name).exists(), name


# --- links

CODE = re.compile(r"\[`(\w+)`\]\(([^)#]+\.py)\)")
LINKS = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_leads_to_the_module_of_the_definition(page):
    for name, file in CODE.findall(page.read_text(encoding="utf-8")):
        code = (DOCS / file).read_text(encoding="utf-8")
        assert re.search(rf"^ *(def|class) {name}\b", code, re.MULTILINE), f"{file}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    missing = [
        link
        for link in LINKS.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert not missing

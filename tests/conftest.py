"""What every test may ask for: the real data outside the repository, and the slow tests' switch; and
what runs on Keras' other backends (``make test-jax``), without TensorFlow in the process."""

from __future__ import annotations

import ast
import atexit
import contextlib
import gc
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import hypothesis
import pytest

_REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
_BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
_BRING_TENSORFLOW = {"tensorflow", "tf_agents", "tensorflow_datasets", "keras_hub"}

if _BACKEND != "tensorflow":
    sys.modules["tensorflow"] = None  # whoever imports it fails there and then


def _compile_once():
    """A program of XLA that one test has compiled, in any process of this run, the others read.

    It is compiled plainly, with --optimized as users have it. What is set already stays.
    """
    plain = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    if "TF_XLA_FLAGS" not in os.environ:  # of the run's first process; the others inherit it
        folder = tempfile.mkdtemp(prefix="programs")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["TF_XLA_FLAGS"] = (
            f"--tf_xla_persistent_cache_directory={folder}"
            " --tf_xla_persistent_cache_device_types=CPU"
        )
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
        os.environ.setdefault("XLA_FLAGS", "" if "--optimized" in sys.argv else plain)


_compile_once()


# Property tests: the same examples in every run, more of them with --slow.
_EXAMPLES = {"fast": 25, "slow": 150}
for _name, _count in _EXAMPLES.items():
    hypothesis.settings.register_profile(
        _name, max_examples=_count, derandomize=True, database=None, deadline=None
    )


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--optimized", action="store_true", help="compile as users compile")
    parser.addoption("--share", type=_share, help="I/N: of the files each N-th, from the I-th on")
    parser.addoption("--kills", type=int, default=2, help="signals that a killed pipeline gets")
    parser.addoption("--starts", type=int, default=2, help="times two processes start at once")
    parser.addoption(
        "--exhaustive", action="store_true", help="also run the tests marked exhaustive"
    )
    parser.addoption("--fuzz", type=int, help="number of cases of every fuzz test")


def _share(text):
    try:
        number, count = map(int, text.split("/"))
        if not 1 <= number <= count:
            raise ValueError
    except ValueError:
        raise pytest.UsageError(f"--share must be I/N with 1 <= I <= N. Received: {text}") from None
    return number, count


def pytest_configure(config):
    hypothesis.settings.load_profile("slow" if config.getoption("--slow") else "fast")


def pytest_collectstart(collector):
    """A model that a module makes when it is imported has the same weights in every run."""
    if isinstance(collector, pytest.Module):
        _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """So has one that a test or a fixture makes, whatever ran before it."""
    _seed()


def _seed():
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def fuzz_cases(request):
    """``fast -> int``: how many cases a fuzz test tries: --fuzz, else three times ``fast`` if --slow."""
    config = request.config
    given, factor = config.getoption("--fuzz"), 3 if config.getoption("--slow") else 1
    return lambda fast: given or fast * factor


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """What alignment starts from: (directory of a tiny policy, file of prompts, tokenizer)."""
    import keras

    from tfalign.models import CausalLM
    from tfalign.text import train_byte_bpe
    from tfalign.trainers.saving import save_model

    folder = tmp_path_factory.mktemp("start")
    policy = folder / "run" / "models" / "policy"
    tokenizer = train_byte_bpe([], 259)
    keras.utils.set_random_seed(0)
    sizes = {"vocab_size": 259, "num_layers": 1, "width": 16}
    save_model(policy, CausalLM.from_preset("tiny_llama", max_positions=16, **sizes), tokenizer)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Q{i:02d}"}) + "\n" for i in range(40)))
    return str(policy), str(prompts), tokenizer


def pytest_ignore_collect(collection_path, config):
    """Without TensorFlow, files that begin by importing it are left out, and named at the end."""
    if _BACKEND != "tensorflow" and _brings_tensorflow(collection_path):
        return True
    return None


def _brings_tensorflow(file):
    if not (file.name.startswith("test_") and file.suffix == ".py"):
        return False
    statements = ast.parse(file.read_text(encoding="utf-8")).body
    roots = {name.split(".")[0] for node in statements for name in _imported(node)}
    return bool(roots & _BRING_TENSORFLOW)


def _imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def pytest_terminal_summary(terminalreporter, config):
    if _BACKEND == "tensorflow":
        return
    for place in map(pathlib.Path, config.args):
        for file in sorted(place.rglob("test_*.py")):
            if _brings_tensorflow(file):
                terminalreporter.write_line(f"LEFT OUT {file}: it imports TensorFlow")


def pytest_collection_modifyitems(config, items):
    if _BACKEND != "tensorflow":
        for item in items:
            if "tensorflow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs TensorFlow"))
    gc.collect()
    gc.freeze()
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:  # parallel workers, each at other addresses, would not agree on the list of tests
        raise pytest.UsageError(f"a test's id holds a memory address: {unstable[0]}")
    for item in items:
        if "exhaustive" in item.keywords and not config.getoption("--exhaustive"):
            item.add_marker(pytest.mark.skip(reason="exhaustive: run with --exhaustive"))
    if not (config.getoption("--slow") or config.getoption("-m")):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
    if config.getoption("--share"):
        _keep_share(config, items)


def _keep_share(config, items):
    """Of the files with a test to run each n-th: what a file's tests share is made in one share alone."""
    number, count = config.getoption("--share")
    skipped = {item for item in items if item.get_closest_marker("skip")}
    slow = config.getoption("-m") == "slow"
    meant = [i for i in items if i not in skipped and (not slow or "slow" in i.keywords)]
    files = set(sorted({item.path for item in meant})[number - 1 :: count])
    kept = [item for item in meant if item.path in files]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.fixture
def full_disk():
    """``full_disk(limit)``: a context in which no file grows beyond so many bytes, as on a full disk."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def full(limit):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)

    return full


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of real data: TFALIGN_DATA_DIR, else ../shared/data beside the repository."""
    named = os.environ.get("TFALIGN_DATA_DIR")
    folder = pathlib.Path(named) if named else _REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder} (set TFALIGN_DATA_DIR)")
    return folder

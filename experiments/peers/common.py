"""What the four peer scripts share: the command line, the GPT-2, the tokenizer, the JSON line.

The scripts of this folder measure other libraries, so they import nothing of tfalign and run in a
virtual environment of their own (see the requirements files here). Each prints one JSON line with

    name, versions, shape, parameters, seconds (one entry per timed repeat), a median rate,
    peak_memory_mb

The four accept the same flags, so that one command line fits all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
from importlib.metadata import version

# All files are local; without this, loading one may ask the Hub about it first.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, PreTrainedTokenizerFast

WARM_UPS = 2
"""Repeats that run before the clock starts."""


def parse_arguments(description: str) -> argparse.Namespace:
    """Reads the shape from the command line and sets the number of threads and the seed.

    Args:
        description: the script's docstring, shown by `--help`.

    Returns:
        A namespace of positive integers: vocab, width, layers, heads, batch, prompt, new,
        minibatch, repeats, threads.

    Raises:
        SystemExit: with a sentence on stderr, if a value is not positive, heads does not divide
            width, or minibatch does not divide batch.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocab", type=int, default=512, help="vocabulary entries")
    parser.add_argument("--width", type=int, default=128, help="hidden size")
    parser.add_argument("--layers", type=int, default=4, help="transformer blocks")
    parser.add_argument("--heads", type=int, default=4, help="attention heads")
    parser.add_argument("--batch", type=int, default=32, help="sequences per repeat")
    parser.add_argument("--prompt", type=int, default=16, help="prompt tokens per sequence")
    parser.add_argument("--new", type=int, default=48, help="new tokens per sequence")
    parser.add_argument(
        "--minibatch", type=int, default=8, help="sequences per PPO minibatch; only PPO reads it"
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed repeats")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of PyTorch")
    args = parser.parse_args()
    for name, value in vars(args).items():
        if value < 1:
            parser.error(f"--{name} must be positive. Received: {value}")
    if args.width % args.heads:
        parser.error(f"--heads must divide --width. Received: {args.heads} and {args.width}")
    if args.batch % args.minibatch:
        parser.error(f"--minibatch must divide --batch. Received: {args.minibatch}, {args.batch}")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    return args


def gpt2_config(args: argparse.Namespace, **overrides) -> GPT2Config:
    """A GPT-2 of the given shape, float32, without dropout and without an end-of-sequence token.

    The activation is GPT-2's tanh GELU by PyTorch's fused kernel (`gelu_pytorch_tanh`), which
    transformers documents as equivalent to the default `gelu_new` "but much faster".
    """
    return GPT2Config(
        vocab_size=args.vocab,
        n_positions=args.prompt + args.new,
        n_embd=args.width,
        n_layer=args.layers,
        n_head=args.heads,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        **overrides,
    )


def word_tokenizer(vocab: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose text "w0 w1 w2" is the ids 0, 1, 2.

    Its padding and end tokens are ids `vocab` and `vocab + 1`: a model with `vocab` outputs never
    samples them, so every completion has its full length.
    """
    words = {f"w{index}": index for index in range(vocab)}
    words |= {"<pad>": vocab, "<eos>": vocab + 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def random_prompts(args: argparse.Namespace, count: int) -> torch.Tensor:
    """int64[count, prompt] uniform token ids."""
    return torch.randint(0, args.vocab, (count, args.prompt))


def peak_memory_mb() -> float:
    """Largest resident set of this process so far, in MiB, everything imported included.

    `ru_maxrss` of a process that was started by a larger one begins at the parent's size (Linux
    keeps it across `exec`), so the kernel's count for this program alone, VmHWM, is read where it
    exists.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["VmHWM"].split()[0]) / 1024
    except (OSError, KeyError):
        unit = 2**20 if platform.system() == "Darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def count_parameters(model: torch.nn.Module) -> int:
    """Number of distinct parameters; a tied read-out counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def print_report(
    name: str, args: argparse.Namespace, packages: list[str], seconds: list[float], **results
) -> None:
    """Prints the JSON line; `packages` are those whose versions it names."""
    shape_flags = ("vocab", "width", "layers", "heads", "batch", "prompt", "new", "minibatch")
    report = {
        "name": name,
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in packages},
        "shape": {flag: getattr(args, flag) for flag in shape_flags},
        "threads": torch.get_num_threads(),
        "seconds": [round(second, 5) for second in seconds],
        **results,
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    print(json.dumps(report), flush=True)

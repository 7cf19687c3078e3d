"""Samples many responses to each held-out prompt, and scores them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.decoding import Generator, Sampler
from tfalign.files import write_bytes_atomically
from tfalign.models import from_pretrained
from tfalign.pretrained import load_tokenizer
from tfalign.trainers.data import read_split
from tfalign.trainers.options import DataOptions
from tfalign.training.responses import join

_SAVE_EVERY = 32  # samples


class Sampling(NamedTuple):
    """Which prompts are sampled from, and how."""

    data: str
    data_dir: str
    max_prompt_tokens: int
    max_new_tokens: int
    temperature: float


def held_out_prompts(config, tokenizer, count):
    """The first ``count`` prompts of the test split.

    Args:
        config: has ``data``, ``data_dir`` and ``max_prompt_tokens``.
        tokenizer: Tokenizer.
        count: int.

    Returns:
        Prompts.
    """
    options = DataOptions(config.data_dir, on_bad="skip")
    records = read_split(config.data, PromptRecord, "test", options)
    examples = encode_prompts(records, tokenizer, config.max_prompt_tokens, on_bad="skip")
    return next(BatchStream(examples, count, [config.max_prompt_tokens]))


def sample_scores(policy, prompts, rewards, samples, config, file):
    """Samples responses and scores them; continues from the samples in the file.

    Args:
        policy: str, directory of a CausalLM with its tokenizer.
        prompts: Prompts of P rows.
        rewards: dict of name to reward function of rollouts, see ``rewards``.
        samples: int, responses per prompt.
        config: has ``max_new_tokens`` and ``temperature``.
        file: path of an .npz that is written every few samples.

    Returns:
        dict of name to float32[P, samples]: "log_probs" of the responses, nats, and each reward's.
    """
    file = Path(file)
    columns = {name: [] for name in ("log_probs", *rewards)}
    if file.exists():
        with np.load(file) as kept:
            columns = {name: list(kept[name].T) for name in columns}
    tokenizer = load_tokenizer(policy)
    generator = Generator(
        from_pretrained(policy),
        config.max_new_tokens,
        Sampler(temperature=config.temperature),
        stop_tokens=tokenizer.stop_ids,
        pad_id=tokenizer.pad_id,
    )
    first = len(columns["log_probs"])
    for seed in tqdm(range(first, samples), desc="samples", unit="sample"):
        generation = generator(prompts.token_ids, prompts.mask, seed)
        responses = *join(prompts, generation), generation.mask
        columns["log_probs"].append(np.asarray(generation.log_probs).sum(axis=1))
        for name, reward in rewards.items():
            columns[name].append(np.asarray(reward(*responses)))
        if (seed + 1) % _SAVE_EVERY == 0 or seed + 1 == samples:
            _write(file, columns)
    return {name: np.stack(rows, axis=1) for name, rows in columns.items()}


def _write(file, columns):
    content = io.BytesIO()
    np.savez(content, **{name: np.stack(rows, axis=1) for name, rows in columns.items()})
    write_bytes_atomically(file, content.getvalue())

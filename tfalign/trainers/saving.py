"""What a training leaves behind: a model with its tokenizer, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfalign import backend
from tfalign.files import AnyPath, new_directory, write_json_atomically
from tfalign.models.lora import merge_adapters
from tfalign.models.peft import save_adapters
from tfalign.training.run_directory import RunDirectory
from tfalign.types import LoRA


def model_directory(run_path: AnyPath, stage: str) -> AnyPath:
    """Where a stage leaves its model and tokenizer."""
    return run_path / "models" / stage


def save_model(
    directory: AnyPath,
    model: keras.Model,
    tokenizer: Any,
    labels: Sequence[str] = (),
    entries: Mapping[str, Any] | None = None,
) -> None:
    """Writes model and tokenizer; the directory is there when both are whole, and every process finds it
    when this returns.

    Args:
        directory: where they go; one that is there is replaced.
        model, tokenizer: what goes there.
        labels: names of a classifier's classes.
        entries: further entries of the model's config.json.
    """
    ids = {f"{role}_token_id": tokenizer.special_ids.get(role) for role in ("bos", "pad")}
    if tokenizer.eos_id is not None:
        stops = list(tokenizer.stop_ids)
        ids["eos_token_id"] = stops if len(stops) > 1 else stops[0]
    more = {name: at for name, at in ids.items() if at is not None} | dict(entries or {})
    if labels:
        more["id2label"] = {str(at): label for at, label in enumerate(labels)}
        more["label2id"] = {label: at for at, label in enumerate(labels)}
    if backend.is_chief():
        with new_directory(directory) as writing:
            model.save_pretrained(writing, entries=more)
            tokenizer.save(writing)
    else:
        model.save_pretrained(directory, entries=more)  # hands in what it has
    backend.wait_for_others()


def merge_and_save_adapters(
    directory: AnyPath, model: keras.Model, base: str, lora: LoRA | None
) -> None:
    """Leaves adapters as ``peft`` has them, and merges them: the model has none any more then.

    Args:
        directory: where the adapters go.
        model: the model that has them.
        base: directory of the model they are of.
        lora: LoRA, or None for a model without.
    """
    if lora is not None:
        save_adapters(model, directory, base)
        merge_adapters(model)


def save_results(run: RunDirectory, stage: str, results: Mapping[str, Any]) -> None:
    """Prints what a stage came to, and writes it to ``RUN_DIR/STAGE.json``."""
    print(f"{stage}: {json.dumps(results)}")
    if backend.is_chief():
        write_json_atomically(run.file(f"{stage}.json"), results)

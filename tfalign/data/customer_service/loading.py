"""Reads the customer-service dataset, building it on first use."""

from __future__ import annotations

import os
from typing import Any

from tfalign.data.customer_service.examples import (
    FIELDS,
    SIZES,
    dialogues_of,
    generate_examples,
)
from tfalign.data.prepared import prepared
from tfalign.files import as_path, local_path
from tfalign.installed import is_installed


def load_customer_service(kind: str, split: str, data_dir: str | os.PathLike) -> list[dict]:
    """The records of one split, in the order they were drawn.

    The dataset is built under ``data_dir`` on first use, see ``data.prepared``. Without TensorFlow the
    same records are drawn anew, and nothing is written.

    Args:
        kind: "text", "completions", "preferences" or "prompts" in English and Chinese, or one of
            them with "_en" or "_zh".
        split: "train" or "test".
        data_dir: folder for prepared datasets; made where absent.

    Returns:
        Dictionaries of str, with the fields of ``FIELDS[kind]``.

    Raises:
        ValueError: if the kind or the split is unknown, or the folder is neither on this machine nor in a bucket.
    """
    base, _ = dialogues_of(kind)
    if split not in SIZES[base]:
        raise ValueError(f"split must be train or test. Received: split={split!r}")
    if not is_installed("tensorflow"):
        return list(generate_examples(kind, split))
    builder = prepared(lambda folder: make_builder(kind, folder), as_path(data_dir))
    columns = builder.as_dataset(split=split, shuffle_files=False, batch_size=-1)
    values = [columns[field].numpy() for field in FIELDS[base]]
    return [
        {field: text.decode() for field, text in zip(FIELDS[base], row)} for row in zip(*values)
    ]


def make_builder(kind: str, data_dir: str | os.PathLike) -> Any:
    """The TensorFlow Datasets builder of a kind, not yet prepared."""
    # Imported here: it takes seconds, and drawing records or judging them does without it.
    from tfalign.data.customer_service.customer_service_dataset_builder import Builder

    return Builder(config=kind, data_dir=str(local_path(data_dir).expanduser()))

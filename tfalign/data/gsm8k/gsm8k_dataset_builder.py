"""Grade-school mathematics in words, as a TensorFlow dataset."""

from __future__ import annotations

import tensorflow_datasets as tfds

from tfalign.data.files import instructions, locate, texts_info
from tfalign.data.readers import json_rows, read_texts

_BASE = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data"
URLS = {f"{split}.jsonl": f"{_BASE}/{split}.jsonl" for split in ("train", "test")}


class Builder(tfds.core.GeneratorBasedBuilder):
    """Questions with worked answers; the number stands behind "#### " (Cobbe et al. 2021).

    Features: question, answer. Splits: train, test.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(URLS)

    def _info(self):
        return texts_info(
            self, ("question", "answer"), "https://github.com/openai/grade-school-math", "MIT"
        )

    def _split_generators(self, dl_manager):
        files = locate(dl_manager, URLS)
        return {
            name.removesuffix(".jsonl"): self._generate_examples(path)
            for name, path in files.items()
        }

    def _generate_examples(self, path):
        for number, (where, row) in enumerate(json_rows(path)):
            yield number, read_texts(row, ("question", "answer"), where)

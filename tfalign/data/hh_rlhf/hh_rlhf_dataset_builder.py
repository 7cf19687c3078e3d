"""Human preferences about helpful and harmless answers, as a TensorFlow dataset."""

from __future__ import annotations

import tensorflow_datasets as tfds

from tfalign.data.files import instructions, locate, texts_info
from tfalign.data.readers import json_rows, split_transcripts
from tfalign.data.records import BadRecordError

_BASE = "https://github.com/anthropics/hh-rlhf/raw/master"
_PARTS = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Pairs of transcripts, cut into what both share and two answers (Bai et al. 2022).

    Features: prompt (up to the last "Assistant:" that both share), chosen, rejected. Splits: train, test.
    Pairs that share no turn are left out.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions([f"{part}.test.jsonl.gz" for part in _PARTS])

    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=part.replace("-", "_"), description=part) for part in _PARTS
    ]

    def _info(self):
        return texts_info(
            self, ("prompt", "chosen", "rejected"), "https://github.com/anthropics/hh-rlhf", "MIT"
        )

    def _split_generators(self, dl_manager):
        part = self.builder_config.description
        files = locate(
            dl_manager,
            {
                f"{part}.{split}.jsonl.gz": f"{_BASE}/{part}/{split}.jsonl.gz"
                for split in ("train", "test")
            },
            some=True,
        )
        return {name.split(".")[1]: self._generate_examples(path) for name, path in files.items()}

    def _generate_examples(self, path):
        for number, (where, row) in enumerate(json_rows(str(path))):
            try:
                pair = split_transcripts(row, where)
            except BadRecordError:
                continue
            yield number, {name: pair[name] for name in ("prompt", "chosen", "rejected")}

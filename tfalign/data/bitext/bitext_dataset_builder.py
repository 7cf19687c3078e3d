"""Requests to a customer service, as a TensorFlow dataset."""

from __future__ import annotations

import tensorflow_datasets as tfds

from tfalign.data.files import instructions, locate, texts_info
from tfalign.data.readers import read_texts, table_rows

_FILE = "Bitext_Sample_Customer_Support_Training_Dataset.csv"
URLS = {
    _FILE: "https://raw.githubusercontent.com/bitext/customer-support-llm-chatbot-training-dataset/"
    "a6d326575633d55279c8811fcd1f4fc3ac5e716e/data/train/" + _FILE
}
_FIELDS = ("instruction", "intent", "category", "response")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Requests with intents and answers (Bitext); {{placeholders}} stand for names and numbers.

    Features: instruction, intent, category, response. Split: train.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(URLS)

    def _info(self):
        return texts_info(
            self,
            _FIELDS,
            "https://github.com/bitext/customer-support-llm-chatbot-training-dataset",
            "CDLA-Sharing-1.0",
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(locate(dl_manager, URLS)[_FILE])}

    def _generate_examples(self, path):
        for number, (where, row) in enumerate(table_rows(path, tabs=False)):
            texts = read_texts(row, _FIELDS, where)
            yield number, {name: text.replace("\r\n", "\n") for name, text in texts.items()}

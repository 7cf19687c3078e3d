"""Film reviews, positive and negative, as a TensorFlow dataset."""

from __future__ import annotations

import re

import tensorflow_datasets as tfds

from tfalign.data.files import instructions, locate, texts_info
from tfalign.data.readers import document_rows, read_texts

URLS = {
    "movie_reviews.zip": "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/movie_reviews.zip"
}
_NAME = re.compile(r"((pos|neg)/cv([0-9])[0-9]{2}_[0-9]+\.txt):1$")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Two thousand reviews (Pang and Lee 2004).

    Features: text (one line, tokenised, lower case), label ("pos" or "neg"), name. Splits: train has the
    published folds 1 to 8, test folds 9 and 10.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(URLS)

    def _info(self):
        return texts_info(
            self,
            ("text", "label", "name"),
            "http://www.cs.cornell.edu/people/pabo/movie-review-data",
            "CC-BY-4.0",
        )

    def _split_generators(self, dl_manager):
        path = locate(dl_manager, URLS)["movie_reviews.zip"]
        return {
            "train": self._generate_examples(path, range(8)),
            "test": self._generate_examples(path, range(8, 10)),
        }

    def _generate_examples(self, path, folds):
        for where, row in document_rows(str(path)):
            match = _NAME.search(where)
            if match and int(match[3]) in folds:
                text = " ".join(read_texts(row, ("text",), where)["text"].split())
                yield match[1], {"text": text, "label": match[2], "name": match[1]}

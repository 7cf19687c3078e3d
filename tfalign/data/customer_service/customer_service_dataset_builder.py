"""The customer-service dialogues as a TensorFlow dataset; it downloads nothing."""

from __future__ import annotations

import tensorflow_datasets as tfds

from tfalign.data.customer_service.examples import FIELDS, SIZES, dialogues_of, generate_examples


class Builder(tfds.core.GeneratorBasedBuilder):
    """Customer-service dialogues in English and Chinese, from a generative grammar."""

    # Raised whenever the records change, so that a folder prepared earlier is not taken for them.
    VERSION = tfds.core.Version("2.2.0")
    RELEASE_NOTES = {
        "2.2.0": "Preference pairs of one factor at another level are more, and show courtesy and the "
        "next step more often; more about another case, fewer about another request. The records "
        "of the other kinds are those of 2.0.0.",
        "2.1.0": "More kinds of preference pairs: the same answer overdone or cut off, or one factor "
        "at another level. The records of the other kinds are those of 2.0.0.",
        "2.0.0": "Test splits in request templates of their own; more templates; preference pairs "
        "that differ in the customer's case or request alone; a gold reward that asks for both.",
        "1.1.0": "Order numbers of one token each, and oftener right in the text to pretrain on.",
        "1.0.0": "First release.",
    }
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=f"{kind}{suffix}", description=", ".join(FIELDS[kind]))
        for kind in SIZES
        for suffix in ("", "_en", "_zh")
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        kind, _ = dialogues_of(self.builder_config.name)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {field: tfds.features.Text() for field in FIELDS[kind]}
            ),
            license="Apache-2.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        kind, _ = dialogues_of(self.builder_config.name)
        return {split: self._generate_examples(split) for split in SIZES[kind]}

    def _generate_examples(self, split):
        yield from enumerate(generate_examples(self.builder_config.name, split))

"""Which of two arguments is more convincing? As a TensorFlow dataset."""

from __future__ import annotations

import html
import re

import tensorflow_datasets as tfds

from tfalign.data.files import instructions, locate, texts_info
from tfalign.data.readers import read_texts, table_rows

PARTS = 4
TOPICS = (
    "ban-plastic-water-bottles_no-bad-for-the-economy",
    "ban-plastic-water-bottles_yes-emergencies-only",
    "christianity-or-atheism-_atheism",
    "christianity-or-atheism-_christianity",
    "evolution-vs-creation_creation",
    "evolution-vs-creation_evolution",
    "firefox-vs-internet-explorer_it-has-a-cute-logo-oh-and-extensions-err-add-ons",
    "firefox-vs-internet-explorer_there-s-more-browsers-than-the-ie-firefox-is-an-animal",
    "gay-marriage-right-or-wrong_allowing-gay-marriage-is-right",
    "gay-marriage-right-or-wrong_allowing-gay-marriage-is-wrong",
    "human-growth-and-development-should-parents-use-spanking-as-an-option-to-discipline-_no",
    "human-growth-and-development-should-parents-use-spanking-as-an-option-to-discipline-_yes",
    "if-your-spouse-committed-murder-and-he-or-she-confided-in-you-would-you-turn-them-in-_no",
    "if-your-spouse-committed-murder-and-he-or-she-confided-in-you-would-you-turn-them-in-_yes",
    "india-has-the-potential-to-lead-the-world-_no-against",
    "india-has-the-potential-to-lead-the-world-_yes-for",
    "is-it-better-to-have-a-lousy-father-or-to-be-fatherless-_fatherless",
    "is-it-better-to-have-a-lousy-father-or-to-be-fatherless-_lousy-father",
    "is-porn-wrong-_no-is-is-not",
    "is-porn-wrong-_yes-porn-is-wrong",
    "is-the-school-uniform-a-good-or-bad-idea-_bad",
    "is-the-school-uniform-a-good-or-bad-idea-_good",
    "personal-pursuit-or-advancing-the-common-good-_advancing-the-commond-good",
    "personal-pursuit-or-advancing-the-common-good-_personal-pursuit",
    "pro-choice-vs-pro-life_pro-choice",
    "pro-choice-vs-pro-life_pro-life",
    "should-physical-education-be-mandatory-in-schools-_no-",
    "should-physical-education-be-mandatory-in-schools-_yes-",
    "tv-is-better-than-books_books",
    "tv-is-better-than-books_tv",
    "william-farquhar-ought-to-be-honoured-as-the-rightful-founder-of-singapore_no-it-is-raffles-",
    "william-farquhar-ought-to-be-honoured-as-the-rightful-founder-of-singapore_yes-of-course-",
)
_BASE = "https://raw.githubusercontent.com/UKPLab/acl2016-convincing-arguments/master/data/UKPConvArg1Strict-CSV"
URLS = {f"{topic}.csv": f"{_BASE}/{topic}.csv" for topic in TOPICS}


class Builder(tfds.core.GeneratorBasedBuilder):
    """11,650 pairs of arguments for one side of a debate (Habernal and Gurevych 2016, UKPConvArg1Strict).

    Features: prompt (debate and side), chosen, rejected, topic. Splits: part0 to part3, whole debates
    each, so that no debate is on both sides of a split; "part1+part2+part3" joins three of them.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(["the 32 files of UKPConvArg1Strict-CSV"])

    def _info(self):
        return texts_info(
            self,
            ("prompt", "chosen", "rejected", "topic"),
            "https://github.com/UKPLab/acl2016-convincing-arguments",
            "CC-BY-4.0",
        )

    def _split_generators(self, dl_manager):
        files = locate(dl_manager, URLS)
        debates = sorted({_debate(topic) for topic in TOPICS})
        return {
            f"part{part}": self._generate_examples(
                {
                    topic: files[f"{topic}.csv"]
                    for topic in TOPICS
                    if debates.index(_debate(topic)) % PARTS == part
                }
            )
            for part in range(PARTS)
        }

    def _generate_examples(self, files):
        for topic, path in files.items():
            for where, row in table_rows(path, tabs=True):
                texts = read_texts(row, ("#id", "label", "a1", "a2"), where)
                pair = [_plain(texts[side]) for side in ("a1", "a2")]
                yield (
                    f"{topic}/{texts['#id']}",
                    {
                        "prompt": f"{topic.replace('_', ': ').replace('-', ' ').strip()}: ",
                        "chosen": pair[texts["label"] != "a1"],
                        "rejected": pair[texts["label"] == "a1"],
                        "topic": topic,
                    },
                )


def _debate(topic):
    return topic.partition("_")[0]


def _plain(text):
    return html.unescape(re.sub(r"\s*<br/?>\s*", "\n", text)).strip()

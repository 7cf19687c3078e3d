"""What an advertisement must not say: patterns, each with the rule it breaks.

The Chinese ones are articles of the Advertising Law of the People's Republic of China (of 2015, as amended in 2021);
the English ones are what advertising codes ask evidence for: superlatives, guarantees, absolutes. Patterns find
wording; whether a claim is true, or proven, they cannot know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Rule(NamedTuple):
    """A kind of wording that is not allowed."""

    name: str
    source: str  # the article, or the code
    pattern: str  # a regular expression; of a text of any case


class Finding(NamedTuple):
    """Words of a text that break a rule."""

    rule: Rule
    words: str


ENGLISH = (
    Rule(
        "superlative",
        "CAP Code 3.7: objective superiority needs evidence",
        r"\b(?:best|finest|greatest|cheapest|tastiest|nicest|friendliest|freshest|loveliest|lowest|highest|"
        r"most (?:\w+)|top[- ]rated|number one|no\. ?1|second to none|unrivall?ed|unbeatable|unmatched|"
        r"world[- ]class|ultimate|one of a kind)\b|#1\b",
    ),
    Rule(
        "absolute",
        "CAP Code 3.11: no exaggeration",
        r"\b(?:perfect(?:ly)?|flawless(?:ly)?|always|never fails?|100 ?%|completely|everyone)\b",
    ),
    Rule(
        "guarantee",
        "CAP Code 3.53: guarantees say their terms",
        r"\b(?:guarantee[ds]?|risk[- ]free|money back|cures?|miracle)\b",
    ),
)
"""English wording, for advertisements of any product."""

CHINESE = (
    Rule(
        "superlative",
        "Advertising Law, article 9 (3)",
        r"国家级|世界级|最(?![近后初终爱喜])|顶级|顶尖|极致|极品|至尊|第一(?![次眼步时])|唯一|独一无二|绝无仅有|史上|"
        r"全网(?:最|第)|销量冠军|首选|无与伦比|一流",
    ),
    Rule(
        "absolute",
        "Advertising Law, article 28 (2)",
        r"绝对|100%|百分百|百分之百|万能|永不|永久|零风险|绝佳",
    ),
    Rule(
        "state", "Advertising Law, article 9 (1), (2)", r"国旗|国徽|国歌|国宴|国家机关|特供|领导人"
    ),
    Rule("statistics", "Advertising Law, article 11", r"(?:好评率|满意率|有效率|回购率)(?:高)?达"),
    Rule(
        "disparagement", "Advertising Law, article 13", r"(?:秒杀|碾压|完胜)(?:其他|别家|同类|同行)"
    ),
    Rule(
        "efficacy",
        "Advertising Law, articles 16 and 17",
        r"治愈|根治|疗效|治疗|药到病除|无副作用|防癌|抗癌",
    ),
    Rule("necessity", "Advertising Law, article 18", r"(?:保障|维持)健康(?:所)?必(?:需|备)"),
    Rule(
        "promise", "Advertising Law, articles 24 to 26", r"保过|包过|保本|无风险|保收益|升值|稳赚"
    ),
)
"""Chinese wording, by the article of the law."""

RULES = {"en": ENGLISH, "zh": CHINESE}


class Compliance:
    """Finds wording that is not allowed.

    Args:
        rules: Rules; ``RULES`` has those of a language.

    >>> [(f.rule.source, f.words) for f in Compliance(CHINESE)("这是最好的裙子，绝对显瘦。")]
    [('Advertising Law, article 9 (3)', '最'), ('Advertising Law, article 28 (2)', '绝对')]
    >>> Compliance(ENGLISH)("A pub by the river.")
    []
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._compiled = [(rule, re.compile(rule.pattern, re.IGNORECASE)) for rule in self.rules]

    def __call__(self, text: str) -> list[Finding]:
        """All findings, rule by rule."""
        return [
            Finding(rule, match.group())
            for rule, pattern in self._compiled
            for match in pattern.finditer(text)
        ]

    def is_banned(self, text: str) -> bool:
        """Whether a text breaks a rule."""
        return any(pattern.search(text) for _, pattern in self._compiled)

"""Wording that is not allowed, sentence by sentence."""

from __future__ import annotations

import pytest

from tfalign.applications.content import CHINESE, ENGLISH, Compliance
from tfalign.applications.content.clothing import read_clothing


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("这款裙子是最好看的", ["article 9 (3)"]),
        ("全国第一的品质", ["article 9 (3)"]),
        ("第一次穿就爱上", []),
        ("最近很流行，最后还有口袋", []),
        ("国家级工艺，独一无二", ["article 9 (3)", "article 9 (3)"]),
        ("绝对显瘦", ["article 28 (2)"]),
        ("100%棉", ["article 28 (2)"]),
        ("特供面料", ["article 9 (1), (2)"]),
        ("满意率高达99", ["article 11"]),
        ("碾压同行", ["article 13"]),
        ("有治疗作用", ["articles 16 and 17"]),
        ("维持健康必需", ["article 18"]),
        ("稳赚不赔", ["articles 24 to 26"]),
        ("一条白色的裙子", []),
        ("", []),
    ],
)
def test_the_advertising_law(text, sources):
    compliance = Compliance(CHINESE)
    found = [finding.rule.source for finding in compliance(text)]
    assert found == [f"Advertising Law, {source}" for source in sources]
    assert compliance.is_banned(text) == bool(sources)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The best and most beautiful pub.", ["best", "most beautiful"]),
        ("It is the #1 pub; guaranteed.", ["#1", "guaranteed"]),
        ("Perfect, always.", ["Perfect", "always"]),
        ("Rest by the west window, almost alone.", []),
    ],
)
def test_english(text, words):
    assert [finding.words for finding in Compliance(ENGLISH)(text)] == words


@pytest.mark.slow
def test_how_often_people_break_the_law(shared_data):
    """7.1% of these advertisements by another list; 6 to 8% is what lists may differ by."""
    told = read_clothing(shared_data / "advertisegen" / "dev.json")
    banned = [Compliance(CHINESE).is_banned(one.texts[0]) for one in told]
    assert len(banned) == 1070 and 0.06 < sum(banned) / len(banned) < 0.08


def test_a_line_without_attributes(tmp_path):
    file = tmp_path / "dev.json"
    file.write_text('{"content": "类型#裙*颜色#", "summary": "裙。"}\n')
    with pytest.raises(ValueError, match="dev.json:1: a row has attributes"):
        read_clothing(file)

"""The report says what was measured, in JSON and in Markdown."""

import dataclasses
import json
import re

import numpy as np
import pytest

from tfalign.evaluation.report import (
    PolicyEvaluation,
    Report,
    RewardModelEvaluation,
    report_values,
    write_report,
)
from tfalign.evaluation.statistics import wilson_interval
from tfalign.training.run_directory import RunDirectory

NASTY = ["a|b\nAgent:", "顾客：我的订单|到哪了？\n客服：", "<b>*x*</b> \\", ""]
SFT = PolicyEvaluation(
    responses=["no|", "不知道。\n", "# x", ""],
    scores=np.array([0.0, 0.5, -0.5, 0.0]),
    gold=np.array([1.0, 0.0, -1.0, 2.0]),
    kl=np.zeros(4),
    lengths=np.array([2, 4, 3, 1]),
)
PPO = PolicyEvaluation(
    responses=["yes", "好的|。", "y\n\nz", "`"],
    scores=np.array([1.0, 1.5, 0.5, 1.0]),
    gold=np.array([2.0, 1.0, -1.0, 1.0]),
    kl=np.array([4.0, 8.0, 6.0, 6.0]),
    lengths=np.array([5, 6, 7, 2]),
)
REPORT = Report(
    title="A run",
    summary="A tiny GPT.",
    command="python -m experiments.pipeline --seed=1",
    prompts=NASTY,
    before=SFT,
    after=PPO,
    reward_model=RewardModelEvaluation(np.array([1.0, 2.0, 0.0, 3.0]), np.array([0.0, 0, 1, 0])),
    seconds={"pretrain": 60.0, "ppo": 120.5},
    versions={"python": "3.11.7", "keras": "3.15.1"},
    numbers={"pretrain": {"perplexity": np.float32(3.3)}, "ppo": {"steps": 50}, "seed": 1},
)


@pytest.fixture
def metrics(tmp_path):
    run = RunDirectory(tmp_path, {})
    with run.metrics("ppo") as log:
        for step in range(1, 10):
            log.write(step, {"kl": step / 2, "score": step**0.5, "gold_reward": 1.0})
    return tmp_path / "metrics.jsonl"


def unescaped_pipes(line: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))


def tables(markdown: str) -> list[list[str]]:
    blocks = [block.split("\n") for block in markdown.strip().split("\n\n")]
    return [block for block in blocks if block[0].startswith("|")]


def test_report_json_holds_what_the_outside_relies_on(tmp_path, metrics):
    write_report(REPORT, tmp_path, metrics)
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["reward_model"]["accuracy"] == 0.75
    assert values["reward_model"]["pairs"] == 4
    assert values["sft"]["gold_reward"] == 0.5
    assert values["ppo"]["gold_reward"] == 0.75
    assert values["ppo"]["score"] == 1.0
    assert values["ppo"]["kl"] == 6.0
    assert values["ppo"]["length"] == 5.0
    assert values["seconds"] == {"pretrain": 60.0, "ppo": 120.5, "total": 180.5}
    assert values["prompts"] == 4
    assert values["pretrain"] == {"perplexity": 3.3}
    assert values["ppo"]["steps"] == 50
    assert values["seed"] == 1
    assert values["versions"] == REPORT.versions


def test_the_win_rate_is_by_the_gold_reward():
    rate = report_values(REPORT)["ppo"]["win_rate_vs_sft"]
    # Two better, one equal, one worse: 2.5 of 4. By score it would be 4 of 4.
    assert rate["value"] == 0.625
    assert rate["ci95"] == pytest.approx(wilson_interval(2.5, 4)[1:], rel=1e-5)
    assert (rate["wins"], rate["ties"], rate["losses"]) == (2, 1, 1)
    assert rate["judge"] == "gold reward"


def test_without_a_gold_reward_the_reward_model_judges_and_the_report_says_so(tmp_path):
    report = dataclasses.replace(
        REPORT,
        before=dataclasses.replace(SFT, gold=None),
        after=dataclasses.replace(PPO, gold=None),
    )
    values = write_report(report, tmp_path)
    assert values["ppo"]["win_rate_vs_sft"]["value"] == 1.0
    assert values["ppo"]["win_rate_vs_sft"]["judge"] == "reward model"
    assert "gold_reward" not in values["ppo"]
    text = (tmp_path / "report.md").read_text()
    assert "by the reward model: 100.0%" in text
    assert "| prompt | SFT | score, SFT | PPO | score, PPO |" in text


def test_nasty_texts_leave_every_table_a_table(tmp_path, metrics):
    write_report(REPORT, tmp_path, metrics)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    found = tables(text)
    assert len(found) == 6, "summary, samples, worst, other numbers, time, versions"
    for table in found:
        assert {unescaped_pipes(line) for line in table} == {unescaped_pipes(table[0])}
    samples = found[1]
    assert samples[0] == "| prompt | SFT | gold, SFT | PPO | gold, PPO |"
    assert samples[3] == (
        r"| 顾客：我的订单\|到哪了？<br>客服： | 不知道。 | 0.00 | 好的\|。 | 1.00 |"
    )
    assert len(samples) == 2 + len(NASTY)


def test_the_page_reads_from_top_to_bottom_and_its_pictures_exist(tmp_path, metrics):
    write_report(REPORT, tmp_path, metrics)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == [
        "Summary",
        "Learning curves",
        "Reward against KL",
        "Scores before and after",
        "Reward model",
        "Samples",
        "Worst responses",
        "Other numbers",
        "Time",
        "Versions",
    ]
    assert "```sh\npython -m experiments.pipeline --seed=1\n```" in text
    assert "| Gold reward (95% interval) | 0.50 (-0.77 to 1.77) | 0.75 (-0.48 to 1.98) |" in text
    assert "| KL to the reference, nats per response | 0 | 6 |" in text
    # Wilson by hand: (0.6250 + 0.4802 -+ 1.96 sqrt(0.05859 + 0.06002)) / 1.9604.
    assert "by the gold reward: 62.5%** (95% interval 21.9% to 90.8%; 2 won, 1 lost, 1 tied" in text
    pictures = re.findall(r"!\[[^]]*\]\((plots/[a-z_]+\.png)\)", text)
    assert len(pictures) == 4
    for picture in pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG"), picture


def test_a_report_of_little_leaves_the_rest_out(tmp_path):
    report = Report("Empty", "Nothing ran.", "true")
    values = write_report(report, tmp_path)
    assert values.keys() == {"title", "command", "prompts", "versions"}
    assert (tmp_path / "report.md").read_text() == ("# Empty\n\nNothing ran.\n\n```sh\ntrue\n```\n")
    assert not list((tmp_path / "plots").iterdir())


def test_one_policy_alone_is_reported_without_a_comparison():
    values = report_values(dataclasses.replace(REPORT, after=None, numbers={}))
    assert values["sft"]["gold_reward"] == 0.5
    assert "ppo" not in values


def test_other_stages_may_be_compared(tmp_path):
    report = dataclasses.replace(REPORT, before_name="base", after_name="dpo", numbers={})
    values = write_report(report, tmp_path)
    assert values["dpo"]["win_rate_vs_base"]["value"] == 0.625
    assert "Win rate of DPO over BASE" in (tmp_path / "report.md").read_text()


def test_what_is_not_finite_becomes_null():
    report = dataclasses.replace(REPORT, numbers={"ppo": {"explained": np.float32("nan")}})
    assert report_values(report)["ppo"]["explained"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"responses": ["a"]},
            r"ppo: every part must hold one entry .* 4 prompts. .*'responses': 1",
        ),
        ({"gold": np.zeros(3)}, r"ppo: every part .* 'gold': 3"),
        ({"kl": 6.0}, r"ppo: every part .* 'kl': \(\)"),
        ({"scores": np.array([0, 0, np.inf, 0])}, r"ppo: scores must be finite"),
    ],
)
def test_parts_that_do_not_match_the_prompts_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(REPORT, after=dataclasses.replace(PPO, **change))

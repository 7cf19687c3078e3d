"""Series read back from metrics.jsonl."""

import numpy as np
import pytest

from tfalign.evaluation.curves import read_curves
from tfalign.training.run_directory import MetricsLog


def test_what_a_run_logs_is_read_by_stage_and_metric(tmp_path):
    with MetricsLog(tmp_path, "sft") as log:
        log.write(10, {"loss": 2.0})
        log.write(20, {"loss": float("nan"), "eval_loss": 1.5})
    with MetricsLog(tmp_path, "ppo") as log:
        log.write(1, {"kl": 0.5})
    curves = read_curves(tmp_path / "metrics.jsonl")
    assert list(curves) == ["sft", "ppo"]
    assert curves["sft"].keys() == {"time", "loss", "eval_loss"}
    np.testing.assert_array_equal(curves["sft"]["loss"].steps, [10])
    np.testing.assert_array_equal(curves["sft"]["loss"].values, [2.0])
    np.testing.assert_array_equal(curves["sft"]["eval_loss"].steps, [20])
    np.testing.assert_array_equal(curves["ppo"]["kl"].values, [0.5])


def test_a_line_still_being_written_is_left_out(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"stage": "sft", "step": 1, "loss": 2}\n{"stage": "sft", "step": 2, "lo')
    assert read_curves(file)["sft"]["loss"].steps.tolist() == [1]


@pytest.mark.parametrize(
    "line",
    [
        *("{half", "[]", "null", "[" * 5000, '{"step": 1}', '{"stage": "a", "step": 1, "b": "c"}'),
        *('{"stage": "a", "step": 1.5}', '{"stage": "a", "step": "1"}', '{"stage": "a"}'),
        *('{"stage": ["a"], "step": 1}', '{"stage": "a", "step": true}', "\0"),
        '{"stage": "a", "step": %s}' % ("9" * 400),
        '{"stage": "a", "step": 1, "b": %s}' % ("9" * 400),
        '{"stage": "a", "step": 1, "b": %s}' % ("9" * 5000),
        '{"stage": "a", "step": 1, "b": 1, "b": 2}',
        '{"stage": "a", "step": Infinity}',
    ],
    ids=range(17),
)
def test_a_bad_line_is_named(tmp_path, line):
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"stage": "sft", "step": 1}}\n{line}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: a line must be an object"):
        read_curves(file)

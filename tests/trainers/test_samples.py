"""Sample texts while training: their lines, that they are the policy's, and that a resumed run has them once."""

from __future__ import annotations

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tfalign
from tests.sampling import with_slow
from tests.trainers.runs import CutAfter, CutOff, lines_of

FEW = {"batch_size": 8, "steps": 4, "warmup_steps": 1, "log_every": 1, "save_every": 4}
ASKED = {"sample_every": 2, "sample_tokens": 4}
DATA = [{"prompt": f"{i:02d}", "completion": "xy"} for i in range(24)]


def fine_tuner(policy, run_dir, callbacks=(), **options):
    given = {"held_out": DATA[:8], "run_dir": run_dir, "callbacks": callbacks, "length": 8}
    return tfalign.FineTuner(policy, DATA, **given, **FEW | ASKED | options)


@pytest.mark.slow
def test_the_lines_are_the_policys_greedy_responses(start, tmp_path):
    fine_tuner(start[0], tmp_path, learning_rate=1e-2).train()
    lines = lines_of(tmp_path, "samples.jsonl")
    prompts = [row["prompt"] for row in DATA[:4]]
    assert [(line["stage"], line["step"], line["prompt"]) for line in lines] == [
        ("sft", step, prompt) for step in (2, 4) for prompt in prompts
    ]
    model = tfalign.load(tmp_path / "models" / "sft")
    expected = model.generate(prompts, max_new_tokens=4, top_k=1)
    assert [line["response"] for line in lines[4:]] == expected
    assert shown_by_tensorboard(tmp_path) == [
        (
            step,
            [f"{line['prompt']}**{line['response']}**" for line in lines if line["step"] == step],
        )
        for step in (2, 4)
    ]


def shown_by_tensorboard(run):
    """(step, its texts) of the samples."""
    events = EventAccumulator(str(run / "events" / "sft_samples"), {"tensors": 0}).Reload()
    assert events.PluginTagToContent("text").keys() == {"samples"}
    return [
        (e.step, e.tensor_proto.string_val[0].decode().split("\n\n---\n\n"))
        for e in events.Tensors("samples")
    ]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("temperature", [None, 0.7])
def test_a_run_that_was_cut_off_has_each_sample_once(start, tmp_path, temperature):
    """Samples are written at 1, 2 and 3, the run is cut off and begins anew: there is no checkpoint before 4."""
    options = {"sample_every": 1, "sample_temperature": temperature}
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    with pytest.raises(CutOff):
        fine_tuner(start[0], cut, [CutAfter(3)], **options).train()
    assert {line["step"] for line in lines_of(cut, "samples.jsonl")} == {1, 2, 3}
    for run in (cut, whole):
        fine_tuner(start[0], run, **options).train()
    assert lines_of(cut, "samples.jsonl") == lines_of(whole, "samples.jsonl")
    assert len(lines_of(whole, "samples.jsonl")) == 4 * 4


@pytest.mark.exhaustive
@pytest.mark.slow
def test_samples_do_not_change_a_training(start, tmp_path):
    with_samples, without = tmp_path / "with", tmp_path / "without"
    fine_tuner(start[0], with_samples).train()
    fine_tuner(start[0], without, sample_every=None).train()
    assert lines_of(with_samples) == lines_of(without)
    assert not (without / "samples.jsonl").exists()


def pretrainer(start, run_dir):
    texts = [f"word {i} and word {i + 1}" for i in range(40)]
    shape = {"preset": "tiny", "width": 16, "num_layers": 1, "vocab_size": 300, "length": 16}
    return tfalign.Pretrainer(texts, held_out=texts, run_dir=run_dir, **shape, **FEW, **ASKED)


def preference(start, run_dir):
    pairs = [{"prompt": f"{i:02d}", "chosen": "xx", "rejected": "y"} for i in range(24)]
    limits = {"max_prompt_tokens": 4, "max_new_tokens": 4, "lora.rank": 2}
    given = {"held_out": pairs[:8], "run_dir": run_dir}
    return tfalign.PreferenceTrainer(start[0], pairs, **given, **limits, **FEW, **ASKED)


def on_policy(start, run_dir):
    limits = {"max_prompt_tokens": 4, "max_new_tokens": 4}
    prompts = [f"Q{i:02d}" for i in range(16)]
    given = {"algorithm": "rloo", "run_dir": run_dir}
    return tfalign.OnPolicyTrainer(start[0], _length, prompts, **given, **limits, **FEW, **ASKED)


def _length(prompt, response):
    return float(len(response))


@pytest.mark.slow
@pytest.mark.parametrize("make", with_slow([pretrainer, preference, on_policy], [on_policy]))
def test_every_trainer_of_a_language_model_writes_them(start, tmp_path, make):
    trainer = make(start, tmp_path)
    trainer.train()
    lines = lines_of(tmp_path, "samples.jsonl")
    assert [line["step"] for line in lines] == [2] * 4 + [4] * 4
    assert {line["stage"] for line in lines} == {trainer.stage}
    model = tfalign.load(tmp_path / "models" / trainer.stage)
    prompts = [line["prompt"] for line in lines[4:]]
    responses = model.generate(prompts, max_new_tokens=4, top_k=1)
    assert [line["response"] for line in lines[4:]] == responses


def test_conversations_are_sampled_up_to_the_answer(start, tmp_path):
    from tfalign.data import ConversationRecord
    from tfalign.text import Message
    from tfalign.trainers.samples import prompts_of

    turns = (Message("system", "Be kind."), Message("user", "Hi."), Message("assistant", "Hello."))
    assert prompts_of([ConversationRecord(turns)] * 2) == [turns[:2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_prompts": ("x" * 40,)}, "A sample's prompt: .* 12"),
        ({"sample_every": 0}, "--sample_every must be at least 1. Received: sample_every=0"),
    ],
)
def test_mistakes_are_told_and_nothing_is_left(start, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fine_tuner(start[0], tmp_path / "run", **options)
    assert not any(tmp_path.iterdir())


def test_a_classifier_has_no_samples(encoder):
    with pytest.raises(ValueError, match="There is no option sample_every"):
        tfalign.ClassificationTrainer(encoder, [{"text": "a", "label": "b"}], sample_every=1)


def test_a_run_of_which_only_a_sample_is_there_has_begun(tmp_path):
    from tfalign.training.run_directory import RunDirectory

    with RunDirectory(tmp_path / "empty", {}) as run, run.samples("sft"):
        pass
    assert not (tmp_path / "empty" / "samples.jsonl").exists()
    with RunDirectory(tmp_path / "begun", {}) as run, run.samples("sft") as log:
        log.write(1, ["Hi"], ["you"])
    (line,) = (tmp_path / "begun" / "samples.jsonl").read_text().splitlines()
    assert json.loads(line) == {"stage": "sft", "step": 1, "prompt": "Hi", "response": "you"}

"""A student reaches its teacher, measured by enumeration: by both divergences, on all texts, and on its own samples."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign import backend
from tfalign.decoding import Generator
from tfalign.enumerable import Problem, TabularLM, total_variation
from tfalign.functional.kl import full_jsd, full_kl, full_kl_from
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import Distillation
from tfalign.pretrained import Pretrained
from tfalign.text import train_byte_bpe
from tfalign.trainers import DistillationTrainer
from tfalign.training.distillation import Teacher, response_texts
from tfalign.training.learner import Learner
from tfalign.training.optimizers import WarmupDecay
from tfalign.types import Generation

DIVERGENCES = {"forward": full_kl_from, "reverse": full_kl, "jsd": full_jsd}


def test_divergences_against_numpy():
    random = np.random.default_rng(0)
    ours, theirs = random.normal(size=(2, 3, 4, 5)).astype("float32") * 3
    p, q = (np.exp(x / 0.7) / np.exp(x / 0.7).sum(-1, keepdims=True) for x in (theirs, ours))
    m = 0.3 * p + 0.7 * q

    def kl(one, other):
        return np.sum(one * np.log(one / other), axis=-1)

    np.testing.assert_allclose(full_kl_from(ours, theirs, 0.7), kl(p, q), rtol=1e-4)
    np.testing.assert_allclose(full_kl(ours, theirs, 0.7), kl(q, p), rtol=1e-4)
    expected = 0.3 * kl(p, m) + 0.7 * kl(q, m)
    np.testing.assert_allclose(full_jsd(ours, theirs, 0.7, 0.3), expected, rtol=1e-3, atol=1e-5)
    # towards 0 and 1 it is one of the other two
    np.testing.assert_allclose(
        full_jsd(ours, theirs, 1.0, 1e-4) / 1e-4, full_kl_from(ours, theirs), rtol=1e-2
    )
    with pytest.raises(ValueError, match="beta must be between 0 and 1. Received: beta=1"):
        full_jsd(ours, theirs, 1.0, 1)


def distilled(problem, teacher, student, divergence, steps, texts):
    """Total variation of student and teacher after some steps on what ``texts(step)`` returns."""
    objective, speaker = Distillation(DIVERGENCES[divergence]), Teacher(teacher)
    schedule = WarmupDecay(0.1, steps, shape="linear")
    learner = Learner(student, objective, keras.optimizers.Adam(schedule, beta_2=0.99))
    for step in range(steps):
        learner.update(speaker(texts(step)))
    return total_variation(problem.probabilities(student), problem.probabilities(teacher))


@pytest.mark.parametrize("divergence", with_slow(list(DIVERGENCES), ["forward", "reverse"]))
def test_a_student_reaches_its_teacher_on_all_texts(divergence):
    problem = Problem(4, 3)
    teacher = TabularLM(np.random.default_rng(7).normal(size=problem.ref_logits.shape) * 2)
    student = problem.policy()
    assert total_variation(problem.probabilities(student), problem.probabilities(teacher)) > 0.4
    said = Generation(problem.responses, None, problem.mask, None)
    batch = response_texts(problem.prompts(len(problem.responses)), said)
    assert distilled(problem, teacher, student, divergence, 150, lambda step: batch) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize("speaker", ["student", "teacher"])
def test_a_student_reaches_its_teacher_on_samples(divergence, speaker):
    """On-policy and sequence-level, and a student that is a network."""
    problem = Problem(4, 3)
    teacher = TabularLM(np.random.default_rng(7).normal(size=problem.ref_logits.shape))
    student = problem.policy()
    model = student if speaker == "student" else teacher
    generator = Generator(model, 3, stop_tokens=(problem.stop_token,))
    prompts = problem.prompts(256)

    def texts(step):
        return response_texts(prompts, generator(*prompts, seed=step))

    assert distilled(problem, teacher, student, divergence, 300, texts) <= 0.01


def pretrained(width, seed=0, special=()):
    keras.utils.set_random_seed(seed)
    tokenizer = train_byte_bpe(["good bad q", *special], 262)
    config = GPTConfig(tokenizer.vocab_size, width, 1, 2, max_positions=24)
    return Pretrained(CausalLM(config), tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("responses", ["data", "teacher", "student"])
def test_a_whole_distillation(responses, tmp_path):
    rows = [{"prompt": f"q{n}", "completion": "good"} for n in range(40)]
    teacher = pretrained(16)
    teacher.model.set_weights([3 * w for w in teacher.model.get_weights()])
    trainer = DistillationTrainer(
        pretrained(8, 1),
        teacher,
        rows,
        run_dir=tmp_path,
        responses=responses,
        divergence="jsd",
        **{
            "steps": 30,
            "batch_size": 8,
            "warmup_steps": 1,
            "learning_rate": 1e-2,
            "eval_every": 10,
        },
        **{"length": 24, "max_prompt_tokens": 8, "max_new_tokens": 4},
    )
    start = trainer.evaluate(trainer.held_out)
    metrics = trainer.train()
    assert metrics["eval_loss"] < 0.8 * start["eval_loss"]
    assert metrics["eval_forward_kl"] > 0 and metrics["eval_reverse_kl"] > 0
    assert (tmp_path / "models" / "distill" / "model.safetensors").exists()
    assert trainer.recorded()["distill"]["teacher"] == "(made in Python)"


def test_another_vocabulary_is_refused():
    other = pretrained(8, special=["zzzz zzzz"])
    with pytest.raises(ValueError, match="Student and teacher must have the same tokens"):
        DistillationTrainer(pretrained(8), other, [{"prompt": "q", "completion": "good"}] * 9)


def test_an_optimal_student_has_no_gradient():
    """At equality both divergences are 0, and so are their gradients."""
    problem = Problem(3, 2)
    said = Generation(problem.responses, None, problem.mask, None)
    batch = response_texts(problem.prompts(len(problem.responses)), said)
    student, told = problem.policy(), Teacher(problem.reference())(batch)
    for divergence in DIVERGENCES.values():
        objective = Distillation(divergence)
        loss, _, gradients = backend.value_and_grad(
            lambda objective=objective: objective(student, told)[::2], student.trainable_variables
        )
        assert float(loss) == pytest.approx(0, abs=1e-6)
        assert np.abs(ops.convert_to_numpy(gradients[0])).max() < 1e-5

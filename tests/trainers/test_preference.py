"""``PreferenceTrainer``: the losses' own numbers, changes, contradictions; a run that goes on."""

import json
import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from tfalign.models import CausalLM
from tfalign.objectives import DPO, IPO, SimPO
from tfalign.options import changed
from tfalign.text import train_byte_bpe
from tfalign.trainers import PreferenceTrainer
from tfalign.trainers.options import PREFERENCE_LOSSES as NAMES
from tfalign.trainers.options import PreferenceOptions
from tfalign.trainers.preference import chosen_loss
from tfalign.trainers.saving import save_model
from tfalign.training.metrics_log import MEASURED
from tfalign.training.preferences import PREFERENCE_LOSSES


def chosen(**options):
    return chosen_loss(changed(PreferenceOptions(), **options))


def test_every_loss_is_its_own_without_options():
    assert list(PREFERENCE_LOSSES) == list(NAMES)
    for name, loss in PREFERENCE_LOSSES.items():
        assert chosen(loss=name) == loss
    published = {name: loss.objective for name, loss in PREFERENCE_LOSSES.items()}
    assert published["dpo"] == DPO(beta=0.1, label_smoothing=0.0)
    assert published["simpo"] == SimPO(beta=2.5, gamma=1.375)
    assert not PREFERENCE_LOSSES["kto"].needs_pairs
    without = {n for n, objective in published.items() if not objective.needs_reference}
    assert without == {"orpo", "simpo", "cpo"}


def test_options_change_what_they_name():
    ipo = chosen(loss="ipo", beta=0.5, per_token=False, chunk=64)
    assert ipo.objective == IPO(beta=0.5, per_token=False, chunk=64)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"loss": "dpo", "gamma": 1.0}, "gamma does not apply to the loss dpo"),
        ({"loss": "kto", "label_smoothing": 0.1}, "label_smoothing does not apply to the loss kto"),
        ({"loss": "simpo", "per_token": True}, "per_token does not apply to the loss simpo"),
        ({"loss": "dpo", "unpaired": True}, "loss=dpo learns from pairs. Received: unpaired=True"),
        ({"loss": "ppo"}, "loss must be one of dpo, .* Received: loss=ppo"),
    ],
)
def test_contradictions_fail_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        chosen(**options)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A directory of a tiny model, and a file of preferences: "good" is better than "bad"."""
    folder = tmp_path_factory.mktemp("preference")
    keras.utils.set_random_seed(0)
    tokenizer = train_byte_bpe(["good bad q"] * 9, 300)
    sizes = {"vocab_size": tokenizer.vocab_size, "width": 16, "num_layers": 1}
    model = CausalLM.from_preset("tiny_llama", max_positions=32, **sizes)
    save_model(folder / "models" / "sft", model, tokenizer)
    rows = [{"prompt": f"q{i} ", "chosen": "good", "rejected": "bad"} for i in range(60)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pairs.jsonl").write_text(text)
    liked = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in rows
        for side in ("chosen", "rejected")
    ]
    (folder / "liked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in liked))
    return folder


def learn(policy, run_dir, data="pairs.jsonl", **changes):
    """Lines of metrics.jsonl."""
    choices = {"steps": 12, "batch_size": 8, "warmup_steps": 1, "learning_rate": 5e-3}
    limits = {"max_prompt_tokens": 8, "max_new_tokens": 8, "log_every": 4, "save_every": 4}
    model, source = policy / "models" / "sft", str(policy / data)
    PreferenceTrainer(model, source, run_dir=run_dir, **choices | limits | changes).train()
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in MEASURED} for line in lines]


@pytest.mark.slow
def test_a_run_learns_and_goes_on_where_it_was(policy, tmp_path):
    lines = learn(policy, tmp_path / "whole")
    assert lines[-1]["eval_accuracy"] == 1.0 and lines[-1]["eval_gap"] > 1
    model = tmp_path / "whole" / "models" / "dpo" / "model.safetensors"
    first = load_file(model)
    # as if killed after step 8: later checkpoints and the model are gone
    for path in (tmp_path / "whole" / "checkpoints" / "dpo").iterdir():
        if path.name != "step-00000008":
            shutil.rmtree(path)
    shutil.rmtree(model.parent)
    assert learn(policy, tmp_path / "whole") == lines
    second = load_file(model)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_kto_from_single_answers(policy, tmp_path):
    lines = learn(policy, tmp_path, "liked.jsonl", loss="kto", unpaired=True)
    assert lines[-1]["desirable_log_ratio"] > 0.1 > lines[-1]["undesirable_log_ratio"]
    assert (tmp_path / "models" / "kto" / "model.safetensors").exists()

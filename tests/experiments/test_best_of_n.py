"""``experiments.studies.best_of_n``: its measures on draws whose answer is known, and a run that goes on."""

import json

import keras
import numpy as np
import pytest

from experiments.studies import samples
from experiments.studies.best_of_n import BestOfNConfig, EndedOrLess, main, measure
from tfalign.models import CausalLM, GPTConfig
from tfalign.rewards import RewardModel
from tfalign.text import train_byte_bpe
from tfalign.trainers.saving import save_model


@pytest.mark.parametrize("n", [1, 4, 16])
def test_measures_of_uniform_scores(n):
    """Scores uniform on [0, 1], all responses as good as impossible: no ties, the bound is reached."""
    rng = np.random.default_rng(0)
    score = rng.random((200, 64)).astype("float32")
    drawn = {"score": score, "gold": -score, "log_probs": np.full(score.shape, -60.0)}
    measured = measure(drawn, n, 16)
    low, high = measured["score_win_rate"][1:]
    assert low <= n / (n + 1) <= high
    assert measured["gold_win_rate"][0] == pytest.approx(1 - measured["score_win_rate"][0])
    assert measured["score_mean"].value == pytest.approx(n / (n + 1), abs=0.02)
    _, low, high = measured["kl"]
    assert low - 0.03 <= np.log(n) - (n - 1) / n <= high + 0.03


def test_a_policy_that_says_one_thing_goes_nowhere():
    drawn = {"score": np.zeros((10, 32), "float32"), "log_probs": np.zeros((10, 32))}
    measured = measure(drawn, 8, 8)
    assert measured["kl"].value == pytest.approx(0, abs=1e-9)
    assert measured["score_win_rate"][0] == 0.5


def test_a_response_that_never_ends_scores_less():
    ids = np.array([[9, 1, 2, 0], [9, 2, 1, 0], [2, 1, 1, 1]])
    mask = np.array([[True, True, False], [True, True, True], [True, True, True]])
    reward = EndedOrLess(lambda *_: np.array([5.0, 6.0, 7.0], "float32"), stop_token=2, penalty=1.5)
    assert reward(ids, None, mask).tolist() == [5.0, 6.0, 5.5]  # the last one's 2 is its prompt's


def test_an_n_that_cannot_be():
    with pytest.raises(ValueError, match="must be a power of 2. Received: max_n=6"):
        BestOfNConfig(max_n=6)


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    tokenizer = train_byte_bpe(["q one two"] * 4, 280)
    keras.utils.set_random_seed(0)
    sizes = {"vocab_size": tokenizer.vocab_size, "width": 16, "num_layers": 1}
    model = CausalLM.from_preset("tiny_llama", max_positions=32, **sizes)
    save_model(tmp_path / "sft", model, tokenizer)
    reward = RewardModel(GPTConfig(tokenizer.vocab_size, 16, 1, 2, max_positions=32))
    save_model(tmp_path / "reward_model", reward, tokenizer)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"q{i}"}) + "\n" for i in range(60)))

    def config(run_dir):
        return BestOfNConfig(
            run_dir=str(tmp_path / run_dir),
            model=str(tmp_path / "sft"),
            reward=str(tmp_path / "reward_model"),
            data=str(prompts),
            num_prompts=4,
            max_n=2,
            max_prompt_tokens=8,
            max_new_tokens=6,
        )

    main(config("whole"))
    report = (tmp_path / "whole" / "report.json").read_text()
    assert [one["n"] for one in json.loads(report)] == [1, 2]
    assert (tmp_path / "whole" / "plots" / "best_of_n.png").stat().st_size > 0

    monkeypatch.setattr(samples, "_SAVE_EVERY", 3)
    seen = []
    wrapped = samples._write

    def killed(file, columns):
        wrapped(file, columns)
        seen.append(len(columns["score"]))
        if len(seen) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(samples, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        main(config("killed"))
    main(config("killed"))
    assert seen == [3, 6, 8]
    assert (tmp_path / "killed" / "report.json").read_text() == report

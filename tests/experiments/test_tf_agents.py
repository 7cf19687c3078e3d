"""The TF-Agents experiments: somebody else's agents learn, ours aligns and resumes, the paths agree."""

import importlib.util
import json

import keras
import numpy as np
import pytest

from tfalign.environments.tasks import best_returns, repeat_prompt
from tfalign.models import CausalLM, GPTConfig
from tfalign.options import build
from tfalign.rewards import RewardModel
from tfalign.text import train_byte_bpe
from tfalign.trainers.saving import save_model
from tfalign.training.loop import run_steps

if importlib.util.find_spec("tf_agents") is None:
    pytest.skip("needs pip install 'tfalign[agents]'", allow_module_level=True)

from experiments.benchmarks import environment_speed  # noqa: E402
from experiments.tours import tf_agents_align, tf_agents_tour  # noqa: E402
from tfalign.environments import TextGenerationTFEnvironment  # noqa: E402


@pytest.mark.slow  # 20 s an agent
@pytest.mark.parametrize(
    "name",
    [
        name if name == "alignment" else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in tf_agents_tour.AGENTS
    ],
)
def test_an_agent_reaches_ninety_percent_of_the_optimum(name):
    keras.utils.set_random_seed(0)
    mdp = repeat_prompt()
    environment = TextGenerationTFEnvironment(mdp, tf_agents_tour.ROWS)
    agent = tf_agents_tour.AGENTS[name](environment)
    before = tf_agents_tour.mean_return(agent.collect_policy, environment)
    tf_agents_tour.learn(agent, environment, iterations=150, steps=2 * mdp.max_new_tokens)
    after = tf_agents_tour.mean_return(agent.collect_policy, environment)
    optimum = best_returns(mdp).mean()
    assert before < 0.5 * optimum
    assert after >= 0.9 * optimum


@pytest.mark.slow  # 40 s: three processes' worth of compilation
def test_alignment_under_tf_agents_goes_on_where_it_was(tmp_path, monkeypatch):
    tokenizer = train_byte_bpe([], 259)
    keras.utils.set_random_seed(0)
    sizes = {"vocab_size": 259, "width": 16, "num_layers": 1}
    model = CausalLM.from_preset("tiny_llama", max_positions=16, **sizes)
    save_model(tmp_path / "policy", model, tokenizer)
    reward_model = RewardModel(GPTConfig(259, 16, 1, 2, max_positions=16))
    save_model(tmp_path / "reward_model", reward_model, tokenizer)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Q{i:02d}"}) + "\n" for i in range(40)))

    given = {
        "run_dir": str(tmp_path / "run"),
        "model": str(tmp_path / "policy"),
        "reward": str(tmp_path / "reward_model"),
        "data": str(prompts),
        "max_prompt_tokens": 4,
        "max_new_tokens": 4,
        "batch_size": 8,
        "steps": 4,
        "save_every": 1,
    }
    config = build(tf_agents_align.TFAgentsAlignConfig, given)

    def killed(update, steps, *rest, **choices):
        run_steps(update, steps // 2, *rest, **choices)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tf_agents_align, "run_steps", killed)
        tf_agents_align.main(config)
    tf_agents_align.main(config)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    assert [line["step"] for line in metrics] == [1, 2, 3, 4]
    assert all(line["first_max_log_ratio"] < 1e-4 for line in metrics)
    assert metrics[1]["kl"] != metrics[2]["kl"] != 0.0
    assert (tmp_path / "run" / "models" / "ppo" / "model.safetensors").exists()


@pytest.mark.exhaustive
@pytest.mark.slow  # 40 s
def test_every_path_of_the_benchmark_takes_the_steps_it_says():
    shape = {"vocab": 31, "width": 16, "layers": 1, "heads": 4, "batch": 4, "prompt": 3, "new": 14}
    measured = environment_speed.measure(shape | {"demo": None}, repeats=1)
    assert measured["tokens"] == 4 * 14
    paths = {"decode", "fused", "unscored", "driver"} | {"python", "python_batch", "python_network"}
    assert set(measured["steps_per_second"]) == paths
    assert all(np.isfinite(ratio) and ratio > 0 for ratio in measured["ratios"].values())

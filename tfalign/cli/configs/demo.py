"""The demo: customer-service answers, aligned in minutes on two CPU cores.

tfalign demo
make demo
python -m experiments.pipeline --config=demo
"""

# Responses cut off at the limit get a fixed reward: the reward model, which has only seen answers
# that end, scores them too high.
_CUT_OFF = {"missing_stop": "score", "missing_stop_score": -2.0}
_LIMITS = {"max_prompt_tokens": 42, "max_new_tokens": 48}

CONFIG = {
    "run_dir": "runs/demo",
    "pretrain": {"vocab_size": 1536, "preset": "mini_llama", "num_layers": 2, "batch_size": 8}
    | {"steps": 3000, "learning_rate": 5e-3, "log_every": 25, "save_every": 500},
    "sft": {"length": 90, "on_bad": "skip", "steps": 120, "learning_rate": 1e-3},
    "reward_model": {"length": 90, "on_bad": "skip", "batch_size": 16, "steps": 2300}
    | {"learning_rate": 1e-3, "warmup_steps": 50, "centering": 0.01}
    | _LIMITS,
    "ppo": {"steps": 120, "update_epochs": 2, "learning_rate": 3e-4, "save_every": 25}
    | _CUT_OFF
    | _LIMITS,
    "evaluate": {
        "num_prompts": 768,
        "title": "tfalign demo: aligning a customer-service agent",
        "summary": (
            "A small GPT is pretrained on synthetic customer-service dialogues in English and "
            "Chinese in which agents behave well and badly, fine-tuned on somewhat better answers, "
            "and aligned by PPO with a learned reward model.\n\n"
            "Who labels what: a gold reward, a program, chooses the better answer of each "
            "preference pair, with noise. The reward model learns from those pairs alone and PPO "
            "from the reward model alone; no policy is trained on the gold reward. The same gold "
            "reward judges both policies below, on prompts whose request templates occur in no "
            "training data of any stage."
        ),
    }
    | _LIMITS,
}

"""The demo: customer-service answers, aligned in minutes on two CPU cores.

make demo
python -m experiments.pipeline --config=demo
"""

CONFIG = {
    "run_dir": "runs/demo",
    "pretrain": {"vocab_size": 1536, "preset": "mini_llama", "batch_size": 16, "steps": 700}
    | {"learning_rate": 4e-3},
    "sft": {"length": 90, "on_bad": "skip", "steps": 120, "learning_rate": 1e-3},
    "reward_model": {"length": 90, "on_bad": "skip", "steps": 300, "learning_rate": 5e-4}
    | {"max_prompt_tokens": 42, "max_new_tokens": 48},
    "ppo": {"max_prompt_tokens": 42, "max_new_tokens": 48, "steps": 80, "learning_rate": 5e-5},
    "evaluate": {
        "max_prompt_tokens": 42,
        "max_new_tokens": 48,
        "title": "tfalign demo: aligning a customer-service agent",
        "summary": (
            "A small GPT is pretrained on synthetic customer-service dialogues in English and "
            "Chinese in which agents behave well and badly, fine-tuned on somewhat better "
            "answers, and aligned by PPO with a reward model learned from noisy preferences. "
            "The gold reward, hidden from training, judges both policies on held-out prompts."
        ),
    },
}

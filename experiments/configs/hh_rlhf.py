"""Reward model and PPO on Anthropic's helpful-base preferences (Bai et al. 2022).

    python -m experiments.tasks.prepare_hh_rlhf --source=$DATA/hh-rlhf/helpful-base.test.jsonl.gz
    python -m experiments.pipeline --config=hh_rlhf

Dialogues of more than 256 tokens, and prompts of more than 160, are left out and counted.
Seed 0: the reward model orders 62% of 272 held-out pairs right, no more than preferring the longer
answer does (64%); PPO raises its score by 0.4 standard deviations at 3.4 nats. Nine minutes on two
CPU cores that had other work.
"""

from experiments.tasks.prepared import both_splits

_DATA = "runs/hh_rlhf_data"
_LIMITS = {"max_prompt_tokens": 160, "max_new_tokens": 64}

CONFIG = {
    "run_dir": "runs/hh_rlhf",
    "pretrain": {"data": both_splits(_DATA, "text"), "vocab_size": 4096, "preset": "mini_llama"}
    | {"length": 256, "max_positions": 320, "batch_size": 8, "steps": 800}
    | {"learning_rate": 3e-3},
    "sft": {"data": both_splits(_DATA, "sft"), "length": 256, "on_bad": "skip"}
    | {"batch_size": 16, "steps": 100},
    "reward_model": {"data": both_splits(_DATA, "preferences"), "length": 256, "on_bad": "skip"}
    | {"batch_size": 16, "steps": 160}
    | _LIMITS,
    "ppo": {"data": both_splits(_DATA, "prompts"), "on_bad": "skip", "batch_size": 32}
    | {"minibatch_size": 8, "steps": 40, "learning_rate": 1e-4}
    | {"kl": "adaptive", "kl_coefficient": 0.1, "kl_horizon": 1000.0}
    | _LIMITS,
    "evaluate": {
        "data": both_splits(_DATA, "prompts"),
        "batch_size": 32,
        "title": "Helpful-base preferences",
        "summary": (
            "A small GPT, a reward model and PPO on some two thousand human preferences. There is "
            "no gold reward: the reward model that was optimised is also the judge, so the win "
            "rate says how far PPO got, not how helpful the answers are."
        ),
    }
    | _LIMITS,
}

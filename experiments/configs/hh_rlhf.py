"""Reward model and PPO on Anthropic's helpful-base preferences (Bai et al. 2022).

    python -m experiments.pipeline --config=hh_rlhf

Reads ../shared/data/hh-rlhf (2,354 pairs, the official test split), or the folder TFALIGN_DATA_DIR
names; a tenth of the prompts is held out by a hash. Dialogues that do not fit are skipped and
counted.
"""

import os

_DATA = os.environ.get("TFALIGN_DATA_DIR", "../shared/data")
_PAIRS = f"anthropic:{_DATA}/hh-rlhf/helpful-base.test.jsonl.gz"
_SHARED = {"data": _PAIRS, "on_bad": "skip"}
_LIMITS = {"max_prompt_tokens": 160, "max_new_tokens": 64}

CONFIG = {
    "run_dir": "runs/hh_rlhf",
    "pretrain": _SHARED
    | {"vocab_size": 4096, "length": 256, "max_positions": 384, "batch_size": 16, "steps": 700}
    | {"learning_rate": 1.5e-3},
    "sft": _SHARED | {"length": 256, "batch_size": 16, "steps": 100},
    "reward_model": _SHARED | {"length": 256, "batch_size": 16, "steps": 200} | _LIMITS,
    "ppo": _SHARED | {"batch_size": 32, "minibatch_size": 8, "steps": 40} | _LIMITS,
    "evaluate": {
        "data": _PAIRS,
        "num_prompts": 128,
        "batch_size": 32,
        "title": "Helpful-base preferences",
        "summary": (
            "A small GPT, a reward model and PPO on 2,354 human preference pairs. There is no "
            "gold reward: the reward model that was optimised is also the judge."
        ),
    }
    | _LIMITS,
}

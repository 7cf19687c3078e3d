"""Every stage for a few steps on a tiny model: does it run at all? Two minutes of CPU time, nearly all of it
compilation.

python -m experiments.pipeline --config=smoke
"""

_SMALL = {"batch_size": 8, "log_every": 2, "save_every": 4}
_LIMITS = {"max_prompt_tokens": 64, "max_new_tokens": 16}

CONFIG = {
    "run_dir": "runs/smoke",
    "pretrain": _SMALL
    | {"vocab_size": 512, "preset": "tiny", "num_layers": 1, "width": 32, "length": 64}
    | {"steps": 10, "warmup_steps": 2, "max_positions": 160},
    "sft": _SMALL | {"length": 160, "on_bad": "skip", "steps": 6, "warmup_steps": 2},
    "reward_model": _SMALL
    | {"length": 160, "on_bad": "skip", "steps": 6, "warmup_steps": 2, "normalize_batches": 2}
    | _LIMITS,
    "ppo": _SMALL
    | {"log_every": 1, "minibatch_size": 4, "update_epochs": 2, "on_bad": "skip", "steps": 6}
    | _LIMITS,
    "evaluate": {"num_prompts": 16, "batch_size": 8, "title": "Smoke test"} | _LIMITS,
}

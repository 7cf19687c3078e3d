"""DPO on the demo's preferences, from its fine-tuned policy.

    python -m experiments.pipeline --config=demo
    python -m experiments.preference --config=preference
    python -m experiments.preference --config=preference --loss=ipo --run_dir=runs/ipo
    python -m experiments.evaluate --run_dir=runs/dpo_report --before=runs/demo/models/sft \\
        --after=runs/dpo/models/dpo --after_name=dpo --reward=runs/demo/models/reward_model

Rafailov et al. 2023 (appendix B): beta 0.1, batches of 64 pairs, RMSprop at 1e-6 with a warm-up of 150
updates, for a model of 2.8 billion weights. Here AdamW at 2e-4 and batches of 32: the model is small.
The other losses' coefficients are their papers' (``tfalign.training.preferences``). Seed 0: 77% of
held-out pairs ordered right; the gold reward goes from 0.17 to 1.57 at 7.2 nats, and 83% of 384 answers
beat the fine-tuned model's. Three minutes on two CPU cores that had other work.
"""

CONFIG = {
    "run_dir": "runs/dpo",
    "model": "runs/demo/models/sft",
    "max_prompt_tokens": 42,
    "max_new_tokens": 48,
    "on_bad": "skip",
    "steps": 300,
    "learning_rate": 2e-4,
}

"""Learns a reward model from preferences.

    python -m experiments.train_reward --run_dir=runs/reward --model=runs/sft/models/sft
    python -m experiments.train_reward --model=DIR --data=mine.jsonl --run_dir=runs/mine_reward
    python -m experiments.train_reward --data=anthropic:helpful-base.jsonl.gz --on_bad=skip ...
    python -m experiments.train_reward --data=ranked.jsonl --rankings=plackett_luce ...

The second reads JSON lines with "prompt", "chosen" and "rejected", and "margin" where there is one; the
fourth "prompt" and "completions", best first. The trunk starts from the given
language model, or (``--backbone=bert``) from a fresh BERT of its size; Bradley-Terry loss (Stiennon
et al. 2020). Held-out scores go to RUN_DIR/reward_model_scores.npz; then the scores are normalised
to N(0, 1) on answers that ``--normalize_with`` gives to held-in prompts; the model goes to
RUN_DIR/models/reward_model, whose config.json has the mean and deviation before. ``--model`` may also be an
encoder, such as a BERT: its pooled first token is scored, and the preferences' own answers are
normalised on. About a minute on two CPU cores for the embedded data.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("reward", __doc__)

"""Trains a reward model on preferences.

    python -m experiments.train_reward --run_dir=runs/reward --model=runs/sft/models/sft
    python -m experiments.train_reward --model=DIR --data=mine.jsonl --run_dir=runs/mine_reward
    python -m experiments.train_reward --data=anthropic:helpful-base.jsonl.gz --on_bad=skip ...
    python -m experiments.train_reward --data=ranked.jsonl --rankings=plackett_luce ...

The second command reads JSON lines with "prompt", "chosen", "rejected" and optionally "margin"; the fourth
"prompt" and "completions", best first. The backbone starts from the given language model, or
(``--backbone=bert``) is a new BERT of its size; the loss is Bradley-Terry (Stiennon et al. 2020). Held-out
scores are written to RUN_DIR/reward_model_scores.npz. Then scores are normalised to mean 0 and standard
deviation 1 on responses of ``--normalize_with`` to training prompts. The model is written to
RUN_DIR/models/reward_model, whose config.json has the previous mean and deviation. ``--model`` may also be an
encoder, such as a BERT: the score is read from its pooled first token, and normalised on the preferences' own
responses. About a minute on two CPU cores for the embedded data.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("reward", __doc__)

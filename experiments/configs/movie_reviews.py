"""Positive movie reviews by PPO, as in Ziegler et al. 2019's sentiment task.

    python -m experiments.tasks.prepare_movie_reviews --source=$DATA/movie_reviews/movie_reviews.zip
    python -m experiments.pipeline --config=movie_reviews
    python -m experiments.tasks.classify_movie_reviews

A small GPT learns to write reviews; the reward is a sentiment classifier learned from the labels of
some reviews; PPO makes passages more positive. The judge is naive Bayes on the labels of other
reviews, which PPO never sees: where the classifier's score still rises and the judge's does not,
the classifier is being fooled. Seed 0: the judge prefers PPO's passages to the fine-tuned model's
in 69% of 512 held-out prompts, at 7.4 nats. Some 23 minutes on two CPU cores that had other work.
"""

from experiments.tasks.prepared import both_splits

_DATA = "runs/movie_reviews_data"
_LIMITS = {"max_prompt_tokens": 16, "max_new_tokens": 48}

CONFIG = {
    "run_dir": "runs/movie_reviews",
    "judge": f"{_DATA}/judge.json",
    "pretrain": {"data": both_splits(_DATA, "text"), "vocab_size": 4096, "preset": "mini_llama"}
    | {"length": 96, "batch_size": 16, "steps": 3000, "learning_rate": 3e-3},
    "sft": {"data": both_splits(_DATA, "sft"), "length": 64, "on_bad": "skip", "steps": 300},
    "reward_model": {"data": both_splits(_DATA, "preferences"), "length": 64, "on_bad": "skip"}
    | {"steps": 400, "centering": 0.01}
    | _LIMITS,
    "ppo": {"data": both_splits(_DATA, "prompts"), "on_bad": "skip", "steps": 80}
    | {"learning_rate": 1e-4, "kl": "adaptive", "kl_coefficient": 0.15, "kl_horizon": 1000.0}
    | _LIMITS,
    "evaluate": {
        "data": both_splits(_DATA, "prompts"),
        "title": "Towards positive movie reviews",
        "summary": (
            "PPO towards the score of a sentiment classifier, a reward model trained on passages "
            "of positive and negative movie reviews. The gold reward is a judge that training "
            "never sees: naive Bayes over words, fitted to the labels of other reviews, in nats "
            "for a positive passage."
        ),
    }
    | _LIMITS,
}

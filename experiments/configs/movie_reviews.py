"""Positive movie reviews by PPO, as in Ziegler et al. 2019's sentiment task.

    python -m experiments.prepare_movie_reviews --source=../shared/data/movie_reviews/movie_reviews.zip
    python -m experiments.pipeline --config=movie_reviews

A small GPT learns to write passages of reviews; the reward is a sentiment classifier trained on
held-in passages; PPO moves the openings of passages towards positive ones.
"""

_DATA = "runs/movie_reviews_data"


def _both(kind):
    return f"{_DATA}/{kind}.train.jsonl::{_DATA}/{kind}.test.jsonl"


_LIMITS = {"max_prompt_tokens": 20, "max_new_tokens": 40}

CONFIG = {
    "run_dir": "runs/movie_reviews",
    "pretrain": {"data": _both("text"), "vocab_size": 4096, "length": 128, "steps": 1200}
    | {"learning_rate": 1.5e-3, "max_positions": 160},
    "sft": {"data": _both("sft"), "length": 100, "on_bad": "skip", "steps": 100},
    "reward_model": {"data": _both("preferences"), "length": 100, "on_bad": "skip", "steps": 600}
    | {"centering": 0.01}
    | _LIMITS,
    "ppo": {"data": _both("prompts"), "on_bad": "skip", "missing_stop": "keep", "steps": 80}
    | _LIMITS,
    "evaluate": {
        "data": _both("prompts"),
        "title": "Towards positive movie reviews",
        "summary": (
            "PPO towards the score of a sentiment classifier trained on passages of movie "
            "reviews. There is no gold reward: the classifier that was optimised is also the "
            "judge, so the win rate says how far PPO got, not how good the reviews are."
        ),
    }
    | _LIMITS,
}

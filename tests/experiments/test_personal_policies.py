"""Policies of users: who they are, and what is read off a run."""

import json

import numpy as np
import pytest

from experiments.tasks.kinds_of_users import EmbeddingFeatures
from experiments.tasks.personal_policies import chosen_users, first_ratios, report


def test_the_users_have_each_pair_of_tastes_once():
    found = chosen_users("zh")
    assert {user.language for user in found.values()} == {"zh"}
    signs = {tuple(liked > 0 for liked in user.tastes.values()) for user in found.values()}
    assert len(found) == len(signs) == 4
    name = "likes_courteous_dislikes_concise"
    assert found[name].tastes == {"courteous": 3.5, "concise": -3.5}
    assert chosen_users("zh", [name]) == {name: found[name]}
    with pytest.raises(ValueError, match="Received: likes_all"):
        chosen_users("zh", ["likes_all"])


def test_the_largest_first_ratio_of_each_stage(tmp_path):
    told = [("a", 1e-6), ("b", 3e-6), ("a", 2e-6)]
    lines = [json.dumps({"stage": stage, "first_max_log_ratio": value}) for stage, value in told]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, json.dumps({"stage": "a"})]))
    assert first_ratios(tmp_path / "metrics.jsonl") == {"a": 2e-6, "b": 3e-6}


def test_intervals_are_apart_where_the_lower_end_is_above_the_upper():
    of = {"start": [0.0, -0.1, 0.1], "pooled": [1.0, 0.9, 1.1], "own_less_pooled": [0.5, 0.4, 0.6]}
    found = {
        "apart": of | {"own": [1.5, 1.2, 1.8], "kl": {"pooled": 2.0, "apart": 3.0}},
        "over": of | {"own": [1.5, 1.0, 2.0], "kl": {"pooled": 2.0, "over": 3.0}},
    }
    *_, apart, over = report(found, 0.0).splitlines()[:4]
    assert "| yes |" in apart and "| no |" in over and "2.0 / 3.0" in apart


def test_an_embedding_is_made_once():
    seen = []

    def encode(texts):
        seen.extend(texts)
        return np.ones((len(texts), 3))

    features = EmbeddingFeatures(encode)
    prompts = ["Human: One?", "Human: Two.\n\nAssistant: Yes.\n\nHuman: One?"]
    assert features(prompts, ["a", "b"]).shape == (2, 6)
    features(prompts, ["b", "a"])
    assert sorted(seen) == ["One?", "a", "b"]

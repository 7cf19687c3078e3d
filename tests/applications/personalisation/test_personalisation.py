"""Users' vectors, rewards, profiles and memory."""

import itertools
import json

import numpy as np
import pytest

from tfalign.applications.personalisation import (
    ConversationMemory,
    Gaussian,
    PersonalOptions,
    PersonalReward,
    PersonalRewardModel,
    Profile,
    ProfileStore,
    RewardOfUsers,
    TextFeatures,
    choices_of,
    customers,
    fit_vector,
    most_telling,
    train_personal,
    with_vectors,
)
from tfalign.applications.personalisation.training import _those_there
from tfalign.applications.personalisation.vectors import information
from tfalign.data import PreferenceRecord, read_records
from tfalign.data.customer_service import gold_components, gold_reward, weighted
from tfalign.models import CausalLM, GPTConfig
from tfalign.rewards.callables import Signature, signature_of
from tfalign.text import Message

PRIOR = Gaussian(np.array([0.5, -0.2]), np.array([[1.0, 0.3], [0.3, 0.5]]))


def counting(prompts, responses):
    return np.array([[len(r), r.count("!")] for r in responses], "float32")


MODEL = PersonalRewardModel(counting, np.eye(2, dtype="float32"), PRIOR)


def test_a_vector_is_at_the_mode():
    """By a grid over the log posterior, whose curvature at the mode is the other half of the answer."""
    differences = np.random.default_rng(0).normal(size=(5, 2))
    found = fit_vector(differences, PRIOR)
    precision = np.linalg.inv(PRIOR.covariance)

    def log_posterior(z):
        apart = z - PRIOR.mean
        return -np.logaddexp(0, -differences @ z).sum() - 0.5 * apart @ precision @ apart

    axis = np.linspace(-2, 2, 81)
    best = max(itertools.product(axis, axis), key=lambda z: log_posterior(np.array(z)))
    np.testing.assert_allclose(found.mean, best, atol=0.05)
    step, unit = 1e-3, np.eye(2)
    for one, other in itertools.product(range(2), repeat=2):
        corners = [
            a * b * log_posterior(found.mean + step * (a * unit[one] + b * unit[other]))
            for a in (-1, 1)
            for b in (-1, 1)
        ]
        curvature = -sum(corners) / (4 * step**2)
        assert np.linalg.inv(found.covariance)[one, other] == pytest.approx(curvature, rel=1e-3)


def test_what_an_answer_tells_is_its_mutual_information():
    """By sampling vectors: the entropy of the mean answer less the mean entropy."""
    differences = np.array([[1.0, 0.0], [3.0, -2.0], [0.1, 0.1], [0.0, 6.0]])
    vectors = np.random.default_rng(0).multivariate_normal(PRIOR.mean, PRIOR.covariance, 200_000)
    likely = 1 / (1 + np.exp(-differences @ vectors.T))

    def entropy(p):
        return -p * np.log(p) - (1 - p) * np.log1p(-p)

    expected = entropy(likely.mean(axis=1)) - entropy(likely).mean(axis=1)
    np.testing.assert_allclose(information(differences, PRIOR), expected, atol=3e-3)
    assert most_telling(differences, PRIOR) == expected.argmax()


def test_extreme_choices_do_not_diverge():
    found = fit_vector(np.full((50, 2), 1e4), PRIOR)
    assert np.isfinite(found.mean).all() and np.isfinite(found.covariance).all()
    with pytest.raises(ValueError, match=r"of 2 basis rewards. Received: shape \(3, 1\)"):
        fit_vector(np.ones((3, 1)), PRIOR)


def test_rewards_are_called_as_trainers_call_them():
    brief = [PreferenceRecord("Hi.", "Hi!", "Good morning!")] * 5
    own = PersonalReward(MODEL, brief)
    assert signature_of(own) == Signature(takes_record=False, is_batched=True)
    short, long = own(["Hi.", "Hi."], ["Yes.", "Yes, indeed."])
    assert short > long
    of_users = RewardOfUsers(MODEL, {"mia": own.vector, "leo": -own.vector})
    assert signature_of(of_users) == Signature(takes_record=True, is_batched=True)
    found = of_users(["Hi."] * 2, ["Yes."] * 2, [{"user": "mia"}, {"user": "leo"}])
    assert found == pytest.approx([short, -short])
    with pytest.raises(ValueError, match="Received: 'eva'"):
        of_users(["Hi."], ["Yes."], [{"user": "eva"}])


@pytest.mark.slow
def test_basis_rewards_are_learned_from_choices():
    """Two features that users weigh differently, found in a space of eight: a new user from 16 choices."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(8, 2))

    def features(prompts, responses):
        return np.array([[float(x) for x in response.split()] for response in responses], "float32")

    def choices(name, vector, count):
        sides = random.normal(size=(count, 2, 8)).round(3)
        for first, second in sides:
            if (first - second) @ hidden @ vector < 0:
                first, second = second, first
            yield PreferenceRecord(
                "?", *(" ".join(map(str, x)) for x in (first, second)), user=name
            )

    users = {f"{n}": random.normal(size=2) * 3 for n in range(24)}
    pairs = [pair for name, z in users.items() for pair in choices(name, z, 60)]
    options = PersonalOptions(num_rewards=2, steps=300, batch_size=256, basis_penalty=1e-4)
    model = train_personal(pairs, options, features)
    right = []
    for _ in range(10):
        vector = random.normal(size=2) * 3
        fitted = model.vector(choices("new", vector, 16)).mean
        right.append(np.mean(model.differences(choices("new", vector, 100)) @ fitted > 0))
    assert np.mean(right) > 0.88


def test_only_features_that_are_there_are_kept():
    features = np.array([[0, 2, 0, -1], [0, 0, 0, 0], [3, 0, 0, 0]], "float32")
    places, values = _those_there(features)
    assert places.tolist() == [[1, 3], [0, 0], [0, 0]]
    assert values.tolist() == [[2, -1], [0, 0], [3, 0]]


def test_a_model_is_saved_and_loaded(tmp_path):
    model = PersonalRewardModel(TextFeatures(64), np.ones((64, 2), "float32"), PRIOR)
    model.save(tmp_path)
    again = PersonalRewardModel.load(tmp_path)
    asked = (["Order 12?"], ["Order 12 is sent."])
    np.testing.assert_array_equal(again.rewards(*asked), model.rewards(*asked))
    np.testing.assert_array_equal(again.prior.covariance, PRIOR.covariance)
    with pytest.raises(ValueError, match="Only a model of TextFeatures"):
        MODEL.save(tmp_path)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_customers_choose_by_their_own_gold(language):
    (user,) = customers(1, seed=4, language=language)
    for pair in itertools.islice(choices_of(user, noise=False), 10):
        assert user.gold(pair.prompt, pair.chosen) > user.gold(pair.prompt, pair.rejected)
        assert pair.user == user.name
        parts = gold_components(pair.prompt, pair.chosen)
        assert weighted(parts) == gold_reward(pair.prompt, pair.chosen)
    again = next(choices_of(user, noise=False))
    assert again == next(choices_of(user, noise=False))


@pytest.mark.parametrize(("value", "user"), [("mia", "mia"), (7, "7"), (None, "")])
def test_preferences_know_whose_they_are(tmp_path, value, user):
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "user": value}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    (record,) = read_records(str(tmp_path / "pairs.jsonl"), PreferenceRecord)
    assert record.user == user


@pytest.mark.parametrize("user", ["mia", "../../etc/passwd", "李 雷", "a/b\n"])
def test_profiles_are_kept_read_and_deleted(tmp_path, user):
    store = ProfileStore(tmp_path / "profiles")
    profile = Profile(user, ("Likes 短 answers.",)).choose("Hi.", "Hi!", "Good morning!")
    store.put(profile)
    assert [file.parent for file in tmp_path.rglob("*.json")] == [tmp_path / "profiles"]
    assert store.get(user) == profile and store.users() == [user]
    assert "短" in store.export(user) and "Good morning!" in store.export(user)
    assert store.delete(user) and not store.delete(user) and not store.users()


def test_a_file_that_is_no_profile_is_named(tmp_path):
    store = ProfileStore(tmp_path)
    (tmp_path / "mia.json").write_text('{"user": "mia"}')
    with pytest.raises(ValueError, match="mia.json: A profile has user, about and choices"):
        store.get("mia")
    (tmp_path / "leo.json").write_text('{"user": "mia", "about": [], "choices": []}')
    with pytest.raises(ValueError, match="another user. Received: user='mia'"):
        store.get("leo")


def test_memory_keeps_to_its_budget():
    def words(messages):
        return sum(len(message.content.split()) for message in messages)

    talk = [Message("system", "Be kind.")]
    for number in range(20):
        talk += [Message("user", f"My order {number} is late now."), Message("assistant", "Sorry.")]
    talk.append(Message("user", "And the last one?"))
    for budget in (7, 12, 30, 60):
        short = ConversationMemory(words, budget)(talk)
        assert words(short) <= budget and short[0] == talk[0] and short[-1] == talk[-1]
    assert "order 0" in ConversationMemory(words, 60)(talk)[1].content
    assert ConversationMemory(words, 1000)(talk) == talk
    with pytest.raises(ValueError, match="does not fit the budget. Received: 6 tokens, budget=5"):
        ConversationMemory(words, 5)(talk)


def test_a_policy_reads_a_users_vector():
    gpt = CausalLM(GPTConfig(9, 8, 1, 2, max_positions=16))
    policy = with_vectors(gpt, size=2)
    ids = np.ones((2, 3), "int32")
    one, other = np.asarray(policy(ids, condition=np.array([[1.0, 0.0], [0.0, 9.0]], "float32")))
    assert policy.takes_condition and np.abs(one - other).max() > 1e-4

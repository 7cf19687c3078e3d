"""Every field of every algorithm, preference loss and optimizer changes something, or is refused."""

import dataclasses
import importlib.util
import inspect
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import marks
from tfalign.functional.aggregation import fixed_length_mean, micro_batch_token_mean
from tfalign.functional.importance import log_ratio_to_go, token_log_ratio
from tfalign.functional.kl import k2
from tfalign.training.algorithms import ALGORITHMS, algorithm
from tfalign.training.baselines import MovingBaseline
from tfalign.training.credit import Scored, TurnLevel, TurnRelative
from tfalign.training.optimizers import Adafactor, Lamb, WarmupDecay, adafactor, adamw, lamb
from tfalign.training.preferences import PREFERENCE_LOSSES, preference_loss

_spec = importlib.util.spec_from_file_location(
    "every_objective", pathlib.Path(__file__).with_name("every_objective.py")
)
every = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(every)

CHANGED = {
    "aggregate": fixed_length_mean,
    "kl_estimator": k2,
    "log_ratio": log_ratio_to_go,
    "beta": 0.37,
    "cap": 0.5,
    "chunk": 3,
    "clip": 0.01,
    "clip_high": 0.02,
    "clip_rho": 0.5,
    "clip_trace": 0.5,
    "desirable_weight": 0.5,
    "entropy_coefficient": 0.5,
    "gae_lambda": 0.5,
    "gamma": 0.6,
    "kl_coefficient": 0.7,
    "label_smoothing": 0.2,
    "nll_coefficient": 0.3,
    "per_token": False,
    "temperature": 0.6,
    "undesirable_weight": 0.5,
    "value_clip": 0.01,
    "value_coefficient": 0.9,
}
# What an Algorithm says to the worker and the loop, not to a credit or an objective.
OF_THE_LOOP = {
    "arrange",
    "credit",
    "drop_zero_spread",
    "epochs",
    "group_size",
    "minibatches",
    "objective",
    "overlong_share",
    "redraws",
    "source",
}


def other(field, value):
    if field in CHANGED and CHANGED[field] != value:
        return CHANGED[field]
    if isinstance(value, bool):
        return not value
    return {"aggregate": micro_batch_token_mean, "log_ratio": token_log_ratio}[field]


@pytest.fixture(scope="module")
def models():
    made = {}

    def model_of(case):
        if case.model not in made:
            made[case.model] = every.new_model(case)
        return made[case.model]

    return model_of


def credited(chosen, rollout):
    """The rollout with the rewards, advantages and returns of an algorithm's credit."""
    mask = rollout.response_mask
    baseline = np.zeros(every.B, "float32")
    if chosen.baseline is not None:
        baseline += np.linspace(-1, 1, every.B, dtype="float32")
    scored = Scored(
        rollout.scores,
        np.where(mask, 0.3 * rollout.log_probs, 0).astype("float32"),
        mask,
        np.where(mask, rollout.values, 0).astype("float32"),
        baseline,
        4,
    )
    in_reward = chosen.kl_coefficient if chosen.kl_in == "reward" else 0.0
    parts = [np.asarray(x) for x in chosen.credit(scored, np.float32(in_reward))]
    return rollout._replace(rewards=parts[0], advantages=parts[1], returns=parts[2])


def loss_of(chosen, case, model):
    """What training would see: the loss, its metrics."""
    batch = case.batch(np.random.default_rng(3))
    if isinstance(chosen.credit, TurnLevel | TurnRelative):  # somebody else wrote the second column
        turns = batch.response_mask & (np.arange(batch.response_mask.shape[1]) != 1)
        batch = batch._replace(response_mask=turns)
    if (
        chosen.arrange is None
    ):  # what is better became likelier, what is worse less likely: clips act
        better = batch.scores > np.repeat(np.median(batch.scores.reshape(2, 4), axis=1), 4)
        old = -2.4 + 0.4 * batch.returns - np.where(better, 1.5, -1.5)[:, None]
        old = np.where(batch.response_mask, old, 0).astype("float32")
        batch = credited(chosen, batch._replace(log_probs=old))
    loss, weight, metrics = chosen.loss(model, batch)
    sums = {name: float(total) for name, (total, _) in metrics.items()}
    return {"loss": float(loss), "weight": float(weight)} | sums


def differs(one, another):
    return one.keys() != another.keys() or any(
        abs(one[name] - another[name]) > 1e-5 * (1e-3 + abs(one[name])) for name in one
    )


def fields_of(name):
    chosen = ALGORITHMS[name]
    records = [chosen, chosen.credit, chosen.objective]
    fields = {field.name: None for record in records for field in dataclasses.fields(record)}
    return [field for field in fields if field not in OF_THE_LOOP]


OFTEN = ("ppo", "vtrace", "grpo", "dapo", "turn_ppo", "online_dpo")  # one of each kind


def value_of(chosen, field):
    for record in (chosen, chosen.credit, chosen.objective):
        if field in {known.name for known in dataclasses.fields(record)}:
            return getattr(record, field)
    raise KeyError(field)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        pytest.param(name, field, marks=[] if name in OFTEN else marks(number + place, every=3))
        for number, name in enumerate(ALGORITHMS)
        for place, field in enumerate(fields_of(name))
    ],
)
def test_every_field_of_an_algorithm(models, name, field):
    case, plain = every.CASES[name], ALGORITHMS[name]
    if field in ("chunk", "constraint"):  # how it is computed; and what needs states of its own
        return
    if field == "kl_in":
        value = "loss" if plain.kl_in == "reward" else "reward"
        plain = algorithm(name, kl_coefficient=0.0 if plain.arrange else 0.3)
    elif field == "baseline":
        value = MovingBaseline if plain.baseline is None else None
    else:
        value = other(field, value_of(plain, field))
    numbers = {} if plain.arrange or field != "kl_in" else {"kl_coefficient": 0.3}
    try:
        chosen = algorithm(name, **{field: value}, **numbers)
    except ValueError as error:
        assert "Received: " in str(error)
        assert field in str(error)
        return
    model = models(case)
    assert differs(loss_of(plain, case, model), loss_of(chosen, case, model))


def test_what_vtrace_does_not_look_at_is_refused():
    for field in ("gae_lambda", "whiten_advantages"):
        with pytest.raises(ValueError, match=f"{field} does not apply to the algorithm vtrace"):
            algorithm("vtrace", **{field: 0.5})
    assert algorithm("vtrace", gamma=0.9).objective.gamma == 0.9


def test_the_order_of_changes_is_of_no_account():
    changes = {"kl_estimator": k2, "kl_in": "loss", "kl_coefficient": 0.1, "gamma": 0.9}
    one = algorithm("reinforce", **changes)
    assert one == algorithm("reinforce", **dict(reversed(changes.items())))
    with pytest.raises(ValueError, match="kl_estimator is of the KL in the loss"):
        algorithm("ppo", kl_estimator=k2)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field.name)
        for name, chosen in PREFERENCE_LOSSES.items()
        for field in dataclasses.fields(chosen.objective)
        if field.name != "chunk"
    ],
)
def test_every_field_of_a_preference_loss(models, name, field):
    case = every.CASES[name]
    plain = PREFERENCE_LOSSES[name].objective
    value = 0.45 if field == "nll_coefficient" else other(field, getattr(plain, field))
    chosen = preference_loss(name, **{field: value}).objective
    batch, model = case.batch(np.random.default_rng(3)), models(case)

    def seen(objective):
        loss, _, metrics = objective(model, batch, training=False)
        return {"loss": float(loss)} | {key: float(total) for key, (total, _) in metrics.items()}

    assert differs(seen(plain), seen(chosen))


OPTIMIZER_CHANGES = {
    "beta_1": 0.5,
    "beta_2": 0.5,
    "beta_2_decay": -0.3,
    "clip_norm": 0.1,
    "clip_threshold": 0.1,
    "epsilon": 0.5,
    "learning_rate": 0.2,
    "momentum_dtype": "bfloat16",
    "norm_bounds": (0.0, 0.1),
    "weight_decay": 0.5,
}
OWN = {adamw: ("beta_1", "momentum_dtype"), adafactor: (), lamb: ("beta_1", "beta_2", "epsilon")}


def optimizer_options():
    for make, more in OWN.items():
        names = {
            name
            for name, parameter in inspect.signature(make).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        } | set(more)
        names |= {"beta_2_decay", "epsilon", "clip_threshold"} if make is adafactor else set()
        names |= {"norm_bounds"} if make is lamb else set()
        yield from ((make, name) for name in sorted(names))


@pytest.mark.parametrize(
    ("make", "option"), optimizer_options(), ids=lambda x: getattr(x, "__name__", x)
)
def test_every_option_of_an_optimizer(make, option):
    def trained(**choices):
        variable = keras.Variable(np.full((2, 3), 0.5, "float32"), name="kernel")
        optimizer = make(**{"learning_rate": 0.05} | choices)
        optimizer.build([variable])
        rng = np.random.default_rng(0)
        for scale in (1.0, 30.0, 0.1):
            gradient = (scale * rng.normal(size=(2, 3))).astype("float32")
            optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
        return np.asarray(variable)

    change = np.abs(trained() - trained(**{option: OPTIMIZER_CHANGES[option]})).max()
    assert change > 1e-6


def test_every_option_of_ours_is_tried():
    """A new one has to be added above."""
    for kind in (Adafactor, Lamb):
        own = {
            name
            for name, parameter in inspect.signature(kind).parameters.items()
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        }
        assert own - {"name"} <= OPTIMIZER_CHANGES.keys()


@pytest.mark.parametrize(
    ("option", "value"),
    [("peak", 2.0), ("steps", 20), ("warmup_steps", 5), ("shape", "linear"), ("final", 0.3)],
)
def test_every_option_of_a_schedule(option, value):
    plain = {"peak": 1.0, "steps": 10, "warmup_steps": 2, "shape": "cosine", "final": 0.0}
    rates = [
        [float(WarmupDecay(**choices)(step)) for step in range(10)]
        for choices in (plain, plain | {option: value})
    ]
    assert np.abs(np.subtract(*rates)).max() > 1e-3

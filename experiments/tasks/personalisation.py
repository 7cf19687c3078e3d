"""Learns basis rewards from the choices of many users, and new users' vectors from a few of theirs.

    python -m experiments.tasks.personalisation
    python -m experiments.tasks.personalisation --users=24 --pairs=200 --new_users=12

Users are customers who weigh the parts of the customer-service gold reward otherwise, half of them English, half
Chinese (``applications.personalisation.embedded``); no data is needed. Their choices are noisy as the data set's, those
that are judged too, so a perfect judge is right in about 95% of them. Requests of the choices that are judged are
phrased as none in training. Prints how often the model finds a user's choice: pooled, personal for the users it was
trained on, and for new users after 4 and 16 choices, taken as they come or asked for one by one as what tells most
(``most_telling``) among 64; and how long a fit takes. Both models are written to RUN_DIR, where
``experiments.tasks.personal_policies`` takes them up. About 100 seconds of CPU time.
"""

from __future__ import annotations

import dataclasses
import itertools
import time

import numpy as np

from experiments.launch import launch
from tfalign.applications.personalisation import (
    PersonalOptions,
    TextFeatures,
    choices_of,
    customers,
    fit_vector,
    most_telling,
    train_personal,
)
from tfalign.evaluation.markdown import table
from tfalign.options import option, option_record, record

FEW = (0, 4, 16, 64)
ASKED = (4, 16)


@option_record
class PersonalisationConfig:
    run_dir: str = option("runs/personalisation", "Run directory.")
    users: int = option(64, "Users whose choices are learned from.", at_least=2)
    pairs: int = option(400, "Choices of each of them.", at_least=1)
    new_users: int = option(48, "Users who come later.", at_least=1)
    held_out: int = option(60, "Choices of each user that are judged.", at_least=1)
    model: PersonalOptions = record(PersonalOptions())


class RememberedFeatures(TextFeatures):
    """Text features that are kept: the same choices are learned from and judged by several models.

    >>> features = RememberedFeatures(64)
    >>> features.places("Hi.", "Hi!") is features.places("Hi.", "Hi!")
    True
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._kept = {}

    def places(self, prompt: str, response: str) -> np.ndarray:
        key = prompt, response
        if key not in self._kept:
            self._kept[key] = super().places(prompt, response)
        return self._kept[key]


def main(config):
    start = time.process_time()
    users, later = customers(config.users), customers(config.new_users, seed=1)
    pairs = [choice for user in users for choice in some(user, config.pairs)]
    options = config.model
    how = {"features": RememberedFeatures(options.features), "tell": told}
    personal = train_personal(pairs, options, **how)
    pooled = pooled_model(pairs, options, **how)
    for name, model in (("personal", personal), ("pooled", pooled)):
        model.save(f"{config.run_dir}/{name}")
    asked = [some(user, config.held_out, "test") for user in later]
    rows = [
        ["pooled", *shown(right(pooled, held, pooled.prior.mean) for held in asked)],
        ["one of the users trained on", *shown(of_known(personal, users, pairs, config))],
    ]
    beliefs = [learned(personal, user) for user in later]
    for name in beliefs[0]:
        found = (right(personal, held, told[name]) for held, told in zip(asked, beliefs))
        rows.append([f"a new user, {name}", *shown(found)])
    print(table(["whose reward", "held-out choices found", "standard error over users"], rows))
    print(f"A fit of 16 choices: {1e3 * seconds_of_fit(personal, later[0]):.2f} ms.", end=" ")
    print(f"All: {time.process_time() - start:.0f} s of CPU time.")


def some(user, count, split="train", seed=0):
    """A list of a user's choices."""
    return list(itertools.islice(choices_of(user, split, seed), count))


def told(step, metrics):
    """Prints how a training goes."""
    print(step, metrics, flush=True)


def pooled_model(pairs, options, **how):
    """A model of one reward, from the same choices, which knows no users: two by turns are nobody."""
    nobody = [dataclasses.replace(p, user=f"{i % 2}") for i, p in enumerate(pairs)]
    return train_personal(nobody, dataclasses.replace(options, num_rewards=1), **how)


def right(model, asked, vector):
    """Fraction of choices that the vector's reward finds."""
    return np.mean(model.differences(asked) @ vector > 0)


def of_known(model, users, pairs, config):
    """The fractions of users whose choices were learned from; of half of them, who are enough."""
    for number in range(0, len(users), 2 if len(users) > 50 else 1):
        own = pairs[number * config.pairs : (number + 1) * config.pairs]
        held = some(users[number], config.held_out, "test")
        yield right(model, held, model.vector(own).mean)


def learned(model, user):
    """Vectors of a new user after some choices: name -> float[K]."""
    differences = model.differences(some(user, max(FEW), seed=3))
    vectors = {f"{n} choices": fit_vector(differences[:n], model.prior).mean for n in FEW}
    belief, asked, left = model.prior, [], list(range(len(differences)))
    for count in range(1, max(ASKED) + 1):
        asked.append(left.pop(most_telling(differences[left], belief)))
        belief = fit_vector(differences[asked], model.prior)
        if count in ASKED:
            vectors[f"{count} that were asked for"] = belief.mean
    return vectors


def seconds_of_fit(model, user):
    """The least of 20 measurements."""
    differences = model.differences(some(user, 16, seed=3))
    times = []
    for _ in range(20):
        start = time.perf_counter()
        fit_vector(differences, model.prior)
        times.append(time.perf_counter() - start)
    return min(times)


def shown(fractions):
    fractions = np.array(list(fractions))
    return f"{fractions.mean():.3f}", f"{fractions.std() / len(fractions) ** 0.5:.3f}"


if __name__ == "__main__":
    launch(PersonalisationConfig, main, __doc__)

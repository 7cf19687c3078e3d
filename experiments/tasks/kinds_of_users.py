"""Learns the rewards of users of two kinds who disagree, from real answers, with a sentence encoder's features.

    python -m experiments.tasks.kinds_of_users --data=$DATA/vpl-hh/both.test.jsonl.gz --encoder=MINILM

The data are hh-rlhf pairs whose choice was made anew by a helpful or a harmless kind of user (Poddar et al. 2024, VPL);
a column says which. A pair's features are the embedding of the answer and its products with that of the customer's last
words, number by number. A pooled reward and a personal one, whose users are the kinds, learn from the same pairs; a
third knows no more of the user than some pairs: for each of --new_users times a vector is fitted to --few pairs of one
kind. Prints the fractions of held-out choices found, by prompt, with 95% intervals, and the personal ones less the
pooled, pair by pair. About five minutes of CPU time, nearly all of it the encoder's.

Result: docs/results/personalisation.md.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from experiments.launch import launch
from experiments.tasks.personalisation import pooled_model
from tfalign.applications.personalisation import PersonalOptions, fit_vector, train_personal
from tfalign.applications.search import TextEncoder
from tfalign.data import PreferenceRecord, read_records, split_by_prompt
from tfalign.evaluation.markdown import table
from tfalign.evaluation.statistics import mean_interval
from tfalign.options import changed, option, option_record, record

_ASSISTANT, _HUMAN = "\n\nAssistant:", "Human:"


@option_record
class KindsOfUsersConfig:
    data: str = option("", "File of pairs: prompt, chosen, rejected, and who chose.")
    user: str = option("objective", "Column of the user.")
    encoder: str = option("", "Directory of a sentence encoder, such as MiniLM.")
    length: int = option(64, "Maximum length of a text for the encoder, tokens.", at_least=1)
    scale: float = option(5.0, "Factor of the embeddings, against the penalties.", above=0)
    pairs: int | None = option(None, "Pairs that are used, at random; none: all.", at_least=8)
    held_out: float = option(0.25, "Fraction of prompts held out.", above=0, below=1)
    few: int = option(16, "Pairs that a new user's vector is fitted to.", at_least=1)
    new_users: int = option(40, "New users of each kind.", at_least=1)
    model: PersonalOptions = record(
        changed(PersonalOptions(), num_rewards=2, steps=300, batch_size=512)
    )


class EmbeddingFeatures:
    """Features of an answer to a prompt by embeddings: the answer's, and its products with the last words' asked.

    Args:
        encode: texts -> float32[N, W].
        scale: float.

    >>> features = EmbeddingFeatures(lambda texts: np.array([[len(text), 1.0] for text in texts]), scale=2.0)
    >>> features(["Human: Hi.\\n\\nAssistant: Yes?\\n\\nHuman: Go."], ["Well."]).tolist()
    [[10.0, 2.0, 30.0, 2.0]]
    """

    def __init__(self, encode, scale=1.0):
        self._encode, self._scale, self._kept = encode, scale, {}

    def __call__(self, prompts, responses):
        """float32[N, 2 W]."""
        asked, said = self._vectors(map(_last_words, prompts)), self._vectors(responses)
        return self._scale * np.concatenate([said, said * asked], axis=1).astype("float32")

    def _vectors(self, texts):
        texts = list(texts)
        new = sorted(set(texts) - self._kept.keys())
        if new:
            self._kept.update(zip(new, self._encode(new)))
        return np.stack([self._kept[text] for text in texts])


def _last_words(prompt):
    return prompt.rsplit(_HUMAN, 1)[-1].strip()


def main(config):
    records = read_records(f"{config.data}?user={config.user}", PreferenceRecord, "skip")
    chosen = np.random.default_rng(config.model.seed).permutation(len(records))[: config.pairs]
    pairs = [_answers(records[i]) for i in chosen]
    train, test = split_by_prompt(pairs, config.held_out)
    features = EmbeddingFeatures(TextEncoder(config.encoder, length=config.length), config.scale)
    personal = train_personal(train, config.model, features)
    pooled = pooled_model(train, config.model, features=features)
    found = {
        kind: judged(kind, personal, pooled, train, test, config)
        for kind in sorted({pair.user for pair in pairs})
    }
    names = list(found[min(found)])
    found["all"] = {name: np.concatenate([of[name] for of in found.values()]) for name in names}
    rows = [
        [kind, str(len(of["pooled"])), *(shown(of[name]) for name in names)]
        for kind, of in found.items()
    ]
    print(f"{len(train)} pairs for training.")
    print(table(["user", "held-out pairs", *names], rows))


def judged(kind, personal, pooled, train, test, config):
    """Whether each reward finds a kind's held-out choices: name -> float[N], and differences."""
    own, asked = ([pair for pair in part if pair.user == kind] for part in (train, test))
    known, gaps = personal.differences(own), personal.differences(asked)
    rng = np.random.default_rng(config.model.seed)
    few = [
        fit_vector(known[rng.choice(len(known), config.few, replace=False)], personal.prior).mean
        for _ in range(config.new_users)
    ]
    found = {
        "pooled": pooled.differences(asked) @ pooled.prior.mean > 0,
        "personal": gaps @ personal.vector(own).mean > 0,
        f"after {config.few} choices": np.mean(gaps @ np.transpose(few) > 0, axis=1),
    }
    found = {name: np.asarray(values, "float64") for name, values in found.items()}
    less = {f"{name} less pooled": found[name] - found["pooled"] for name in list(found)[1:]}
    return found | less


def shown(values):
    """Mean and 95% interval."""
    return "{:.3f} [{:.3f}, {:.3f}]".format(*mean_interval(values))


def _answers(pair):
    """The pair with answers alone, where they are whole conversations."""
    chosen, rejected = (
        text.rsplit(_ASSISTANT, 1)[-1].strip() for text in (pair.chosen, pair.rejected)
    )
    return dataclasses.replace(pair, chosen=chosen, rejected=rejected)


if __name__ == "__main__":
    launch(KindsOfUsersConfig, main, __doc__)

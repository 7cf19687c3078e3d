"""A tiny model and batches for every objective there is, for tests of what holds of all of them.

Eight rows a batch, so that it can be cut into four micro-batches or shared by two replicas.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from tfalign import objectives
from tfalign.functional.losses import all_pairs_loss, best_of_k_loss
from tfalign.models import (
    Actor,
    BERTConfig,
    BERTPretrainer,
    CausalLM,
    GPTConfig,
    MaskedLM,
    SentenceEncoder,
    SequenceClassifier,
    SharedActorCritic,
    TokenClassifier,
    Transformer,
    TransformerConfig,
)
from tfalign.rewards import ProcessRewardModel, RewardModel
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.preferences import PREFERENCE_LOSSES
from tfalign.types import (
    ClassifiedTexts,
    LabelledResponses,
    LabelledSteps,
    LanguageModelBatch,
    MaskedTexts,
    PreferencePairs,
    RankedResponses,
    Rollout,
    SequencePairs,
    SimilarTexts,
    TaggedTexts,
)

B, P, R, V = 8, 3, 4, 11
T = P + R
GPT = GPTConfig(V, 8, 1, 2, max_positions=8, dropout=0.1)
BERT = BERTConfig(V, 8, 1, 2, max_positions=8)


class Case(NamedTuple):
    """An objective, how its model is made (given a dtype) and a batch of a numpy Generator."""

    objective: Callable
    model: Callable
    batch: Callable


def ids(rng, *shape):
    return rng.integers(1, V, shape).astype("int32")


def mask(rng, *shape):
    """True up to a random length of at least 2 of the last axis."""
    lengths = rng.integers(2, shape[-1] + 1, shape[:-1])
    return np.arange(shape[-1]) < lengths[..., None]


def numbers(rng, *shape):
    return rng.normal(size=shape).astype("float32")


def texts(rng):
    real = mask(rng, B, T)
    return LanguageModelBatch(ids(rng, B, T), real, real, real.astype("int32"))


def masked_texts(rng):
    columns = np.tile(np.array([0, 1, 3], "int32"), (B, 1))
    return MaskedTexts(
        ids(rng, B, T),
        mask(rng, B, T),
        np.zeros((B, T), "int32"),
        columns,
        ids(rng, B, 3),
        mask(rng, B, 3),
        rng.integers(0, 2, B).astype("int32"),
    )


def classified(rng):
    return ClassifiedTexts(ids(rng, B, T), mask(rng, B, T), rng.integers(0, 3, B).astype("int32"))


def tagged(rng):
    real = mask(rng, B, T)
    return TaggedTexts(ids(rng, B, T), real, rng.integers(0, 3, (B, T)).astype("int32"), real)


def similar(rng):
    sides = [ids(rng, B, T), mask(rng, B, T), ids(rng, B, T), mask(rng, B, T)]
    return SimilarTexts(*sides, rng.uniform(size=B).astype("float32"))


def pairs(rng):
    sides = [ids(rng, B, T), mask(rng, B, T), ids(rng, B, T), mask(rng, B, T)]
    return PreferencePairs(*sides, rng.uniform(size=B).astype("float32"))


def responses(rng, count):
    said = mask(rng, B, count, R)
    padding_mask = np.concatenate([np.ones((B, count, P), "bool"), said], axis=-1)
    return RankedResponses(ids(rng, B, count, T), padding_mask, said, -3 + numbers(rng, B, count))


def labelled(rng):
    return LabelledResponses(*responses(rng, 2)[:4], rng.integers(0, 2, B).astype("bool"))


def steps(rng):
    real = mask(rng, B, T)
    ends = real & (np.arange(T) % 2 == 1)
    return LabelledSteps(ids(rng, B, T), real, ends, rng.integers(0, 2, (B, T)).astype("bool"))


def translations(rng):
    return SequencePairs(ids(rng, B, T), mask(rng, B, T), ids(rng, B, R), mask(rng, B, R))


def rollout(rng):
    said = mask(rng, B, R)
    padding_mask = np.concatenate([np.ones((B, P), "bool"), said], axis=1)
    log_probs, ref_log_probs, values, rewards, advantages, returns = (
        np.where(said, numbers(rng, B, R), 0).astype("float32") for _ in range(6)
    )
    return Rollout(
        ids(rng, B, T),
        padding_mask,
        said,
        -np.abs(log_probs),
        -np.abs(ref_log_probs),
        values,
        rewards,
        advantages,
        returns,
        numbers(rng, B),
    )


def causal(dtype):
    return CausalLM(GPT, dtype=dtype)


def actor(dtype):
    return Actor(CausalLM(GPT, dtype=dtype))


def actor_critic(dtype):
    return SharedActorCritic(CausalLM(GPT, dtype=dtype))


def reward_model(dtype):
    return RewardModel(GPT, dtype=dtype)


def pretrainer(dtype):
    return BERTPretrainer(BERT, dtype=dtype)


SUPERVISED = {
    "language_modelling": Case(objectives.LanguageModelling(), causal, texts),
    "chunked": Case(objectives.LanguageModelling(chunk=5), causal, texts),
    "sampled": Case(objectives.SampledLanguageModelling(head=3, sampled=2), causal, texts),
    "masked_lm": Case(
        objectives.MaskedLanguageModelling(),
        lambda dtype: MaskedLM(BERT, dtype=dtype),
        masked_texts,
    ),
    "bert": Case(objectives.BERTPretraining(), pretrainer, masked_texts),
    "classification": Case(
        objectives.Classification(),
        lambda dtype: SequenceClassifier(BERT, 3, dtype=dtype),
        classified,
    ),
    "tagging": Case(
        objectives.Tagging(), lambda dtype: TokenClassifier(BERT, 3, dtype=dtype), tagged
    ),
    "similarity": Case(
        objectives.SentenceSimilarity(), lambda dtype: SentenceEncoder(BERT, dtype=dtype), similar
    ),
    "reward": Case(objectives.RewardModelling(centering=0.01), reward_model, pairs),
    "ranked": Case(
        objectives.RankedRewardModelling(), reward_model, functools.partial(responses, count=3)
    ),
    "best_of_k": Case(
        objectives.RankedRewardModelling(best_of_k_loss),
        reward_model,
        functools.partial(responses, count=3),
    ),
    "all_pairs": Case(
        objectives.RankedRewardModelling(all_pairs_loss),
        reward_model,
        functools.partial(responses, count=3),
    ),
    "process": Case(
        objectives.ProcessRewardModelling(),
        lambda dtype: ProcessRewardModel(GPT, dtype=dtype),
        steps,
    ),
    "translation": Case(
        objectives.Translation(),
        lambda dtype: Transformer(TransformerConfig(V, 8, 1, 2), dtype=dtype),
        translations,
    ),
}
PREFERENCES = {
    name: Case(
        chosen.objective,
        causal,
        functools.partial(responses, count=2) if chosen.needs_pairs else labelled,
    )
    for name, chosen in PREFERENCE_LOSSES.items()
}
ON_POLICY = {
    name: Case(chosen.loss, actor_critic if chosen.needs_critic else actor, rollout)
    for name, chosen in ALGORITHMS.items()
    if chosen.arrange is None
}
COMPARING = {
    "online_dpo": Case(ALGORITHMS["online_dpo"].loss, actor, functools.partial(responses, count=2)),
    "rejection_sampling": Case(ALGORITHMS["rejection_sampling"].loss, actor, rollout),
}
CASES = SUPERVISED | PREFERENCES | ON_POLICY | COMPARING


def new_model(case, dtype=None):
    """The case's model, with weights that follow from their shapes alone."""
    keras.utils.set_random_seed(0)
    model = case.model(dtype)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape).astype("float32"))
    return model


class Scaled:
    """An objective whose loss is multiplied by a factor that comes with the rows: batches are
    ``(batch, float32[B])``, and the largest factor of the rows at hand counts."""

    def __init__(self, objective):
        self.objective = objective

    def __call__(self, model, batch, training=True):
        batch, factors = batch
        loss, weight, metrics = self.objective(model, batch, training)
        # twice: the product of two finite numbers overflows
        factor = keras.ops.max(factors)
        return loss * factor * factor, weight, metrics


def factors(row=None):
    """float32[B]: 1, or so large in one row that what is multiplied by it twice overflows."""
    values = np.ones(B, "float32")
    if row is not None:
        values[row] = 1e30
    return values

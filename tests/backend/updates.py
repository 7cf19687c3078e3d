"""Updates of each kind on whichever backend Keras has: ``python updates.py results.npz``.

Weights and batches come from NumPy, so that two backends begin with the same numbers.
"""

from __future__ import annotations

import functools
import sys

import keras
import numpy as np

from tfalign.decoding import BeamSearch, Translator
from tfalign.models import (
    BERTConfig,
    BERTPretrainer,
    CausalLM,
    GPTConfig,
    SeparateActorCritic,
    SharedActorCritic,
    Transformer,
    TransformerConfig,
)
from tfalign.models import separate_critic as critic_of
from tfalign.objectives import PPO, BERTPretraining, LanguageModelling, Translation
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import WarmupDecay, adamw
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import LanguageModelBatch, MaskedTexts, Prompts, SequencePairs

CONFIG = GPTConfig(13, 16, 1, 2, max_positions=16)
UPDATES = 3


def optimizer():
    # a large epsilon: gradients that are 0 but for rounding stay small
    return adamw(WarmupDecay(1e-2, 10, 2), epsilon=1e-3, use_ema=True, ema_momentum=0.5)


def set_weights(model, seed):
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape).astype("float32"))


def language_model_batches():
    rng = np.random.default_rng(2)
    for _ in range(UPDATES):
        real = np.arange(12) < rng.integers(3, 13, 4)[:, None]
        token_ids = np.where(real, rng.integers(1, 13, (4, 12)), 0).astype("int32")
        yield LanguageModelBatch(token_ids, real, real, real.astype("int32"))


def language_model(results, name, accumulate=1, dropout=0.0, chunk=None):
    model = CausalLM(CONFIG.replace(dropout=dropout))
    set_weights(model, 0)
    learner = Learner(model, LanguageModelling(chunk), optimizer(), accumulate)
    for step, batch in enumerate(language_model_batches()):
        for key, value in learner.update(batch).items():
            results[f"{name}/{step}/{key}"] = float(value)
    learner.optimizer.finalize_variable_values(model.trainable_variables)
    record_weights(results, name, model)
    results[f"{name}/traces"] = learner.traces
    return model


def encoder(results, name):
    """BERT's two losses."""
    rng = np.random.default_rng(4)
    model = BERTPretrainer(BERTConfig(13, 16, 2, 2, max_positions=16))
    set_weights(model, 0)
    learner = Learner(model, BERTPretraining(), optimizer())
    real = np.arange(12) < rng.integers(6, 13, 4)[:, None]
    batch = MaskedTexts(
        token_ids=np.where(real, rng.integers(1, 13, (4, 12)), 0).astype("int32"),
        padding_mask=real,
        token_type_ids=(np.arange(12) > 4).astype("int32") * np.ones((4, 1), "int32"),
        hidden_columns=np.array([[1, 2, 5]] * 4, "int32"),
        hidden_ids=rng.integers(1, 13, (4, 3)).astype("int32"),
        is_hidden=np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]], "bool"),
        is_random=np.array([0, 1, 1, 0], "int32"),
    )
    _updates(results, name, learner, batch)
    hidden, follows = model(batch.token_ids, padding_mask=real, token_type_ids=batch.token_type_ids)
    results[f"{name}/logits"] = keras.ops.convert_to_numpy(hidden)[real]
    results[f"{name}/follows"] = keras.ops.convert_to_numpy(follows)


def encoder_decoder(results, name):
    """Translation, and what beam search finds of it."""
    rng = np.random.default_rng(5)
    model = Transformer(TransformerConfig(13, 16, 2, 2))
    set_weights(model, 0)
    source, target = (rng.integers(3, 13, (4, n)).astype("int32") for n in (6, 5))
    masks = [np.arange(n) < rng.integers(2, n + 1, (4, 1)) for n in (6, 5)]
    batch = SequencePairs(source, masks[0], target, masks[1])
    _updates(results, name, Learner(model, Translation(0.1), optimizer()), batch)
    search = functools.partial(BeamSearch, max_new_tokens=6, width=3, stop_tokens=(2,))
    found = Translator(model, search, start_token=1)(source, masks[0])
    results[f"{name}/found"] = np.where(found.mask, found.tokens, 0)
    results[f"{name}/log_probs"] = np.where(found.mask, found.log_probs, 0.0)


def _updates(results, name, learner, batch):
    for step in range(UPDATES):
        for key, value in learner.update(batch).items():
            results[f"{name}/{step}/{key}"] = float(value)
    record_weights(results, name, learner.model)


def ppo(results, name, shared):
    policy, reference = CausalLM(CONFIG), CausalLM(CONFIG)
    model = SharedActorCritic(policy)
    if not shared:
        model = SeparateActorCritic(policy, critic_of(policy))
    set_weights(model, 0)
    set_weights(reference, 1)
    config = RolloutConfig(5, temperature=0.7, stop_tokens=(3,))
    worker = RolloutWorker(model, reference, share_of_fives, config)
    learner = Learner(model, PPO(temperature=0.7), optimizer())
    rng = np.random.default_rng(3)
    mask = np.arange(6) >= rng.integers(0, 5, 8)[:, None]
    prompts = Prompts(np.where(mask, rng.integers(4, 13, (8, 6)), 0).astype("int32"), mask)
    for step in range(2):
        _, logs = improve(
            worker, learner, prompts, FixedKL(0.1), seed=1, step=step, epochs=2, minibatch_size=4
        )
        for key, value in logs.items():
            results[f"{name}/{step}/{key}"] = value
    record_weights(results, name, model)
    results[f"{name}/traces"] = learner.traces


def share_of_fives(token_ids, padding_mask, response_mask):
    response = token_ids[:, -response_mask.shape[1] :]
    return (response == 5).mean(axis=1).astype("float32")


def record_weights(results, name, model):
    for index, variable in enumerate(model.trainable_variables):
        results[f"{name}/weights/{index}"] = keras.ops.convert_to_numpy(variable.value)


def main(path):
    results = {}
    language_model(results, "plain")
    language_model(results, "accumulated", accumulate=2)
    language_model(results, "chunked", chunk=8)
    encoder(results, "encoder")
    encoder_decoder(results, "encoder_decoder")
    ppo(results, "shared", shared=True)
    ppo(results, "separate", shared=False)
    dropped = {}  # the backends start from other seeds: only that it runs is the same
    model = language_model(dropped, "dropout", accumulate=2, dropout=0.5)
    seeds = [v for v in model.variables if "seed_generator" in v.path]
    results["dropout/traces"] = dropped["dropout/traces"]
    results["dropout/finite"] = all(np.isfinite(value).all() for value in dropped.values())
    results["dropout/seeds_move"] = all(int(v.value[1]) > 0 for v in seeds)
    results["dropout/masks_differ"] = dropped["dropout/0/loss"] != dropped["dropout/1/loss"]
    results["tensorflow_imported"] = "tensorflow" in sys.modules
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])

"""Losses and gradients of TRL 1.16 on small fixed inputs, for ``tests/objectives/test_trl.py``.

Runs in the environment of ``experiments/peers/requirements-trl-grpo.txt``, which has not tfalign:

    python tests/parity/trl_side.py tests/objectives/trl_1_16.json

Every number is computed by TRL's own trainer methods. They are called on a stand-in for the trainer
that has the few attributes they read, and on a model whose logits are its parameters, so that a
gradient is one number a logit. Advantages come from whole trainers that generate with a GPT-2 of
random weights and are given rewards. Losses that TRL averages over the tokens of a batch, where
tfalign's are means over responses (the likelihood in ORPO and CPO), are computed row by row.
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import sys
import tempfile
import types
from collections import defaultdict
from importlib.metadata import version

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import (
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOTrainer,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
)
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.utils import add_fused_lm_head

PROMPT, RESPONSE, VOCAB, PAIRS, GROUP = 1, 4, 5, 3, 2
COLUMNS = PROMPT + RESPONSE
FIELDS = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
REWARDS = [0.5, -1.0, 2.0, 0.25, 1.0, 1.0, 1.0, 1.0, -3.0, 7.0, 0.0, 0.5]  # groups of four


class GivenLogits(torch.nn.Module):
    """A causal LM whose logits are its parameters, of the rows ``start`` on."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))
        self.config = types.SimpleNamespace(get_text_config=lambda: types.SimpleNamespace())
        self.head = torch.nn.Linear(VOCAB, VOCAB, bias=False)
        self.head.weight = torch.nn.Parameter(torch.eye(VOCAB), requires_grad=False)
        self.shown = slice(None)

    def forward(self, input_ids, attention_mask=None, **choices):
        return types.SimpleNamespace(logits=self.logits[self.shown])

    def base_model(self, input_ids, attention_mask=None, **choices):
        return types.SimpleNamespace(last_hidden_state=self.logits[self.shown])

    def get_output_embeddings(self):
        return self.head


def stand_in(**attributes):
    """What the trainers' methods read of a trainer in training mode on one process."""
    same = lambda x: x  # noqa: E731
    accelerator = types.SimpleNamespace(
        device=torch.device("cpu"),
        num_processes=1,
        is_main_process=False,
        gather=same,
        gather_for_metrics=same,
        reduce=lambda x, reduction: x,
        autocast=contextlib.nullcontext,
    )
    shared = {
        "accelerator": accelerator,
        "model": types.SimpleNamespace(training=True),
        "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "args": types.SimpleNamespace(report_to=[]),
    }
    return types.SimpleNamespace(**shared | attributes)


def inputs_of(seed):
    """Random tokens, logits, log-probs and masks; right-padded responses of different lengths."""
    rng = np.random.default_rng(seed)
    lengths = np.array([[4, 2], [1, 3], [3, 4]])
    rows = PAIRS * 2
    return {
        "token_ids": rng.integers(0, VOCAB, (PAIRS, 2, COLUMNS)),
        "response_mask": np.arange(RESPONSE) < lengths[..., None],
        "logits": rng.normal(0, 1.5, (PAIRS, 2, COLUMNS, VOCAB)).astype("float32"),
        "ref_log_probs": rng.normal([-6, -12], 1, (PAIRS, 2)).astype("float32"),
        "desirable": np.array([True, False, True]),
        "scores": rng.normal(size=(PAIRS, 2)).astype("float32"),
        "margin": np.array([0.0, 0.5, 1.5], "float32"),
        "old_log_probs": rng.normal(-1.5, 0.4, (rows, RESPONSE)).astype("float32"),
        "ref_token_log_probs": rng.normal(-1.5, 0.4, (rows, RESPONSE)).astype("float32"),
        "advantages": rng.normal(size=rows).astype("float32"),
    }


def by_side(x):
    """[B, 2, ...] to all chosen, then all rejected: how TRL lays pairs out."""
    return np.concatenate([x[:, 0], x[:, 1]])


def completion_mask(given):
    return np.pad(by_side(given["response_mask"]), ((0, 0), (PROMPT, 0))).astype("int64")


def attention_mask(mask):
    return np.maximum(mask, np.arange(COLUMNS) < PROMPT).astype("int64")


def result(model, loss, arrange):
    """The loss, and its gradient in tfalign's order of rows."""
    model.logits.grad = None
    loss.backward()
    gradient = arrange(model.logits.grad.numpy())
    return {"loss": loss.item(), "gradient": gradient.tolist()}


def to_pairs(rows):
    return np.stack(np.split(rows, 2), axis=1)


def given_model(rows):
    model = GivenLogits(rows)
    add_fused_lm_head(model, outputs=FIELDS)
    return model


def dpo(given, loss_type, beta=0.3, label_smoothing=0.0, rows=slice(None)):
    given = {name: value[rows] for name, value in given.items()}
    trainer = stand_in(
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=label_smoothing,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        use_weighting=False,
    )
    mask = completion_mask(given)
    batch = {
        "input_ids": torch.tensor(by_side(given["token_ids"])),
        "attention_mask": torch.tensor(attention_mask(mask)),
        "completion_mask": torch.tensor(mask),
        "ref_chosen_logps": torch.tensor(given["ref_log_probs"][:, 0]),
        "ref_rejected_logps": torch.tensor(given["ref_log_probs"][:, 1]),
    }
    model = given_model(by_side(given["logits"]))
    return result(model, DPOTrainer._compute_loss(trainer, model, batch, False), to_pairs)


def cdpo(given, label_smoothing):
    """Of one pair, TRL's "aot" is DPO with smoothed labels, which its "sigmoid" does not have."""
    alone = [dpo(given, "aot", 0.3, label_smoothing, slice(i, i + 1)) for i in range(PAIRS)]
    gradient = np.concatenate([row["gradient"] for row in alone]) / PAIRS
    loss = float(np.mean([row["loss"] for row in alone]))
    return {"loss": loss, "gradient": gradient.tolist()}


def kto(given, beta=0.3, desirable_weight=1.5, undesirable_weight=0.5):
    """The first of each two responses is the prompt's own, the second another prompt's."""
    own, other = (slice(0, PAIRS), slice(PAIRS, None))
    mask = completion_mask(given)
    ids = by_side(given["token_ids"])
    model = given_model(by_side(given["logits"]))

    def other_log_probs(model, batch):
        model.shown = other
        with torch.no_grad():
            return KTOTrainer._compute_kl_logps(trainer, model, batch)

    def compute():
        log_probs = other_log_probs(model, batch)
        trainer._compute_kl_logps = lambda model, batch: log_probs
        model.shown = own
        return KTOTrainer._compute_loss(trainer, model, batch, False)

    trainer = stand_in(
        loss_type="kto",
        calculate_KL=True,
        beta=beta,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
        precompute_ref_logps=True,
        args=types.SimpleNamespace(gradient_checkpointing_kwargs=None),
    )
    batch = {
        "input_ids": torch.tensor(ids[own]),
        "attention_mask": torch.tensor(attention_mask(mask[own])),
        "completion_mask": torch.tensor(mask[own]),
        "KL_input_ids": torch.tensor(ids[other]),
        "KL_attention_mask": torch.tensor(attention_mask(mask[other])),
        "KL_completion_mask": torch.tensor(mask[other]),
        "label": torch.tensor(given["desirable"]),
        "ref_logps": torch.tensor(given["ref_log_probs"][:, 0]),
        "ref_KL_logps": torch.tensor(given["ref_log_probs"][:, 1]),
    }
    loss = compute()
    return result(model, loss, to_pairs) | {"kl": trainer._metrics["train"]["kl"][0]}


def row_by_row(trainer_class, given, **attributes):
    """In mean over rows, each a batch of its own: the likelihood is then a mean over responses."""
    trainer = stand_in(
        is_encoder_decoder=False,
        padding_value=0,
        pad_token_id=0,
        label_pad_token_id=-100,
        **attributes,
    )
    for method in ("concatenated_inputs", "get_batch_logps"):
        setattr(trainer, method, getattr(trainer_class, method))
    for method in ("concatenated_forward", "odds_ratio_loss", "cpo_loss"):
        if hasattr(trainer_class, method):
            setattr(trainer, method, functools.partial(getattr(trainer_class, method), trainer))
    mask = completion_mask(given)
    ids = by_side(given["token_ids"])
    model = given_model(by_side(given["logits"]))
    losses = []
    for row in range(PAIRS):
        batch = {}
        for side, index in (("chosen", row), ("rejected", row + PAIRS)):
            labels = np.where(mask[index], ids[index], -100)
            batch[f"{side}_input_ids"] = torch.tensor(ids[index][None])
            batch[f"{side}_attention_mask"] = torch.tensor(attention_mask(mask[index])[None])
            batch[f"{side}_labels"] = torch.tensor(labels[None])
        model.shown = [row, row + PAIRS]
        losses.append(trainer_class.get_batch_loss_metrics(trainer, model, batch)[0])
    return result(model, torch.stack(losses).mean(), to_pairs)


def reward_model(given, centering, margin):
    scores = torch.nn.Parameter(torch.tensor(by_side(given["scores"]))[:, None])
    trainer = stand_in(args=types.SimpleNamespace(center_rewards_coefficient=centering))
    batch = {"attention_mask": torch.ones(2 * PAIRS, 1)}
    if margin:
        batch["margin"] = torch.tensor(given["margin"])
    model = lambda use_cache, attention_mask, margin=None: types.SimpleNamespace(logits=scores)  # noqa: E731
    loss = RewardTrainer.compute_loss(trainer, model, batch)
    loss.backward()
    gradient = to_pairs(scores.grad.numpy()[:, 0])
    return {"loss": loss.item(), "gradient": gradient.tolist()}


def policy_batch(given):
    ids = given["token_ids"].reshape(-1, COLUMNS)
    mask = given["response_mask"].reshape(-1, RESPONSE).astype("int64")
    batch = {
        "prompt_ids": ids[:, :PROMPT],
        "prompt_mask": np.ones((len(ids), PROMPT), "int64"),
        "completion_ids": ids[:, PROMPT:],
        "completion_mask": mask,
        "advantages": given["advantages"],
        "old_per_token_logps": given["old_log_probs"],
        "ref_per_token_logps": given["ref_token_log_probs"],
        "num_items_in_batch": np.array(float(mask.sum())),
    }
    return {name: torch.tensor(value) for name, value in batch.items()}


def policy_model(given):
    return given_model(given["logits"].reshape(-1, COLUMNS, VOCAB))


def grpo(given, loss_type, low=0.2, high=0.2, beta=0.0, level="token", on_policy=False):
    trainer = stand_in(
        loss_type=loss_type,
        epsilon_low=low,
        epsilon_high=high,
        beta=beta,
        importance_sampling_level=level,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        max_completion_length=RESPONSE,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        args=types.SimpleNamespace(
            delta=None, use_bias_correction_kl=False, steps_per_generation=1
        ),
    )
    trainer._get_per_token_logps_and_entropies = functools.partial(
        GRPOTrainer._get_per_token_logps_and_entropies, trainer
    )
    batch = policy_batch(given)
    if on_policy:
        del batch["old_per_token_logps"]
    model = policy_model(given)
    return result(model, GRPOTrainer._compute_loss(trainer, model, batch), np.asarray)


def rloo(given):
    trainer = stand_in(epsilon_low=0.2, epsilon_high=0.2)
    trainer._get_per_token_logps_and_entropies = functools.partial(
        RLOOTrainer._get_per_token_logps_and_entropies, trainer
    )
    batch, model = policy_batch(given), policy_model(given)
    with torch.no_grad():  # on-policy: the policy that sampled is the policy
        log_probs, _, _ = trainer._get_per_token_logps_and_entropies(
            model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            RESPONSE,
            compute_entropy=True,
        )
    batch["old_logps"] = (log_probs * batch["completion_mask"]).sum(1)
    return result(model, RLOOTrainer._compute_loss(trainer, model, batch), np.asarray)


def advantages(trainer_class, config_class, **choices):
    """What a whole trainer makes of REWARDS, of completions of a GPT-2 of random weights."""
    words = {f"w{index}": index for index in range(14)} | {"<pad>": 14, "<eos>": 15}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")),
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
    )
    sizes = {"vocab_size": 16, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    seen = []

    def reward(completions, **columns):
        seen.append(len(completions))
        return REWARDS

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        config = config_class(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            report_to="none",
            per_device_train_batch_size=len(REWARDS),
            num_generations=4,
            max_completion_length=2,
            **choices,
        )
        trainer = trainer_class(
            model=GPT2LMHeadModel(GPT2Config(bos_token_id=15, eos_token_id=15, **sizes)),
            reward_funcs=reward,
            args=config,
            processing_class=tokenizer,
            train_dataset=Dataset.from_dict({"prompt": ["w1", "w2", "w3"]}),
        )
        rows = [{"prompt": f"w{1 + index // 4}"} for index in range(len(REWARDS))]
        trainer.model.train()
        made = trainer._generate_and_score_completions(rows)
    assert seen == [len(REWARDS)]
    return made["advantages"].tolist()


def main(file):
    given = inputs_of(0)
    results = {
        "dpo": dpo(given, "sigmoid"),
        "cdpo": cdpo(given, label_smoothing=0.2),
        "hinge": dpo(given, "hinge"),
        "robust": dpo(given, "robust", label_smoothing=0.2),
        "ipo": dpo(given, "ipo"),
        "kto": kto(given),
        "orpo": row_by_row(ORPOTrainer, given, beta=0.3),
        "simpo": row_by_row(
            CPOTrainer,
            given,
            loss_type="simpo",
            beta=2.5,
            simpo_gamma=1.375,
            label_smoothing=0.0,
            cpo_alpha=0.0,
            alpha=0.0,
        ),
        "cpo": row_by_row(
            CPOTrainer,
            given,
            loss_type="sigmoid",
            beta=0.3,
            label_smoothing=0.0,
            cpo_alpha=0.7,
            alpha=0.0,
        ),
        "reward_model": reward_model(given, None, False),
        "reward_model_margin_centred": reward_model(given, 0.01, True),
        "grpo": grpo(given, "grpo", beta=0.04),
        "bnpo": grpo(given, "bnpo", beta=0.04),
        "dr_grpo": grpo(given, "dr_grpo"),
        "dapo": grpo(given, "dapo", high=0.28),
        "cispo": grpo(given, "cispo", high=1.1),
        "gspo": grpo(given, "grpo", low=0.05, high=0.1, level="sequence"),
        "grpo_on_policy": grpo(given, "grpo", on_policy=True),
        "rloo": rloo(given),
    }
    grpo_choices = {"beta": 0.0}
    record = {
        "made_by": "tests/parity/trl_side.py",
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "numpy")},
        "inputs": {name: value.tolist() for name, value in given.items()},
        "results": results,
        "rewards": REWARDS,
        "advantages": {
            "grpo": advantages(GRPOTrainer, GRPOConfig, **grpo_choices),
            "dr_grpo": advantages(GRPOTrainer, GRPOConfig, scale_rewards="none", **grpo_choices),
            "rloo": advantages(RLOOTrainer, RLOOConfig, beta=0.0),
        },
    }
    text = json.dumps(_rounded(record), separators=(",", ":"))
    pathlib.Path(file).write_text(text.replace(',"', ',\n"') + "\n", encoding="utf-8")


def _rounded(value):
    """Nine digits say a float32 exactly."""
    if isinstance(value, dict):
        return {name: _rounded(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_rounded(member) for member in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main(sys.argv[1])

"""What a step of training costs, from a configuration alone: weights, memory, operations.

Operations are those of matrix products, two for a multiplication and an addition; all else is a few per
cent beside them. A product's backward pass costs two of its kind. Memory is what XLA keeps of this
library's blocks until their backward pass, with elementwise operations fused; ``tfalign plan --check``
compares both with the compiler's own numbers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from tfalign.layers.scaled_dot_product import is_long
from tfalign.models import GPTConfig
from tfalign.models.read_out import chunk_by_size
from tfalign.training.weight_counts import count_adapters, count_parameters, sizes_of

ON_POLICY = ("ppo", "grpo")
"""Algorithms whose costs are those of rollouts and updates on them."""

BYTES = {"float32": 4, "mixed_bfloat16": 2}  # of a number that a block hands on
_LOGITS_KEPT = 3  # arrays of logits' size on a CPU: themselves, their exponentials, their gradient


class Models(NamedTuple):
    """The GPTConfigs of an algorithm's models, None where there is none."""

    policy: GPTConfig  # and of the reference; of what is trained, where there is no policy
    reward: GPTConfig | None = None
    critic: GPTConfig | None = None  # of its own trunk


class Costs(NamedTuple):
    """Of one step of an algorithm."""

    flops: dict[str, float]  # by phase
    resident: dict[str, float]  # bytes that are always there, by component
    passing: dict[str, float]  # bytes that take each other's place, by component

    @property
    def total_flops(self) -> float:
        return sum(self.flops.values())

    @property
    def total_memory(self) -> float:
        return sum(self.resident.values()) + max(self.passing.values())


@dataclasses.dataclass(frozen=True)
class Work:
    """How much a step does.

    Attributes:
        rows: of a batch; pairs for reward models and DPO, responses for PPO and GRPO.
        prompt: columns of a prompt; a text without one is all response.
        response: columns of a response.
        minibatch: responses of an update of PPO or GRPO; ``rows`` where None.
        epochs: passes of PPO or GRPO over a batch.
        accumulate: micro-batches an update is cut into; two of them save no memory.
        lora_rank: of adapters on all Dense layers of the blocks; 0 where all weights are trained.
        precision: "float32" or "mixed_bfloat16".
        remat: whether blocks are computed again in the backward pass.
        chunk: positions whose logits are computed at a time, 0 for all at once; None for what ``models.read_out``
            chooses by their number.
        platform: of the devices, see ``backend.platform``.
    """

    rows: int
    prompt: int
    response: int
    minibatch: int | None = None
    epochs: int = 1
    accumulate: int = 1
    lora_rank: int = 0
    precision: str = "float32"
    remat: bool = False
    chunk: int | None = None
    platform: str = "cpu"

    @property
    def columns(self) -> int:
        return self.prompt + self.response


def forward_flops(
    config: GPTConfig, rows: int, columns: int, last: int | None = None, logits: int = 0
) -> float:
    """Of the trunk, and of the read-out at some of its columns.

    Args:
        config: GPTConfig.
        rows: int.
        columns: int, of a row.
        last: int, columns that the last block works on; None for all.
        logits: int, columns of a row that are read out, in the mean of rows.
    """
    s = sizes_of(config)
    blocks = (s.layers - 1) * _block_flops(s, columns, columns)
    blocks += _block_flops(s, columns if last is None else last, columns)
    return rows * (blocks + 2 * logits * s.width * s.vocab)


def update_flops(
    config: GPTConfig,
    rows: int,
    columns: int,
    last: int | None = None,
    logits: int = 0,
    lora_rank: int = 0,
) -> float:
    """Of an optimizer step: the forward pass, and the backward pass.

    Args:
        config, rows, columns, last, logits: as ``forward_flops``.
        lora_rank: see ``Work``.
    """
    forward = forward_flops(config, rows, columns, last, logits)
    if not lora_rank:
        return 3 * forward
    s = sizes_of(config)  # a frozen kernel needs no gradient, what flows through it does
    adapters = count_adapters(config, lora_rank)
    return forward * (2 + 3 * adapters / (s.layers * s.matrices))


def decode_flops(config: GPTConfig, rows: int, prompt: int, new: int) -> float:
    """Of the decode loop: the prompt but its last token, then ``new`` tokens, over the whole cache."""
    s = sizes_of(config)
    length = prompt + new - 1
    # of the prompt's last block only keys and values are looked at
    prefill = (s.layers - 1) * _block_flops(s, prompt - 1, length, prompt - 1)
    prefill += (prompt - 1) * 4 * s.width * s.keys
    token = s.layers * _block_flops(s, 1, length, 1) + 2 * s.width * s.vocab
    return rows * (prefill + new * token)


def decode_bytes(
    config: GPTConfig, rows: int, prompt: int, new: int, precision: str = "float32"
) -> float:
    """What the decode loop reads: all weights and the whole cache, for every new token."""
    weights = BYTES[precision] * count_parameters(config)
    return new * (weights + cache_bytes(config, rows, prompt, new, precision))


def cache_bytes(
    config: GPTConfig, rows: int, prompt: int, new: int, precision: str = "float32"
) -> float:
    """Of the decode loop's keys and values."""
    s = sizes_of(config)
    return 2.0 * s.layers * rows * (prompt + new - 1) * s.keys * BYTES[precision]


def costs_of(algorithm: str, models: Models, work: Work) -> Costs:
    """Of a step of an algorithm.

    Args:
        algorithm: "sft", "reward", one of ``ON_POLICY``, or else one of pairs, such as "dpo".
        models: Models.
        work: Work.
    """
    if algorithm in ON_POLICY:
        return on_policy_costs(models.policy, work, models.reward, models.critic)
    of = {"sft": supervised_costs, "reward": reward_costs}
    return of.get(algorithm, preference_costs)(models.policy, work)


def readout_flops(algorithm: str, phase: str, config: GPTConfig, work: Work) -> float:
    """What of a phase's operations is the product with the vocabulary's table."""
    if phase == "reward" or algorithm == "reward":
        return 0.0
    read = work.columns if algorithm == "sft" else work.response
    rows = work.rows if algorithm in ("sft", *ON_POLICY) else 2 * work.rows
    passes = 3 * work.epochs if phase == "update" else 1
    return passes * rows * read * 2.0 * config.width * config.vocab_size


def supervised_costs(config: GPTConfig, work: Work) -> Costs:
    """Of an update of pretraining or fine-tuning on rows of text."""
    return _update_costs(config, work, work.rows, work.columns, logits=work.columns)


def reward_costs(config: GPTConfig, work: Work) -> Costs:
    """Of an update of a reward model on pairs."""
    return _update_costs(config, work, 2 * work.rows, work.columns)


def preference_costs(config: GPTConfig, work: Work) -> Costs:
    """Of an update of DPO and its like on pairs; the reference spoke once before, and is gone."""
    read = {"last": work.response, "logits": work.response}
    return _update_costs(config, work, 2 * work.rows, work.columns - 1, **read)


def on_policy_costs(
    config: GPTConfig,
    work: Work,
    reward_config: GPTConfig | None = None,
    critic_config: GPTConfig | None = None,
) -> Costs:
    """Of an iteration of PPO or GRPO: rollouts and all updates on them.

    Args:
        config: GPTConfig of the policy, and of the reference, which with adapters is its base.
        work: Work.
        reward_config: GPTConfig of the reward model; None for a rule.
        critic_config: GPTConfig of a critic's own trunk; None for one on the policy's, or none.
    """
    read = {"last": work.response, "logits": work.response}
    minibatch = work.minibatch or work.rows
    update = _update_costs(config, work, minibatch, work.columns - 1, **read)
    decoded = work.rows, work.prompt, work.response
    flops = {"generation": decode_flops(config, *decoded)}
    resident = dict(update.resident)
    if not work.lora_rank:
        resident["reference"] = 4.0 * count_parameters(config)
    passing = update.passing | {"cache": cache_bytes(config, *decoded, work.precision)}
    if reward_config is not None:
        scored = reward_config, work.rows, work.columns
        flops["reward"] = forward_flops(*scored)
        resident["reward model"] = 4.0 * count_parameters(reward_config)
        passing["reward"] = forward_bytes(*scored, precision=work.precision)
    compared = config, work.rows, work.columns - 1
    flops["reference"] = forward_flops(*compared, **read)
    passing["reference"] = forward_bytes(*compared, **read, precision=work.precision)
    of_update = update.total_flops
    if critic_config is not None:
        whole = dataclasses.replace(work, lora_rank=0)
        critic = _update_costs(
            critic_config, whole, minibatch, work.columns - 1, last=work.response
        )
        of_update += critic.total_flops
        flops["reference"] += work.rows / minibatch * critic.total_flops / 3  # forward, on rollouts
        resident["critic"] = critic.resident["weights"]
        resident["critic's optimizer"] = critic.resident["optimizer"]
        for name, size in critic.passing.items():  # one objective, one program
            passing[name] += size
    flops["update"] = work.epochs * work.rows / minibatch * of_update
    return Costs(flops, resident, passing)


def kept_bytes(
    config: GPTConfig,
    rows: int,
    columns: int,
    last: int | None = None,
    logits: int = 0,
    precision: str = "float32",
    remat: bool = False,
    chunk: int | None = None,
    platform: str = "cpu",
) -> float:
    """What a forward pass keeps for the backward pass.

    Args:
        config, rows, columns, last, logits: as ``forward_flops``.
        precision: str, see ``Work``.
        remat, chunk, platform: see ``Work``.
    """
    s = sizes_of(config)
    last = columns if last is None else last
    if remat:  # inputs of all blocks, and one block's states
        numbers = s.layers * columns * s.width + _block_keeps(config, columns, columns)
    else:
        numbers = (s.layers - 1) * _block_keeps(config, columns, columns)
        numbers += _block_keeps(config, last, columns)
    numbers += 2 * last * s.width  # the last block's states, normalised
    numbers += columns * s.width * (config.rotary_base is None)
    read = _read_at_once(rows, logits, s.vocab, chunk, platform)
    # an accelerator's compiler forms the gradient of logits where it is multiplied
    of_logit = 4 * _LOGITS_KEPT if platform == "cpu" else BYTES[precision]
    return rows * BYTES[precision] * numbers + float(of_logit) * read * s.vocab


def _read_at_once(rows, logits, vocab, chunk, platform):
    """Positions whose logits are there at once."""
    if chunk is None:
        chunk = chunk_by_size(rows, logits, vocab, platform=platform)
    return min(chunk or math.inf, rows * logits)


def forward_bytes(
    config: GPTConfig,
    rows: int,
    columns: int,
    last: int | None = None,
    logits: int = 0,
    precision: str = "float32",
) -> float:
    """What a forward pass without a backward pass needs at its widest; arguments as ``kept_bytes``."""
    s = sizes_of(config)
    attention = 2 * s.queries + 2 * s.keys
    attention += s.queries if is_long(columns, columns) else 2 * s.heads * columns
    block = columns * (2 * s.width + max(attention, 2 * s.inner * s.hidden))
    return rows * max(BYTES[precision] * block, 8.0 * logits * s.vocab)


def _block_flops(s, queries, keys, new_keys=None):
    """Of a block on some columns that attend to more, of which ``new_keys`` (all where None) are new."""
    of_query = 4 * s.width * s.queries + 2 * (s.inner + 1) * s.width * s.hidden
    of_key = 4 * s.width * s.keys
    attention = 4.0 * queries * keys * s.queries
    return queries * of_query + (keys if new_keys is None else new_keys) * of_key + attention


def _block_keeps(config, queries, keys):
    """Numbers a block keeps of a row."""
    s = sizes_of(config)
    of_key = 2 * s.width + 2 * s.keys  # input, normalised; keys, values
    of_query = 2 * s.width + 2 * s.queries  # between the sub-layers, normalised; queries, outputs
    of_query += (5 if config.gated else 3) * s.hidden  # what activations, and gates, need
    # weights; or outputs, once more as tiles, and a number a head that weights come from again
    attention = s.queries + s.heads if is_long(queries, keys) else s.heads * keys
    return keys * of_key + queries * (of_query + attention)


def _update_costs(config, work, rows, columns, last=None, logits=0):
    weights = count_parameters(config)
    adapters = count_adapters(config, work.lora_rank) if work.lora_rank else 0
    trained = adapters or weights
    gradients = 4.0 * trained
    pieces = work.accumulate if work.accumulate > 2 else 1  # XLA runs two of them side by side
    of_rows = config, rows / pieces, columns, last, logits
    kept = kept_bytes(*of_rows, work.precision, work.remat, work.chunk, work.platform)
    sums = gradients if pieces > 1 else 0.0
    return Costs(
        {"update": update_flops(config, rows, columns, last, logits, work.lora_rank)},
        {"weights": 4.0 * (weights + adapters), "optimizer": 8.0 * trained},
        {"activations": kept + sums, "gradients": gradients + sums},  # one comes as the other goes
    )

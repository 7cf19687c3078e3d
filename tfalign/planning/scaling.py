"""What each device of a mesh takes of a step: memory, operations, and bytes it sends.

A device computes its share of the rows with a model that has its share of the heads and hidden units
(Shoeybi et al. 2019); "fsdp" cuts what it holds further, and gathers it (Rajbhandari et al. 2020):
``models.layouts`` says what is cut. docs/scaling.md has the formulas and what they leave out, and
``tfalign plan --mesh=... --check`` compares them with what XLA compiled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from tfalign.models import GPTConfig
from tfalign.models.layouts import check_mesh
from tfalign.training import step_costs as costs
from tfalign.training.step_costs import BYTES, Costs, Models, Work
from tfalign.training.weight_counts import count_matrices, count_parameters, count_tables

# JAX's XLA to TensorFlow's, which ``costs.kept_bytes`` describes: 1.04 to 1.28 in eight programs on CPUs. On TPUs, where
# activation functions and norms are computed again for the backward pass: docs/results/tpu_compiler.md
KEPT_ON_CPU, KEPT_ON_TPU = 1.15, 0.85


class Scaled(NamedTuple):
    """Of one step, on each device."""

    costs: Costs
    sent: dict[str, float]  # bytes, by phase


class Axes(NamedTuple):
    """Devices along the axes of a mesh."""

    rows: int
    model: int
    fsdp: int  # as ``rows`` where these cut the weights too, experts' or all, else 1
    context: int = 1  # devices that share a sequence, but not in generation

    @classmethod
    def of(cls, mesh: Mapping[str, int]) -> Axes:
        """Those of a dict of ``layouts.parse_mesh``."""
        axis, rows = next(iter(mesh.items()))
        fsdp = 1 if axis == "data" else rows
        return cls(rows, mesh["model"], fsdp, mesh.get("context", 1))


def scale(
    algorithm: str,
    models: Models,
    work: Work,
    mesh: Mapping[str, int],
    kept: float = KEPT_ON_CPU,
) -> Scaled:
    """What a device takes of a step.

    Args:
        algorithm: str, see ``step_costs.costs_of``.
        models: costs.Models.
        work: costs.Work of all devices together.
        mesh: dict of ``layouts.parse_mesh``.
        kept: float, bytes that a compiler keeps for the backward pass to those of ``costs.kept_bytes``.

    Raises:
        ValueError: naming what the mesh does not divide, or for adapters, which are not planned.
    """
    if work.lora_rank:
        raise ValueError(f"Adapters are not planned on a mesh. Received: rank={work.lora_rank}")
    for model in filter(None, models):
        check_mesh(model, mesh)
    axes = Axes.of(mesh)
    own = _work_of_device(work, axes.rows)
    local = costs.costs_of(algorithm, Models(*(m and share_of(m, axes) for m in models)), own)
    return Scaled(
        Costs(
            _flops(local, algorithm, models.policy, own, axes),
            _resident(local, models, axes),
            _passing(local, algorithm, models, own, axes, kept),
        ),
        sent_bytes(algorithm, models, own, axes),
    )


def share_of(config: GPTConfig, axes: Axes) -> GPTConfig:
    """A device's share of a model: its heads and hidden units, of the same width.

    Args:
        config: GPTConfig.
        axes: Axes.

    Returns:
        GPTConfig.
    """
    return config.replace(
        head_dim=config.head_dim or config.width // config.num_heads,
        num_heads=config.num_heads // axes.model,
        num_key_value_heads=(config.num_key_value_heads or config.num_heads) // axes.model,
        hidden_dim=(config.hidden_dim or 4 * config.width) // axes.model,
        expert_dim=config.expert_dim and config.expert_dim // axes.model,
    )


def held_weights(config: GPTConfig, axes: Axes) -> float:
    """Weights a device holds of a CausalLM: matrices and token embeddings are cut, the rest is whole."""
    tables, matrices = count_tables(config), count_matrices(config)
    whole = count_parameters(config) - tables - matrices
    cut = axes.model if axes.model > 1 else axes.fsdp
    return whole + tables / cut + matrices / (axes.model * axes.fsdp)


def gathered_weights(config: GPTConfig, axes: Axes, read_out: bool) -> float:
    """Weights that "fsdp" makes whole while they are used, until their gradient is known; the token
    embedding's table only as a read-out."""
    if axes.fsdp == 1:
        return 0.0
    table = config.vocab_size * config.width if read_out and axes.model == 1 else 0
    return table + count_matrices(config) / axes.model


def decode_bytes(config: GPTConfig, work: Work, mesh: Mapping[str, int]) -> float:
    """What a device's decode loop reads: weights made whole but for "model", and its share of the cache.

    Args:
        config: GPTConfig.
        work: costs.Work of all devices together.
        mesh: dict of ``layouts.parse_mesh``.
    """
    axes = Axes.of(mesh)
    own = _work_of_device(work, axes.rows)
    decoded = own.rows, own.prompt, own.response, own.precision
    weights = BYTES[own.precision] * held_weights(config, axes._replace(fsdp=1))
    return own.response * (weights + costs.cache_bytes(share_of(config, axes), *decoded))


def sent_bytes(algorithm: str, models: Models, work: Work, axes: Axes) -> dict[str, float]:
    """What a device sends, by phase.

    Args:
        algorithm, models: as ``scale``.
        work: costs.Work of a device.
        axes: Axes.
    """
    traffic = _Traffic(axes, BYTES[work.precision])
    columns, response = work.columns, work.response
    if algorithm not in costs.ON_POLICY:
        rows = work.rows if algorithm == "sft" else 2 * work.rows
        read = {
            "sft": (columns, columns, columns),
            "reward": (columns, columns, 0),
        }.get(algorithm, (columns - 1, response, response))
        return {"update": traffic.update(models.policy, rows, *read)}
    read = columns - 1, response
    sent = {
        "generation": traffic.decoding(models.policy, work.rows, work.prompt, response),
        "reference": traffic.forward(models.policy, work.rows, *read, response),
    }
    minibatch = work.minibatch or work.rows
    update = traffic.update(models.policy, minibatch, *read, response)
    if models.reward is not None:
        sent["reward"] = traffic.forward(models.reward, work.rows, columns, columns, 0)
    if models.critic is not None:
        sent["reference"] += traffic.forward(models.critic, work.rows, *read, 0)
        update += traffic.update(models.critic, minibatch, *read, 0)
    sent["update"] = work.epochs * work.rows / minibatch * update
    return sent


class _Traffic(NamedTuple):
    """Bytes a device sends; of N in the hands of P devices a ring sends N (P - 1) / P, twice where
    they are summed for all."""

    axes: Axes
    number: int  # bytes of a state

    def update(self, config, rows, columns, last, logits):
        """Forward, backward, and the sum of gradients."""
        read = config, rows, columns, last, logits
        return self.forward(*read) + self.backward(*read) + self.gradients(config, logits > 0)

    def forward(self, config, rows, columns, last, logits):
        """Weights and keys that are gathered, and what ``activations`` says."""
        sums = self.activations(config, rows, columns, last, logits) / self.axes.context
        return sums + self.weights(config, read_out=logits > 0) + self.keys(config, rows, columns)

    def keys(self, config, rows, columns):
        """Keys and values of all blocks, which the devices of a sequence gather."""
        heads = (config.num_key_value_heads or config.num_heads) // self.axes.model
        width = heads * (config.head_dim or config.width // config.num_heads)
        states = 2 * config.num_layers * rows * columns * width
        return _ring(self.axes.context) * self.number * states

    def activations(self, config, rows, columns, last, logits):
        """Two sums of states a block, the read-out, and the embedding's parts."""
        states = 2 * (config.num_layers - 1) * columns + 2 * last
        sums = 2 * _ring(self.axes.model) * rows * self.number * config.width * states
        read_out = self._read_out(config, rows, logits, of_part=last < columns)
        return sums + read_out + self._embedding(config, rows * columns)

    def _read_out(self, config, rows, logits, of_part):
        """Sums of the logits' parts; XLA gathers the table instead where a part of the columns is read."""
        if of_part and logits:
            return _ring(self.axes.model) * self.number * config.vocab_size * config.width
        return 2 * _ring(self.axes.model) * rows * 4 * config.vocab_size * logits

    def weights(self, config, read_out):
        """Those that "fsdp" gathers."""
        gathered = gathered_weights(config, self.axes, read_out)
        return _ring(self.axes.fsdp) * self.number * gathered

    def backward(self, config, rows, columns, last, logits):
        """A sum of states' gradients a matrix that is cut by its columns, those of the logits' states, the
        embedding's, and of gathered keys."""
        inner = 2 if config.gated else 1
        states = (config.num_layers - 1) * (3 + inner) * columns + (1 + inner) * last + 2 * columns
        sums = 2 * _ring(self.axes.model) * rows * self.number * config.width * states
        read_out = _ring(self.axes.model) * rows * logits * config.width * self.number
        scattered = 0.0 if self.axes.model > 1 else self._embedding(config, rows * columns)
        shared = (sums + read_out + scattered) / self.axes.context
        return shared + 2 * self.keys(config, rows, columns)

    def gradients(self, config, read_out):
        """Sums of them over the devices that share the rows.

        A table has those of its uses: as a read-out, and as an embedding unless "fsdp" alone cuts it, where
        each device looks its part up for all rows. A tied one is summed once, with "data" once a use. They are summed
        as the products that make them give them, in mixed_bfloat16 before they become float32.
        """
        _, model, fsdp, context = self.axes
        uses = [model > 1 or fsdp == 1, read_out]
        uses = max(uses) if config.tied and fsdp > 1 else sum(uses)
        whole = self.axes._replace(fsdp=1)
        others = held_weights(config, whole) - count_tables(config) / model
        numbers = others + uses * config.vocab_size * config.width / model
        return 2 * _ring(self.axes.rows * context) * float(self.number) * numbers

    def decoding(self, config, rows, prompt, new):
        """The prompt but its last token, then token by token, with weights gathered once."""
        whole = self._replace(axes=self.axes._replace(context=1))
        prefill = whole.forward(config, rows, prompt - 1, 0, 0)
        loop = new * self.activations(config, rows, 1, 1, 1)
        return prefill + loop + self.weights(config, read_out=True)

    def _embedding(self, config, tokens):
        devices = self.axes.model if self.axes.model > 1 else self.axes.fsdp
        return _ring(devices) * tokens * config.width * self.number


def _ring(devices):
    return (devices - 1) / devices


def _work_of_device(work, devices):
    minibatch = work.minibatch or work.rows
    for name, rows in (("batch_size", work.rows), ("minibatch_size", minibatch)):
        if rows % devices:
            raise ValueError(
                f"The mesh's first axis, of {devices} devices, must divide {name}. "
                f"Received: {name}={rows}"
            )
    return dataclasses.replace(work, rows=work.rows // devices, minibatch=minibatch // devices)


def _flops(local, algorithm, config, work, axes):
    """As a device's share of a model has them, less what other devices do of the read-out: of its
    backward pass always, of its forward pass where parts are summed, and not of a gathered table's."""
    flops = dict(local.flops)
    for name in flops:
        summed = algorithm == "sft" or name == "generation"
        shared = 1 if summed else 2 / 3 if name == "update" else 0
        read_out = costs.readout_flops(algorithm, name, config, work)
        flops[name] -= shared * (1 - 1 / axes.model) * read_out
        if name != "generation":
            flops[name] /= axes.context
    return flops


def _resident(local, models, axes):
    policy, reward, critic = (m and 4.0 * held_weights(m, axes) for m in models)
    sizes = {
        "weights": policy,
        "optimizer": 2 * policy,
        "reference": policy,
        "reward model": reward,
        "critic": critic,
        "critic's optimizer": critic and 2 * critic,
    }
    return {name: sizes[name] for name in local.resident}


def _passing(local, algorithm, models, work, axes, kept):
    gathered = gathered_weights(models.policy, axes, read_out=algorithm != "reward")
    trained = held_weights(models.policy, axes)
    if models.critic is not None:
        gathered += gathered_weights(models.critic, axes, read_out=False)
        trained += held_weights(models.critic, axes)
    activations = kept * local.passing["activations"] / axes.context
    activations += BYTES[work.precision] * gathered
    activations += _Traffic(axes, BYTES[work.precision]).keys(
        models.policy, work.minibatch, work.columns
    )
    copies = 2 if axes.rows * axes.context > axes.fsdp else 1  # a device's own, and the sums of all
    return local.passing | {"activations": activations, "gradients": 4.0 * copies * trained}

"""How many weights a configuration's model has, without making it."""

from __future__ import annotations

from typing import NamedTuple

from tfalign.models import GPTConfig


class Sizes(NamedTuple):
    """The numbers of a GPTConfig that costs depend on."""

    width: int
    heads: int
    queries: int  # H D
    keys: int  # G D
    hidden: float  # in mean over blocks; of a mixture all experts' together, as without a capacity they compute
    inner: int  # matrices from width to hidden
    layers: int
    vocab: int
    experts: int  # of all blocks

    @property
    def matrices(self) -> float:
        """Weights of a block's matrices."""
        attention = 2 * self.width * (self.queries + self.keys)
        return attention + (self.inner + 1) * self.width * self.hidden


def sizes_of(config: GPTConfig) -> Sizes:
    """A configuration's numbers."""
    head_dim = config.head_dim or config.width // config.num_heads
    hidden, mixtures = config.hidden_dim or 4 * config.width, 0
    if config.num_experts is not None:
        mixtures = config.num_layers - len(config.dense_blocks)
        of_experts = config.num_experts * (config.expert_dim or hidden)
        hidden += (of_experts - hidden) * mixtures / config.num_layers
    return Sizes(
        config.width,
        config.num_heads,
        config.num_heads * head_dim,
        (config.num_key_value_heads or config.num_heads) * head_dim,
        hidden,
        2 if config.gated else 1,
        config.num_layers,
        config.vocab_size,
        mixtures * (config.num_experts or 0),
    )


def count_parameters(config: GPTConfig) -> int:
    """Weights of a CausalLM of a GPTConfig."""
    s = sizes_of(config)
    of_inputs = config.use_bias if config.attention_bias is None else config.attention_bias
    of_output = config.attention_output_bias
    of_output = of_inputs if of_output is None else of_output
    norm = s.width * (2 if config.norm == "layer" else 1)
    norms = 4 if config.norm_placement == "both" else 2
    biases = of_inputs * (s.queries + 2 * s.keys) + of_output * s.width
    if config.num_experts is None:
        biases += config.use_bias * (s.inner * s.hidden + s.width)
    head_norms = 2 * s.queries // s.heads if config.head_norm else 0
    block = biases + norms * norm + head_norms
    positions = s.width * config.max_positions if config.rotary_base is None else 0
    others = count_tables(config) + positions + norm + s.width * s.experts  # with routers
    return others + count_matrices(config) + s.layers * block


def count_tables(config: GPTConfig) -> int:
    """Weights of a CausalLM's token embeddings and read-out."""
    s = sizes_of(config)
    return s.width * s.vocab * (1 if config.tied else 2)


def count_matrices(config: GPTConfig) -> int:
    """Weights of the matrices of all blocks."""
    s = sizes_of(config)
    return round(s.layers * s.matrices)


def count_adapters(config: GPTConfig, rank: int) -> int:
    """Weights of adapters of a rank on all Dense layers of the blocks."""
    s = sizes_of(config)
    attention = 2 * (s.width + s.queries) + 2 * (s.width + s.keys)
    dense = s.layers if config.num_experts is None else len(config.dense_blocks)
    hidden = config.hidden_dim or 4 * s.width
    adapters = s.layers * attention + dense * (s.inner + 1) * (s.width + hidden)
    return rank * (adapters + (s.layers - dense) * s.width + s.experts)  # with routers

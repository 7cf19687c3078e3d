"""The configuration of a GPT, and its presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfalign.models.config import ModelConfig, preset

_PLACEMENTS = ("input", "output", "both")  # of a block's norms


@dataclasses.dataclass(frozen=True)
class GPTConfig(ModelConfig):
    """The shape of a GPT; the defaults are GPT-2's choices (Radford et al. 2019).

    Attributes:
        vocab_size: V.
        width: W, of the residual stream.
        num_layers: number of blocks.
        num_heads: attention heads.
        num_key_value_heads: key-value heads, fewer for grouped-query attention; None for all.
        head_dim: None for width / num_heads.
        hidden_dim: inner width of the feed-forward network; None for 4 * width.
        max_positions: longest sequence.
        rotary_base: base of rotary positions (Su et al. 2021); None for learned positions.
        rotary_scaling: how rotary positions were stretched, see ``layers.rotary_frequencies``.
        unrotated_blocks: numbers of the blocks that do without positions (NoPE, Yang et al. 2025).
        local_rotary_base: that of the windowed blocks, whose positions are not stretched (Gemma 3);
            ``rotary_base`` and ``rotary_scaling`` where None.
        norm: see ``layers.normalization``.
        norm_placement: "input" of the attention and the feed-forward network (GPT-2), their "output"
            before it is added (OLMo 2), or "both" (Gemma 2).
        norm_epsilon: added to the variance.
        activation: of the feed-forward network, see ``layers.FeedForward``.
        gated: gated feed-forward (SwiGLU with activation "silu").
        use_bias: biases in projections and feed-forward.
        attention_bias: biases of query, key and value; ``use_bias`` where None.
        attention_output_bias: bias of the attention's output; ``attention_bias`` where None.
        head_norm: normalisation of every query and key head, as Qwen3: RMSNorm, or ``norm`` where that is a
            kind of it.
        query_pre_attention_scalar: attention scores are divided by its root; ``head_dim`` where None.
        attention_softcap: soft cap of the attention scores (Gemma 2); None for none.
        logit_softcap: soft cap of the logits; None for none.
        scaled_embedding: whether token embeddings are multiplied by sqrt(width), as Gemma's.
        attention_window: some blocks see only this many last tokens; None for dense attention.
        windowed_blocks: numbers of those blocks; None for the odd ones, as GPT-3's locally banded
            layers (Brown et al. 2020, section 2.1).
        num_experts: experts of a mixture in the place of each feed-forward network, gated ones without biases;
            None for no mixture. See ``layers.MixtureOfExperts`` for what follows.
        num_experts_per_token: experts that a token uses.
        expert_dim: inner width of an expert; ``hidden_dim`` where None.
        dense_blocks: numbers of the blocks that have a plain feed-forward network beside such mixtures.
        normalized_routing: whether the weights of a token's experts are scaled to sum to 1.
        router_loss: coefficient of the load-balancing loss.
        expert_capacity: capacity factor while training, above which tokens are dropped; None for no limit.
        tied: LM head with the transposed token embedding.
        dropout: rate on embeddings, attention weights and sub-layer outputs.
        attention_dropout, embedding_dropout: rates of their own there; ``dropout`` where None.
        initializer_range: standard deviation of the kernels; the residual projections' is divided
            by sqrt(2 * num_layers) (Radford et al. 2019, section 2.3).
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_dim: int | None = None
    max_positions: int = 1024
    rotary_base: float | None = None
    rotary_scaling: Mapping | None = None
    unrotated_blocks: tuple[int, ...] = ()
    norm: str = "layer"
    norm_epsilon: float = 1e-5
    activation: str = "gelu_tanh"
    gated: bool = False
    use_bias: bool = True
    attention_bias: bool | None = None
    attention_output_bias: bool | None = None
    head_norm: bool = False
    attention_window: int | None = None
    windowed_blocks: tuple[int, ...] | None = None
    tied: bool = True
    dropout: float = 0.0
    initializer_range: float = 0.02
    attention_dropout: float | None = None
    embedding_dropout: float | None = None
    local_rotary_base: float | None = None
    norm_placement: str = "input"
    query_pre_attention_scalar: float | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    scaled_embedding: bool = False
    num_experts: int | None = None
    num_experts_per_token: int = 2
    expert_dim: int | None = None
    dense_blocks: tuple[int, ...] = ()
    normalized_routing: bool = True
    router_loss: float = 0.001
    expert_capacity: float | None = None

    def __post_init__(self) -> None:
        if self.norm_placement not in _PLACEMENTS:
            raise ValueError(
                f"norm_placement is one of {', '.join(_PLACEMENTS)}. Received: {self.norm_placement!r}"
            )

    def windows(self, block: int) -> bool:
        """Whether a block, by its number, sees ``attention_window`` last tokens alone."""
        if self.attention_window is None:
            return False
        return block % 2 == 1 if self.windowed_blocks is None else block in self.windowed_blocks

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> GPTConfig:
        """A named configuration with some fields changed, such as the vocabulary's size."""
        return preset(PRESETS, name, **changes)


def _llama(vocab_size, width, num_layers, num_heads, num_key_value_heads, hidden_dim, **more):
    return GPTConfig(
        vocab_size,
        width,
        num_layers,
        num_heads,
        num_key_value_heads=num_key_value_heads,
        hidden_dim=hidden_dim,
        **{"rotary_base": 10_000.0, "norm": "rms", "activation": "silu", "gated": True}
        | {"use_bias": False, "tied": False, "max_positions": 2048}
        | more,
    )


PRESETS = {
    # the narrow ones start wider than N(0, 0.02), about 1 / sqrt(width): they learn faster
    "tiny": GPTConfig(512, 64, 2, 2, max_positions=128, initializer_range=0.1),
    "mini": GPTConfig(2_048, 128, 4, 4, max_positions=256, initializer_range=0.08),
    "small": GPTConfig(8_192, 256, 8, 4, max_positions=512, initializer_range=0.06),
    "tiny_llama": _llama(512, 64, 2, 4, 2, 172, max_positions=128, initializer_range=0.1),
    "mini_llama": _llama(2_048, 128, 4, 4, 2, 344, max_positions=256, initializer_range=0.08),
    "gpt2": GPTConfig(50_257, 768, 12, 12),
    "gpt2_medium": GPTConfig(50_257, 1_024, 24, 16),
    "gpt2_large": GPTConfig(50_257, 1_280, 36, 20),
    "gpt2_xl": GPTConfig(50_257, 1_600, 48, 25),
}

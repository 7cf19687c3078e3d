"""Keras layers of a Transformer; each can be used in a model of your own."""

from tfalign.layers.attention import KeyValueCache, MultiHeadAttention
from tfalign.layers.blocks import (
    CrossAttentionBlock,
    ResidualBlock,
    TransformerBlock,
)
from tfalign.layers.blockwise import blockwise_attention
from tfalign.layers.dropout import Dropout
from tfalign.layers.embeddings import TokenEmbedding
from tfalign.layers.experts import MixtureOfExperts, has_experts
from tfalign.layers.feed_forward import FeedForward, GatedFeedForward, activation_function
from tfalign.layers.masks import (
    Visibility,
    banded_mask,
    causal_mask,
    columns_at,
    key_mask,
    segment_mask,
    with_keys,
)
from tfalign.layers.normalization import ZeroCenteredRMSNormalization, normalization
from tfalign.layers.positions import (
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    rotary_frequencies,
    rotate,
)
from tfalign.layers.prefixes import IdPrefix, PatchPrefix, PrefixEncoder, VectorPrefix
from tfalign.layers.scaled_dot_product import scaled_dot_product_attention
from tfalign.layers.stack import run_blocks, scans

__all__ = [
    "CrossAttentionBlock",
    "Dropout",
    "FeedForward",
    "GatedFeedForward",
    "IdPrefix",
    "KeyValueCache",
    "LearnedPositions",
    "MixtureOfExperts",
    "MultiHeadAttention",
    "PatchPrefix",
    "PrefixEncoder",
    "ResidualBlock",
    "Rotary",
    "SinusoidalPositions",
    "TokenEmbedding",
    "TransformerBlock",
    "VectorPrefix",
    "Visibility",
    "ZeroCenteredRMSNormalization",
    "activation_function",
    "banded_mask",
    "blockwise_attention",
    "causal_mask",
    "columns_at",
    "has_experts",
    "key_mask",
    "normalization",
    "rotary_frequencies",
    "rotate",
    "run_blocks",
    "scaled_dot_product_attention",
    "scans",
    "segment_mask",
    "with_keys",
]

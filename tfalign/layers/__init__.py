"""Keras layers of a Transformer; each can be used in a model of your own."""

from tfalign.layers.attention import (
    KeyValueCache,
    MultiHeadAttention,
    scaled_dot_product_attention,
)
from tfalign.layers.blocks import (
    CrossAttentionBlock,
    ResidualBlock,
    TransformerBlock,
    normalization,
)
from tfalign.layers.dropout import Dropout
from tfalign.layers.embeddings import TokenEmbedding
from tfalign.layers.feed_forward import FeedForward, GatedFeedForward, activation_function
from tfalign.layers.masks import (
    banded_mask,
    causal_mask,
    column_distances,
    columns_at,
    key_mask,
    segment_mask,
    with_keys,
)
from tfalign.layers.positions import (
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    rotary_frequencies,
    rotate,
)
from tfalign.layers.prefixes import IdPrefix, PatchPrefix, PrefixEncoder, VectorPrefix

__all__ = [
    "CrossAttentionBlock",
    "Dropout",
    "FeedForward",
    "GatedFeedForward",
    "IdPrefix",
    "KeyValueCache",
    "LearnedPositions",
    "MultiHeadAttention",
    "PatchPrefix",
    "PrefixEncoder",
    "ResidualBlock",
    "Rotary",
    "SinusoidalPositions",
    "TokenEmbedding",
    "TransformerBlock",
    "VectorPrefix",
    "activation_function",
    "banded_mask",
    "causal_mask",
    "column_distances",
    "columns_at",
    "key_mask",
    "normalization",
    "rotary_frequencies",
    "rotate",
    "scaled_dot_product_attention",
    "segment_mask",
    "with_keys",
]

"""Text and conversations to token ids, and back."""

from tfalign.text.chat import (
    ASSISTANT,
    Conversation,
    Message,
    encode_answer,
    encode_conversation,
    render_conversation,
)
from tfalign.text.tokenizers import (
    BYTE_BPE_SPECIAL_TOKENS,
    WORD_PIECE_SPECIAL_TOKENS,
    WORD_SPECIAL_TOKENS,
    StreamDecoder,
    Tokenizer,
    read_byte_bpe,
    read_word_piece,
    train_byte_bpe,
    train_characters,
    train_word_piece,
    train_words,
)

__all__ = [
    "ASSISTANT",
    "BYTE_BPE_SPECIAL_TOKENS",
    "WORD_PIECE_SPECIAL_TOKENS",
    "WORD_SPECIAL_TOKENS",
    "Conversation",
    "Message",
    "StreamDecoder",
    "Tokenizer",
    "encode_answer",
    "encode_conversation",
    "read_byte_bpe",
    "read_word_piece",
    "render_conversation",
    "train_byte_bpe",
    "train_characters",
    "train_word_piece",
    "train_words",
]

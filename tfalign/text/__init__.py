"""Text and conversations to token ids, and back."""

from tfalign.text.chat import (
    ASSISTANT,
    Conversation,
    DetailedMessage,
    Message,
    encode_answer,
    encode_conversation,
    encode_reply,
    message_fields,
    render_conversation,
    tool_template,
)
from tfalign.text.joining import encode_joined
from tfalign.text.stream import StreamDecoder
from tfalign.text.tokenizers import Tokenizer
from tfalign.text.vocabularies import (
    BYTE_BPE_SPECIAL_TOKENS,
    WORD_PIECE_SPECIAL_TOKENS,
    WORD_SPECIAL_TOKENS,
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
    "DetailedMessage",
    "Message",
    "StreamDecoder",
    "Tokenizer",
    "encode_answer",
    "encode_conversation",
    "encode_joined",
    "encode_reply",
    "message_fields",
    "read_byte_bpe",
    "read_word_piece",
    "render_conversation",
    "tool_template",
    "train_byte_bpe",
    "train_characters",
    "train_word_piece",
    "train_words",
]

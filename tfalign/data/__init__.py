"""Records of text, their encoding, and streams of batches."""

from tfalign.data.batches import BatchStream, count_tokens, next_token_targets
from tfalign.data.customer_service import load_customer_service
from tfalign.data.encoding import (
    LanguageModelExamples,
    PreferenceExamples,
    PromptExamples,
    encode_completions,
    encode_preferences,
    encode_prompts,
    encode_texts,
)
from tfalign.data.records import (
    BadRecord,
    BadRecordError,
    CompletionRecord,
    PreferenceRecord,
    PromptRecord,
    Records,
    TextRecord,
    read_records,
    split_by_prompt,
)

__all__ = [
    "BadRecord",
    "BadRecordError",
    "BatchStream",
    "CompletionRecord",
    "LanguageModelExamples",
    "PreferenceExamples",
    "PreferenceRecord",
    "PromptExamples",
    "PromptRecord",
    "Records",
    "TextRecord",
    "count_tokens",
    "encode_completions",
    "encode_preferences",
    "encode_prompts",
    "encode_texts",
    "load_customer_service",
    "next_token_targets",
    "read_records",
    "split_by_prompt",
]

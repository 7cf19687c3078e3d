"""The families of decoders, and their classes: a language model, its backbone and its classifier of texts."""

from __future__ import annotations

from tfalign.models.huggingface.gemma import GEMMA2, GEMMA3
from tfalign.models.huggingface.gpt2 import GPT2
from tfalign.models.huggingface.heads import decoder_architectures
from tfalign.models.huggingface.llama import LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3
from tfalign.models.huggingface.mixtures import MIXTRAL, QWEN3_MOE
from tfalign.models.huggingface.phi3 import PHI3

# what the names of a family's classes begin with
DECODERS = {
    "GPT2": GPT2,
    "Llama": LLAMA,
    "Mistral": MISTRAL,
    "Qwen2": QWEN2,
    "Qwen3": QWEN3,
    "SmolLM3": SMOLLM3,
    "Gemma2": GEMMA2,
    "Gemma3Text": GEMMA3,
    "Phi3": PHI3,
    "Mixtral": MIXTRAL,
    "Qwen3Moe": QWEN3_MOE,
}
_LANGUAGE_MODELS = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}
ARCHITECTURES = tuple(
    one
    for name, family in DECODERS.items()
    for one in decoder_architectures(name, family, _LANGUAGE_MODELS.get(name, f"{name}ForCausalLM"))
)

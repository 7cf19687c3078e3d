"""Writes a model for serving: a SavedModel for TF Serving, or a LiteRT file.

    python -m experiments.export --model=runs/demo/models/ppo --output=served/agent
    docker run -p 8501:8501 -v $PWD/served/agent:/models/agent -e MODEL_NAME=agent tensorflow/serving
    python -m experiments.export --model=runs/demo/models/ppo --output=agent.tflite --format=litert

The SavedModel needs TensorFlow alone. Its signature "generate" takes prompts (string[N]) and a seed, where the
tokenizer is a byte-level BPE; "generate_ids" takes token_ids, mask and seed. A LiteRT file takes token_ids,
mask and uniform random numbers; its greedy choice is --top_k=1. --int8 holds the kernels in 8 bits.
"""

from __future__ import annotations

from experiments import stages
from experiments.launch import launch
from tfalign.decoding import Sampler
from tfalign.models import from_pretrained
from tfalign.models.lora import quantize
from tfalign.options import option, option_record
from tfalign.serving.litert import export_litert
from tfalign.serving.saved_model import export_saved_model


@option_record
class ExportConfig:
    model: str = option("runs/demo/models/ppo", "directory of the model")
    output: str = option("served/model", "folder of the SavedModel, or the LiteRT file")
    format: str = option("saved_model", "what to write", ["saved_model", "litert"])
    version: int = option(1, "of a SavedModel; TF Serving takes the highest", at_least=1)
    batch_size: int = option(8, "prompts of a call at most", at_least=1)
    max_prompt_tokens: int = option(48, "longest prompt", at_least=1)
    max_new_tokens: int = option(48, "longest response", at_least=1)
    temperature: float = option(1.0, "of sampling", above=0)
    top_k: int = option(
        0, "keep the k most likely tokens; 0 for all, 1 for the most likely one", at_least=0
    )
    top_p: float = option(
        1.0, "keep the likeliest tokens up to this probability", above=0, at_most=1
    )
    int8: bool = option(False, "hold the kernels in 8 bits")


def main(config):
    model, tokenizer = from_pretrained(config.model), stages.load_tokenizer(config.model)
    if config.int8:
        quantize(model)
    choices = {
        "batch_size": config.batch_size,
        "max_prompt_tokens": config.max_prompt_tokens,
        "max_new_tokens": config.max_new_tokens,
        "sampler": Sampler(config.temperature, config.top_k, config.top_p),
        "stop_tokens": tokenizer.stop_ids,
    }
    if config.format == "litert":
        size = export_litert(model, config.output, pad_id=tokenizer.pad_id or 0, **choices)
        print(f"{config.output}: {size:,} bytes")
        return
    signatures = export_saved_model(model, tokenizer, config.output, config.version, **choices)
    for name, inputs in signatures.items():
        print(f"{config.output}/{config.version}: {name}({', '.join(inputs)})")


if __name__ == "__main__":
    launch(ExportConfig, main, __doc__)

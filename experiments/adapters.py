"""Low-rank adapters as options of the training experiments: ``--lora.rank=8`` and its companions."""

from __future__ import annotations

import numpy as np

from experiments import stages
from tfalign.models.lora import LoRA, WithoutAdapters, add_adapters, merge_adapters, quantize
from tfalign.models.peft import save_adapters
from tfalign.options import option, option_record


@option_record
class AdapterConfig:
    """Options of low-rank adapters; a rank of 0 trains the whole model."""

    rank: int = option(0, "of the adapters; 0 for none: all weights are trained", at_least=0)
    alpha: float = option(16.0, "what they add is scaled by alpha / rank", above=0)
    targets: str = option(
        "",
        "patterns of the Dense layers' paths, comma-separated, attention/(query|value) for instance",
    )
    dropout: float = option(0.0, "rate on what adapters see", at_least=0, below=1)
    dora: bool = option(False, "train the lengths of the weights' columns too (DoRA)")
    int8: bool = option(False, "hold the frozen kernels in 8 bits")

    def __post_init__(self):
        if self.rank < 0:
            raise ValueError(f"--lora.rank must not be negative. Received: {self.rank}")
        if self.int8 and not self.rank:
            raise ValueError("--lora.int8 freezes the model: --lora.rank must be given")


def adapt(model, config):
    """Gives a model the adapters of the options, if any, and prints how much is trained.

    Args:
        model: keras.Model.
        config: AdapterConfig.
    """
    if not config.rank:
        return
    targets = tuple(target for target in config.targets.split(",") if target)
    whole = sum(int(np.prod(variable.shape)) for variable in model.weights)
    if config.int8:
        quantize(model, targets)
    add_adapters(model, LoRA(config.rank, config.alpha, targets, config.dropout, config.dora))
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    print(f"adapters: {trained:,} weights are trained beside {whole:,} ({trained / whole:.2%})")


def reference_of(policy, config, load):
    """What a policy is held to: its own base where it has adapters, else a second copy.

    Args:
        policy: CausalLM, after ``adapt``.
        config: AdapterConfig.
        load: function of no arguments that loads the copy.
    """
    return WithoutAdapters(policy) if config.rank else load()


def save_model(run, stage, model, tokenizer, config, base, **more):
    """As ``stages.save_model``; adapters are left beside it as ``peft`` has them, and merged in the
    model, which has none any more then.

    Args:
        run, stage, model, tokenizer: as there.
        config: AdapterConfig.
        base: str, directory of the model the adapters are of.
        more: further arguments of ``stages.save_model``.
    """
    if config.rank:
        save_adapters(model, stages.model_directory(run, f"{stage}_adapters"), base)
        merge_adapters(model)
    stages.save_model(run, stage, model, tokenizer, **more)

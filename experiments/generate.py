"""Continues prompts with a trained model, token by token as they are drawn.

    python -m experiments.generate --model=runs/demo/models/ppo \\
        --prompt="Customer: Where is my order 147?\\nAgent:"
    python -m experiments.generate --model=runs/demo/models/ppo        # interactive
    python -m experiments.generate --prompt="the game was" --max_new_tokens=20 \\
        --model=runs/language_models/wikitext-2/LSTM/models/LSTM

Without ``--prompt``, every line typed is a prompt (``\\n`` in it is a line break) until an empty
line or the end of input.
"""

from __future__ import annotations

from experiments import stages
from experiments.launch import launch
from tfalign.decoding import Greedy, Sampler, Streamer
from tfalign.models import from_pretrained
from tfalign.options import option, option_record
from tfalign.text import StreamDecoder


@option_record
class GenerateConfig:
    model: str = option("runs/demo/models/ppo", "directory of the model")
    prompt: str = option("", "what to continue; empty to be asked")
    max_new_tokens: int = option(64, "longest continuation", at_least=1)
    greedy: bool = option(False, "always take the most likely token")
    temperature: float = option(1.0, "of sampling", above=0)
    top_k: int = option(0, "keep the k most likely tokens; 0 for all", at_least=0)
    top_p: float = option(
        1.0, "keep the likeliest tokens up to this probability", above=0, at_most=1
    )
    min_p: float = option(
        0.0, "keep tokens this likely relative to the likeliest", at_least=0, at_most=1
    )
    seed: int = option(0, "of sampling", at_least=0, below=2**32)

    def __post_init__(self):
        sampled = (self.temperature, self.top_k, self.top_p, self.min_p) != (1.0, 0, 1.0, 0.0)
        if self.greedy and sampled:
            raise ValueError("--greedy excludes --temperature, --top_k, --top_p and --min_p")


def main(config):
    model, tokenizer = from_pretrained(config.model), stages.load_tokenizer(config.model)
    sampler = (
        Greedy()
        if config.greedy
        else Sampler(config.temperature, config.top_k, config.top_p, config.min_p)
    )
    streamer = Streamer(model, config.max_new_tokens, sampler, tokenizer.stop_ids)
    positions = model.config.max_positions
    longest = None if positions is None else positions - config.max_new_tokens
    for index, prompt in enumerate(_prompts(config.prompt)):
        ids = [*tokenizer.head_ids, *tokenizer.encode(prompt)]
        if longest is not None and len(ids) > longest:
            raise ValueError(
                f"The prompt has {len(ids)} tokens; with --max_new_tokens="
                f"{config.max_new_tokens} the model takes {longest}"
            )
        decoder = StreamDecoder(tokenizer)
        for token in streamer(ids, seed=config.seed + index):
            if token not in tokenizer.stop_ids:
                print(decoder.push(token), end="", flush=True)
        print(decoder.flush())


def _prompts(given):
    """The prompt given, or those typed until an empty line."""
    if given:
        yield given.replace("\\n", "\n")
        return
    while True:
        try:
            line = input("> ")
        except EOFError:
            return
        if not line:
            return
        yield line.replace("\\n", "\n")


if __name__ == "__main__":
    launch(GenerateConfig, main, __doc__)

"""Decode speed of transformers' `generate` on a GPT-2 with random weights.

    python transformers_generate.py --vocab 512 --width 128 --layers 4 --heads 4 \\
        --batch 32 --prompt 16 --new 48

Timed: one whole call of `generate` on int64[batch, prompt] prompts without padding, the prompt's
forward pass included, sampling at temperature 1 from the full vocabulary (no top-k, no top-p), with
the key-value cache, under `torch.inference_mode`. No end-of-sequence token is set, so every row
gets exactly `new` tokens. Attention is SDPA and the cache grows with the sequence, transformers'
defaults: eager attention, a static cache, and a static cache with `torch.compile` were each slower
on this kind of model and CPU. Not timed: building the model and the warm-up calls.

`new_tokens_per_second` is batch * new / median(seconds).
"""

from __future__ import annotations

import statistics
import time

import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from common import (
    WARM_UPS,
    count_parameters,
    gpt2_config,
    parse_arguments,
    print_report,
    random_prompts,
)


def main() -> None:
    args = parse_arguments(__doc__)
    model = GPT2LMHeadModel(gpt2_config(args)).eval()
    sampling = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=args.new,
        use_cache=True,
        pad_token_id=0,
        eos_token_id=None,
    )
    prompts = random_prompts(args, args.batch)
    prompt_mask = torch.ones_like(prompts)

    seconds = []
    with torch.inference_mode():
        for _ in range(WARM_UPS + args.repeats):
            start = time.perf_counter()
            sequences = model.generate(
                prompts, attention_mask=prompt_mask, generation_config=sampling
            )
            seconds.append(time.perf_counter() - start)
            if sequences.shape != (args.batch, args.prompt + args.new):
                raise RuntimeError(f"generate stopped early. Received: {tuple(sequences.shape)}")
    seconds = seconds[WARM_UPS:]
    print_report(
        "transformers generate",
        args,
        ["torch", "transformers"],
        seconds,
        parameters=count_parameters(model),
        new_tokens_per_second=round(args.batch * args.new / statistics.median(seconds), 1),
    )


if __name__ == "__main__":
    main()

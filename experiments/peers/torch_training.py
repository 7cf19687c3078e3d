"""Training speed of a plain PyTorch AdamW step on transformers' GPT-2 with random weights.

    python torch_training.py --vocab 512 --width 128 --layers 4 --heads 4 \\
        --batch 32 --prompt 16 --new 48

Timed: one step on int64[batch, prompt + new] random tokens: forward, next-token cross-entropy over
all positions, backward, fused AdamW, gradients set to None. Eager float32, no dropout, no clipping,
no schedule. Not timed: building the model, the warm-up
steps, reading data.

`tokens_per_second` is batch * (prompt + new) / median(seconds).
"""

from __future__ import annotations

import statistics
import time

import torch
from transformers import GPT2LMHeadModel

from common import WARM_UPS, count_parameters, gpt2_config, parse_arguments, print_report


def main() -> None:
    args = parse_arguments(__doc__)
    model = GPT2LMHeadModel(gpt2_config(args)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.01, fused=True)
    token_ids = torch.randint(0, args.vocab, (args.batch, args.prompt + args.new))

    seconds = []
    for _ in range(WARM_UPS + args.repeats):
        start = time.perf_counter()
        loss = model(input_ids=token_ids, labels=token_ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    seconds = seconds[WARM_UPS:]
    print_report(
        "torch training",
        args,
        ["torch", "transformers"],
        seconds,
        parameters=count_parameters(model),
        tokens_per_second=round(token_ids.numel() / statistics.median(seconds), 1),
    )


if __name__ == "__main__":
    main()

"""transformers' continuous batching against its plain `generate`, at given response lengths.

    python transformers_continuous.py < JOB

It is driven by `experiments.benchmarks.continuous_peer`, line by line on stdin. The first line is a job as JSON: "shape"
(vocab, width, layers, heads, prompt, new), "prompts" int[N, prompt], "lengths" int[N], "slots". Each further line names a
loop, which is run once and answered with one JSON line {"seconds": ..., "tokens": ...}; the seconds are of CPU, of all threads of
this process. Loops:

    plain             one call of `generate` with all prompts, until the longest response has ended. Which rows have ended
                      before would change no step's cost, so no end-of-sequence token is set.
    continuous        what `generate_batch` does (TRL calls it): a ContinuousBatchingManager, all prompts as requests, each with its
                      response's length as max_new_tokens, at most N at once, which is generate_batch's own choice.
    slots             the same with at most "slots" at once.
    within continuous, within slots
                      the same without making the manager and its cache: from the first request to the last result.

The cache's size and the tokens of a step are given, enough for all: by itself the manager takes 0.6 of the machine's memory,
whatever else is running. Attention is what the manager makes of SDPA, `paged|sdpa`. Sampling is at temperature 1 from the full
vocabulary, float32.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time

import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig, GPT2LMHeadModel

from common import gpt2_config


def main() -> None:
    job = json.loads(sys.stdin.readline())
    torch.manual_seed(0)
    shape = argparse.Namespace(**job["shape"])
    model = GPT2LMHeadModel(gpt2_config(shape)).eval()
    sampling = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=max(job["lengths"]),
        use_cache=True,
        pad_token_id=0,
        eos_token_id=None,
    )
    answer({"versions": {"torch": torch.__version__, "transformers": transformers.__version__}})
    for line in sys.stdin:
        *within, name = line.split()
        with torch.inference_mode():
            if name == "plain":
                seconds, tokens = plain(model, sampling, job)
            else:
                at_once = job["slots"] if name == "slots" else len(job["lengths"])
                seconds, tokens = continuous(model, sampling, job, at_once, bool(within))
        if tokens != sum(job["lengths"]):
            raise RuntimeError(f"{line.strip()}: {tokens} tokens instead of {sum(job['lengths'])}")
        answer({"seconds": seconds, "tokens": tokens})


def plain(model, sampling, job):
    """(seconds, tokens that count)."""
    prompts = torch.tensor(job["prompts"])
    began = time.process_time()
    sequences = model.generate(
        prompts, attention_mask=torch.ones_like(prompts), generation_config=sampling
    )
    new = sequences.shape[1] - prompts.shape[1]
    return time.process_time() - began, sum(min(length, new) for length in job["lengths"])


def continuous(model, sampling, job, at_once, is_within):
    """(seconds, tokens)."""
    count, longest = len(job["lengths"]), len(job["prompts"][0]) + max(job["lengths"])
    pages = -(-longest // 16)
    settings = ContinuousBatchingConfig(
        page_size=16,
        num_blocks=count * pages + 1,
        max_batch_tokens=max(512, at_once),
        max_requests_per_batch=at_once,
    )
    outer = time.process_time()
    context = model.continuous_batching_context_manager(
        generation_config=copy.deepcopy(sampling),  # it is changed
        continuous_batching_config=settings,
        block=True,
        timeout=5,
    )
    with context as manager:
        inner = time.process_time()
        for prompt, length in zip(job["prompts"], job["lengths"]):
            manager.add_request(prompt, max_new_tokens=length)
        tokens = finished = 0
        while finished < count:
            result = manager.get_result(timeout=60)
            if result is None:
                raise RuntimeError("the manager has stopped")
            if result.is_finished():
                finished, tokens = finished + 1, tokens + len(result.generated_tokens)
        within = time.process_time() - inner
    return within if is_within else time.process_time() - outer, tokens


def answer(found):
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

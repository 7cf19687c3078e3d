"""A model as a LiteRT file: its logits, or its decode loop.

LiteRT's own operations have no shifts of bits, which the library's random numbers are made of, so the loop
takes its random numbers as an input. Shapes are fixed. Texts are not taken: LiteRT has no tables of strings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.decoding.constraints import Constraint
from tfalign.decoding.prompts import checked_prompts
from tfalign.files import as_path, write_bytes_atomically
from tfalign.serving.checks import check_sizes


def export_litert_logits(
    model: keras.Model, file: str | os.PathLike, batch_size: int, length: int
) -> int:
    """Writes the forward pass: token_ids int32[B, T] and mask bool[B, T] to logits float32[B, T, V].

    Args:
        model: CausalLM or MaskedLM.
        file: where the .tflite goes.
        batch_size, length: int, B and T.

    Returns:
        int, bytes written.
    """
    check_sizes(batch_size=batch_size, length=length)

    def logits(token_ids, mask):
        return {"logits": model(token_ids, padding_mask=mask)}

    return _convert(logits, _prompt_specs(batch_size, length), model, file)


def export_litert(
    model: keras.Model,
    file: str | os.PathLike,
    batch_size: int,
    max_prompt_tokens: int,
    max_new_tokens: int,
    sampler: Sampler | Greedy,
    stop_tokens: Iterable[int] = (),
    pad_id: int = 0,
    constraint: Constraint | None = None,
) -> int:
    """Writes the decode loop: token_ids int32[B, P], mask bool[B, P] and uniforms float32[R, B] in
    [0, 1) to tokens int32[B, R] and lengths int32[B].

    Args:
        model: CausalLM.
        file: where the .tflite goes.
        batch_size, max_prompt_tokens, max_new_tokens: int, B, P and R.
        sampler, stop_tokens, pad_id, constraint: see ``decoding.Generator``; Greedy() does not look at the uniforms.

    Returns:
        int, bytes written.
    """
    check_sizes(
        batch_size=batch_size, max_prompt_tokens=max_prompt_tokens, max_new_tokens=max_new_tokens
    )
    checked_prompts(model, np.zeros((1, max_prompt_tokens), "int32"), None, max_new_tokens)
    named = {"pad_id": pad_id, "constraint": constraint}
    generator = Generator(model, max_new_tokens, sampler, stop_tokens, **named)

    def generate(token_ids, mask, uniforms):
        generation = generator.run_with(token_ids, mask, uniforms)
        lengths = tf.reduce_sum(tf.cast(generation.mask, tf.int32), axis=1)
        return {"tokens": generation.tokens, "lengths": lengths}

    uniforms = tf.TensorSpec([max_new_tokens, batch_size], tf.float32, "uniforms")
    return _convert(
        generate, [*_prompt_specs(batch_size, max_prompt_tokens), uniforms], model, file
    )


def _prompt_specs(batch_size, length):
    return [
        tf.TensorSpec([batch_size, length], tf.int32, "token_ids"),
        tf.TensorSpec([batch_size, length], tf.bool, "mask"),
    ]


def _convert(function, specs, model, file):
    as_path(file).parent.mkdir(parents=True, exist_ok=True)
    module = tf.Module()
    module.held = [variable.value for variable in model.variables]
    module.function = tf.function(function, input_signature=specs, autograph=False)
    concrete = module.function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    content = converter.convert()
    write_bytes_atomically(file, content)
    return len(content)

"""A model as a SavedModel that samples: TF Serving's layout, loaded without tfalign and without Keras."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.decoding.constraints import Constraint
from tfalign.decoding.prompts import checked_prompts
from tfalign.files import as_path, new_directory
from tfalign.serving.byte_bpe import ByteBPE
from tfalign.serving.checks import check_sizes, check_whole
from tfalign.text import Tokenizer


class ServedModel(tf.Module):
    """The decode loop of one model with its signatures.

    The loop is one XLA program of a fixed shape: a call of fewer rows, or of shorter prompts, is padded to
    it. A row's response depends on its prompt, the seed and its place in the call, as in
    ``decoding.generate``.

    Args:
        model: CausalLM; with adapters and 8-bit kernels, if it has them.
        tokenizer: ``tfalign.text.Tokenizer``; texts are taken where it is a byte-level BPE.
        batch_size: int, rows at most.
        max_prompt_tokens: int, with what the tokenizer puts in front.
        max_new_tokens: int.
        sampler: see ``decoding.samplers``.
        stop_tokens: ids after which a response ends; the tokenizer's ``stop_ids`` where None.
        constraint: which tokens may come next, see ``decoding.constraints``; it is part of the program. None for all.

    Raises:
        ValueError: if a size is not positive, or the model has too few positions.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        batch_size: int,
        max_prompt_tokens: int,
        max_new_tokens: int,
        sampler: Sampler | Greedy = Sampler(),
        stop_tokens: Iterable[int] | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        super().__init__(name="served_model")
        check_sizes(
            batch_size=batch_size,
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
        )
        checked_prompts(model, np.zeros((1, max_prompt_tokens), "int32"), None, max_new_tokens)
        stop_tokens = tokenizer.stop_ids if stop_tokens is None else stop_tokens
        self._shape = (batch_size, max_prompt_tokens)
        pad_id = tokenizer.pad_id or 0
        named = {"pad_id": pad_id, "constraint": constraint}
        generator = Generator(model, max_new_tokens, sampler, stop_tokens, **named)
        # the loop without what prepares its inputs for calls from Python
        self._loop = tf.function(generator.run, jit_compile=True, autograph=False)
        self._held = [variable.value for variable in model.variables]  # saved with the module
        self._head = list(tokenizer.head_ids)
        self._text = None
        try:
            self._text = ByteBPE(tokenizer)
        except ValueError as error:
            self.why_no_text = str(error)

    @property
    def takes_text(self) -> bool:
        """bool, whether there is a signature for texts; ``why_no_text`` says why not."""
        return self._text is not None

    def signatures(self) -> dict[str, Callable]:
        """dict of name to concrete function, "serving_default" among them."""
        seed = tf.TensorSpec([], tf.int64, "seed")
        by_ids = self.generate_ids.get_concrete_function(
            tf.TensorSpec([None, None], tf.int32, "token_ids"),
            tf.TensorSpec([None, None], tf.bool, "mask"),
            seed,
        )
        if not self.takes_text:
            return {"generate_ids": by_ids, "serving_default": by_ids}
        prompts = tf.TensorSpec([None], tf.string, "prompts")
        by_text = self.generate.get_concrete_function(prompts, seed)
        return {"generate_ids": by_ids, "generate": by_text, "serving_default": by_text}

    @tf.function(autograph=False)
    def generate_ids(
        self, token_ids: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Responses to ids.

        Args:
            token_ids: int32[N, P], padded on either side.
            mask: bool[N, P], true at real tokens.
            seed: int64 scalar.

        Returns:
            dict: tokens int32[N, R], log_probs float32[N, R], mask bool[N, R].
        """
        rows, columns = tf.shape(token_ids)[0], tf.shape(token_ids)[1]
        most_rows, most_columns = self._shape
        checks = [
            tf.debugging.assert_positive(rows, "there are no prompts"),
            tf.debugging.assert_less_equal(rows, most_rows, "more prompts than this model serves"),
            tf.debugging.assert_less_equal(columns, most_columns, "a prompt is too long"),
            tf.debugging.assert_equal(
                tf.reduce_all(tf.reduce_any(mask, 1)), True, "a prompt is empty"
            ),
        ]
        with tf.control_dependencies(checks):
            missing = [[0, most_rows - rows], [most_columns - columns, 0]]
            ids = tf.reshape(tf.pad(token_ids, missing), self._shape)
            mask = tf.pad(mask, missing)
        # rows that nobody asked for have one token, as a loop needs it
        alone = tf.one_hot(most_columns - 1, most_columns, True, False)
        mask = tf.reshape(tf.where(tf.reduce_any(mask, 1)[:, None], mask, alone), self._shape)
        row_ids = tf.constant(np.arange(most_rows), tf.int32)
        generation = self._loop(ids, mask, tf.cast(seed, tf.uint32), row_ids)
        names = ("tokens", "log_probs", "mask")
        return {name: value[:rows] for name, value in zip(names, generation)}

    @tf.function(autograph=False)
    def generate(self, prompts: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Responses to texts.

        Args:
            prompts: string[N].
            seed: int64 scalar.

        Returns:
            dict: text string[N], and what ``generate_ids`` gives.
        """
        ids = self._text.encode(prompts)
        rows = tf.shape(prompts)[0]
        head = tf.tile(tf.constant([self._head], tf.int32), [rows, 1])
        ids = tf.concat([tf.RaggedTensor.from_tensor(head), ids], axis=1)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        columns = tf.reduce_max(tf.concat([[1], lengths], 0))
        mask = tf.sequence_mask(lengths, columns)
        generated = self.generate_ids(ids.to_tensor(0, shape=[None, None]), mask, seed)
        text = self._text.decode(generated["tokens"], generated["mask"])
        return {"text": text} | generated


def export_saved_model(
    model: keras.Model,
    tokenizer: Tokenizer,
    directory: str | os.PathLike,
    version: int = 1,
    **choices: Any,
) -> dict[str, list[str]]:
    """Writes DIRECTORY/VERSION, a SavedModel as TF Serving looks for it.

    Args:
        model, tokenizer, choices: see ``ServedModel``.
        directory: the model's folder.
        version: int; TF Serving takes the highest. One that is there is replaced.

    Returns:
        dict of signature to the names of its inputs.

    Raises:
        ValueError: as ``ServedModel``, or if the version is negative.
    """
    final = as_path(directory) / str(check_whole("version", version, 0))
    served = ServedModel(model, tokenizer, **choices)
    signatures = served.signatures()
    with new_directory(final) as writing:
        tf.saved_model.save(served, str(writing), signatures=signatures)
    return {
        name: [spec.name for spec in tf.nest.flatten(function.structured_input_signature)]
        for name, function in signatures.items()
    }

"""A model and its tokenizer as one object: text in, text out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfalign import backend
from tfalign.data import CompletionRecord, PromptRecord, encode_completions, encode_prompts
from tfalign.decoding import Sampler, Streamer, generate
from tfalign.decoding.constraints import Constraint
from tfalign.decoding.patterns import named_constraint
from tfalign.files import AnyPath, as_path, is_whole, local_copy, new_directory
from tfalign.functional.log_probs import token_log_probs
from tfalign.models import CausalLM, from_pretrained
from tfalign.models.huggingface.registry import trunk_of
from tfalign.models.huggingface.writing import PretrainedModel
from tfalign.rewards import RewardModel
from tfalign.text import Message, StreamDecoder, Tokenizer
from tfalign.text.keras_hub import KerasHubTokenizer
from tfalign.types import LanguageModelBatch

_BUCKET = 16  # prompts are padded to a multiple of it, so that few programs serve all lengths

Prompt = str | Sequence[Mapping[str, str] | Message]


def load(directory: str | os.PathLike, dtype: str | None = None, **changes: Any) -> Pretrained:
    """Loads a model and its tokenizer.

    Args:
        directory: a Hugging Face directory (GPT-2, Llama, BERT, ...), one of a run's models, or a KerasHub
            preset. What it loads as is decided by its files alone.
        dtype: Keras dtype policy, such as "mixed_bfloat16"; None for Keras' own, float32.
        changes: to the model's configuration, such as ``dropout=0.1``.

    Raises:
        ValueError: if it is no directory of a model that tfalign knows, naming the file.
    """
    path = as_path(directory)
    if not is_whole(path):
        raise ValueError(f"There is no model directory {path}. Received: {os.fspath(directory)!r}")
    return Pretrained(from_pretrained(path, dtype=dtype, **changes), load_tokenizer(path), path)


def load_tokenizer(directory: str | os.PathLike) -> Tokenizer | KerasHubTokenizer:
    """The tokenizer of a model's directory, a Hugging Face one or a KerasHub preset."""
    path = as_path(directory)
    if (path / "task.json").is_file():
        with local_copy(path) as folder:
            return KerasHubTokenizer.from_preset(folder)
    return Tokenizer.load(path)


class Pretrained:
    """A model with its tokenizer.

    Args:
        model: a language model (``CausalLM``), a ``RewardModel``, or any other of ``tfalign.models``.
        tokenizer: the tokenizer whose ids the model was trained on.
        directory: where both were loaded from or saved to last; None for nowhere.

    >>> from tfalign.models import CausalLM, GPTConfig
    >>> from tfalign.text import train_byte_bpe
    >>> tokenizer = train_byte_bpe(["hello world"], vocab_size=300)
    >>> config = GPTConfig.from_preset("mini", vocab_size=tokenizer.vocab_size, num_layers=1)
    >>> model = Pretrained(CausalLM(config), tokenizer)
    >>> isinstance(model.generate("hello", max_new_tokens=4), str)
    True
    >>> [len(texts) for texts in [model.generate(["hello", "world"], max_new_tokens=4)]]
    [2]
    >>> "".join(model.stream("hello", seed=3)) == model.generate("hello", seed=3)
    True
    >>> model.log_prob("hello", " world") < 0
    True
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer | KerasHubTokenizer,
        directory: AnyPath | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.directory = directory
        self._log_probs = None
        self._streaming = None
        self._constraints = {}

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        constraint: str | Constraint | None = None,
        tools: Sequence[Mapping] | None = None,
    ) -> str | list[str]:
        """Samples a response to a prompt, or to each of several.

        Args:
            prompts: a text, a conversation (list of messages with "role" and "content", written by the
                tokenizer's chat template), or a list of either.
            max_new_tokens: int, longest response.
            temperature: float, of sampling; with ``top_k=1`` the likeliest token is taken.
            top_k: int, keep the k likeliest tokens; 0 for all.
            top_p: float, keep the likeliest tokens up to this probability.
            min_p: float, keep tokens of at least this fraction of the likeliest one's probability.
            seed: int in [0, 2**32); the same seed gives the same responses.
            constraint: which tokens may come next: "regex:PATTERN", "json:SCHEMA", "with:WORDS", "without:WORDS",
                see ``decoding.patterns``, or a Constraint; None for all.
            tools: list of JSON schemas (``tools.schema_of``), which conversations' chat template shows; None for none.

        Returns:
            The response without special tokens; a list of them for a list of prompts.

        Raises:
            ValueError: if the model is no language model, or a prompt does not fit its positions.
            ConstraintError: if the constraint allows no response of ``max_new_tokens``.
        """
        self._require(CausalLM, "generate")
        if _is_one(prompts):
            choices = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
            chosen = {
                "max_new_tokens": max_new_tokens,
                "seed": seed,
                "constraint": constraint,
                "tools": tools,
            }
            return self.generate([prompts], **choices, **chosen)[0]
        records = [PromptRecord(_prompt(prompt)) for prompt in prompts]
        examples = encode_prompts(records, self.tokenizer, **_shown(tools))
        columns = self._columns(int(examples.lengths.max()), max_new_tokens)
        batch = examples.batch(np.arange(len(examples)), columns)
        generation = generate(
            self.model,
            batch.token_ids,
            batch.mask,
            max_new_tokens=max_new_tokens,
            sampler=Sampler(temperature, top_k, top_p, min_p),
            seed=seed,
            stop_tokens=self.tokenizer.stop_ids,
            pad_id=examples.pad_id,
            constraint=self._constraint(constraint, max_new_tokens),
        )
        rows = zip(np.asarray(generation.tokens), np.asarray(generation.mask))
        return self.tokenizer.decode_batch([row[mask].tolist() for row, mask in rows])

    def stream(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        constraint: str | Constraint | None = None,
        tools: Sequence[Mapping] | None = None,
    ) -> Iterator[str]:
        """The response to one prompt in pieces, as its tokens are drawn; joined they are ``generate``'s.

        Args, Raises: see ``generate``.
        """
        self._require(CausalLM, "stream")
        record = PromptRecord(_prompt(prompt))
        (ids,) = encode_prompts([record], self.tokenizer, **_shown(tools)).tokens
        positions = self.model.config.max_positions
        if positions is not None and len(ids) + max_new_tokens > positions:
            raise ValueError(
                f"The prompt has {len(ids)} tokens; with max_new_tokens={max_new_tokens} the model "
                f"takes {positions - max_new_tokens}"
            )
        constraint = self._constraint(constraint, max_new_tokens)
        sampler = Sampler(temperature, top_k, top_p, min_p)
        streamer = self._streamer(max_new_tokens, sampler, constraint)
        return self._pieces(streamer(ids, seed=seed))

    def _streamer(self, max_new_tokens, sampler, constraint):
        """The Streamer of the settings, compiled once for as long as they stay."""
        settings = max_new_tokens, sampler, constraint
        if self._streaming is None or self._streaming[0] != settings:
            stop_ids = self.tokenizer.stop_ids
            streamer = Streamer(self.model, max_new_tokens, sampler, stop_ids, constraint)
            self._streaming = settings, streamer
        return self._streaming[1]

    def _constraint(self, given, max_new_tokens):
        """A Constraint; of a name it is made once for as long as the name stays."""
        if not isinstance(given, str):
            return given
        asked = given, max_new_tokens
        if asked not in self._constraints:
            size = self.model.config.vocab_size
            made = named_constraint(given, self.tokenizer, size, max_new_tokens)
            self._constraints = {asked: made}
        return self._constraints[asked]

    def _pieces(self, tokens):
        decoder = StreamDecoder(self.tokenizer)
        for token in tokens:
            if token not in self.tokenizer.stop_ids:
                yield decoder.push(token)
        yield decoder.flush()

    def chat(self, messages: Prompt, **choices: Any) -> str:
        """The assistant's next turn in a conversation.

        Args:
            messages: list of messages with "role" and "content"; a text is a user's only message.
            choices: see ``generate``.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return self.generate(messages, **choices)

    def score(self, prompt: Prompt, response: str) -> float:
        """A reward model's score of a response to a prompt.

        Raises:
            ValueError: if the model is no reward model.
        """
        self._require(RewardModel, "score")
        batch = self._answered(prompt, response)
        return float(self.model(batch.token_ids, padding_mask=batch.padding_mask)[0])

    def log_prob(self, prompt: Prompt, response: str) -> float:
        """A language model's log-probability of a response and its end, in nats.

        Raises:
            ValueError: if the model is no language model.
        """
        self._require(CausalLM, "log_prob")
        if self._log_probs is None:
            self._log_probs = backend.jit(self._response_log_prob, self.model.variables)
        return float(self._log_probs(self._answered(prompt, response)))

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the model and its tokenizer as a Hugging Face directory, which is there when both are whole;
        one that was there before is replaced."""
        final = as_path(directory)
        with new_directory(final) as writing:
            self.model.save_pretrained(writing)
            self.tokenizer.save(writing)
        self.directory = final

    def copy_of_model(self) -> keras.Model:
        """A second model of the same weights, with variables of its own."""
        if not isinstance(self.model, PretrainedModel):  # KerasHub's
            return from_pretrained(self.directory, dtype=self.model.dtype_policy)
        copy = type(self.model).from_config(self.model.get_config())
        copy.set_weights(self.model.get_weights())
        for name in ("model_type", "origin"):  # by which it is saved as what it was read as
            if hasattr(trunk_of(self.model), name):
                setattr(trunk_of(copy), name, getattr(trunk_of(self.model), name))
        return copy

    def _require(self, kind, method):
        if not isinstance(self.model, kind):
            raise ValueError(
                f".{method} needs a {kind.__name__}. Received: a {type(self.model).__name__}"
            )

    def _columns(self, longest, max_new_tokens):
        """int, the columns of a batch of prompts: a multiple of the bucket that the positions leave room for."""
        columns = -(-longest // _BUCKET) * _BUCKET
        most = self.model.config.max_positions
        return columns if most is None else max(min(columns, most - max_new_tokens), longest)

    def _answered(self, prompt, response):
        examples = encode_completions([CompletionRecord(_prompt(prompt), response)], self.tokenizer)
        return examples.batch(np.arange(1), -(-int(examples.lengths[0]) // _BUCKET) * _BUCKET)

    def _response_log_prob(self, batch: LanguageModelBatch):
        logits = self.model(batch.token_ids, padding_mask=batch.padding_mask)
        log_probs = token_log_probs(logits[:, :-1], batch.token_ids[:, 1:])
        return keras.ops.sum(keras.ops.where(batch.loss_mask[:, 1:], log_probs, 0.0))


def _is_one(prompts):
    """Whether it is one prompt: a text, or a conversation's messages."""
    if isinstance(prompts, str):
        return True
    return bool(prompts) and all(isinstance(one, Mapping | Message) for one in prompts)


def _shown(tools):
    """Variables of the chat template."""
    return {} if tools is None else {"tools": tools}


def _prompt(prompt):
    if isinstance(prompt, str):
        return prompt
    return tuple(
        one if isinstance(one, Message) else Message(one["role"], one["content"]) for one in prompt
    )

"""Many responses at once, each begun when it is asked for: continuous batching (Yu et al. 2022, Orca).

A fixed number of rows is decoded together, one token a step. A row whose response has ended takes the
next prompt that waits, while the others go on; the program that runs is always the same.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfalign import backend
from tfalign.decoding.samplers import RowSampler
from tfalign.decoding.stepwise import catch_up, check_columns, next_tokens
from tfalign.functional.random import uniform
from tfalign.serving.checks import MOST_BIAS, MOST_PENALTY, check_ids, check_number, check_whole
from tfalign.serving.grammar import Grammar
from tfalign.serving.row_biases import Penalties, RowBiases

_MOST_ROWS = 4096


class QueueFullError(RuntimeError):
    """More requests wait than the engine keeps."""


@dataclasses.dataclass(eq=False)
class Request:
    """A prompt and how it is to be answered; it is submitted once.

    Attributes:
        token_ids: list of int, not empty.
        max_new_tokens: int, at least 1.
        deliver: called from the engine's thread with each token (int) and the reason why it is the
            last ("stop", "length"; None where it is not); at a failure with None and "error". If it
            raises, this request ends, and no other.
        temperature: 0 for the most likely token.
        top_p: in (0, 1].
        seed: int in [0, 2**32); the response is that of ``decoding.generate`` to this prompt alone.
        top_k: 0 for all tokens.
        min_p: in [0, 1).
        stop_tokens: ids that end this response, beside the engine's own.
        logit_bias: number that is added to a token's logit, by the token.
        penalties: Penalties of tokens that the response has already.
        grammar: what the response may be; None for anything.
    """

    token_ids: list[int]
    max_new_tokens: int
    deliver: Callable[[int | None, str | None], None]
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    stop_tokens: frozenset[int] = frozenset()
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    penalties: Penalties = Penalties()
    grammar: Grammar | None = None
    is_cancelled: bool = False
    is_submitted: bool = False

    def check(self, vocab_size: int, stop_tokens: Collection[int]) -> None:
        """Raises a ValueError that names the first attribute out of its range."""
        check_ids("token_ids", self.token_ids, vocab_size)
        check_ids("stop_tokens", list(self.stop_tokens), vocab_size)
        check_whole("max_new_tokens", self.max_new_tokens, 1)
        check_whole("seed", self.seed, 0, 2**32 - 1)
        check_whole("top_k", self.top_k, 0, 2**31 - 1)
        check_number("temperature", self.temperature, 0, math.inf)
        check_number("top_p", self.top_p, 0, 1)
        check_number("min_p", self.min_p, 0, 1)
        check_ids("logit_bias", list(self.logit_bias), vocab_size)
        for value in self.logit_bias.values():
            check_number("logit_bias", value, -MOST_BIAS, MOST_BIAS)
        for name, value in self.penalties._asdict().items():
            check_number(name, value, -MOST_PENALTY, MOST_PENALTY)
        if self.grammar is not None:
            self.grammar.check(vocab_size, stop_tokens, self.max_new_tokens)
        if self.top_p == 0 or self.min_p == 1 or self.temperature == math.inf:
            raise ValueError(
                "top_p must be positive, min_p below 1 and temperature finite. Received:"
                f" top_p={self.top_p}, min_p={self.min_p}, temperature={self.temperature}"
            )


_AT_REST = Request([0], 1, lambda *_: None)


class Engine:
    """Decodes requests in a thread of its own, between ``start`` and ``stop``, or within ``with``.

    Any thread may call any method.

    Args:
        model: CausalLM.
        rows: int, responses decoded at once.
        length: int, tokens of a prompt with its response at most.
        stop_tokens: ids that end a response.
        most_waiting: int, requests that may wait for a row.
        prefill: int, columns of a prompt run at once.

    Attributes:
        failure: the exception that ended the thread, or None.
        vocab_size: int, the model's.

    Raises:
        ValueError: if a size is not positive, ``length`` exceeds the model's positions, or the model keeps no columns
            (``stepwise.check_columns``).
    """

    def __init__(
        self,
        model: keras.Model,
        rows: int,
        length: int,
        stop_tokens: Iterable[int] = (),
        most_waiting: int = 1_000,
        prefill: int = 32,
    ) -> None:
        check_whole("rows", rows, 1, _MOST_ROWS)
        check_whole("length", length, 2)  # a token of the prompt and one of the response
        check_whole("most_waiting", most_waiting, 1)
        check_whole("prefill", prefill, 1)
        check_columns(model)
        most = model.config.max_positions
        if most is not None and length > most:
            raise ValueError(f"The model has {most} positions. Received: length={length}")
        self.length = length
        self.vocab_size = model.config.vocab_size
        self.stop_tokens = frozenset(stop_tokens)
        self.most_waiting = most_waiting
        self.failure = None
        self._waiting = collections.deque()
        self._running = [None] * rows
        self._lock = threading.Condition()
        self._is_started = self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        # what each row's text is, and how much of it was a prompt; a row at rest has one token
        self._texts = np.zeros((rows, length), "int32")
        self._sizes = np.ones(rows, "int32")
        self._prompt_sizes = np.ones(rows, "int32")
        self._in_cache = np.zeros(rows, "int32")
        self._biases = RowBiases(rows, self.vocab_size)
        self._compile(model, rows, min(prefill, length - 1))

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Compiles, then begins to decode.

        Raises:
            ValueError: if it was started or stopped before.
        """
        with self._lock:
            if self._is_started or self._is_stopping:
                raise ValueError("An engine is started once, and not after it was stopped.")
            self._is_started = True
        self._step()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; requests that are not done are told of an error."""
        with self._lock:
            self._is_stopping = True
            self._lock.notify()
        if self._thread.is_alive():
            if threading.current_thread() is not self._thread:  # a request's deliver may stop it
                self._thread.join()
        else:
            self._tell_the_rest()

    def submit(self, request: Request) -> None:
        """Lets a request wait for a row.

        Raises:
            QueueFullError: if too many wait already.
            ValueError: if it was submitted before, a value is out of its range, or prompt and response
                do not fit.
            RuntimeError: if the engine has failed.
        """
        request.check(self.vocab_size, self.stop_tokens)
        if not request.token_ids or len(request.token_ids) + request.max_new_tokens > self.length:
            raise ValueError(
                f"Prompt and response may have {self.length} tokens. Received: a prompt of"
                f" {len(request.token_ids)} and max_new_tokens={request.max_new_tokens}"
            )
        with self._lock:
            if self.failure is not None or self._is_stopping:
                raise RuntimeError(f"The engine has stopped: {self.failure or 'it was told to'}.")
            if request.is_submitted:
                raise ValueError("The request was submitted before; make one for each response.")
            if len(self._waiting) >= self.most_waiting:
                raise QueueFullError(f"{len(self._waiting)} requests wait already")
            request.is_submitted = True
            self._waiting.append(request)
            self._lock.notify()

    def cancel(self, request: Request) -> None:
        """Nothing more is delivered, and the row is free from the next step on."""
        request.is_cancelled = True

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Responses being decoded; one that is done or cancelled is not."""
        return sum(request is not None and not request.is_cancelled for request in self._running)

    def _compile(self, model, rows, prefill):
        cache = model.backbone.new_cache(rows, self.length - 1)
        variables = tree.map_structure(_variable, cache)

        def step(token_ids, sizes, in_cache, choices, seeds, steps):
            mask = ops.arange(self.length)[None, :] < sizes[:, None]
            held = tree.map_structure(lambda variable: variable.value, variables)
            held, _ = catch_up(model, held, in_cache, token_ids, mask, prefill)
            uniforms = uniform(seeds, ops.zeros_like(steps), steps)
            held, tokens, _, _ = next_tokens(
                model, RowSampler(*choices), held, token_ids, mask, uniforms
            )
            tree.map_structure(lambda variable, new: variable.assign(new), variables, held)
            return tokens

        self._program = backend.jit(step, model.variables + tree.flatten(variables))

    def _run(self):
        try:
            while self._admit():
                self._advance(self._step())
        except Exception as error:  # noqa: BLE001 (whatever it is, those who wait must be told)
            self.failure = error
        finally:
            self._tell_the_rest()

    def _tell_the_rest(self):
        with self._lock:
            self._is_stopping = True
            left = [*filter(None, self._running), *self._waiting]
            self._running = [None] * len(self._running)
            self._waiting.clear()
        for request in left:
            self._deliver(request, None, "error")

    def _deliver(self, request, token, reason):
        if request.is_cancelled:
            return
        try:
            request.deliver(token, reason)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is that request's alone)
            request.is_cancelled = True
            logging.warning("a request's deliver raised %s: %s", type(error).__name__, error)

    def _admit(self):
        """Puts requests that wait into free rows; waits where there is nothing to do. Returns False
        when the engine is to end."""
        with self._lock:
            while not (self._waiting or any(self._running) or self._is_stopping):
                self._lock.wait()
            for row, request in enumerate(self._running):
                if request is not None and request.is_cancelled:
                    self._release(row)
            while self._waiting and None in self._running:
                request = self._waiting.popleft()
                if not request.is_cancelled:
                    self._occupy(self._running.index(None), request)
            return not self._is_stopping

    def _occupy(self, row, request):
        count = len(request.token_ids)
        self._running[row] = request
        self._texts[row, :count] = request.token_ids
        self._sizes[row] = self._prompt_sizes[row] = count
        self._in_cache[row] = 0
        self._biases.begin(
            row, request.logit_bias, request.grammar, request.max_new_tokens, request.penalties
        )

    def _release(self, row):
        self._running[row] = None
        self._biases.end(row)
        self._sizes[row] = 1
        self._in_cache[row] = 0

    def _step(self):
        """The next token of every row, int32[rows]."""
        asked = [request or _AT_REST for request in self._running]

        def of_rows(name, dtype):
            return np.array([getattr(request, name) for request in asked], dtype)

        choices = (
            of_rows("temperature", "float32"),
            of_rows("top_p", "float32"),
            of_rows("top_k", "int32"),
            of_rows("min_p", "float32"),
            self._biases.values(),
        )
        return np.asarray(
            self._program(
                self._texts,
                self._sizes,
                self._in_cache,
                choices,
                of_rows("seed", "uint32"),
                self._sizes - self._prompt_sizes,
            )
        )

    def _advance(self, tokens):
        for row, request in enumerate(self._running):
            if request is None:
                continue
            token = int(tokens[row])
            self._in_cache[row] = self._sizes[row]  # all but the token that was drawn
            drawn = self._sizes[row] - self._prompt_sizes[row] + 1
            reason = "length" if drawn == request.max_new_tokens else None
            if token in self.stop_tokens or token in request.stop_tokens:
                reason = "stop"
            if reason is None:
                self._texts[row, self._sizes[row]] = token
                self._sizes[row] += 1
                self._biases.follow(row, token)
            else:
                self._release(row)
            self._deliver(request, token, reason)  # last: who is told of the end finds the row free


def _variable(value):
    """One that shares no memory with another, as JAX's programs want it."""
    return keras.Variable(ops.copy(value), trainable=False)

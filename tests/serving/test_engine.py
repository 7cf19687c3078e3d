"""The engine: whatever runs beside it, a response is that of the library to its prompt alone."""

import threading

import numpy as np
import pytest

from tfalign.decoding import Greedy, Sampler, generate
from tfalign.models import CausalLM, GPTConfig
from tfalign.serving.engine import Engine, QueueFullError, Request
from tfalign.serving.texts import StoppedText
from tfalign.text import train_byte_bpe

V, LENGTH, STOP = 30, 24, 2
MODEL = CausalLM(GPTConfig(V, 16, 2, 2, max_positions=LENGTH, initializer_range=0.5))


class Collected:
    """What was delivered of a request."""

    def __init__(self, token_ids, max_new_tokens, **choices):
        self.tokens, self.reason, self.done = [], None, threading.Event()
        self.request = Request(token_ids, max_new_tokens, self._deliver, **choices)

    def _deliver(self, token, reason):
        self.tokens.append(token)
        if reason is not None:
            self.reason = reason
            self.done.set()


@pytest.fixture(scope="module")
def engine():
    engine = Engine(MODEL, rows=3, length=LENGTH, stop_tokens=(STOP,), most_waiting=50, prefill=4)
    engine.start()
    yield engine
    engine.stop()


def test_responses_equal_the_librarys_however_they_are_mixed(engine):
    """Twenty requests in three rows: prompts of 1 to 12 tokens, each with its own settings."""
    random = np.random.default_rng(0)
    settings = [(Sampler(), {}), (Greedy(), {"temperature": 0.0})]
    settings += [(Sampler(0.7, top_p=0.8), {"temperature": 0.7, "top_p": 0.8})]
    asked = []
    for number in range(20):
        ids = random.integers(3, V, random.integers(1, 13)).tolist()
        sampler, choices = settings[number % 3]
        asked.append((Collected(ids, 1 + number % 10, seed=number, **choices), sampler))
        engine.submit(asked[-1][0].request)
    for collected, sampler in asked:
        assert collected.done.wait(60)
        request = collected.request
        alone = generate(
            MODEL,
            np.array([[0] * (12 - len(request.token_ids)) + request.token_ids], "int32"),
            np.arange(12)[None, :] >= 12 - len(request.token_ids),
            max_new_tokens=10,
            sampler=sampler,
            seed=request.seed,
            stop_tokens=(STOP,),
        )
        expected = np.asarray(alone.tokens)[0][np.asarray(alone.mask)[0]].tolist()
        expected = expected[: request.max_new_tokens]
        assert collected.tokens == expected
        assert collected.reason == ("stop" if expected[-1] == STOP else "length")
    assert engine._program.traces == 1
    assert engine.num_running == engine.num_waiting == 0


def test_a_text_may_fill_all_there_is(engine):
    collected = Collected(list(range(3, 3 + LENGTH - 4)), 4, temperature=0.0)
    engine.submit(collected.request)
    assert collected.done.wait(60)
    assert len(collected.tokens) == 4 or collected.reason == "stop"


def test_cancelled_requests_free_their_rows(engine):
    cancelled = [Collected([5], LENGTH - 1, seed=seed) for seed in range(6)]
    for collected in cancelled:
        engine.cancel(collected.request)
        engine.submit(collected.request)
    after = Collected([5], 3)
    engine.submit(after.request)
    assert after.done.wait(60)
    assert not any(collected.tokens for collected in cancelled)


@pytest.mark.parametrize("ids, new", [([], 1), ([5] * LENGTH, 1), ([5], LENGTH)])
def test_what_does_not_fit_is_refused(engine, ids, new):
    with pytest.raises(ValueError, match="may have 24 tokens. Received: a prompt of"):
        engine.submit(Collected(ids, new).request)


def test_a_full_queue_and_a_stopped_engine_refuse():
    engine = Engine(MODEL, rows=1, length=LENGTH, most_waiting=2)  # not started: nobody leaves
    asked = [Collected([5], 1) for _ in range(3)]
    for collected in asked[:2]:
        engine.submit(collected.request)
    with pytest.raises(QueueFullError, match="2 requests wait already"):
        engine.submit(asked[2].request)
    engine.stop()
    with pytest.raises(RuntimeError, match="has stopped"):
        engine.submit(asked[2].request)


def test_those_who_wait_are_told_of_a_failure():
    engine = Engine(MODEL, rows=1, length=LENGTH)
    engine.start()
    engine._program = lambda *_: 1 / 0
    collected = Collected([5], 3)
    engine.submit(collected.request)
    assert collected.done.wait(60) and collected.reason == "error"
    assert isinstance(engine.failure, ZeroDivisionError)


def test_more_than_the_models_positions_is_refused():
    with pytest.raises(ValueError, match="has 24 positions. Received: length=25"):
        Engine(MODEL, rows=1, length=25)


@pytest.mark.parametrize(
    "stops, shown, stopped",
    [
        ((), "one STOP two", False),
        (("STOP",), "one ", True),
        (("STOPS", "two"), "one STOP ", True),
        (("nothing",), "one STOP two", False),
        (("twofold",), "one STOP two", False),
    ],
)
def test_stop_strings_are_never_shown_in_part(stops, shown, stopped):
    tokenizer = train_byte_bpe([], 259)
    text, pieces = StoppedText(tokenizer, stops), []
    for token_id in tokenizer.encode("one STOP two"):
        pieces.append(text.push(token_id))
        assert not any(stop in "".join(pieces) for stop in stops)
    pieces.append(text.flush())
    assert ("".join(pieces), text.is_stopped) == (shown, stopped)

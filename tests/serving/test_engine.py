"""The engine: whatever runs beside it, a response is that of the library to its prompt alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfalign.decoding import Greedy, Sampler, generate
from tfalign.models import CausalLM, GPTConfig, RecurrentConfig
from tfalign.serving.engine import Engine, QueueFullError, Request
from tfalign.serving.row_biases import Penalties
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


@pytest.mark.slow
def test_responses_equal_the_librarys_however_they_are_mixed(engine):
    """Fifteen requests in three rows: prompts of 1 to 12 tokens, each with its own settings."""
    random = np.random.default_rng(0)
    settings = [(Sampler(), {}), (Greedy(), {"temperature": 0.0})]
    for choices in (
        {"temperature": 0.7, "top_p": 0.8},
        {"top_k": 5},
        {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "min_p": 0.1},
    ):
        settings.append((Sampler(**choices), choices))
    asked = []
    for number in range(15):
        ids = random.integers(3, V, random.integers(1, 13)).tolist()
        sampler, choices = settings[number % len(settings)]
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


def test_those_who_wait_for_an_engine_that_never_started_are_told():
    engine = Engine(MODEL, rows=1, length=LENGTH)
    collected = Collected([5], 1)
    engine.submit(collected.request)
    engine.stop()
    assert collected.reason == "error"
    with pytest.raises(ValueError, match="started once, and not after it was stopped"):
        engine.start()


def test_ids_that_end_one_response_do_not_end_another(engine):
    whole = Collected([5, 6], 12, seed=4)
    engine.submit(whole.request)
    assert whole.done.wait(60)
    end = whole.tokens[len(whole.tokens) // 2]
    ended = Collected([5, 6], 12, seed=4, stop_tokens=frozenset([end]))
    again = Collected([5, 6], 12, seed=4)
    for collected in (ended, again):
        engine.submit(collected.request)
    assert ended.done.wait(60) and again.done.wait(60)
    assert again.tokens == whole.tokens
    assert ended.tokens == whole.tokens[: whole.tokens.index(end) + 1]
    assert ended.reason == "stop"


def test_eight_threads_get_their_own_answers(engine):
    def ask(seed):
        collected = Collected([3 + seed, 7], 10, seed=seed)
        engine.submit(collected.request)
        assert collected.done.wait(60)
        return collected.tokens

    alone = [ask(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(16))) == alone


def test_a_deliver_that_raises_ends_its_request_and_no_other(engine, caplog):
    def deliver(token, reason):
        raise KeyError("nobody")

    engine.submit(Request([5], 10, deliver))
    after = Collected([5], 3)
    engine.submit(after.request)
    assert after.done.wait(60) and after.reason in ("length", "stop")
    assert engine.failure is None and "KeyError: 'nobody'" in caplog.text


def test_a_request_is_submitted_once(engine):
    collected = Collected([5], 3)
    engine.submit(collected.request)
    with pytest.raises(ValueError, match="was submitted before"):
        engine.submit(collected.request)
    with pytest.raises(ValueError, match="started once"):
        engine.start()


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"token_ids": [V]}, r"id must be in \[0, 30\). Received: token_ids\[0\]=30"),
        ({"token_ids": [5, -1]}, r"token_ids\[1\]=-1"),
        ({"token_ids": [10**12]}, r"token_ids\[0\]=1000000000000"),
        ({"token_ids": [1.0]}, r"token_ids\[0\]=1.0"),
        ({"token_ids": "5"}, "token_ids must be a list of token ids"),
        ({"stop_tokens": frozenset([99])}, r"stop_tokens\[0\]=99"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_new_tokens": 2.0}, "max_new_tokens=2.0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**32}, "seed=4294967296"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature finite"),
        ({"top_p": 0.0}, "top_p must be positive"),
        ({"min_p": 1.0}, "min_p below 1"),
        ({"top_k": -1}, "top_k=-1"),
    ],
)
def test_values_out_of_their_range_are_refused(engine, choices, sentence):
    values = {"token_ids": [5], "max_new_tokens": 1} | choices
    with pytest.raises(ValueError, match=sentence):
        engine.submit(Request(deliver=lambda *_: None, **values))


@pytest.mark.parametrize(
    "sizes", [{"rows": 0}, {"rows": 10**9}, {"length": 1}, {"most_waiting": 0}, {"prefill": 0}]
)
def test_an_engine_of_no_size_is_refused(sizes):
    (name, value), *_ = sizes.items()
    with pytest.raises(ValueError, match=f"{name} must be .*Received: {name}={value}"):
        Engine(MODEL, **({"rows": 1, "length": LENGTH} | sizes))


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


def test_a_model_whose_cache_is_a_state_is_refused():
    model = CausalLM(RecurrentConfig(8, 8, 1, cell="gru"))
    with pytest.raises(ValueError, match="by column. Received: a backbone of type Recurrent"):
        Engine(model, rows=1, length=4)


@pytest.mark.parametrize("penalties", [Penalties(frequency=1.5), Penalties(2.0, -0.5), Penalties()])
def test_penalties_are_subtracted_from_the_logits(engine, penalties):
    """Beside full passes of the model over prompt and response, whose counts are taken anew for each token."""
    ids, bias = [5, 9, 5], {STOP: -100.0, 7: 1.0}
    collected = Collected(ids, 12, temperature=0.0, penalties=penalties, logit_bias=bias)
    engine.submit(collected.request)
    assert collected.done.wait(60)
    expected = []
    for _ in range(12):
        row = np.array([ids + expected], "int32")
        logits = np.array(MODEL(row))[0, -1]
        for token, value in bias.items():
            logits[token] += value
        counts = np.bincount(expected, minlength=V)
        logits -= penalties.frequency * counts + penalties.presence * (counts > 0)
        expected.append(int(logits.argmax()))
    assert collected.tokens == expected
    if penalties.frequency > 0:
        assert len(set(expected)) > 6  # a tiny model repeats itself without

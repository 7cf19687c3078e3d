"""Objects shared by threads: the answers they give alone, or a sentence that refuses."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfalign.threads import SharedUseError, one_thread_at_a_time

THREADS = 8


def at_once(function, arguments):
    """The function's results for arguments, from eight threads that begin together."""
    barrier = threading.Barrier(THREADS)

    def begin():
        barrier.wait()

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in [threads.submit(begin) for _ in range(THREADS)]:
            pass
        return list(threads.map(function, arguments))


class Slow:
    """Stands still until it is told to go on."""

    def __init__(self):
        self.entered, self.go_on = threading.Event(), threading.Event()

    @one_thread_at_a_time
    def work(self, wait=False):
        self.entered.set()
        assert not wait or self.go_on.wait(60)
        return self.other()

    @one_thread_at_a_time
    def other(self):
        return "done"


def test_a_second_thread_is_refused_and_the_first_goes_on():
    slow, free = Slow(), Slow()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(slow.work, wait=True)
        assert slow.entered.wait(60)
        for method in (slow.work, slow.other):
            with pytest.raises(SharedUseError, match=r"Slow\.\w+ was called while another thread"):
                method()
        assert free.work() == "done"  # another object is another matter
        slow.go_on.set()
        assert first.result(60) == "done"
    assert slow.work() == "done"


def test_turns_may_be_taken_and_errors_free_the_object():
    class Fails:
        @one_thread_at_a_time
        def work(self, fails):
            return 1 / (not fails)

    shared = Fails()
    with pytest.raises(ZeroDivisionError):
        shared.work(True)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(shared.work, False).result(60) == 1
    assert vars(pickle.loads(pickle.dumps(copy.deepcopy(Copied())))) == {}


class Copied:
    @one_thread_at_a_time
    def work(self):
        return 1


def test_a_tokenizer():
    from tfalign.text import StreamDecoder, train_byte_bpe

    tokenizer = train_byte_bpe(["hello world, 你好，世界"] * 3, 300)
    texts = [f"hello {number} 世界 🙂" * (1 + number % 7) for number in range(200)]

    def there_and_back(text):
        ids, stream = tokenizer.encode(text, bos=True), StreamDecoder(tokenizer)
        streamed = "".join(map(stream.push, ids)) + stream.flush()
        return ids, tokenizer.decode(ids), streamed, tokenizer.encode_batch([text, "x"])

    assert at_once(there_and_back, texts) == [there_and_back(text) for text in texts]


def test_a_chat_template():
    from tests.serving.conftest import byte_tokenizer
    from tfalign.text import Message, encode_conversation

    tokenizer = byte_tokenizer()
    turns = [(Message("user", f"u{number}"), Message("assistant", "b")) for number in range(100)]

    def encode(messages):
        return encode_conversation(tokenizer, messages)

    assert at_once(encode, turns) == [encode(messages) for messages in turns]


@pytest.fixture(scope="module")
def model():
    from tfalign.models import CausalLM, GPTConfig

    return CausalLM(GPTConfig(30, 16, 1, 2, max_positions=24, initializer_range=0.5))


@pytest.mark.slow
def test_a_generator_and_the_function_that_keeps_them(model):
    """Also while its programs are being compiled: nobody has called it before."""
    from tfalign.decoding import Generator, generate

    def prompt(seed):
        return np.array([[3 + seed % 20, 5]], "int32"), np.ones((1, 2), "bool")

    shared, own = Generator(model, 6), Generator(model, 6)

    def respond(seed):
        return np.asarray(shared(*prompt(seed), seed).tokens).tolist()

    def respond_kept(seed):
        tokens = generate(model, *prompt(seed), max_new_tokens=6, seed=seed).tokens
        return np.asarray(tokens).tolist()

    alone = [np.asarray(own(*prompt(seed), seed).tokens).tolist() for seed in range(32)]
    assert at_once(respond, range(32)) == alone
    assert at_once(respond_kept, range(32)) == alone


def test_a_streamer(model):
    from tfalign.decoding import Streamer

    streamer = Streamer(model, 6)

    def respond(seed):
        return list(streamer([3 + seed, 5], seed))

    assert at_once(respond, range(16)) == [respond(seed) for seed in range(16)]


def test_an_environment_is_refused_to_a_second_thread():
    """While one thread's step waits for its reward, another's is refused; the episode is unharmed."""
    from tfalign.environments.gymnasium_env import TextGenerationEnv
    from tfalign.environments.gymnasium_vector_env import TextGenerationVectorEnv
    from tfalign.environments.tasks import repeat_prompt

    for kind in (TextGenerationEnv, TextGenerationVectorEnv):
        env, entered, go_on = kind(mdp=repeat_prompt()), threading.Event(), threading.Event()
        env.reset(seed=0)
        step = env.episodes._transition

        def slow(state, actions, step=step, entered=entered, go_on=go_on):
            entered.set()
            assert go_on.wait(60)
            return step(state, actions)

        env.episodes._transition = slow
        action = np.argmax(env.episodes.action_mask[0])
        action = action if kind is TextGenerationEnv else np.array([action])
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(env.step, action)
            assert entered.wait(60)
            with pytest.raises(SharedUseError, match="Another thread is in the middle"):
                env.step(action)
            with pytest.raises(SharedUseError, match="Another thread is in the middle"):
                env.reset()
            go_on.set()
            first.result(60)
        env.step(action)

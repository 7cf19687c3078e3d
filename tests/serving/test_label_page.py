"""The page of feedback in a real browser: answers by a click and by a key, and the file holds them."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

import uvicorn

from tests.serving.browser import Browser
from tests.serving.conftest import make_client, tiny_model
from tfalign.data import FeedbackFile, PromptRecord, read_feedback
from tfalign.text import Message

pytestmark = pytest.mark.slow

EVIL = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
PROMPTS = [
    PromptRecord("Hi."),
    PromptRecord((Message("system", EVIL), Message("user", "嗨"))),
    PromptRecord("Bye."),
    PromptRecord("Last."),
]
READY = "!busy && shown !== null"


@contextlib.contextmanager
def served(**choices):
    """The address of a server of a tiny model."""
    app = make_client(tiny_model(256), length=256, **choices).app
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "browser")
    yield browser
    browser.close()


def test_choices_and_votes_reach_the_file(tmp_path, browser):
    file = FeedbackFile(tmp_path / "feedback.jsonl")
    with served(feedback=file, prompts=PROMPTS) as address:
        browser.call("Page.navigate", url=f"{address}/label")
        browser.wait_for("document.readyState === 'complete' && typeof shown !== 'undefined'")
        browser.wait_for(READY)  # the first prompt is answered at once
        assert browser.evaluate("document.querySelector('#key').offsetParent === null")
        browser.click("#user")
        browser.type("mia")
        shown = [browser.text("#left"), browser.text("#right")]
        browser.click("#choose-right")
        browser.wait_for(f"{READY} && saved === 1")
        assert "Prompt 2 of 4" in browser.text("#saved")
        assert EVIL in browser.text("#before") and browser.evaluate("document.images.length") == 0
        first, second = browser.text("#left"), browser.text("#right")
        browser.press("Escape")
        browser.press("ArrowLeft")
        browser.wait_for(f"{READY} && saved === 2")
        browser.press("ArrowDown")  # neither is good
        browser.wait_for(f"{READY} && saved === 4")
        browser.press("1")
        browser.wait_for("!busy && saved === 5")
        browser.evaluate(f"show([{EVIL!r}, 'b'], asked())")
        assert browser.text("#left") == EVIL and browser.evaluate("document.images.length") == 0
        assert browser.evaluate("document.title") == "Which answer is better?"
        requested = [
            one["params"]["request"]["url"]
            for one in browser.events
            if one["method"] == "Network.requestWillBeSent"
        ]
        assert requested and all(url.startswith((address, "data:")) for url in requested)
        logged = [one["params"]["entry"] for one in browser.events if "Log.entryAdded" in str(one)]
        assert not [one for one in logged if one["level"] == "error"]
    choices, votes = read_feedback(file.path)
    assert [(one.chosen, one.rejected) for one in choices] == [tuple(shown[::-1]), (first, second)]
    assert choices[0].prompt == (Message("user", "Hi."),) and choices[0].user == "mia"
    assert choices[1].prompt == PROMPTS[1].prompt
    asked = [(one.prompt[-1].content, one.label) for one in votes]
    assert asked == [("Bye.", False), ("Bye.", False), ("Last.", True)]


def test_a_typed_prompt_behind_a_key(tmp_path, browser):
    file = FeedbackFile(tmp_path / "feedback.jsonl")
    with served(feedback=file, api_key="secret") as address:
        browser.call("Page.navigate", url=f"{address}/label")
        browser.wait_for("document.querySelector('#with-key')?.hidden === false && !busy")
        assert "key is missing" in browser.text("#problem")
        browser.click("#key")
        browser.type("secret")
        browser.click("#prompt")
        browser.wait_for("isChat && !busy")
        browser.evaluate("document.querySelector('#tokens').value = 999")
        browser.press("Enter", modifiers=2)
        browser.wait_for("!busy && document.querySelector('#problem').textContent")
        assert "The model takes 256 tokens" in browser.text("#problem")
        browser.evaluate("document.querySelector('#tokens').value = 9")
        browser.click("#prompt")
        browser.type("How\nmany?")
        browser.press("Enter", modifiers=2)
        browser.wait_for(READY)
        browser.press("ArrowUp")
        browser.wait_for("!busy && saved === 2")
    labels = [(one.prompt[0].content, one.label) for one in read_feedback(file.path).votes]
    assert labels == [("How\nmany?", True)] * 2

"""POST /v1/feedback: records that training reads, or one sentence; and who may see the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from tests.serving.conftest import make_client
from tfalign.data import FeedbackFile, PromptRecord, read_feedback
from tfalign.serving.label_page import HEADERS, PAGE
from tfalign.text import Message

FEEDBACK = "/v1/feedback"
MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "嗨"}]
CHOICE = {"messages": MESSAGES, "chosen": "你好", "rejected": "What?", "user": "mia"}
VOTE = {"prompt": "Hi.", "completion": "<b>Hello</b>", "label": True}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def desk(model, tmp_path_factory):
    """(a client, the file)."""
    file = FeedbackFile(tmp_path_factory.mktemp("feedback") / "feedback.jsonl")
    prompts = [PromptRecord("Hi."), PromptRecord(tuple(Message(**one) for one in MESSAGES))]
    client = make_client(model, feedback=file, prompts=prompts, most_bytes=2_000)
    return client, file


def test_a_choice_and_a_vote_are_read_again(desk):
    client, file = desk
    before = file.path.read_text(encoding="utf-8").count("\n")
    kinds = [client.post(FEEDBACK, json=body).json()["kind"] for body in (CHOICE, VOTE)]
    assert kinds == ["choice", "vote"]
    choices, votes = read_feedback(file.path)
    assert choices[-1].prompt == tuple(Message(**one) for one in MESSAGES)
    assert (choices[-1].chosen, choices[-1].rejected, choices[-1].user) == ("你好", "What?", "mia")
    assert (votes[-1].prompt, votes[-1].completion, votes[-1].label) == (
        "Hi.",
        "<b>Hello</b>",
        True,
    )
    lines = file.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == before + 2 and json.loads(lines[-1])["model"] == "agent"
    counted = 'requests_total{route="/v1/feedback",status="200"}'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "The body is not JSON."),
        (b"x" * 2_001, 413, "A request may have 2000 bytes."),
        (b'{"label": true, "label": false}', 400, "has a name twice in one object"),
        (CHOICE | {"prompt": "Hi."}, 400, "Feedback has a prompt or messages. Received: both"),
        ({"chosen": "a", "rejected": "b"}, 400, "Received: neither"),
        (CHOICE | {"label": True}, 400, "Received: chosen, rejected, label"),
        ({"prompt": "Hi.", "label": True}, 400, "Received: label"),
        ({"prompt": "Hi."}, 400, "Received: none of them"),
        (VOTE | {"label": 1}, 400, "label must be true or false. Received: label=1"),
        (VOTE | {"completion": ["a"]}, 400, "completion must be a string."),
        (VOTE | {"rating": 5}, 400, "'rating' is not a field of this request."),
        (
            VOTE | {"completion": " "},
            400,
            "The feedback is refused: the field 'completion' is empty.",
        ),
        (CHOICE | {"chosen": "What?"}, 400, "The feedback is refused: chosen == rejected."),
        (
            CHOICE | {"messages": [{"role": "boss", "content": "a"}]},
            400,
            "must be one of system, user",
        ),
        (VOTE | {"prompt": ""}, 400, "the field 'prompt' is empty"),
    ],
)
def test_what_is_refused_is_not_written(desk, body, status, message):
    client, file = desk
    before = file.path.read_bytes()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(FEEDBACK, content=data, headers=JSON)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert file.path.read_bytes() == before


def test_calls_of_tools_are_not_what_a_record_holds(desk):
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    talk = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]
    response = desk[0].post(FEEDBACK, json=CHOICE | {"messages": talk})
    assert response.status_code == 400
    assert "messages[1] must have role and content alone" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}]
)
def test_pages_of_other_sites_cannot_vote(desk, headers):
    client, file = desk
    before = file.path.read_bytes()
    assert client.post(FEEDBACK, json=VOTE, headers=headers).status_code == 403
    for path in ("/label", "/label/prompts"):
        assert client.get(path, headers=headers).status_code == 403
    assert file.path.read_bytes() == before


def test_a_server_without_a_file_takes_none(client):
    for response in (client.post(FEEDBACK, json=VOTE), client.get("/label")):
        assert response.status_code == 501
        assert "started without --feedback=FILE" in response.json()["error"]["message"]


def test_the_page_needs_no_key_but_shows_nothing_without(model, tmp_path):
    file = FeedbackFile(tmp_path / "feedback.jsonl")
    client = make_client(model, feedback=file, api_key="secret")
    assert client.get("/label").status_code == 200
    assert client.get("/label/prompts").status_code == 401
    assert client.post(FEEDBACK, json=VOTE).status_code == 401
    headers = {"Authorization": "Bearer secret"}
    assert client.get("/label/prompts", headers=headers).json()["is_chat"] is True


def test_the_page_may_run_its_own_script_alone(desk):
    response = desk[0].get("/label")
    assert response.text == PAGE
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    (script,) = re.findall("<script>(.*?)</script>", PAGE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert not re.search(r"https?:|innerHTML|insertAdjacent|document\.write|\son\w+=", PAGE)
    assert HEADERS["X-Frame-Options"] == "DENY"
    assert desk[0].get("/label/prompts").json()["prompts"] == ["Hi.", MESSAGES]


def test_prompts_that_cannot_be_asked_are_told_before_anything_is_served(model):
    said = PromptRecord((Message("assistant", "Hi."),), source="prompts.jsonl:1")
    with pytest.raises(ValueError, match="prompts.jsonl:1: a prompt's last message must be the"):
        make_client(model, prompts=[said])

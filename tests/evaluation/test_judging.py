"""Judges and multiple choice: positions swapped, lengths taken out, TruthfulQA's numbers by hand."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import pytest

from tfalign.evaluation.judge import chat_server, judged
from tfalign.evaluation.length_control import length_controlled_win_rate
from tfalign.evaluation.multiple_choice import Question, multiple_choice, read_truthfulqa


def longest(messages):
    """A judge that prefers the longer response, wherever it stands."""
    first, second = messages[1]["content"].split("# Response A\n")[1].split("\n\n# Response B\n")
    return "[[C]] at first, but [[{}]]".format("A" if len(first) > len(second) else "B")


def test_a_judge_is_asked_in_both_orders():
    texts = ["p", "p", "p"], ["long one", "x", "same!"], ["short", "longer", "no verdict"]
    assert judged(longest, *texts).tolist() == [1.0, 0.0, 0.0]
    assert judged(lambda messages: "[[B]]", *texts).tolist() == [0.5] * 3  # a bias of place
    assert judged(lambda messages: "[[C]]", *texts).tolist() == [0.5] * 3
    assert np.isnan(judged(lambda messages: "I would rather not.", *texts)).all()
    with pytest.raises(ValueError, match=r"as many prompts as responses. Received: \[1, 2\]"):
        judged(longest, ["p"], ["a"], ["b", "c"])


@pytest.fixture
def server():
    """(url, what was asked) of a server that speaks chat completions."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], body))
            good = {"choices": [{"message": {"role": "assistant", "content": "[[A]]"}}]}
            data = json.dumps(good if body["model"] == "judge" else {"error": "?"}).encode()
            self.send_response(500 if body["model"] == "broken" else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1", asked
    running.shutdown()
    running.server_close()


def test_a_judge_behind_http(server):
    url, asked = server
    assert judged(chat_server(url, "judge", "secret"), ["p"], ["a"], ["b"]).tolist() == [0.5]
    (path, key, body), (_, _, other) = asked
    assert path == "/v1/chat/completions" and key == "Bearer secret" and body["temperature"] == 0
    texts = [one["messages"][1]["content"] for one in (body, other)]
    assert texts[0].index("a\n") < texts[0].index("\nb") and texts[1].endswith("B\na")
    with pytest.raises(ValueError, match="answers no chat completion"):
        chat_server(url, "other")([])
    with pytest.raises(ValueError, match="does not answer"):
        chat_server(url, "broken")([])


def test_a_win_rate_at_equal_length():
    """Wins of known chances: 0.6 at equal length, more where the response is longer."""
    random = np.random.default_rng(0)
    lengths = random.normal(120, 30, 20_000)  # longer than the baseline's, in the mean
    others = random.normal(100, 30, 20_000)
    difference = np.tanh((lengths - others) / (lengths - others).std())
    chances = 1 / (1 + np.exp(-(np.log(0.6 / 0.4) + 1.5 * difference)))
    wins = (random.random(20_000) < chances).astype(float)
    found = length_controlled_win_rate(wins, lengths, others)
    assert wins.mean() > 0.66
    assert found.low < 0.6 < found.high and found.high - found.low < 0.03
    flat = length_controlled_win_rate([1, 0, 0.5, 1], [5] * 4, [5] * 4)  # no lengths to speak of
    assert flat.value == pytest.approx(2.5 / 4, abs=1e-3)
    with pytest.raises(ValueError, match="A win must be between 0 and 1"):
        length_controlled_win_rate([2], [1], [1])
    with pytest.raises(ValueError, match="must be as many"):
        length_controlled_win_rate([1, 0], [1], [1])


def test_multiple_choice_by_hand():
    questions = [Question("a?", ("x.", "y."), ("z.",)), Question("b?", ("u.",), ("v.", "w."))]
    chances = {" x.": 0.2, " y.": 0.4, " z.": 0.2, " u.": 0.1, " v.": 0.3, " w.": 0.1}

    def log_probs(pairs):
        assert pairs[0][0].endswith("\n\nQ: a?\nA:") and len(pairs) == 6
        return [np.log(chances[answer]) for _, answer in pairs]

    mc1, mc2 = multiple_choice(questions, log_probs)
    assert mc1.tolist() == [False, False]  # the best answer must be likelier
    np.testing.assert_allclose(mc2, [0.75, 0.2])


def test_truthfulqa_is_read(shared_data):
    questions = read_truthfulqa(shared_data / "truthfulqa" / "TruthfulQA.csv")
    assert len(questions) == 817
    first = questions[0]
    assert first.right[0] == "The watermelon seeds pass through your digestive system."
    assert len(first.right) == 6 and len(first.wrong) == 7
    assert all(
        q.right and q.wrong and all(a.endswith(".") for a in q.right + q.wrong) for q in questions
    )

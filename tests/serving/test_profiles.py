"""A request's user: their profile is in the prompt that the model reads, can be read and be deleted."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from tests.serving.conftest import make_client, tiny_model
from tfalign.applications.personalisation import Profile, ProfileStore

COMPLETE, CHAT = "/v1/completions", "/v1/chat/completions"
ABOUT = "Mia likes short answers."
SYSTEM, ASKED = {"role": "system", "content": "Be kind."}, {"role": "user", "content": "嗨"}
FEW = {"max_tokens": 6, "seed": 3}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(a client, the profiles)."""
    store = ProfileStore(tmp_path_factory.mktemp("profiles"))
    store.put(Profile("mia/a", (ABOUT, "She is 40.")).choose("Hi.", "Hi!", "Good day to you!"))
    store.put(Profile("ben"))
    with make_client(tiny_model(256), length=256, profiles=store) as client:
        yield client, store


def said(client, path, **body):
    answer = client.post(path, json=body | FEW).json()
    return answer["usage"]["prompt_tokens"], answer["choices"][0]


def test_the_profile_is_what_the_client_could_have_written_itself(served):
    client, _ = served
    told = f"{ABOUT}\nShe is 40."
    by_user = said(client, CHAT, messages=[SYSTEM, ASKED], user="mia/a")
    written = SYSTEM | {"content": f"Be kind.\n{told}"}
    assert by_user == said(client, CHAT, messages=[written, ASKED])
    by_user = said(client, CHAT, messages=[ASKED], user="mia/a")
    assert by_user == said(client, CHAT, messages=[{"role": "system", "content": told}, ASKED])
    assert said(client, COMPLETE, prompt="Hi.", user="mia/a") == said(
        client, COMPLETE, prompt=f"{told}\nHi."
    )
    for user in ("ben", "nobody", ""):
        assert said(client, CHAT, messages=[ASKED], user=user) == said(
            client, CHAT, messages=[ASKED]
        )


def test_ids_have_no_room_for_a_profile(served):
    response = served[0].post(COMPLETE, json={"prompt": [1, 40], "user": "mia/a"})
    assert response.status_code == 400
    assert "must be a text where its user has a profile" in response.json()["error"]["message"]


def test_a_profile_is_exported_and_deleted(served):
    client, store = served
    store.put(Profile("weg", (ABOUT,)))
    exported = client.get("/v1/profiles/weg").json()
    assert exported == json.loads(store.export("weg")) and exported["about"] == [ABOUT]
    assert client.get("/v1/profiles/mia%2Fa").json()["choices"][0]["chosen"] == "Hi!"
    headers = {"Origin": "http://evil.example"}
    assert client.delete("/v1/profiles/weg", headers=headers).status_code == 403
    assert client.delete("/v1/profiles/weg").json()["deleted"] is True
    assert "weg" not in store
    for method in (client.get, client.delete):
        response = method("/v1/profiles/weg")
        assert response.status_code == 404
        assert response.json()["error"]["message"] == "There is no profile of this user."
    metrics = client.get("/metrics").text
    assert "weg" not in metrics and 'route="/v1/profiles/{user:path}",status="200"' in metrics


@pytest.mark.parametrize(("user", "status"), [("x" * 81, 400), ("顾" * 60, 500)])
def test_names_that_are_none(served, user, status):
    client, _ = served
    response = client.post(COMPLETE, json={"prompt": "a", "user": user})
    assert response.status_code == status
    assert client.get(f"/v1/profiles/{user}").status_code == status


def test_a_file_that_is_no_profile_tells_nothing_of_the_server(served, tmp_path):
    client, store = served
    store.put(Profile("odd"))
    (file,) = tmp_path.parent.glob("profiles?/odd.json")
    file.write_text('{"user": "mia"}')
    response = client.get("/v1/profiles/odd")
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "The profile of this user cannot be read."


def test_without_profiles_the_user_changes_nothing(client):
    assert said(client, CHAT, messages=[ASKED], user="mia/a") == said(
        client, CHAT, messages=[ASKED]
    )
    assert client.get("/v1/profiles/mia").status_code == 501

"""Try it: every answer against the reader itself, links that ask the same again, refusals, and one call at a time."""

import json
import threading
import time
from urllib.parse import parse_qs

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hanging import occupied
from test_meaning import Trigrams
from test_search import dense

from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.search import MiniLM, Reader, contrast, on_token
from physalis.web.atlas.app import create_app
from physalis.web.atlas.index import spoken
from physalis.web.atlas.try_records import Try, TryContrast
from physalis.web.atlas.trying import state_of, trying_router, verdict
from physalis.web.worker.model_lock import ModelLock

TEXT = "alpha beta if gamma\nelse delta <script>"


@pytest.fixture(scope="module")
def reader(tiny, tiny_dictionary):
    return Reader.open(tiny_dictionary, tiny)


def served(reader: Reader, atlas: Atlas, *more, **options) -> TestClient:
    app = create_app(atlas)
    app.include_router(trying_router(reader, atlas, *more, **options))
    return TestClient(app)


@pytest.fixture(scope="module")
def client(reader, tiny_atlas):
    return served(reader, tiny_atlas, Trigrams())


def ask(client: TestClient, path: str, **body) -> dict:
    """The answer, which its own ``state`` asks again."""
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert client.get(f"{path}?{answer.json()['state']}").json() == answer.json()
    return answer.json()


def check_names(found: dict, ids: set[int], atlas: Atlas) -> None:
    assert [name["id"] for name in found["names"]] == sorted(ids)
    for name, row in zip(found["names"], atlas.rows(sorted(ids)), strict=True):
        assert name == {key: getattr(row, key) for key in ("id", "headline", "density", "max_code")}


@pytest.mark.parametrize("sort", ["peak", "relative", "total", "tokens"])
def test_what_fires_on_a_text(client, reader, tiny_atlas, sort):
    found = ask(client, "/api/try", text=TEXT, sort=sort, strongest=2, limit=7)
    (reading,) = reader.read([TEXT])
    codes = dense(reading)
    assert [token["token"] for token in found["tokens"]] == ["<bos>", *TEXT]
    assert [token["left_out"] for token in found["tokens"]] == reading.left_out
    for token, row in zip(found["tokens"], codes, strict=True):
        assert [f["code"] for f in token["features"]] == pytest.approx(sorted(row[row > 0])[::-1][:2], rel=1e-3)
        assert all(f["code"] == pytest.approx(row[f["id"]], rel=1e-3) for f in token["features"])
    assert found["n_fired"] == codes.any(0).sum()
    largest = np.array([row.max_code for row in tiny_atlas.rows(range(len(tiny_atlas)))])
    ranks = {
        "peak": codes.max(0), "relative": codes.max(0) / np.maximum(largest, 1e-9), "total": codes.sum(0),
        "tokens": (codes > 0).sum(0),
    }  # fmt: skip
    want = sorted(ranks[sort][codes.any(0)], reverse=True)[:7]
    assert [ranks[sort][f["id"]] for f in found["features"]] == pytest.approx(want)
    for f in found["features"]:
        column = codes[:, f["id"]]
        assert (f["peak"], f["total"]) == (pytest.approx(column.max(), rel=1e-3), pytest.approx(column.sum(), rel=1e-3))
        assert (f["at"], f["tokens"]) == (column.argmax(), (column > 0).sum())
    mentioned = {f["id"] for f in found["features"]} | {f["id"] for t in found["tokens"] for f in t["features"]}
    check_names(found, mentioned, tiny_atlas)


def test_dense_features_can_be_left_out(client, tiny_atlas):
    everything = ask(client, "/api/try", text=TEXT, limit=500)
    densities = sorted(name["density"] for name in everything["names"])
    bar = densities[len(densities) // 2]
    some = ask(client, "/api/try", text=TEXT, limit=500, densest=bar)
    assert 0 < some["n_fired"] < everything["n_fired"]
    assert all(name["density"] <= bar for name in some["names"])
    kept = [f for f in everything["features"] if tiny_atlas[f["id"]].density <= bar]
    assert some["features"] == kept


def test_features_over_a_text(client, reader, tiny_atlas):
    ids = [f["id"] for f in ask(client, "/api/try", text=TEXT)["features"]][:3]
    found = ask(client, "/api/try/feature", text=TEXT, feature=[*ids, ids[0]])
    (reading,) = reader.read([TEXT])
    assert [trace["feature"]["id"] for trace in found["traces"]] == ids
    for trace in found["traces"]:
        assert trace["codes"] == pytest.approx(dense(reading)[:, trace["feature"]["id"]], rel=1e-3)
        assert trace["feature"]["headline"] == tiny_atlas[trace["feature"]["id"]].headline
    assert found["tokens"] == reading.tokens and found["left_out"] == reading.left_out


def test_features_of_a_token(client, reader, tiny_atlas):
    texts = ["alpha beta", "gamma delta", "if else"]
    found = ask(client, "/api/try/token", text=texts, token="a", limit=5)
    assert found["on"] == on_token(reader.read(texts), 97, top=5).model_dump()
    check_names(found, {f["id"] for f in found["on"]["features"]}, tiny_atlas)


def test_here_and_not_there(client, reader, tiny_atlas):
    here, there = [f"alpha {i}" for i in range(6)], [f"}}{{][ {i}" for i in range(6)]
    found = ask(client, "/api/contrast", here=here, there=there, limit=4)
    want = contrast(reader.read(here), reader.read(there), top=4)
    assert found["contrast"]["found"] == want.found > 0
    assert [f["id"] for f in found["contrast"]["more_here"]] == [f.id for f in want.more_here]
    assert found["verdict"] == verdict(want)
    check_names(found, {f.id for f in (*want.more_here, *want.more_there)}, tiny_atlas)
    one = ask(client, "/api/contrast", here=["alpha"], there=["{}"], measure="share_of_texts")
    assert "nothing can be told from chance" in one["verdict"] and "1 text in A and 1 in B" in one["verdict"]
    same = ask(client, "/api/contrast", here=here, there=here)
    assert "no feature differs" in same["verdict"] and same["contrast"]["found"] == 0


def test_by_meaning(client, tiny_atlas):
    headline = tiny_atlas.rows([tiny_atlas.summary().striking[0]])[0].headline
    found = client.get("/api/meaning", params={"query": spoken(headline), "limit": 3}).json()
    assert found["found"]["features"][0]["cosine"] == pytest.approx(1, abs=1e-3)
    check_names(found, {f["id"] for f in found["found"]["features"]}, tiny_atlas)
    assert client.get(f"/api/meaning?{found['state']}").json() == found
    assert (tiny_atlas.folder / "meaning.npy").exists()


def test_labels_are_searched_as_they_are_now(reader, tiny_atlas):
    labels = {5: ["the Eiffel tower"], 10**6: ["nowhere"]}
    client = served(reader, tiny_atlas, Trigrams(), labels=lambda: labels)
    first = client.get("/api/meaning?query=the Eiffel tower").json()["found"]["features"][0]
    assert (first["id"], first["text"]) == (5, "the Eiffel tower")
    labels[7] = ["zebra crossings"]
    assert client.get("/api/meaning?query=zebra crossings").json()["found"]["features"][0]["id"] == 7


def test_without_an_embedder_everything_else_works(reader, tiny_atlas, tmp_path):
    client = served(reader, tiny_atlas)
    refused = client.get("/api/meaning?query=x")
    assert refused.status_code == 503 and "without an embedder" in refused.json()["detail"]
    assert client.post("/api/try", json={"text": "alpha"}).status_code == 200
    client = served(reader, tiny_atlas, MiniLM(tmp_path))
    for _ in range(2):
        refused = client.get("/api/meaning?query=x")
        assert refused.status_code == 503 and "finds in its log why" in refused.json()["detail"]
        assert str(tmp_path) not in refused.text  # which only its owner is to know


def test_slow_vectors_are_waited_for_elsewhere(reader, tiny_atlas, monkeypatch):
    go = threading.Event()

    class Slow(Trigrams):
        def embed(self, texts):
            assert go.wait(30)
            return super().embed(texts)

    monkeypatch.setattr("physalis.web.atlas.index.SOON_S", 0.01)
    client = served(reader, tiny_atlas, Slow("slow"))
    refused = client.get("/api/meaning?query=alpha")
    assert refused.status_code == 503 and "Try again soon" in refused.json()["detail"]
    go.set()
    deadline = time.monotonic() + 30
    while (answer := client.get("/api/meaning?query=alpha")).status_code == 503 and time.monotonic() < deadline:
        pass
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/try", {"text": "a" * 300}, 400, "has 301 tokens; at most 256"),
        ("/api/try", {"text": ""}, 422, "text=''"),
        ("/api/try", {"text": "a" * 20_001}, 422, "at most 20000 characters"),
        ("/api/try", {"text": "a", "sort": "beauty"}, 422, "sort='beauty'"),
        ("/api/try", {"text": "a", "texts": "b"}, 422, "texts='b'"),
        ("/api/try", {"text": "\ud800"}, 422, "text="),
        ("/api/try", {}, 422, "The field text is missing: it must be a text"),
        ("/api/try/feature", {"text": "a", "feature": [10**6]}, 400, "There is no feature 1000000"),
        ("/api/try/feature", {"text": "a", "feature": [-1]}, 400, "There is no feature -1"),
        ("/api/try/feature", {"text": "a", "feature": []}, 422, "feature=[]"),
        ("/api/try/token", {"text": ["a"], "token": "ab"}, 400, "is not one token"),
        ("/api/try/token", {"text": ["a"], "token": "b"}, 400, "None of these texts has the token 98"),
        ("/api/contrast", {"here": [], "there": ["a"]}, 422, "here=[]"),
        ("/api/contrast", {"here": ["a"] * 101, "there": ["a"]}, 422, "at most 100"),
        ("/api/contrast", {"here": ["a" * 20_000] * 3, "there": ["a" * 20_000] * 3}, 400, "120,000 characters"),
    ],
)
def test_refusals_are_sentences(client, path, body, status, words):
    refused = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert (refused.status_code, words in refused.json()["detail"]) == (status, True), refused.text[:500]


def test_another_dictionarys_atlas_is_refused(reader, tiny_atlas, tiny):
    other = Reader(tiny, reader.dictionary, reader.sites, reader.hygienes, hash="0" * 64)
    with pytest.raises(BadInput, match="atlas is of another dictionary"):
        trying_router(other, tiny_atlas)
    unnamed = Reader(tiny, reader.dictionary, reader.sites, reader.hygienes)
    assert trying_router(unnamed, tiny_atlas).routes


def test_the_model_takes_one_call_at_a_time(reader, tiny_atlas, monkeypatch):
    inside, most, statuses = 0, 0, []
    real = reader.read

    def watched(texts):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.05)
        found = real(texts)
        inside -= 1
        return found

    monkeypatch.setattr(reader, "read", watched)
    client = served(reader, tiny_atlas, turns=ModelLock(waiting=3))
    threads = [
        threading.Thread(target=lambda: statuses.append(client.post("/api/try", json={"text": "a"}).status_code))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert len(statuses) == 12 and {*statuses} <= {200, 503} and statuses.count(200) >= 4


@pytest.mark.parametrize("path, asked", [
    ("/api/try", {"text": "alpha"}),
    ("/api/try/feature", {"text": "alpha", "feature": [3]}),
    ("/api/try/token", {"text": ["alpha"], "token": "a"}),
    ("/api/contrast", {"here": ["a"], "there": ["b"]}),
])  # fmt: skip
def test_too_many_are_sent_away(reader, tiny_atlas, path, asked):
    turns = ModelLock(waiting=0)
    client = served(reader, tiny_atlas, turns=turns)
    with occupied(turns):
        refused = client.post(path, json=asked)
    assert refused.status_code == 503 and "busy" in refused.json()["detail"] and refused.headers["retry-after"] == "2"
    assert client.post(path, json=asked).status_code == 200


def test_rare_characters_are_counted_as_the_tokens_they_are(client):
    refused = client.post("/api/contrast", json={"here": ["\U0001f331" * 60] * 100, "there": ["\U0001f331" * 60] * 37})
    assert refused.status_code == 400 and "The texts have 32,880 tokens together" in refused.json()["detail"]


def test_an_index_that_fails_is_not_made_again_and_again(reader, tiny_atlas, monkeypatch, capsys):
    class Broken(Trigrams):
        made = 0

        def embed(self, texts):
            Broken.made += 1
            raise OSError("/secret/folder: the disk is gone")

    client = served(reader, tiny_atlas, Broken("broken"))
    for _ in range(3):
        refused = client.get("/api/meaning?query=x")
        assert refused.status_code == 503 and "secret" not in refused.text and 50 <= int(refused.headers["retry-after"])
    assert Broken.made == 1 and "/secret/folder" in capsys.readouterr().err
    monkeypatch.setattr("physalis.web.atlas.index.AGAIN_S", 0.0)
    assert client.get("/api/meaning?query=x").status_code == 503 and Broken.made > 1


def test_new_labels_do_not_stop_searches(reader, tiny_atlas, monkeypatch):
    """While the index of what is said now is made, that of what was said before is searched; one is made at a time."""
    go, labels, making = threading.Event(), {}, []

    class Slow(Trigrams):
        def embed(self, texts):
            making.append(len(texts))
            assert "zebra" not in " ".join(texts) or go.wait(30)
            return super().embed(texts)

    client = served(reader, tiny_atlas, Slow("slow again"), labels=lambda: dict(labels))
    assert client.get("/api/meaning?query=alpha").status_code == 200
    monkeypatch.setattr("physalis.web.atlas.index.SOON_S", 0.05)
    for id in range(3):
        labels[id] = ["zebra"]
        assert client.get("/api/meaning?query=alpha").status_code == 200
    assert len([thread for thread in threading.enumerate() if thread.name == "meanings"]) == 1
    go.set()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = client.get("/api/meaning?query=zebra").json()["found"]["features"]
        if {f["id"] for f in found if f["text"] == "zebra"} == {0, 1, 2}:
            return
    raise AssertionError("the labels never came")


def test_states_leave_out_what_goes_without_saying():
    assert state_of(Try(text="a & b\n", strongest=5)) == "text=a+%26+b%0A"
    asked = TryContrast(here=["a", "b=c"], there=["é"], limit=9)
    assert parse_qs(state_of(asked)) == {"here": ["a", "b=c"], "there": ["é"], "limit": ["9"]}

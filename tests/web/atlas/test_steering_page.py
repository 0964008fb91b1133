"""The steering page: its records, its routes, what OpenAI's clients get, and the whole of it in a real browser."""

import json
import re

import pytest
from browsing import expect, serving
from hanging import occupied
from starlette.testclient import TestClient
from tree import ROOT
from typescript import fields, interfaces

from physalis.steering import Add, Cap, Clamp, Project, Scale, Step
from physalis.steering import dose_curves as doses_
from physalis.web import create_app
from physalis.web.atlas.live import beside
from physalis.web.atlas.records import Steerable
from physalis.web.atlas.steering import Completions, Dosed, Message, Steered, steering_router
from physalis.web.worker.model_lock import ModelLock

EDIT = {"kind": "add", "feature": 3, "strength": 300.0}


@pytest.fixture(scope="module")
def app(tiny, tiny_activations, tiny_dictionary, tiny_atlas):
    return create_app(tiny_atlas, beside(tiny_atlas, tiny, tiny_dictionary, tiny_activations.folder))


@pytest.fixture(scope="module")
def client(app):
    return TestClient(app)


def events(text: str) -> list:
    found = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert found.pop() == "[DONE]"
    return [json.loads(each) for each in found]


def test_typescript_knows_the_records():
    written = interfaces("steering")
    models = [Add, Clamp, Scale, Project, Cap, Steerable, doses_.Measured, doses_.Dose, doses_.Response]
    for model in [*models, doses_.DoseResponse]:
        assert written[model.__name__] == fields(model), model
    assert set(written["Step"]) == set(Step._fields)


def test_both_texts_are_streamed(client):
    asked = {"text": "alpha beta", "edits": [EDIT], "tokens": 8, "seed": 3}
    steps = events(client.post("/api/steer", json=asked).text)
    assert len(steps) == 8 and all(set(step) == {"plain", "edited"} for step in steps)
    assert [s["plain"] for s in steps] != [s["edited"] for s in steps]
    same = events(client.post("/api/steer", json={**asked, "edits": []}).text)
    plain = [s["plain"] for s in steps if s["plain"] is not None]  # a text may end before the other
    assert plain == [s["plain"] for s in same] == [s["edited"] for s in same]


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"text": None}, "one of them"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "one of them"),
        ({"text": None, "messages": [{"role": "user", "content": "hi"}]}, "no chat template"),
        ({"edits": [{**EDIT, "feature": 10_000}]}, "features 0 to 127; received an edit of 10,000"),
        ({"edits": [{**EDIT, "kind": "explode"}]}, "explode"),
        ({"temperature": -1}, "temperature"),
        ({"tokens": 100_000}, "tokens"),
        ({"text": "x" * 9_000}, "text"),
        ({"more": 1}, "more"),
    ],
)
def test_refusals_are_sentences(client, change, sentence):
    answer = client.post("/api/steer", json={"text": "alpha", "edits": [EDIT], **change})
    assert 400 <= answer.status_code < 500 and sentence in json.dumps(answer.json())


def test_openai_clients_are_answered(client):
    asked = {"model": "tiny", "prompt": "alpha beta", "max_tokens": 6, "seed": 3, "edits": [EDIT], "user": "me"}
    whole = client.post("/v1/completions", json=asked).json()
    steps = events(client.post("/api/steer", json={"text": "alpha beta", "edits": [EDIT], "tokens": 6, "seed": 3}).text)
    (choice,) = whole["choices"]
    assert choice["text"] == "".join(s["edited"] for s in steps) and choice["finish_reason"] == "length"
    assert whole["usage"] == {"prompt_tokens": 11, "completion_tokens": 6, "total_tokens": 17}
    chunks = events(client.post("/v1/completions", json={**asked, "stream": True}).text)
    assert "".join(c["choices"][0]["text"] for c in chunks) == choice["text"]
    *before, last = [c["choices"][0]["finish_reason"] for c in chunks]
    assert last == "length" and 0 < len(before) <= 6 and set(before) == {None}
    assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("field, value", [
    ("n", 2), ("best_of", 3), ("logprobs", 0), ("logprobs", True), ("echo", True), ("stop", ["."]), ("tools", [{}]),
    ("frequency_penalty", 0.5), ("logit_bias", {"3": 100}), ("response_format", {"type": "json_object"}),
    ("stream_options", {"include_usage": True}), ("something_new", 1),
])  # fmt: skip
def test_what_openais_clients_ask_and_is_not_done_is_refused(client, path, field, value):
    """As their clients read refusals, too."""
    answer = client.post(path, json={"prompt": "alpha", "max_tokens": 2, field: value})
    told = answer.json()
    assert answer.status_code == 400 and told["detail"].startswith(f"{field}=")
    assert told["error"] == {
        "message": told["detail"], "type": "invalid_request_error", "param": None, "code": None
    }  # fmt: skip


@pytest.mark.parametrize("nothing", [
    {"n": 1, "best_of": 1, "logprobs": None, "echo": False, "stop": None, "frequency_penalty": 0.0, "logit_bias": {}},
    {"logprobs": False, "top_logprobs": 0, "tools": [], "tool_choice": "auto", "response_format": {"type": "text"}},
    {"user": "me", "metadata": {"run": "3"}, "service_tier": "auto", "stop": []},
])  # fmt: skip
def test_what_asks_for_nothing_is_answered(client, nothing):
    assert client.post("/v1/completions", json={"prompt": "alpha", "max_tokens": 2, **nothing}).status_code == 200


def test_no_model_answers_for_another(client):
    asked = {"prompt": "alpha", "max_tokens": 2}
    answer = client.post("/v1/completions", json={**asked, "model": "gpt-x"})
    assert answer.status_code == 400 and "There is no model 'gpt-x' here. Ask for tiny" in answer.json()["detail"]
    assert client.post("/v1/completions", json={**asked, "model": "tiny"}).status_code == 200


def contents(text: str) -> str:
    return "".join(c["choices"][0].get("text", "") for c in events(text))


def test_what_is_answered_is_text(client, tell):
    words = "日本 🌱 и"
    ids = list(words.encode())
    tell(ids)
    asked = {"prompt": "alpha", "max_tokens": len(ids)}
    whole = client.post("/v1/completions", json=asked).json()
    assert whole["choices"][0]["text"] == words and whole["usage"]["completion_tokens"] == len(ids)
    chunks = client.post("/v1/completions", json={**asked, "stream": True}).text
    assert contents(chunks) == words and len(events(chunks)) == len(words) + 1
    steps = events(client.post("/api/steer", json={"text": "alpha", "tokens": len(ids)}).text)
    assert len(steps) == len(ids) and "".join(step["plain"] for step in steps) == words
    cut = client.post("/v1/completions", json={**asked, "max_tokens": len(ids) - 1}).json()["choices"][0]
    assert cut["text"] == words[:-1] + "\ufffd" and cut["finish_reason"] == "length"


@pytest.mark.parametrize("path, asked", [
    ("/api/steer", {"text": "alpha"}),
    ("/v1/completions", {"prompt": "alpha"}),
    ("/v1/completions", {"prompt": "alpha", "stream": True}),
])  # fmt: skip
def test_a_full_queue_is_told_before_an_answer_begins(tiny, tiny_dictionary, tiny_atlas, path, asked):
    turns = ModelLock(waiting=0)
    _, router = steering_router(tiny, tiny_dictionary, turns=turns)
    app = create_app(tiny_atlas)
    app.include_router(router)
    with occupied(turns):
        answer = TestClient(app).post(path, json=asked)
    assert answer.status_code == 503 and "busy" in answer.json()["detail"] and answer.headers["retry-after"] == "2"
    assert TestClient(app).post(path, json=asked).status_code == 200  # and nobody holds the model now


@pytest.mark.parametrize("path, asked, sentence", [
    ("/api/steer", {"messages": []}, "no chat template"),
    ("/api/steer", {"text": "alpha", "edits": [{**EDIT, "strength": 1e308}]}, "strength=1e+308"),
    ("/v1/completions", {"prompt": "alpha", "edits": [{**EDIT, "strength": 1e308}], "stream": True}, "1e+308"),
    ("/api/steer", {"text": "a" * 300}, "The prompt has 301 tokens; tiny reads at most 256"),
    ("/v1/completions", {"prompt": "a" * 300, "stream": True}, "The prompt has 301 tokens; tiny reads at most 256"),
    ("/api/steer", {"text": "a" * 200, "tokens": 100}, "has 201 tokens, and 100 after it are asked for"),
    ("/api/steer", {"messages": [{"role": "user", "content": "a" * 8000}] * 5}, "40,000 characters together; at most"),
    ("/api/dose-response", {"feature": 3, "strengths": [1.0, 1e308]}, "less than or equal to 1000000"),
])  # fmt: skip
def test_what_cannot_be_done_is_a_sentence(client, path, asked, sentence):
    answer = client.post(path, json=asked)
    assert 400 <= answer.status_code < 500 and sentence in answer.json()["detail"]


@pytest.mark.parametrize("path, asked, sentence", [
    ("/api/dose-response", {"strengths": [1]},
     "The field feature is missing: it must be a whole number, at least 0. Received only 'strengths'."),
    ("/api/dose-response", {}, "The field feature is missing: it must be a whole number, at least 0. Received an empty "
     "object."),
    ("/api/dose-response", [3], "body must be an object with feature, as JSON, sent as application/json. Received a "
     "list of 1."),
    ("/api/dose-response", None, "The body is missing. It must be an object with feature, as application/json."),
    ("/api/steer", {"text": "a", "edits": [{"kind": "add", "strength": 1.0}]},
     "The field edits.0.add.feature is missing: it must be a whole number, at least 0. Received only 'kind', "
     "'strength'."),
    ("/api/steer", {"text": "a", "edits": [{"feature": 3}]},
     "The field edits.0.kind is missing: it must be one of add, cap, clamp, project, scale. Received only 'feature'."),
    ("/api/steer", {"messages": [{"content": "a"}]},
     "The field messages.0.role is missing: it must be system or user or assistant. Received only 'content'."),
    ("/api/steer", {"edits": [3]}, "edits.0 must be an object"),
    ("/api/try", {"text": "a", "limit": "x"}, "limit='x' cannot be used: Input should be a valid integer."),
])  # fmt: skip
def test_a_field_that_is_missing_is_named(client, path, asked, sentence):
    answer = client.post(path, json=asked)
    assert answer.status_code == 422 and sentence in answer.json()["detail"], answer.json()["detail"]


def test_the_docs_tell_each_field_of_a_body():
    page = (ROOT / "docs" / "steering.md").read_text()
    bodies = [Steered, Dosed, Completions, Message, Add, Clamp, Scale, Project, Cap]
    for field in {name for each in bodies for name in each.model_fields}:
        assert re.search(rf'[`"]{field}["`]', page), field


def test_the_docs_name_the_twins_that_there_are(tiny_atlas):
    """Each page that is also there as JSON, and no other."""
    page = (ROOT / "docs" / "all-of-physalis.md").read_text()
    named = set(re.findall(r"`(/[a-zA-Z0-9/]+\.json)`", page)) - {"/api/openapi.json"}
    client = TestClient(create_app(tiny_atlas))
    pages = ("/summary", "/features", "/features/12", "/map", "/steer", "/try", "/lists")
    there = {f"{each}.json" for each in pages if client.get(f"{each}.json").status_code == 200}
    assert {each for each in named if "NAME" not in each} == there


def test_what_is_no_json_is_told_so(client):
    answer = client.post("/api/steer", content='{"text": "a"', headers={"content-type": "application/json"})
    assert answer.status_code == 422 and "The body is no JSON: Expecting ',' delimiter" in answer.json()["detail"]


@pytest.mark.parametrize("seed", [2**63, -(2**70), -1])
def test_any_whole_number_is_a_seed(client, seed):
    for path, asked in (
        ("/api/steer", {"text": "a", "tokens": 3}),
        ("/v1/completions", {"prompt": "a", "max_tokens": 3}),
    ):
        assert client.post(path, json={**asked, "seed": seed}).status_code == 200


def test_an_atlas_without_its_model_says_so(tiny_atlas):
    alone = TestClient(create_app(tiny_atlas))
    assert alone.post("/api/steer", json={}).status_code in (404, 405)
    assert '"steering"' not in alone.get("/").text


def test_doses_need_text(tiny, tiny_dictionary, tiny_atlas):
    without = TestClient(create_app(tiny_atlas, beside(tiny_atlas, tiny, tiny_dictionary)))
    assert without.get("/api/steering").json()["doses"] is False
    answer = without.post("/api/dose-response", json={"feature": 3})
    assert answer.status_code == 400 and "--activations" in answer.json()["detail"]


@pytest.fixture(scope="module")
def site(app):
    with serving(app) as site:
        yield site


@pytest.mark.browser
@pytest.mark.parametrize("width, scheme", [(1200, "light"), (390, "dark")])
def test_a_feature_is_steered(chromium, site, tiny_atlas, width, scheme):
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    said, strangers = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((site, "data:")) else None)
    id = next(i for i in range(len(tiny_atlas)) if tiny_atlas[i].n_fired)
    page.goto(f"{site}/features/{id}")
    page.get_by_role("link", name="Steer with this feature").click()
    page.wait_for_selector(".edit")
    assert page.get_by_label("feature").input_value() == str(id)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_label("Prompt").fill("alpha beta")
    page.get_by_label("strength, exactly").fill("300")
    page.get_by_label("strength, exactly").blur()
    page.get_by_label("tokens").fill("12")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    plain, edited = (page.locator(f"[data-side='{side} the edits']").inner_text() for side in ("without", "with"))
    assert plain.startswith("alpha beta") and plain != edited
    assert f"edit=add%3A{id}%3A300" in page.url and "text=alpha+beta" in page.url
    page.get_by_role("button", name="measure dose-response").click()
    page.wait_for_selector("table")
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(page.locator("main svg")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.reload()
    assert page.get_by_label("strength, exactly").input_value() == "300"
    context.close()
    assert said == [] and strangers == []

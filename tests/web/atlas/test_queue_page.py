"""An atlas whose features are explained while it is served: what its pages and their records say meanwhile."""

import shutil

import pytest
from browsing import expect, fits, serving
from fastapi.testclient import TestClient
from faults import serious
from typescript import NAMES, fields, interfaces

from physalis import Atlas
from physalis.errors import BadInput
from physalis.explanations import explain
from physalis.explanations.queue import Alone, Begun, Ended, Line, Progress, Queue
from physalis.naming import Known
from physalis.web import create_app
from physalis.web.atlas import rules
from physalis.web.atlas.explained import Explained
from physalis.web.contents import opening
from physalis.web.contents.opening import open_app

PATIENCE_S = 300


@pytest.fixture
def beside(tiny_atlas, tiny_dictionary, tiny_activations, tmp_path):
    for each in (tiny_atlas.folder, tiny_dictionary, tiny_activations.folder):
        shutil.copytree(each, tmp_path / each.name)
    return tmp_path


@pytest.fixture
def queue():
    """What its process would say is said by the test."""
    return Line(lambda feature: None)


@pytest.fixture
def explained(beside, queue):
    return Explained(Known(Atlas.open(beside / "atlas"), look_s=0), queue)


@pytest.fixture
def client(explained):
    return TestClient(create_app(explained.known.atlas, explained=explained), base_url="http://localhost")


@pytest.fixture(scope="module")
def whole(tiny, tiny_dictionary, tiny_activations, tmp_path_factory):
    return explain(tiny_dictionary, tiny_activations, tiny, tmp_path_factory.mktemp("whole") / "rules")


def test_typescript_knows_the_records():
    written = interfaces("rules")
    names = {**NAMES, Progress: "Progress"}
    for model in (Progress, rules.Queued):
        assert written[model.__name__] == fields(model, names), model


def test_a_feature_that_is_opened_waits_and_then_has_a_rule(client, queue, whole):
    assert '"ruled":true' in client.get("/").text
    told = client.get("/api/rules/12").json()
    assert told == {"feature": 12, "place": 0, "progress": {"state": "preparing", "done": 0, "total": 0}}
    queue.hear(Begun(0, 128))
    assert '"rule":{"feature":40,"place":0,' in client.get("/features/40").text
    again = client.get("/api/rules/12").json()
    assert again["place"] == 1 and again["progress"] == {"state": "explaining", "done": 0, "total": 128}
    queue.hear(Alone(whole[12].model_dump_json()))
    rule = client.get("/api/rules/12").json()
    assert rule["f1"] == whole[12].detection.f1.model_dump() and rule["mean_f1"] is None
    held = client.get("/api/rules/12/holds")
    assert held.status_code == 404 and "in a while" in held.json()["detail"]
    assert client.get("/api/rules/9999").status_code == 404


def test_the_list_says_how_far_it_is(client, queue, whole, beside):
    queue.hear(Begun(0, 128))
    queue.hear(6)
    listed = client.get("/api/rules").json()
    assert (listed["total"], listed["mean"]) == (0, None)
    assert listed["progress"] == {"state": "explaining", "done": 6, "total": 128}
    assert client.get("/rules").status_code == 200
    some = beside / "dictionary-explanations"  # as the process leaves it in the middle
    shutil.copytree(whole.folder, some)
    (some / "manifest.json").unlink()
    lines = (some / "rules.jsonl").read_text().splitlines(keepends=True)
    (some / "rules.jsonl").unlink()
    (some / "rules-00000.jsonl").write_text("".join(lines[:6]))
    listed = client.get("/api/rules").json()
    assert listed["total"] == 6 and listed["mean"]["features"] <= 6 and listed["progress"]["done"] == 6
    assert client.get("/api/rules/3").json()["mean_f1"] is None
    assert client.get("/api/rules/3/holds").json()["feature"] == 3
    row = client.get("/api/features?query=%233").json()["rows"][0]["rule"]
    assert row["f1"] == whole[3].detection.f1.value
    shutil.rmtree(some)
    shutil.copytree(whole.folder, some)
    queue.hear(Ended(None))
    listed = client.get("/api/rules").json()
    assert (listed["total"], listed["progress"]) == (128, None)
    assert client.get("/api/rules/3").json()["mean_f1"] == whole.mean.f1.value


def test_stopped_it_leaves_what_there_is(client, queue):
    queue.hear(Ended("Another process is writing there."))
    assert client.get("/api/rules").status_code == client.get("/api/rules/12").status_code == 404
    assert "ruled" not in client.get("/").text and client.get("/features/12").status_code == 200


def test_what_is_missing_is_said_and_the_atlas_served(beside, tiny_atlas, tmp_path_factory, capsys):
    alone = tmp_path_factory.mktemp("alone") / "atlas"
    shutil.copytree(tiny_atlas.folder, alone)
    client = TestClient(open_app(alone, explain=True), base_url="http://localhost")
    assert client.get("/").status_code == 200 and client.get("/api/rules").status_code == 404
    assert capsys.readouterr().err.count("The features are not explained. Beside ") == 1
    shutil.copytree(beside / "atlas", beside / "again")
    with pytest.raises(BadInput, match="One atlas is explained while it is served, and there are 2"):
        open_app(beside, explain=True)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_reader_sees_the_rule_come(browse, explained, queue, whole, width, scheme):
    n = next(id for id in range(128) if whole[id].size and explained.atlas[id].n_fired)
    with serving(create_app(explained.known.atlas, explained=explained)) as site:
        page = browse(site, f"/features/{n}", width, scheme)
        expect(page.get_by_text("Its rule is to be learned: the text is being read.")).to_be_visible()
        queue.hear(Begun(0, 128))
        queue.hear(5)
        expect(page.get_by_text("Being explained")).to_contain_text("5 of 128 features are explained.")
        assert fits(page, width) and serious(page) == []
        queue.hear(Alone(whole[n].model_dump_json()))
        expect(page.get_by_role("figure", name="Rule")).to_contain_text("leaves")
        page.goto(f"{site}/rules")
        expect(page.get_by_text("5 of 128 features are explained.")).to_be_visible()
        expect(page.get_by_text("There is no rule yet.")).to_be_visible()
        assert fits(page, width) and serious(page) == []


def test_a_process_explains_what_a_reader_opens(beside, whole, monkeypatch):
    started = []

    def noted(sources):
        started.append(Queue(sources))
        return started[0]

    monkeypatch.setattr(opening, "Queue", noted)
    client = TestClient(open_app(beside / "atlas", explain=True), base_url="http://localhost")
    try:
        assert client.get("/api/rules/40").json()["feature"] == 40
        assert started[0].line.wait(40, PATIENCE_S) and started[0].line.wait(seconds=PATIENCE_S)
    finally:
        started[0].close()
    client = TestClient(open_app(beside / "atlas", explain=True), base_url="http://localhost")
    assert len(started) == 1  # all are explained
    assert client.get("/api/rules/40").json()["f1"] == whole[40].detection.f1.model_dump()

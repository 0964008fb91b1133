"""The table of contents: what is found in folders, what is told of it, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from rooms_of import furnish
from typescript import fields, interfaces

from physalis import artifact
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.people.notes import Notes
from physalis.people.notes import beside as notes_beside
from physalis.web.atlas import live
from physalis.web.contents import finding, records
from physalis.web.contents.finding import find
from physalis.web.contents.opening import open_app
from physalis.web.contents.others import line_of


@pytest.fixture(scope="module")
def results(tiny_atlas, tiny_dictionary, comparison, forest, tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("house") / "results", tiny_atlas, tiny_dictionary, comparison, forest)


@pytest.fixture(scope="module")
def client(results):
    return TestClient(open_app(results))


def test_typescript_knows_the_records():
    written = interfaces("contents")
    for model in (records.Picture, records.Entry, records.Line, records.Contents):
        assert written[model.__name__].keys() == fields(model).keys(), model


def test_what_lies_two_levels_deep_is_found_by_its_manifest(results, tiny_dictionary):
    found = {(each.kind, each.prefix): each.folder.relative_to(results) for each in find([results])}
    assert found == {
        ("atlas", "/a/atlas"): Path("atlas"),
        ("atlas", "/a/deep-atlas"): Path("deep/atlas"),
        ("atlas", "/a/torn"): Path("torn"),
        ("comparison", "/c/both-two"): Path("both & two"),
        ("tree", "/t/forest"): Path("forest"),
        ("run", "/r/sae"): Path("sae"),
        ("lab", "/l/lab"): Path("lab"),
    }
    assert [each.kind for each in find([results / "deep" / "down"])] == ["atlas"]  # three levels below the first
    assert find([results / "empty"]) == find([results / "nowhere"]) == []
    assert len(find([results / "sae", results / "atlas", results])) == 7  # what is given twice is shown once


def test_an_unfinished_run_is_found(results, tmp_path):
    run = shutil.copytree(results / "sae", tmp_path / "run")
    (run / artifact.MANIFEST).unlink()
    assert [each.kind for each in find([run])] == ["run"]
    (run / artifact.JOB).write_text('{"kind": "dictionary", "job": {"finetuning": {}}}')
    assert find([run]) == []
    (run / artifact.JOB).write_text("{")
    assert find([run]) == []


def test_one_server_shows_so_many(results, monkeypatch):
    monkeypatch.setattr(finding, "MOST", 3)
    with pytest.raises(BadInput, match="hold 7 things to show, and one server shows 3"):
        find([results])


def test_the_page_tells_what_each_is_of(client, results, tiny_atlas, comparison, forest):
    told = client.get("/api/contents").json()
    (text,) = re.findall(r'id="page">(.*?)</script>', client.get("/").text, re.S)
    assert json.loads(text) == {"contents": told} and told["name"] == "results"
    assert "deep/atlas" in [entry["name"] for entry in told["entries"]]
    of = {entry["path"]: entry for entry in told["entries"]}
    summary, entry = tiny_atlas.summary(), of["/a/atlas/"]
    assert (entry["model"], entry["site"], entry["sizes"]) == (summary.model, summary.site, [summary.n_features])
    assert entry["fvu"] == [summary.metrics["fvu"].value] and len(entry["picture"]["x"]) == len(tiny_atlas.map().ids)
    assert entry["made"] == (results / "atlas" / artifact.MANIFEST).stat().st_mtime
    pair = of["/c/both-two/"]
    sides = (comparison.summary.a, comparison.summary.b)
    assert pair["sizes"] == [side.n_features for side in sides]
    assert pair["picture"]["y"] == [round(1000 * side.fates[fate].value) for side in sides for fate in records.FATES]
    assert of["/t/forest/"]["sizes"] == [width.n_features for width in forest.summary.widths]
    assert of["/t/forest/"]["picture"]["y"][-1] == 1000
    run = of["/r/sae/"]
    assert (run["model"], run["site"], run["state"]) == (summary.model, summary.site, "finished")
    assert of["/r/sae/"]["picture"]["kind"] == "curve"
    assert of["/l/lab/"]["sizes"] == [1]


def test_every_link_leads_to_a_room(client):
    entries = client.get("/api/contents").json()["entries"]
    paths = [entry["path"] for entry in entries if entry["path"]]
    assert len(paths) == 6
    for path in paths:
        assert client.get(path).status_code == 200, path
    assert client.get("/l/lab/TMS-1.html").text == "one"
    assert client.get("/r/sae/api/run").json()["state"] == "finished"
    script = re.findall(r'src="(/assets/[^"]+)"', client.get("/r/sae/").text)[0]
    assert client.get(script).status_code == 200


def test_what_cannot_be_opened_is_told_and_spoils_nothing(client):
    (torn,) = [entry for entry in client.get("/api/contents").json()["entries"] if entry["lack"]]
    assert torn["name"] == "torn" and torn["path"] == "" and torn["picture"] is None
    assert "/tmp" not in torn["lack"] and client.get("/a/torn/").status_code == 404


def test_what_is_damaged_later_is_told_too(results, tmp_path):
    house = shutil.copytree(results / "sae", tmp_path / "house" / "sae").parent
    client = TestClient(open_app(house))
    assert client.get("/api/contents").json()["entries"][0]["lack"] == ""
    (house / "sae" / artifact.JOB).write_text('{"kind": "atlas"}')
    assert "holds an atlas" in client.get("/api/contents").json()["entries"][0]["lack"]


def test_atlases_stand_by_comparisons_and_trees(client):
    rows = client.get("/c/both-two/api/comparison/features?side=b&limit=5").json()["rows"]
    assert all(row["known"]["headline"] for row in rows)
    assert client.get("/a/atlas/api/family/3").status_code == 200


def test_one_artefact_is_served_at_the_root(results):
    assert "/api/comparison" in TestClient(open_app(results / "both & two")).get("/api/openapi.json").json()["paths"]
    alone = TestClient(open_app([str(results / "atlas")]))
    assert alone.get("/api/summary").status_code == 200 and '"base"' not in alone.get("/").text
    assert TestClient(open_app(results / "lab")).get("/").text == "all"


def test_a_folder_that_holds_one_has_a_table_of_contents_too(results):
    entries = TestClient(open_app(results / "deep")).get("/api/contents").json()["entries"]
    assert [entry["path"] for entry in entries] == ["/a/atlas/"]


def test_the_model_goes_to_the_atlas_that_its_dictionary_is_of(results, tiny, tiny_dictionary, monkeypatch):
    given = []

    class Made:
        def __init__(self, setting):
            given.append(setting)

    monkeypatch.setattr("physalis.web.contents.opening.Worker", Made)
    monkeypatch.setattr(
        "physalis.web.contents.opening.relayed",
        lambda worker: live.beside(Atlas.open(given[-1].atlas), tiny, given[-1].dictionary),
    )
    client = TestClient(open_app([results / "both & two", results / "atlas", results / "deep"], tiny_dictionary))
    assert [setting.atlas for setting in given] == [results / "atlas"]
    assert '"steering"' in client.get("/a/atlas/").text and '"steering"' not in client.get("/a/deep-atlas/").text
    assert client.get("/a/atlas/api/steering").status_code == 200
    assert client.get("/a/deep-atlas/api/steering").status_code == 404


def test_notes_of_every_atlas_are_written_in_one_name(results, tmp_path):
    house = shutil.copytree(results / "deep", tmp_path / "deep")
    client = TestClient(open_app(house, author="Ada"))
    assert client.post("/a/atlas/api/notes/labels", json={"feature": 3, "text": "commas"}).status_code == 201
    file = notes_beside((house / "atlas").resolve())
    assert 3 in Notes.open(file, atlas=Atlas.open(house / "atlas").manifest.hash).all_labels()


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (["sae"], {}, "a dictionary, not an atlas"),
        (["empty"], {}, "holds no physalis atlas"),
        (["nowhere"], {}, "holds no physalis atlas"),
        (["empty", "nowhere"], {}, "None of"),
        (["."], {"activations": "acts"}, "alone steer nothing"),
        (["."], {"articles": ["a.md"]}, "Articles are about one atlas, and 2 are served"),
        (["forest", "both & two"], {"dictionary": "sae"}, "None of the 0 atlases here is of"),
        (["deep"], {"articles": ["nowhere.md"]}, "nowhere.md"),
        (["both & two", "deep"], {"tree": "forest"}, "no place for the dictionary of any of the 1 atlases"),
        (["forest"], {"dictionary": "sae"}, "is no atlas but a tree"),
        (["lab"], {"tree": "forest"}, "is no atlas but a lab"),
        (["torn"], {}, "torn"),
    ],
)
def test_refusals_are_sentences(results, given, options, words):
    for name in ("dictionary", "tree"):
        options = options | ({name: results / options[name]} if name in options else {})
    with pytest.raises(BadInput, match=words):
        open_app([results / each for each in given], **options)


def test_what_has_no_pages_stands_in_a_line_with_its_command(results, tiny_activations, tiny_evaluation, tmp_path):
    house = tmp_path / "house"
    shutil.copytree(results / "deep" / "atlas", house / "atlas")
    shutil.copytree(tiny_activations.folder, house / "acts")
    shutil.copytree(tiny_evaluation, house / "deep" / "eval")
    shutil.copytree(tiny_evaluation, house / "it's eval")
    client = TestClient(open_app(house))
    told = {line["name"]: line for line in client.get("/api/contents").json()["others"]}
    assert told.keys() == {"acts", "deep/eval", "it's eval"}
    assert told["acts"]["what"] == "a recording" and told["acts"]["command"] == "physalis verify acts"
    assert f"{tiny_activations.n_tokens:,} tokens of" in told["acts"]["told"]
    assert told["deep/eval"]["told"].startswith("FVU ") and "open('deep/eval')" in told["deep/eval"]["command"]
    assert told["it's eval"]["command"] == """physalis verify 'it'"'"'s eval'"""
    assert "/tmp" not in client.get("/").text


def test_sweeps_sites_and_damage_are_lines_too(tmp_path):
    for name, kind, config in (("s", "sweep", {"grid": [["topk", 8, 2, 0]]}), ("torn", "sweep", {}), ("w", "site", {})):
        (tmp_path / name).mkdir()
        artifact.finish(tmp_path / name, artifact.Manifest(kind=kind, config=config), [])
    told = {line.name: line for line in map(line_of, finding.find_others([tmp_path]))}
    assert told["s"].command == "physalis serve s/*/" and told["s"].told.startswith("1 dictionary;")
    assert told["torn"].told == "its manifest cannot be read"
    assert told["w"].command == "python -m http.server -d w" and told["w"].what == "a published site"

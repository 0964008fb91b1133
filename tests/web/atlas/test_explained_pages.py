"""What is said of features beside their atlas, on its pages: words, scores, names, and lists that know them."""

import shutil

import pytest
from browsing import expect, fits, serving
from fastapi.testclient import TestClient
from faults import serious
from typescript import NAMES, fields, interfaces

from physalis import Atlas
from physalis.artifact import Manifest, finish, write_lines
from physalis.atlas.records import Estimate, Histogram
from physalis.explanations import Explanations, explain
from physalis.judging.records import Noise, Score
from physalis.judging.words import Description
from physalis.naming import Known
from physalis.people.notes import Notes, beside
from physalis.people.notes.records import Label
from physalis.web.atlas import explained, holding, rules
from physalis.web.atlas.explained import Explained
from physalis.web.contents.opening import open_app

EXPLAINED = range(0, 64, 2)
SAID = "lines of a *poem* about gamma"


@pytest.fixture(scope="module")
def n(tiny_atlas):
    """A feature that fires, of which there are a rule and words."""
    return next(id for id in EXPLAINED if id and tiny_atlas[id].n_fired)


@pytest.fixture(scope="module")
def folder(tiny, tiny_activations, tiny_dictionary, tiny_atlas, n, tmp_path_factory):
    """An atlas, rules of every other feature, words of one, and scores of both."""
    folder = tmp_path_factory.mktemp("explained")
    shutil.copytree(tiny_atlas.folder, folder / "atlas")
    found = explain(tiny_dictionary, tiny_activations, tiny, folder / "explanations", features=EXPLAINED)
    words = write_words(folder / "words", tiny_atlas, {n: SAID})
    for name, of in (("scores", found.manifest), ("word-scores", words)):
        write_scores(folder / name, tiny_atlas, of, n)
    return folder


def write_words(out, atlas, said):
    out.mkdir()
    write_lines(out / "words.jsonl", [
        Description(
            feature=id, words=text, side="input", prompt="0" * 64, model="a-model", tokens_read=9, tokens_written=5,
        )
        for id, text in said.items()
    ])  # fmt: skip
    inputs = {"dictionary": atlas.manifest.inputs["dictionary"]}
    return finish(out, Manifest(kind="words", config={"teller": "a-model"}, seed=0, inputs=inputs), ["words.jsonl"])


def write_scores(out, atlas, of, n):
    out.mkdir()
    noise = Noise(draws=(0.7, 0.72), spread=0.01, cv=0.014, smallest_difference=0.04)
    judges = {"a judge": 0.71, "oracle": 1.0, "best token": 0.6, "shuffled: a judge": 0.5}
    write_lines(out / "scores.jsonl", [
        Score(
            corpus="acts", task="detection", judge=judge, metric="balanced_accuracy", chance=0.5,
            estimate=Estimate(value=value, low=value - 0.1, high=value), by_decile=(value,) * 10, noise=noise,
            n_features=2, n_answers=80, unanswered=0,
        )
        for judge, value in judges.items()
    ])  # fmt: skip
    inputs = {"dictionary": atlas.manifest.inputs["dictionary"], "explanations": of.hash}
    config = {"judge": {"judge": "endpoint", "reader": "a-reader"}}
    facts = {"features": [n, 60], "n_scores": len(judges)}
    return finish(out, Manifest(kind="scores", config=config, seed=0, inputs=inputs, facts=facts), ["scores.jsonl"])


@pytest.fixture(scope="module")
def client(folder):
    return TestClient(open_app(folder / "atlas"), base_url="http://localhost")


def test_typescript_knows_the_records():
    written = interfaces("rules")
    names = {**NAMES, Estimate: "Estimate", Histogram: "Histogram"}
    for model in (explained.WordsOf, explained.ScoreRow, explained.ScoreTable, explained.ExplainedFeature, holding.Lit,
                  holding.LitClause, rules.RuleRow):  # fmt: skip
        assert written[model.__name__] == fields(model, names), model
    assert written["RuleHolds"] == fields(holding.Holds)


def test_words_and_scores_are_told_with_whose_they_are(client, n):
    told = client.get(f"/api/explained/{n}").json()
    assert told["words"] == {"words": SAID, "model": "a-model", "side": "input"}
    assert [(each["of"], each["judge"], each["n_features"], each["among"]) for each in told["scores"]] == [
        ("words", "endpoint, a-reader", 2, True), ("rules", "endpoint, a-reader", 2, True),
    ]  # fmt: skip
    (row,) = told["scores"][0]["rows"]
    assert row["value"]["value"] == 0.71 and row["noise"] == 0.04 and row["chance"] == 0.5
    assert (row["token"], row["swapped"], row["oracle"]) == (0.6, 0.5, 1.0)
    others = client.get(f"/api/explained/{n + 2}").json()
    assert others["words"] is None and [each["of"] for each in others["scores"]] == ["rules"]
    assert not others["scores"][0]["among"]
    assert client.get("/api/explained/1").json() == {"words": None, "scores": []}


def test_lists_sort_and_filter_by_rules(folder, client):
    found = Explanations.open(folder / "explanations")
    for descending in ("true", "false"):
        asked = f"/api/features?sort=rule_size&descending={descending}&limit=64"
        rows = client.get(asked).json()["rows"]
        sizes = [row["rule"]["size"] for row in rows if row["rule"]]
        assert sizes == sorted(sizes, reverse=descending == "true") and len(sizes) == len(EXPLAINED)
        assert all(row["rule"] for row in rows[: len(sizes)])  # the others come after, either way
    few = client.get("/api/features?filter=rule_f1:0.5..&limit=64").json()
    assert {row["id"] for row in few["rows"]} == {
        each.feature for each in found if each.n_held_out and each.detection.f1.value >= 0.5
    }
    assert {"rule_f1", "rule_size"} <= {each["name"] for each in client.get("/api/metrics").json()}
    row = client.get("/api/features?query=%2312").json()["rows"][0]["rule"]
    assert found[12].rule.startswith(row["rule"].removesuffix(" …")) and row["f1"] == found[12].detection.f1.value


def test_what_is_said_is_found(folder, client, tiny_atlas, n):
    assert tiny_atlas.list(query="poem").total == 0
    assert [row["id"] for row in client.get("/api/features?query=poem").json()["rows"]] == [n]
    texts = Explained(Known(Atlas.open(folder / "atlas"))).atlas.texts
    assert texts[n][0] == SAID and {*texts} <= {*EXPLAINED}


def test_words_name_a_feature_everywhere_and_a_person_wins(folder, n, tmp_path):
    shutil.copytree(folder, tmp_path / "here")
    atlas = Atlas.open(tmp_path / "here" / "atlas")
    notes = Notes.open(beside(atlas.folder), atlas=atlas.manifest.hash)
    client = TestClient(open_app(tmp_path / "here" / "atlas", author="Ada"), base_url="http://localhost")

    def names():
        page, row = client.get(f"/api/features/{n}").json(), client.get(f"/api/features?query=%23{n}").json()["rows"][0]
        map = client.get("/api/map").json()
        assert page["headline"] == row["headline"] == map["headline"][map["ids"].index(n)]
        assert page["tokens"] == atlas[n].headline and page["named_by"] == row["named_by"]
        return page["headline"], page["named_by"]

    assert names() == (SAID, "words")
    label = notes.label(n, "gammas, at last", author="Ada")
    assert names() == ("gammas, at last", "label")
    assert [row["id"] for row in client.get("/api/features?query=gammas").json()["rows"]] == [n]
    notes.remove(Label, label.id, author="Ada")
    assert names() == (SAID, "words")


def test_a_folder_that_comes_or_changes_is_shown(folder, n, tmp_path):
    shutil.copytree(folder / "atlas", tmp_path / "atlas")
    atlas = Atlas.open(tmp_path / "atlas")
    served = Explained(Known(atlas, look_s=0))
    assert served.rules() is None and served.atlas[n].rule is None and served.beside() == {"explains": "true"}
    shutil.copytree(folder / "explanations", tmp_path / "explanations")
    first, annex = served.rules(), served.known.annex()
    assert first is not None and served.atlas[n].rule is not None and served.rules() is first
    assert served.known.annex() is annex  # and nothing is read again
    write_words(tmp_path / "words", atlas, {n: "first"})
    assert served.atlas[n].headline == "first"
    shutil.rmtree(tmp_path / "words")
    assert served.atlas[n].named_by != "words"


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_they_are_read(browse, folder, n, width, scheme):
    with serving(open_app(folder / "atlas")) as site:
        page = browse(site, f"/features/{n}", width, scheme)
        expect(page.get_by_role("heading", level=1)).to_have_text(SAID)
        expect(page.get_by_role("figure", name="In words")).to_contain_text("Written by a-model")
        table = page.get_by_role("figure", name="How good words are").get_by_role("table")
        expect(table.get_by_role("row").nth(1)).to_contain_text(".710")
        assert fits(page, width) and serious(page) == []
        page.goto(f"{site}/features?sort=rule_f1")
        expect(page.locator("main ol > li").first).to_contain_text("rule F1")
        assert fits(page, width) and serious(page) == []

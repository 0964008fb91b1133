"""Compared: what pages, notebooks and the command line are told of a comparison and of a forest."""

import json

import pytest
from starlette.testclient import TestClient
from test_web import inlined

from physalis.comparing import Comparison, Forest
from physalis.comparing.comparison import compare
from physalis.errors import BadInput
from physalis.web import create_app
from physalis.web.comparison import serving as served
from physalis.web.comparison.records import Names
from physalis.web.comparison.serving import create_comparison_app, open_compared
from physalis.web.server import serving


@pytest.fixture
def client(comparison, tiny_atlas):
    return TestClient(create_comparison_app(comparison, [tiny_atlas]))


@pytest.fixture
def woods(forest, tiny_atlas):
    return TestClient(create_comparison_app(forest, [tiny_atlas]))


def plain(record):
    return json.loads(record.model_dump_json())


def test_a_comparison_is_told_as_it_is(client, comparison):
    assert client.get("/api/comparison").json() == plain(comparison.summary)
    page = client.get("/")
    assert inlined(page)["comparison"] == plain(comparison.summary)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    described = client.get("/api/openapi.json").json()["paths"]["/api/comparison/features"]["get"]
    assert described["responses"].keys() == {"200", "4XX", "503"}


def test_features_stand_beside_their_partners(client, comparison, tiny_atlas):
    asked = {"side": "b", "fate": "shared", "sort": "cosine", "descending": True}
    told = client.get("/api/comparison/features", params={**asked, "offset": 2, "limit": 5}).json()
    found = comparison.features(**asked, offset=2, limit=5)
    assert told["total"] == found.total > 5 and told["offset"] == 2
    assert [row["feature"] for row in told["rows"]] == [plain(row) for row in found.rows]
    for row in told["rows"]:
        assert row["partner"] == plain(comparison.feature("a", row["feature"]["partner"]))
        assert row["known"]["headline"] == tiny_atlas[row["feature"]["id"]].headline and row["partner_known"] is None
        assert row["known"]["snippet"] == tiny_atlas[row["feature"]["id"]].snippet
    rows = client.get("/api/comparison/features?limit=500").json()["rows"]
    assert len(rows) == comparison.size("a") and all(row["known"] is None for row in rows)
    assert any(row["partner_known"] for row in rows)


def test_what_cannot_be_asked_is_a_sentence(client, woods):
    for path, says in {
        "/api/comparison/features?side=c": "side='c' cannot be used",
        "/api/comparison/features?sort=beauty": "sort='beauty' cannot be used",
        "/api/comparison/features?offset=-1": "offset='-1' cannot be used",
        "/api/comparison/features?limit=100000": "limit='100000' cannot be used",
        "/api/comparison/features?colour=red": "colour='red' cannot be used",
        "/api/elsewhere": "There is no page /api/elsewhere here",
    }.items():
        answer = client.get(path)
        assert answer.status_code in (404, 422) and says in answer.json()["detail"], path
    answer = woods.get("/api/forest/family?level=7&feature=0")
    assert answer.status_code == 400 and "received 7" in answer.json()["detail"]
    lost = client.get("/features/3")
    assert lost.status_code == 404 and "There is no page /features/3" in inlined(lost)["error"]


def test_pairs_are_those_found_of_which_both_fire(client, comparison):
    told = client.get("/api/comparison/pairs").json()
    rows = comparison.features("a", limit=comparison.size("a")).rows
    wanted = [(r, comparison.feature("b", r.partner)) for r in rows if r.found]
    wanted = [(a, b) for a, b in wanted if a.n_fired and b.n_fired]
    assert wanted and told["a"] == [a.id for a, _ in wanted] and told["b"] == [b.id for _, b in wanted]
    assert told["fired_a"] == [a.n_fired for a, _ in wanted] and told["fired_b"] == [b.n_fired for _, b in wanted]
    assert told["cosine"] == [a.cosine for a, _ in wanted]


def test_without_activations_nothing_has_fired(widths, tmp_path):
    found = compare(*widths[:2], out=tmp_path / "bare")
    told = TestClient(create_comparison_app(found))
    assert told.get("/api/comparison/pairs").json()["a"] == []
    assert told.get("/api/comparison/groups").json() == {"total": 0, "offset": 0, "rows": []}
    assert told.get("/api/comparison/features").json()["rows"][0]["feature"]["n_fired"] is None


def test_groups_are_told_with_their_members(split):
    for found, side in ((split[0], "a"), (split[1], "b")):
        told = TestClient(create_comparison_app(found)).get("/api/comparison/groups").json()
        (row,) = told["rows"]
        assert told["total"] == 1 and row["group"] == plain(found.groups[0]) and row["group"]["side"] == side
        assert row["known"] is None and row["members"] == [None] * 3


def test_a_forest_is_told_as_it_is(woods, forest):
    assert woods.get("/api/forest").json() == plain(forest.summary) == inlined(woods.get("/"))["forest"]
    told = woods.get("/api/forest/trees?offset=1&limit=3").json()
    roots = forest.roots()
    assert told["total"] == len(roots) > 4
    assert [(r["root"]["level"], r["root"]["feature"]) for r in told["rows"]] == roots[1:4]
    assert [r["split_sizes"] for r in told["rows"]] == [forest.tree(*place).split_sizes for place in roots[1:4]]


def test_a_family_has_the_headlines_there_are(woods, forest, tiny_atlas):
    level, feature = forest.roots()[0]
    told = woods.get(f"/api/forest/family?level={level}&feature={feature}").json()
    assert told["family"] == plain(forest.family(level, feature))
    assert [each["n_features"] for each in told["widths"]] == [width.n_features for width in forest.summary.widths]
    ours = {str(node.feature) for node in forest.tree(level, feature).nodes if node.level == 1}
    assert told["known"][1].keys() == ours and told["known"][0] == told["known"][2] == {}
    assert all(tiny_atlas[int(id)].headline == known["headline"] for id, known in told["known"][1].items())


def test_an_atlas_knows_its_families(forest, tiny_atlas, grown):
    told = TestClient(create_app(tiny_atlas, forest=forest))
    kin = told.get("/api/family/5").json()
    assert kin["family"] == plain(forest.family(1, 5))
    page = inlined(told.get("/features/5"))
    assert page["family"] == kin and page["families"] is True
    lost = told.get("/api/family/99999")
    assert lost.status_code == 404 and "received 99999" in lost.json()["detail"]
    bare = TestClient(create_app(tiny_atlas))
    assert bare.get("/api/family/5").status_code == 404 and "family" not in inlined(bare.get("/features/5"))
    with pytest.raises(BadInput, match="no place for the dictionary of"):
        create_app(tiny_atlas, forest=grown)


def test_atlases_of_others_are_refused(split, grown, tiny_atlas):
    for subject in (split[0], grown):
        with pytest.raises(BadInput, match="the atlas of none of these dictionaries: L1"):
            create_comparison_app(subject, [tiny_atlas])


def test_folders_are_opened_as_what_they_are(comparison, forest, tiny_atlas, tmp_path):
    assert isinstance(open_compared(comparison.folder), Comparison) and isinstance(open_compared(forest.folder), Forest)
    with pytest.raises(BadInput, match="holds an atlas, not a comparison"):
        open_compared(tiny_atlas.folder)
    with pytest.raises(BadInput, match="holds no physalis comparison"):
        open_compared(tmp_path)


@pytest.fixture
def run(physalis, monkeypatch):
    """Runs a command whose servers do not serve: (exit code, what it would have served, output, errors)."""

    def run_(*arguments):
        shown = []
        for module in (served, serving):
            monkeypatch.setattr(module, "serve_app", lambda make, *where, **more: shown.append((make(), *where, more)))
        code, *told = physalis(*arguments)
        return code, shown, *told

    return run_


def test_comparisons_and_forests_are_served(run, comparison, forest, tiny_atlas):
    code, ((app, folder, where),), *_ = run("compare", "serve", comparison.folder, "--port", "0")
    assert code == 0 and folder == comparison.folder and where["port"] == 0 and where["host"] == "127.0.0.1"
    assert TestClient(app).get("/api/comparison/features?side=b").json()["rows"][0]["known"] is None
    code, ((app, *_),), *_ = run("compare", "serve", forest.folder, "--atlases", tiny_atlas.folder)
    assert TestClient(app).get("/api/forest/family?level=1&feature=3").json()["known"][1]["3"]["headline"]
    code, shown, _, err = run("compare", "serve", tiny_atlas.folder)
    assert code == 2 and not shown and "not a comparison" in err


def test_an_atlas_is_served_with_its_tree(run, forest, grown, tiny_atlas):
    code, ((app, *_),), _, err = run("serve", tiny_atlas.folder, "--tree", forest.folder)
    assert code == 0 and TestClient(app).get("/api/family/1").status_code == 200, err
    code, shown, _, err = run("serve", tiny_atlas.folder, "--tree", grown.folder)
    assert code == 2 and not shown and "no place for the dictionary" in err
    code, shown, _, err = run("serve", tiny_atlas.folder, "--tree", tiny_atlas.folder)
    assert code == 2 and "not a tree of features" in err


def test_the_command_tells_every_step_of_a_tree(run, widths, tiny_activations, tmp_path):
    out = tmp_path / "tree"
    arguments = ("--activations", tiny_activations.folder, "--rate", "0.8", "--out", out)
    code, _, told, err = run("compare", "tree", *widths, *arguments)
    assert code == 0, err
    for step in Forest.open(out).summary.steps:
        assert f"{step.with_parent.value:.1%} [{step.with_parent.low:.1%}" in told


def test_notebooks_show_comparisons(comparison):
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[notebook]'")
    from physalis.web.notebooks.widgets import show

    widget = show(comparison)
    assert widget.view == "comparison" and widget.opens
    assert widget.records["comparison"] == plain(comparison.summary)
    assert widget.records["pairs"] == plain(comparison.pairs)
    widget.path = "/?side=b&sort=cosine&descending=true&offset=3"
    found = comparison.features("b", sort="cosine", descending=True, offset=3, limit=25)
    assert [row["feature"] for row in widget.records["list"]["rows"]] == [plain(row) for row in found.rows]
    assert widget.records["query"] == "?side=b&sort=cosine&descending=true&offset=3"
    widget.path = "/groups?offset=2"
    assert widget.records["groups"]["offset"] == 2 and widget.records["list"]["offset"] == 3
    with pytest.raises(BadInput, match="no view '/map'"):
        widget.answer("/map")
    with pytest.raises(BadInput, match="cannot be asked"):
        widget.answer("/?side=c")
    alone = show(comparison.summary)
    assert alone.view == "comparison" and not alone.opens


def test_notebooks_show_forests(forest):
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[notebook]'")
    from physalis.web.notebooks.widgets import show

    widget = show(forest)
    assert widget.view == "forest" and widget.opens
    assert widget.records["kin"]["family"] == plain(forest.family(*forest.roots()[0]))
    widget.path = "/?level=2&feature=7"
    assert widget.records["kin"]["family"] == plain(forest.family(2, 7))
    widget.path = "/trees?offset=2"
    assert widget.records["trees"]["offset"] == 2
    assert widget.records["kin"]["family"]["node"]["feature"] == 7
    with pytest.raises(BadInput, match="cannot be asked"):
        widget.answer("/?level=a&feature=7")
    assert show(forest.summary).records == {"forest": plain(forest.summary)}


def test_notebooks_are_told_what_the_server_tells(client, woods, comparison, forest, tiny_atlas, split):
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[notebook]'")
    from physalis.web.notebooks.widgets import show

    widget = show(comparison, atlases=[tiny_atlas])
    for asked in ("", "?side=b&sort=cosine&descending=true"):
        widget.path = f"/{asked}"
        told = client.get(f"/api/comparison/features{asked}").json()
        assert widget.records["list"] == told and any(row["known"] or row["partner_known"] for row in told["rows"])
    assert widget.records["groups"] == client.get("/api/comparison/groups?limit=4").json()
    widget = show(forest, atlases=[tiny_atlas])
    widget.path = "/?level=1&feature=3"
    assert widget.records["kin"] == woods.get("/api/forest/family?level=1&feature=3").json()
    assert widget.records["kin"]["known"][1]["3"]["headline"] == tiny_atlas[3].headline
    assert widget.records["trees"] == woods.get("/api/forest/trees").json()
    with pytest.raises(BadInput, match="the atlas of none of these dictionaries"):
        show(split[0], atlases=[tiny_atlas])
    with pytest.raises(BadInput, match="Atlases name the features of .*; received a Summary"):
        show(comparison.summary, atlases=[tiny_atlas])


def test_dictionaries_may_have_one_name(tiny_atlas):
    own = tiny_atlas.manifest.inputs["dictionary"]
    for dictionaries in ([("TopK", own), ("TopK", "0" * 64)], [("TopK", "0" * 64), ("TopK", own)]):
        assert Names([tiny_atlas], dictionaries).of(own, [0])[0].headline == tiny_atlas[0].headline
    with pytest.raises(BadInput, match="the atlas of none of these dictionaries: TopK; TopK"):
        Names([tiny_atlas], [("TopK", "0" * 64), ("TopK", "1" * 64)])

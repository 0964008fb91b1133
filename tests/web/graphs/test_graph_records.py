"""The page of a graph as records: its nodes, its edges, and the names that atlases have for its features."""

import pytest
from fastapi.testclient import TestClient
from small_graph import ERROR, TOKENS, small_graph, written

from physalis.atlas import Atlas
from physalis.naming import Known
from physalis.web.contents.opening import open_app
from physalis.web.graphs import records
from physalis.web.graphs.records import page_of
from physalis.web.graphs.serving import create_graph_app
from physalis.web.graphs.stored import StoredGraph


@pytest.fixture
def page(tmp_path):
    return page_of(StoredGraph.open(written(tmp_path / "graph", small_graph())))


def test_nodes_are_what_was_kept_and_every_token(page):
    nodes = page.nodes
    assert nodes.kind == ["feature"] * 4 + ["error"] + ["token"] * 3 + ["end"] * 2
    assert nodes.layer == [0, 0, 1, 1, 1, -1, -1, -1, 2, 2]
    assert nodes.position == [1, 2, 2, 2, 2, 0, 1, 2, 2, 2]
    assert nodes.feature == [11, 12, 13, 14, -1, 5, 6, 7, 8, 9]
    assert nodes.value == [2, 1, 2, 0.5, None, None, None, None, 4, 1]
    assert nodes.enters == [2, 1, 4, 0.5, 0, 0, 0, 0, 7, 1] and nodes.left_out == [0, 0, 1, 0, 0, 0, 0, 0, 3, 0]
    through = (small_graph().influence() * small_graph().kept).tolist()
    assert nodes.influence[:5] == pytest.approx([*through[:4], through[ERROR]], rel=1e-4)
    assert nodes.influence[-2:] == [0.8, 0.1] and page.n_nodes == len(nodes.kind) and page.tokens == [*TOKENS]


def test_edges_are_those_of_the_graph_the_most_influential_first(page):
    graph, edges, nodes = small_graph(), page.edges, page.nodes
    column = {**{i: i for i in range(4)}, 4: ERROR, **{5 + i: 10 + i for i in range(3)}}
    row = {**{i: i for i in range(4)}, 8: 4, 9: 5}
    told = zip(edges.source, edges.target, edges.weight, strict=True)
    assert all(float(graph.edges[row[to], column[fro]]) == weight for fro, to, weight in told)
    assert len(edges.weight) == page.n_edges == int((graph.edges != 0).sum()) == 9
    share = [
        abs(weight) / nodes.enters[to] * nodes.influence[to]
        for to, weight in zip(edges.target, edges.weight, strict=True)
    ]
    assert share == pytest.approx(sorted(share, reverse=True))


def test_a_page_has_room_for_so_many(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MOST_NODES", 2)
    monkeypatch.setattr(records, "MOST_EDGES", 1)
    page = page_of(StoredGraph.open(written(tmp_path / "graph", small_graph())))
    assert page.nodes.kind.count("token") == 3 and len(page.nodes.kind) < page.n_nodes == 10
    assert len(page.edges.weight) == 1 < page.n_edges == 9
    assert max(page.edges.source + page.edges.target) < len(page.nodes.kind)


@pytest.fixture(scope="module")
def house(tiny_atlas, tmp_path_factory):
    """A folder with an atlas, and a graph whose layer 1 was read by the atlas's dictionary."""
    import shutil

    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(tiny_atlas.folder, folder / "atlas")
    inputs = {"L1": str(tiny_atlas.manifest.inputs["dictionary"])}
    written(folder / "graph", small_graph(), inputs=inputs)
    written(folder / "other", small_graph())
    written(folder / "untried", small_graph(), verdict=None)
    return folder


def test_features_have_the_names_of_their_layers_atlas(house, tiny_atlas):
    client = TestClient(open_app(house))
    told = client.get("/g/graph/api/graph").json()
    atlas = tiny_atlas.with_annex(Known(tiny_atlas).annex)
    assert told["nodes"]["name"] == ["", "", atlas[13].headline, atlas[14].headline, *[""] * 6]
    feature = client.get("/g/graph/api/graph/feature?layer=1&feature=13").json()
    assert feature["headline"] == atlas[13].headline and feature["page"] == "/a/atlas/features/13"
    assert client.get(feature["page"]).status_code == 200
    peaks = [each["codes"][each["position"]] for each in feature["examples"]]
    assert peaks and peaks == sorted(peaks, reverse=True) and peaks[0] == pytest.approx(feature["max_code"], rel=1e-3)
    assert [each["token"] for each in feature["promoted"]] == [each.token for each in atlas[13].promoted[:8]]


def test_a_set_of_transcoders_in_the_same_folder_leads_to_atlases_too(tiny_atlas, tmp_path):
    from physalis import artifact
    from physalis.artifact import Manifest

    transcoders = tmp_path / "set"
    transcoders.mkdir()
    inputs = {"L0": str(tiny_atlas.manifest.inputs["dictionary"]), "model": "none"}
    made = artifact.finish(transcoders, Manifest(kind="transcoders", config={}, inputs=inputs), [])
    graph = written(tmp_path / "graph", small_graph(), inputs={"transcoders": made.hash})
    names = (
        TestClient(open_app([tiny_atlas.folder, graph, transcoders])).get("/g/graph/api/graph").json()["nodes"]["name"]
    )
    assert names[0] == Atlas.open(tiny_atlas.folder)[11].headline and names[2:] == [""] * 8


def test_what_is_not_known_is_a_sentence(house):
    client = TestClient(open_app(house))
    assert client.get("/g/other/api/graph").json()["nodes"]["name"] == [""] * 10
    for path, says in {
        "/g/other/api/graph/feature?layer=1&feature=13": "There is no atlas of layer 1 here",
        "/g/graph/api/graph/feature?layer=1&feature=100000": "There is no feature 100000",
        "/g/graph/api/graph/feature?layer=1": "feature is missing",
        "/g/graph/api/graph/feature?layer=-1&feature=3": "layer='-1' cannot be used",
    }.items():
        answer = client.get(path)
        assert answer.status_code in (400, 422) and says in answer.json()["detail"], path


def test_a_folder_lists_its_graphs_with_their_verdicts(house):
    client = TestClient(open_app(house))
    of = {each["name"]: each for each in client.get("/api/contents").json()["entries"] if each["kind"] == "graph"}
    assert of["graph"]["state"] == "not established" and of["graph"]["sizes"] == [4]
    assert of["graph"]["site"] == "The big cat → sat" and len(of["graph"]["picture"]["x"]) == 9
    assert "nobody tried it" in of["untried"]["lack"] and of["untried"]["path"] == ""


def test_a_graph_alone_is_served_at_the_root(house, tmp_path):
    alone = TestClient(open_app(house / "graph"))
    page = alone.get("/")
    assert page.status_code == 200 and "sat – physalis" in page.text and '"base"' not in page.text
    assert alone.get("/api/graph").json() == TestClient(create_graph_app(house / "graph")).get("/api/graph").json()
    described = alone.get("/api/openapi.json").json()["paths"]
    assert described.keys() == {"/api/graph", "/api/graph/feature"}
    lost = alone.get("/features/3")
    assert lost.status_code == 404 and "There is no page /features/3" in lost.text


def test_without_a_verdict_nothing_is_served(house, physalis):
    code, _, said = physalis("serve", house / "untried", "--port", "0")
    assert code == 2 and "nobody tried it on its model" in said


def test_what_is_served_beside_an_atlas_alone_is_refused_beside_a_graph(house, physalis):
    code, _, said = physalis("serve", house / "graph", "--explain", "--port", "0")
    assert code == 2 and "is no atlas but a graph" in said

"""The page of a graph in a real browser: its verdict first, its picture by hand and by keys, its numbers."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from browsing import expect, fits, serving
from fastapi.testclient import TestClient
from faults import serious
from small_graph import VERDICT, small_graph, written
from typescript import NAMES, fields, interfaces, spelled

from physalis.web.contents.opening import open_app
from physalis.web.graphs import groups, records, stored
from physalis.web.graphs.records import page_of
from physalis.web.graphs.serving import create_graph_app
from physalis.web.graphs.stored import StoredGraph

pytestmark = pytest.mark.browser

RUNS = """() => {
  const canvas = document.querySelector('canvas'), ctx = canvas.getContext('2d');
  const probe = canvas.parentElement.appendChild(document.createElement('i'));
  const found = {};
  const { data, width, height } = ctx.getImageData(0, 0, canvas.width, canvas.height);
  for (const name of ['cold', 'accent']) {
    probe.style.color = `color-mix(in srgb, var(--${name}) 100%, transparent)`;
    const [r, g, b] = getComputedStyle(probe).color.match(/[\\d.]+/g).map(v => Math.round(255 * v));
    const is = (x, y) => {
      const at = 4 * (y * width + x);
      return x >= 0 && y >= 0 && x < width && y < height && data[at + 3] > 99 &&
        Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b) < 60;
    };
    const seen = new Set();
    found[name] = 0;
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      if (!is(x, y) || seen.has(y * width + x)) continue;
      found[name]++;
      const todo = [[x, y]];
      while (todo.length) {
        const [i, j] = todo.pop();
        if (!is(i, j) || seen.has(j * width + i)) continue;
        seen.add(j * width + i);
        for (let a = -1; a < 2; a++) for (let c = -1; c < 2; c++) todo.push([i + a, j + c]);
      }
    }
  }
  return found;
}"""
"""How many pieces hang together of what is drawn in the colour of edges against, and of those for."""
TOGETHER = [{"name": "animals", "members": [[1, 2, 13], [1, 2, 14]]}]


def test_typescript_knows_the_records():
    interface = interfaces("graph")
    models = [stored.Verdict, stored.Scores, stored.End, records.Nodes, records.Edges, records.Supernode]
    for model in [*models, records.GraphPage, records.NodeFeature]:
        names = {**NAMES, records.NodeKind: "NodeKind"}
        assert interface[model.__name__] == fields(model, names), model
    assert spelled(records.NodeKind) == "'feature' | 'error' | 'token' | 'end'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = written(tmp_path_factory.mktemp("graphs") / "graph", small_graph())
    (folder / groups.FILE).write_text(json.dumps({"version": 1, "supernodes": TOGETHER, "method": "by hand"}))
    return folder


@pytest.fixture(scope="module")
def site(folder):
    with serving(create_graph_app(folder)) as site:
        yield site


@pytest.fixture(scope="module")
def told(folder):
    return page_of(StoredGraph.open(folder))


def drawn(page, edges: int) -> None:
    """Waits for a picture with so many edges."""
    expect(page.locator("canvas")).to_have_attribute("data-drawn", str(edges))


def keys(page, *names: str) -> None:
    page.get_by_role("application").focus()
    for name in names:
        page.keyboard.press(name)


def asked(page) -> str:
    return page.evaluate("location.search")


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (390, "dark")])
def test_the_page_opens_with_the_verdict(browse, site, width, scheme):
    page = browse(site, "/", width, scheme)
    assert page.get_by_role("heading", level=1).inner_text() == "What makes “sat” likely"
    first = page.locator("main h2").first
    assert first.inner_text() == "It is not established" and first.bounding_box()["y"] < 500
    told = {
        each.get_attribute("data-row"): float(each.get_attribute("data-value"))
        for each in page.locator("[data-row]").all()
    }
    assert told == {
        "model": VERDICT.answer, "kept": VERDICT.kept_only, "random": VERDICT.stochastic, "worst": VERDICT.adversarial,
        "none": VERDICT.none_kept,
    }  # fmt: skip
    assert [each.get_attribute("data-r") for each in page.locator("[data-r]").all()] == ["0.9", "0.5", ""]
    assert "too few" in page.locator(".verdict").inner_text() and page.locator(".flag").count() == 0
    verdict, picture = page.locator(".verdict").bounding_box(), page.locator("canvas").bounding_box()
    assert verdict["y"] + verdict["height"] < picture["y"]
    drawn(page, 8)
    assert fits(page, width) and serious(page) == []


@pytest.mark.parametrize(
    ("changed", "heading", "flagged"),
    [
        ({"adversarial": 0.7}, "It survives its trial", False),
        ({"none_kept": 0.5}, "It has nothing to prove", False),
        ({"kept_only": 0.9}, "It is not established", True),
    ],
)
def test_each_verdict_has_its_words(browse, tmp_path, changed, heading, flagged):
    folder = written(tmp_path / "graph", small_graph(), verdict=replace(VERDICT, **changed))
    with serving(create_graph_app(folder)) as site:
        page = browse(site, "/")
        assert page.locator("main h2").first.inner_text() == heading
        assert ("does better than the model" in page.locator(".verdict").inner_text()) is flagged


def test_keys_follow_the_strongest_edges(browse, site):
    page = browse(site, "/?open=animals")
    status = page.locator(".picture [role=status]")
    for key, says in (
        ("ArrowUp", "sat, predicted with probability .800"),
        ("ArrowDown", "Feature #13, layer 1 at “cat”, activation 2"),
        ("ArrowDown", "Feature #11, layer 0 at “big”"),
        ("ArrowDown", "token “big”"),
        ("ArrowUp", "Feature #11"),
        ("ArrowRight", "Feature #12, layer 0 at “cat”"),
        ("ArrowLeft", "Feature #11"),
    ):
        keys(page, key)
        expect(status).to_contain_text(says)
    keys(page, "Enter")
    held = page.get_by_label("The node that is held")
    expect(held.get_by_role("heading", level=2)).to_have_text("#11")
    assert "node=L0.11.1" in asked(page)
    keys(page, "Escape", "Escape")
    expect(held).to_have_count(0)
    expect(page.get_by_label("How it is read")).to_be_visible()
    assert asked(page) == "?open=animals"


def test_what_is_held_says_what_makes_it(browse, site, told):
    page = browse(site, "/?open=animals&node=Y0")
    into = page.get_by_label("Edges into it").locator("li")
    expect(into).to_have_count(3)
    # Of 10 that enter " sat", 4 come from #13, -2 from #14, 1 from the error, and 3 over edges that are not here.
    said = ["#13 L1 at “cat” +40 %", "#14 L1 at “cat” −20 %", "error L1 at “cat” +10 %"]
    assert [re.sub(r"\s+", " ", each.inner_text()) for each in into.all()] == said
    expect(page.get_by_text("30\xa0% of what enters it is not in the graph")).to_be_visible()
    expect(into.locator("i.against")).to_have_count(1)
    into.first.get_by_role("button").click()
    held = page.get_by_label("The node that is held")
    expect(held.get_by_role("heading", level=2)).to_have_text("#13")
    assert told.nodes.influence[2] == pytest.approx(0.8 * 4 / 7, rel=1e-4) and "46\xa0%" in held.inner_text()
    held.get_by_role("button", name="Let go of the node").click()
    expect(held).to_have_count(0)


def test_a_pointer_finds_nodes_and_holds_them(browse, site):
    page = browse(site, "/?open=animals")
    drawn(page, 9)
    page.locator("canvas").scroll_into_view_if_needed()
    box = page.locator("canvas").bounding_box()
    keys(page, "ArrowUp", "ArrowDown")  # #13, whose place the tip tells
    tip = page.locator(".tip")
    expect(tip).to_contain_text("#13")
    left, top = (float(tip.evaluate(f"e => parseFloat(e.style.{side})")) for side in ("left", "top"))
    page.mouse.move(box["x"] + 3, box["y"] + box["height"] - 3)
    expect(tip).to_have_count(0)
    page.mouse.move(box["x"] + left, box["y"] + top)
    expect(tip).to_contain_text("Feature #13")
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_label("The node that is held").get_by_role("heading", level=2)).to_have_text("#13")


def test_a_supernode_opens_and_closes(browse, site):
    page = browse(site, "/")
    drawn(page, 8)  # both of its edges to an end are one
    button = page.get_by_label("Supernodes", exact=True).get_by_role("button")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    drawn(page, 9)
    expect(button).to_have_attribute("aria-pressed", "true")
    assert "open=animals" in asked(page)
    button.click()
    drawn(page, 8)
    keys(page, "Escape", "Escape", "ArrowUp", "ArrowDown")
    expect(page.locator(".picture [role=status]")).to_contain_text("Supernode animals, 2 features together")
    keys(page, "Enter")
    drawn(page, 9)


def test_fewer_nodes_are_shown_and_the_address_says_how_many(browse, site):
    page = browse(site, "/?open=animals")
    slider = page.get_by_role("slider", name="nodes shown")
    slider.fill("2")
    expect(page.locator("output")).to_contain_text("2 of 5")
    page.wait_for_url("**nodes=2**")
    drawn(page, 4)
    page.reload()
    drawn(page, 4)
    expect(slider).to_have_value("2")


def test_the_picture_moves_and_comes_back(browse, site):
    page = browse(site, "/")
    drawn(page, 8)
    seen = "c => c.toDataURL()"
    canvas = page.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 300)
    whole = canvas.evaluate(seen)
    page.mouse.wheel(0, -400)
    page.wait_for_function("w => document.querySelector('canvas').toDataURL() !== w", arg=whole)
    zoomed = canvas.evaluate(seen)
    page.mouse.down()
    page.mouse.move(box["x"] + 65, box["y"] + 240, steps=4)
    page.mouse.up()
    page.wait_for_function("w => document.querySelector('canvas').toDataURL() !== w", arg=zoomed)
    page.get_by_role("button", name="Show the whole picture").click()
    page.mouse.move(box["x"] + 5, box["y"] + 300)
    page.wait_for_function("w => document.querySelector('canvas').toDataURL() === w", arg=whole)


def test_edges_against_are_dashed(browse, site):
    """Along the edge from #14, which speaks against " sat" alone: its colour comes and goes, that from #13 stays."""
    page = browse(site, "/?open=animals&nodes=5")
    drawn(page, 9)
    keys(page, "ArrowUp")
    expect(page.locator(".tip")).to_contain_text("sat")
    runs = page.evaluate(RUNS)
    assert runs["cold"] > 3 and 0 < runs["accent"] < runs["cold"]


def test_the_same_is_in_tables(browse, site, told):
    page = browse(site, "/?open=animals")
    page.locator("summary").click()
    rows = page.locator("tr[data-node]")
    expect(rows).to_have_count(len(told.nodes.kind))
    cells = page.locator("tr[data-node='L1.13.2']").inner_text().split("\t")
    assert cells == ["#13", "feature", "layer 1 at “cat”", "2", "46\xa0%"]
    edges = page.locator("tr[data-edge]")
    expect(edges).to_have_count(len(told.edges.weight))
    assert edges.first.inner_text().split("\t")[2] == "46\xa0%"  # 4 of 7 into an end of weight .8
    assert serious(page) == []


def test_a_feature_is_told_by_its_atlas(browse, tiny_atlas, tmp_path):
    shutil.copytree(tiny_atlas.folder, tmp_path / "atlas")
    written(tmp_path / "graph", small_graph(), inputs={"L1": str(tiny_atlas.manifest.inputs["dictionary"])})
    app = open_app(tmp_path)
    known = TestClient(app).get("/g/graph/api/graph/feature?layer=1&feature=13").json()
    with serving(app) as site:
        page = browse(site, "/g/graph/?node=L1.13.2")
        held = page.get_by_label("The node that is held")
        expect(held.get_by_label("Strongest examples").locator("li")).to_have_count(len(known["examples"]))
        expect(held.get_by_role("heading", level=2)).to_have_text(known["headline"])
        assert serious(page) == []
        held.get_by_role("link", name="The feature’s page").click()
        page.wait_for_url("**/a/atlas/features/13")
        page.get_by_role("link", name="physalis, contents").click()
        page.get_by_role("link", name="graph", exact=True).click()
        page.wait_for_url("**/g/graph/")


def test_a_bad_file_of_supernodes_is_told(browse, tmp_path):
    folder = written(tmp_path / "graph", small_graph())
    (folder / groups.FILE).write_text("[")
    with serving(create_graph_app(folder)) as site:
        expect(browse(site, "/").get_by_text("supernodes.json cannot be read")).to_be_visible()

"""A graph outside of its own page: in an article, in a site of files, in a notebook."""

import shutil

import pytest
from browsing import WIDGET, expect
from faults import serious
from small_graph import small_graph, written

from physalis.errors import BadInput
from physalis.web.articles.articles import read_article
from physalis.web.graphs.records import page_of
from physalis.web.graphs.stored import TENSORS, StoredGraph
from physalis.web.publish.site import publish
from physalis.web.server.shell import STATIC

TEXT = "# A cat\n\nIt sat.\n\n::: graph mary #why\nWhat made it sit.\n:::\n"


@pytest.fixture
def desk(tmp_path, tiny_atlas):
    """An article beside a graph, whose layer 1 the atlas knows."""
    written(tmp_path / "mary", small_graph(), inputs={"L1": str(tiny_atlas.manifest.inputs["dictionary"])})
    (tmp_path / "cat.md").write_text(TEXT)
    return tmp_path


def test_an_article_holds_the_graph_with_the_names_of_its_atlas(desk, tiny_atlas):
    (figure,) = read_article(desk / "cat.md", tiny_atlas).figures
    told = page_of(StoredGraph.open(desk / "mary")).model_dump(mode="json")
    names = figure["graph"]["nodes"].pop("name")
    told["nodes"].pop("name")
    assert figure == {"kind": "graph", "graph": told}
    assert names[2:4] == [tiny_atlas[13].headline, tiny_atlas[14].headline] and names[0] == ""


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda desk: shutil.rmtree(desk / "mary"), "'mary' is no graph with a verdict .*cannot be read"),
        (lambda desk: written_over(desk, verdict=None), "'mary' is no graph with a verdict .*nobody tried it"),
        (lambda desk: linked(desk / "mary"), "it is a link"),
        (lambda desk: linked(desk / "mary" / TENSORS), "it is a link"),
        (lambda desk: (desk / "cat.md").write_text(TEXT.replace("mary", f"{desk}/mary")), "does not lie in"),
        (lambda desk: (desk / "cat.md").write_text(TEXT.replace("mary", "../mary")), "does not lie in"),
    ],
    ids=["gone", "untried", "a link", "a linked file", "absolute", "outside"],
)
def test_what_is_no_graph_beside_the_article_is_refused_with_its_line(desk, tiny_atlas, harm, says):
    harm(desk)
    with pytest.raises(BadInput, match=f"line 5: .*{says}"):
        read_article(desk / "cat.md", tiny_atlas)


def written_over(desk, **how):
    shutil.rmtree(desk / "mary")
    written(desk / "mary", small_graph(), **how)


def linked(path):
    moved = path.rename(path.parent / "moved")
    path.symlink_to(moved)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_site_of_files_shows_it(chromium, desk, tiny_atlas, width, scheme):
    publish(tiny_atlas, desk / "site", features=[3], articles=[desk / "cat.md"])
    size = {"width": width, "height": 900}
    page = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce").new_page()
    wrong, asked = [], []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{desk}/site/articles/cat.html")
    figure = page.locator("figure#why")
    expect(figure.locator("canvas")).to_have_attribute("data-drawn", "9")
    assert figure.locator("h2").first.inner_text() == "It is not established"
    figure.get_by_role("application").focus()
    for key in ("ArrowUp", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(figure.get_by_label("The node that is held").locator("h2")).to_have_text(tiny_atlas[13].headline)
    assert page.evaluate("document.documentElement.scrollWidth") <= width and serious(page) == []
    assert wrong == [] and all(url.startswith((f"file://{desk}/site/", "data:")) for url in asked)
    page.context.close()


@pytest.mark.browser
def test_a_notebook_shows_it(chromium, desk, tiny_atlas):
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[notebook]'")
    from physalis.web.notebooks.widgets import show

    widget = show(StoredGraph.open(desk / "mary"), atlases=[tiny_atlas])
    assert widget.view == "graph" and not widget.opens
    traits = {key: getattr(widget, key) for key in ("view", "records", "map", "path", "opens")}
    page = chromium.new_context(viewport={"width": 900, "height": 900}).new_page()
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto("about:blank")
    page.evaluate(WIDGET, [(STATIC.parent / "widgets/graph.js").read_text(), traits])
    expect(page.locator("h1")).to_have_text("What makes “sat” likely")
    expect(page.locator("canvas")).to_have_attribute("data-drawn", "9")
    names = page.get_by_label("Features of most influence").locator(".name")
    expect(names.first).to_have_text(tiny_atlas[13].headline)
    assert wrong == []
    page.context.close()

"""The pages of comparisons and of trees of features in a real browser, and their records against the server's."""

import re

import pytest
from browsing import WIDGET, expect, serving, whole
from faults import serious
from tree import ROOT
from typescript import NAMES, fields, interfaces, spelled

from physalis.comparing import records as compared
from physalis.web import create_app
from physalis.web.comparison import records
from physalis.web.comparison.serving import create_comparison_app
from physalis.web.server.shell import STATIC

pytestmark = pytest.mark.browser


def test_typescript_knows_the_records():
    text = (ROOT / "frontend/src/lib/records/comparison.ts").read_text()
    written = interfaces("comparison")
    elsewhere = {"Record", "Estimate", "Histogram"}
    models = {
        each
        for module in (compared, records)
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, records.Record) and name not in elsewhere
    }
    assert len(models) > 20
    for model in [*models, records.Asked]:
        assert written[model.__name__] == fields(model, {**NAMES, records.Fate: "Fate"}), model
    assert f"export type Fate = {spelled(records.Fate)};" in text


@pytest.fixture(scope="module")
def pair(comparison, tiny_atlas):
    with serving(create_comparison_app(comparison, [tiny_atlas])) as site:
        yield site


@pytest.fixture(scope="module")
def woods(forest, tiny_atlas):
    with serving(create_comparison_app(forest, [tiny_atlas])) as site:
        yield site


@pytest.fixture
def open_page(chromium):
    """``open_page(address, width=..., scheme=...)``; at the end, the console was silent, no other server was asked, and
    no page was wider than the screen."""
    said, strangers, pages = [], [], []

    def open_(url: str, *, width: int = 1200, scheme: str = "light", ok: bool = True):
        size = {"width": width, "height": 900}
        page = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce").new_page()
        page.on("console", lambda message: said.append(message.text) if ok else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        home = re.match(r"https?://[^/]+", url)[0]
        page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((home, "data:")) else None)
        page.goto(url)
        whole(page)
        pages.append((page, width))
        return page

    yield open_
    for page, width in pages:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.context.close()
    assert said == [] and strangers == []


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_the_numbers_of_a_comparison_are_the_records(open_page, pair, comparison, width, scheme):
    page, summary = open_page(pair, width=width, scheme=scheme), comparison.summary
    assert serious(page) == []

    def shares(where: str) -> list[float]:
        return [float(each.get_attribute("data-value")) for each in page.locator(f"{where} [data-value]").all()]

    for fate in ("shared", "split", "merged", "unique"):
        told = shares(f"[data-shares={fate}]")
        assert told[:2] == [summary.a.fates[fate].value, summary.b.fates[fate].value]
        if fate == "shared":
            assert told[2:] == [each.share.value for each in summary.directions.baselines]
        if fate == "split":
            assert told[2:] == [summary.a.split_by_chance.value, summary.b.split_by_chance.value]
    for level in summary.directions.levels:
        wanted = [level.share, *(each.share for each in level.baselines)]
        assert shares(f'[data-level="{level.score}"]') == [each.value for each in wanted]
    expect(page.locator("[data-points]")).to_have_attribute("data-points", str(len(comparison.pairs.a)))
    drawn = page.locator("[data-points] path").get_attribute("d")
    assert drawn.count("M") == len(comparison.pairs.a) and "NaN" not in drawn
    assert page.locator("[data-twin]").get_attribute("href") == "/api/comparison"


def test_features_are_filtered_sorted_and_paged(open_page, pair, comparison, tiny_atlas):
    page = open_page(pair)

    def shown(wanted, side="B"):
        ids = [f"{side} {row.id}" for row in wanted.rows]
        expect(page.locator("li[data-feature] > .one:first-child .id")).to_have_text(ids)
        expect(page.locator("[data-total]")).to_have_text(str(wanted.total))

    shown(comparison.features("a", limit=25), "A")
    page.get_by_role("button", name="of B").click()
    shown(comparison.features("b", limit=25))
    first = page.locator('li[data-feature="0"]')
    assert tiny_atlas[0].headline.split(" · ")[0].strip("→ ") in first.inner_text()
    page.get_by_label("Sort by").select_option("cosine")
    page.get_by_label("Ascending; reverse").click()
    page.wait_for_url("**/?side=b&sort=cosine&descending=true")
    best = comparison.features("b", sort="cosine", descending=True, limit=25)
    shown(best)
    cosine = page.locator("[data-cosine]").first.inner_text()
    assert float(cosine.removeprefix("cos ")) == pytest.approx(best.rows[0].cosine, abs=6e-4)
    page.get_by_role("button", name="Next →").last.click()
    second = comparison.features("b", sort="cosine", descending=True, offset=25, limit=25)
    shown(second)
    fate = second.rows[0].fate
    page.get_by_label("Shared, split, merged or unique").select_option(fate)
    page.wait_for_url(f"**fate={fate}**")
    shown(comparison.features("b", fate=fate, sort="cosine", descending=True, limit=25))
    assert {each.get_attribute("data-fate") for each in page.locator("li .fate").all()} == {fate}
    again = open_page(page.url)
    expect(again.get_by_label("Shared, split, merged or unique")).to_have_value(fate)
    expect(again.get_by_role("button", name="of B")).to_have_attribute("aria-pressed", "true")


def test_a_split_is_drawn_as_one_to_many(open_page, split):
    with serving(create_comparison_app(split[0])) as site:
        page, group = open_page(site), split[0].groups[0]
        drawn = page.locator('[data-group="a/0"]')
        expect(drawn.locator("[data-node]")).to_have_count(1 + len(group.members))
        expect(drawn.locator(".branch")).to_have_count(len(group.members))
        drawn.locator("[data-node]").last.focus()
        expect(drawn.locator("[data-details]")).to_contain_text("tokens of the one that it covers")
        # Without atlases there are numbers only.
        expect(page.locator("li[data-feature]").first).to_be_visible()
        assert page.locator(".headline").count() == 0 and page.locator(".strip").count() == 0


def nodes(page) -> set[str]:
    return {each.get_attribute("data-node") for each in page.locator("[data-node]").all()}


@pytest.mark.parametrize(("width", "scheme"), [(1200, "dark"), (390, "light")])
def test_a_tree_is_drawn_whole(open_page, woods, forest, width, scheme):
    page = open_page(woods, width=width, scheme=scheme)
    assert serious(page) == []
    tree = forest.tree(*forest.roots()[0])
    expect(page.locator("[data-node]")).to_have_count(len(tree.nodes))
    assert nodes(page) == {f"{node.level}/{node.feature}" for node in tree.nodes}
    expect(page.locator(".branch")).to_have_count(len(tree.nodes) - 1)
    leaves = sum(node.n_children == 0 for node in tree.nodes)
    expect(page.locator("[data-leaves]")).to_have_attribute("data-leaves", str(leaves))
    for level, (size, step) in enumerate(zip(forest.summary.widths[:-1], forest.summary.steps, strict=True)):
        told = page.locator(f'[data-level="{level}"]')
        assert told.locator("[data-splits]").inner_text().strip() == str(sum(step.split_sizes[2:]))
        assert told.locator("[data-goes]").inner_text().strip() == str(step.split_sizes[1])
        before = forest.summary.steps[level - 1].with_parent.value if level else 0
        begins = size.n_firing - round(before * size.n_firing)
        assert told.locator("[data-begins]").inner_text().strip() == str(begins)
    rows = page.locator("[data-tree]")
    wanted = [f"{level}/{feature}" for level, feature in forest.roots()[:10]]
    assert [row.get_attribute("data-tree") for row in rows.all()] == wanted
    frame = page.locator(".frame")
    assert frame.evaluate("e => e.scrollWidth > e.clientWidth") == (width == 390)


def test_a_branch_becomes_the_root_and_has_an_address(open_page, woods, forest):
    page = open_page(woods)
    tree = forest.tree(*forest.roots()[0])
    child = next(node for node in tree.nodes if node.level == 1 and node.n_children)
    page.locator(f'[data-node="1/{child.feature}"]').focus()
    expect(page.locator("[data-details]")).to_contain_text(f"feature {child.feature}")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/?level=1&feature={child.feature}")
    family = forest.family(1, child.feature)
    expect(page.locator("[data-node]")).to_have_count(1 + len(family.descendants))
    again = open_page(page.url)
    expect(again.locator("[data-node]")).to_have_count(1 + len(family.descendants))
    again.locator("[data-trail] a").first.click()
    expect(again.locator("[data-node]")).to_have_count(len(tree.nodes))
    again.go_back()
    expect(again.locator("[data-node]")).to_have_count(1 + len(family.descendants))
    row = again.locator("[data-tree]").nth(3)
    level, feature = forest.roots()[3]
    row.locator("a").click()
    expect(again.locator("[data-node]")).to_have_count(len(forest.tree(level, feature).nodes))


def test_what_is_not_there_is_said(open_page, woods):
    page = open_page(f"{woods}/?level=9&feature=0", ok=False)
    expect(page.get_by_role("alert")).to_contain_text("count from 0, the narrowest, to 2; received 9")
    expect(page.locator("[data-tree]")).to_have_count(10)
    page.locator("[data-tree] a").first.click()
    expect(page.locator("[data-trail]")).to_be_visible()
    assert page.get_by_role("alert").count() == 0
    lost = open_page(f"{woods}/features/3", ok=False)
    expect(lost.get_by_role("alert")).to_contain_text("There is no page /features/3 here")


def test_absorption_is_marked_as_a_suspicion(open_page, grown):
    with serving(create_comparison_app(grown)) as site:
        page = open_page(f"{site}/?level=0&feature=1")
        suspects = [node for node in grown.tree(0, 1).nodes if (node.absorbed or 0) >= 0.5]
        assert suspects
        marked = page.locator("[data-node]:has(.suspect)")
        expect(marked).to_have_count(len(suspects))
        assert "suspected of absorption" in marked.first.get_attribute("aria-label")
        marked.first.focus()
        expect(page.locator("[data-details]")).to_contain_text("Suspected of absorption")
        expect(page.get_by_text("It is a suspicion, not a proof")).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_feature_page_shows_its_family(open_page, forest, tiny_atlas, width, scheme):
    families = [forest.family(1, id) for id in range(len(tiny_atlas))]
    one = max(families, key=lambda f: (bool(f.ancestors and f.siblings and f.descendants), -len(f.siblings)))
    assert one.ancestors and one.siblings and one.descendants
    with serving(create_app(tiny_atlas, forest=forest)) as site:
        page = open_page(f"{site}/features/{one.node.feature}", width=width, scheme=scheme)
        kin = [one.node, *one.ancestors, *one.siblings, *one.descendants]
        assert nodes(page) == {f"{node.level}/{node.feature}" for node in kin}
        expect(page.locator(".twig.here")).to_have_count(1)
        expect(page.locator(".twig.aside")).to_have_count(len(one.siblings))
        sibling = one.siblings[0].feature
        page.locator(f'a[data-node="1/{sibling}"]').click()
        page.wait_for_url(f"**/features/{sibling}")
        expect(page.locator(f'[data-node="1/{sibling}"] .here')).to_have_count(1)


@pytest.fixture
def draw(chromium):
    """``draw(widget, name)`` shows a notebook widget on a page; at the end, nothing went wrong there."""
    page = chromium.new_context().new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def draw_(widget, name):
        traits = {key: getattr(widget, key) for key in ("view", "records", "map", "path", "opens")}
        page.goto("about:blank")
        page.evaluate(WIDGET, [(STATIC.parent / f"widgets/{name}.js").read_text(), traits])
        page.locator("h1").wait_for()
        return page

    yield draw_
    assert wrong == []
    page.context.close()


def test_they_work_as_notebook_widgets(draw, comparison, forest):
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[notebook]'")
    from physalis.web.notebooks.widgets import show

    page = draw(show(comparison), "comparison")
    expect(page.locator("li[data-feature]")).to_have_count(25)
    page.get_by_label("Shared, split, merged or unique").select_option("unique")
    assert page.evaluate("window.asked") == "/?fate=unique"
    page = draw(show(forest), "forest")
    level, feature = forest.roots()[1]
    page.locator(f'[data-tree="{level}/{feature}"] a').click()
    assert page.evaluate("window.asked") == f"/?level={level}&feature={feature}"
    page = draw(show(comparison.summary), "comparison")
    expect(page.locator("[data-shares]")).to_have_count(4)
    assert page.locator("[data-feature]").count() == 0


def test_with_atlases_widgets_have_headlines(draw, comparison, forest, tiny_atlas):
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[notebook]'")
    from physalis.web.notebooks.widgets import show

    said = tiny_atlas[3].headline.split(" · ")[0].strip("→ ")
    for atlases in ([tiny_atlas], []):
        widget = show(comparison, atlases=atlases)
        widget.path = "/?side=b"
        page = draw(widget, "comparison")
        first, shown = (
            page.locator('li[data-feature="3"] > .one').first,
            page.locator("li[data-feature] > .one .headline"),
        )
        # The atlas is of B alone.
        expect(shown).to_have_count(25 if atlases else 0)
        assert (said in first.inner_text()) == bool(atlases)
        widget = show(forest, atlases=atlases)
        widget.path = "/?level=1&feature=3"
        trail = draw(widget, "forest").locator("[data-trail]")
        expect(trail).to_contain_text(said if atlases else "#3")

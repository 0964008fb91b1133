"""The pages in a real browser: journeys, keys, phone width, both themes, and nothing asked of any other server."""

import json
import re

import pytest
from browsing import WIDGET, expect, serving, whole

from physalis.web import create_app
from physalis.web.server.shell import STATIC

pytestmark = pytest.mark.browser

EVIL = "</script><script>window.stolen = 1</script><img src=x onerror='window.stolen = 1'>"


@pytest.fixture(scope="module")
def site(tiny_atlas):
    """The address of the served atlas. Feature 1 has a headline that would like to run."""

    class Poisoned(type(tiny_atlas)):
        def __getitem__(self, id):
            found = super().__getitem__(id)
            return found.model_copy(update={"headline": EVIL}) if id == 1 else found

    atlas = Poisoned.open(tiny_atlas.folder)
    with serving(create_app(atlas)) as site:
        yield site


@pytest.fixture
def open_page(chromium, site):
    """``open_page(path, width=..., scheme=...)``; at the end, the console was silent and no other server was asked."""
    said, strangers, contexts = [], [], []

    def open_(path: str, *, width: int = 1200, scheme: str = "light", ok: bool = True):
        size = {"width": width, "height": 800}
        context = chromium.new_context(
            viewport=size, color_scheme=scheme, reduced_motion="reduce", has_touch=width < 500
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if ok else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((site, "data:")) else None)
        page.goto(site + path)
        whole(page)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []
    assert strangers == []


PAGES = ["/", "/features", "/features/3", "/map"]


@pytest.mark.parametrize("path", PAGES)
def test_shows_without_a_second_request(open_page, path):
    page = open_page(path)
    asked = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    # Only the large map comes after the page.
    assert {re.sub(r".*/api/", "", a) for a in asked if "/api/" in a} <= {"map"}
    assert "physalis" in page.title()


# The icon is asked for by the browser, when it likes.
BEFORE_PAINT = """() => {
  const painted = performance.getEntriesByName('first-contentful-paint')[0].startTime;
  const asked = performance.getEntriesByType('resource').filter(e => e.startTime < painted);
  const own = asked.filter(e => !e.name.endsWith('/icon.svg'));
  return own.map(e => [e.name.split('/').pop().replace(/-[\\w-]{8}\\./, '.'), e.initiatorType]);
}"""
MAP = "() => performance.getEntriesByType('resource').some(e => e.name.endsWith('/api/map'))"


def test_a_feature_is_painted_before_anything_else_is_asked_for(open_page):
    page = open_page("/features/3")
    page.wait_for_function(MAP)
    assert sorted(page.evaluate(BEFORE_PAINT)) == [
        ["index.css", "link"],
        ["index.js", "script"],
        # Asked for by the page itself, so that its text is drawn once.
        ["newsreader-latin-opsz-normal.woff2", "link"],
        ["newsreader-latin-wght-italic.woff2", "link"],
        ["source-sans-3-latin-wght-normal.woff2", "link"],
        ["theme.js", "script"],
    ]


def test_front_page_says_what_a_transcoder_predicts(tiny_atlas, browse):
    class Predicting(type(tiny_atlas)):
        def summary(self):
            return super().summary().model_copy(update={"site": "L1.mlp_in → L1.mlp_out"})

    with serving(create_app(Predicting.open(tiny_atlas.folder))) as site:
        lead = browse(site, "/").locator(".lead")
        expect(lead).to_contain_text("a transcoder, predicts the model’s activations at L1.mlp_out")


def test_going_back_finds_where_one_was(open_page, site):
    page = open_page("/features/3", width=390)
    neighbour = page.get_by_role("figure", name="Neighbours").locator("a").first
    neighbour.evaluate("link => link.scrollIntoView({ block: 'center' })")
    there = page.evaluate("scrollY")
    assert there > 800
    neighbour.evaluate("link => link.click()")
    page.wait_for_function("() => !location.pathname.endsWith('/3') && scrollY === 0")
    page.go_back()
    page.wait_for_function(f"() => Math.abs(scrollY - {there}) < 4")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone(open_page, site, scheme):
    page = open_page("/", width=390, scheme=scheme)
    for path in [*PAGES, "/features?query=alpha"]:
        page.goto(site + path)
        page.wait_for_selector("main h1", state="attached")
        if not path.startswith("/features?"):
            page.wait_for_selector("canvas[data-drawn], main ol > li")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        paper = page.evaluate("getComputedStyle(document.querySelector('.physalis')).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", paper)[:3])) < 60) == (scheme == "dark")
        targets = "[...document.querySelectorAll('button, .shell > header a, select')].filter(e => e.offsetParent)"
        small = f"{targets}.filter(e => e.getBoundingClientRect().height < 24).map(e => e.outerHTML.slice(0, 90))"
        assert page.evaluate(small) == [], path


def test_search_to_feature_to_next_to_map(open_page, site):
    page = open_page("/")
    page.get_by_role("link", name="Features", exact=True).click()
    box = page.get_by_label("Search features")
    box.fill("alpha")
    page.wait_for_url("**/features?query=alpha")
    ids = [row["id"] for row in page.request.get(f"{site}/features.json?query=alpha").json()["rows"]]
    lines = page.locator("main ol > li > a")
    expect(lines).to_have_count(len(ids))
    lines.first.click()
    page.wait_for_url(f"**/features/{ids[0]}")
    page.get_by_role("link", name="Next feature").click()
    page.wait_for_url(f"**/features/{ids[1]}")
    page.get_by_role("link", name="for “alpha”").click()
    page.wait_for_url("**/features?query=alpha")
    page.go_back()
    page.wait_for_url(f"**/features/{ids[1]}")
    page.get_by_role("link", name="Open the map").click()
    page.wait_for_url(f"**/map?feature={ids[1]}")
    page.wait_for_selector("canvas[data-drawn]")
    page.get_by_role("application").press("Enter")
    page.wait_for_url(f"**/features/{ids[1]}")


def test_keys(open_page, site):
    page = open_page("/features/3")
    page.keyboard.press("j")
    page.wait_for_url("**/features/4")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/features/3")
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.wait_for_url("**/map")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url(re.compile(r"/$"))
    page.keyboard.press("/")
    page.wait_for_url("**/features")
    expect(page.locator("[data-search]")).to_be_focused()
    page.keyboard.type("g")
    page.wait_for_url("**/features?query=g")
    found = page.request.get(f"{site}/features.json?query=g").json()["rows"]
    expect(page.locator("main ol > li .id")).to_have_text([str(row["id"]) for row in found])
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("main ol > li > a").first).to_be_focused()
    page.keyboard.press("Shift+?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    page.keyboard.press("t")
    page.wait_for_selector(".physalis[data-theme=dark]")
    page.reload()
    page.wait_for_selector(".physalis[data-theme=dark]")


def test_feature_levels_and_tokens(open_page, tiny_atlas):
    feature = max((tiny_atlas[i] for i in range(len(tiny_atlas))), key=lambda f: f.n_fired)
    page = open_page(f"/features/{feature.id}")
    lines = page.locator("[data-example]")
    everything = lines.count()
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(lines).not_to_have_count(everything)
    page.keyboard.press("Escape")
    expect(lines).to_have_count(everything)
    page.get_by_label("Levels of activation").get_by_role("button").first.click()
    page.get_by_text("show all levels").wait_for()
    page.get_by_text("show all levels").click()
    page.locator("[data-example] .peak").first.hover()
    page.get_by_text(re.compile("of its maximum")).first.wait_for()
    page.locator("[data-example] button").first.click()
    page.locator("[data-example] button[aria-expanded=true]").first.wait_for()


def test_filters_and_sort_are_in_the_address(open_page, site):
    page = open_page("/features")
    page.get_by_label("Max activation, at least").fill("1.5")
    page.keyboard.press("Tab")
    page.wait_for_url("**/features?filter=max_code:1.5..")
    page.get_by_label("Sort by").select_option("n_fired")
    page.wait_for_url("**/features?sort=n_fired&filter=max_code:1.5..")
    found = page.request.get(f"{site}/features.json?sort=n_fired&filter=max_code:1.5..").json()
    shown = page.locator("main ol > li .id")
    expect(shown).to_have_text([str(row["id"]) for row in found["rows"]])
    page.reload()
    expect(shown).to_have_text([str(row["id"]) for row in found["rows"]])


def test_map_moves_points_and_finds(open_page, tiny_atlas):
    page = open_page("/map?query=alpha")
    page.wait_for_selector("canvas[data-drawn]")
    page.get_by_role("status").filter(has_text="found").wait_for()
    hands = page.get_by_role("application")
    box = hands.bounding_box()
    row = tiny_atlas.rows([tiny_atlas.map().ids[0]])[0]
    scale = min(box["width"], box["height"]) * 0.93
    x = box["x"] + box["width"] / 2 + (row.x - 0.5) * scale
    y = box["y"] + box["height"] / 2 + (row.y - 0.5) * scale
    page.mouse.move(x, y)
    page.locator(".tip b").wait_for()
    page.mouse.wheel(0, -300)
    page.locator(".tip b").wait_for()
    page.mouse.move(x + 0.5, y)
    page.mouse.click(x, y)
    page.wait_for_url(re.compile(r"/features/\d+$"))


def test_refusals_are_shown(open_page):
    page = open_page("/features/99999", ok=False)
    page.get_by_text("There is no feature 99999").wait_for()
    page.get_by_role("link", name="To the summary").click()
    page.get_by_role("heading", level=1).wait_for()


def test_text_of_an_atlas_does_not_run(open_page):
    page = open_page("/features/1")
    assert page.locator("h1").text_content() == EVIL
    assert page.evaluate("window.stolen") is None


def test_json_of_this_page(open_page, site):
    for path in ("/", "/features?query=alpha&sort=max_code", "/features/3"):
        page = open_page(path)
        twin = page.locator("[data-twin]").get_attribute("href")
        record = page.request.get(site + twin).json()
        inlined = page.request.get(site + path).text().split('id="page">')[1].split("</script>")[0]
        assert record in json.loads(inlined).values()


def test_views_work_as_notebook_widgets(chromium, tiny_atlas):
    feature, map = tiny_atlas[3].model_dump(mode="json"), tiny_atlas.map().model_dump(mode="json")
    context = chromium.new_context()
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    traits = {"view": "feature", "records": {"feature": feature}, "map": map, "path": "", "opens": True}
    page.evaluate(WIDGET, [(STATIC.parent / "widgets/atlas.js").read_text(), traits])
    expect(page.locator("h1")).to_have_text(feature["headline"])
    # Notebooks show widgets inside a shadow root, where styles of the page do not reach.
    assert "Newsreader" in page.locator("h1").evaluate("e => getComputedStyle(e).fontFamily")
    page.get_by_role("button", name="Features").click()
    assert page.evaluate("window.asked") == "/features"
    found = tiny_atlas.list(limit=5).model_dump(mode="json")
    page.evaluate("r => { model.set('records', r); model.set('view', 'list'); }", {"list": found, "metrics": []})
    expect(page.locator("section ol > li")).to_have_count(5)
    page.locator("section ol > li a").first.click()
    assert page.evaluate("window.asked") == f"/features/{found['rows'][0]['id']}"
    context.close()
    assert wrong == []


CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const light = (name) => {
    const probe = document.querySelector('.physalis').appendChild(document.createElement('i'));
    probe.style.color = `var(--${name})`;
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const pairs = [['ink', 'paper'], ['soft', 'paper'], ['accent', 'paper'], ['soft', 'raised'], ['ink', 'heat'],
    ['ink', 'accent-soft'], ['soft', 'accent-soft']];
  return Object.fromEntries(pairs.map(([a, b]) => {
    const [dim, bright] = [light(a), light(b)].sort((x, y) => x - y);
    return [`${a} on ${b}`, (bright + 0.05) / (dim + 0.05)];
  }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(open_page, scheme):
    for pair, ratio in open_page("/", scheme=scheme).evaluate(CONTRAST).items():
        assert ratio >= 4.5, f"{pair}: {ratio:.2f}"

"""The table of contents in a real browser, and the way from it into its rooms and back."""

import re
import shutil

import pytest
from browsing import expect, fits, serving, whole
from faults import serious
from rooms_of import furnish

from physalis.web.contents.opening import open_app

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tiny_atlas, tiny_dictionary, tiny_activations, tiny_evaluation, comparison, forest, tmp_path_factory):
    folder = furnish(tmp_path_factory.mktemp("house") / "results", tiny_atlas, tiny_dictionary, comparison, forest)
    shutil.copytree(tiny_activations.folder, folder / "acts")
    shutil.copytree(tiny_evaluation, folder / "eval")
    with serving(open_app(folder, author="Ada")) as site:
        yield site


@pytest.fixture
def open_page(chromium, site):
    """``open_page(path, width=..., scheme=...)``; at the end, the console was silent, nothing failed, and every request
    was for a room, or for what all rooms load."""
    said, asked, contexts = [], [], []

    def open_(path: str, *, width: int = 1200, scheme: str = "light"):
        size = {"width": width, "height": 900}
        contexts.append(chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url.removeprefix(site)))
        page.goto(site + path)
        page.wait_for_selector("main h1")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []
    strays = [path for path in asked if not re.match(r"/(|static/.*|assets/.*|[actrl]/[\w-]+/.*)$", path)]
    assert [path for path in strays if not path.startswith("data:")] == []


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_everything_is_listed_and_can_be_read(open_page, width, scheme):
    page = open_page("/", width=width, scheme=scheme)
    titles = ["Atlases", "Comparisons", "Trees", "Runs", "The lab", "Without a page"]
    expect(page.locator("h2")).to_have_text(titles)
    links = [link.get_attribute("href") for link in page.locator("main h3 a").all()]
    assert links == ["/a/atlas/", "/a/deep-atlas/", "/c/both-two/", "/t/forest/", "/r/sae/", "/l/lab/"]
    expect(page.locator("main li", has_text="torn")).to_contain_text("torn")
    for command in ("physalis verify acts", "physalis.Evaluation.open('eval')"):
        expect(page.locator("main li code", has_text=command)).to_be_visible()
    assert page.locator("main li svg").first.locator("circle").count() > 0
    assert fits(page, width) and serious(page) == []


def test_from_the_contents_into_an_atlas_a_comparison_and_back(open_page, site, tiny_atlas):
    page = open_page("/")
    page.get_by_role("link", name="atlas", exact=True).click()
    page.wait_for_url(f"{site}/a/atlas/")
    page.get_by_role("link", name="Features", exact=True).click()
    page.wait_for_url(f"{site}/a/atlas/features")
    page.locator("main ol > li > a").first.click()
    page.wait_for_url(re.compile(f"{site}/a/atlas/features/\\d+"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.wait_for_url(f"{site}/a/atlas/map")
    page.reload()
    whole(page)
    page.go_back()
    page.wait_for_url(re.compile(f"{site}/a/atlas/features/\\d+"))
    twin = page.locator("a[data-twin]").first.get_attribute("href")
    assert page.request.get(site + twin).ok and twin.startswith("/a/atlas/features/")

    page.get_by_role("link", name="physalis, contents").click()
    page.wait_for_url(f"{site}/")
    with page.expect_response(lambda answer: "/c/both-two/api/comparison/features" in answer.url) as asked:
        page.get_by_role("link", name="both & two").click()
    page.wait_for_url(f"{site}/c/both-two/")
    assert asked.value.ok
    expect(page.locator("[data-shares=shared]")).to_be_attached()
    page.locator("footer").get_by_role("link", name="Contents").click()
    page.wait_for_url(f"{site}/")


def test_what_is_written_in_a_room_stays_there(open_page, site):
    page = open_page("/a/atlas/lists")
    page.get_by_label("name", exact=True).fill("Commas")
    page.get_by_role("button", name="Create").click()
    page.wait_for_url(re.compile(f"{site}/a/atlas/lists/\\w+"))
    assert page.request.get(f"{site}/a/deep-atlas/api/notes/lists").json() == []
    assert [each["list"]["name"] for each in page.request.get(f"{site}/a/atlas/api/notes/lists").json()] == ["Commas"]


def test_a_tree_and_a_run_work_below_their_prefix(open_page, site):
    tree = open_page("/t/forest/")
    tree.locator("[data-trail]").wait_for()
    run = open_page("/r/sae/")
    expect(run.get_by_role("heading", level=1)).to_be_visible()
    for page in (tree, run):
        page.get_by_role("link", name="physalis, contents").click()
        page.wait_for_url(f"{site}/")


def test_a_page_that_is_not_there_leads_to_what_is(open_page, site, chromium):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{site}/a/atlas/nothing")
    expect(page.get_by_role("heading", name="Not available")).to_be_visible()
    page.get_by_role("link", name="To the summary").click()
    page.wait_for_url(f"{site}/a/atlas/")
    page.goto(f"{site}/b/nothing")
    page.get_by_role("link", name="Contents", exact=True).click()
    page.wait_for_url(f"{site}/")
    context.close()

"""The page "Try it": its records against the server's, and each way of asking in a real browser."""

import json
import re

import pytest
from browsing import expect, serving
from starlette.testclient import TestClient
from test_meaning import Trigrams
from typescript import fields, interfaces

from physalis.search import records
from physalis.web import create_app
from physalis.web.atlas import try_records
from physalis.web.atlas.live import beside
from physalis.web.atlas.records import Tryable

TEXT = "alpha beta if gamma\nelse delta"


@pytest.fixture(scope="module")
def app(tiny, tiny_dictionary, tiny_atlas):
    return create_app(tiny_atlas, beside(tiny_atlas, tiny, tiny_dictionary, embedder=Trigrams()))


def test_typescript_knows_the_records():
    written = interfaces("trying")
    models = {
        each
        for module in (try_records, records)
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, (try_records.Record, records.Record))
        and each.__name__ != "Record"
    }
    assert len(models) > 15
    for model in [*models, Tryable]:
        assert written[model.__name__] == fields(model), model


def test_without_the_model_there_is_no_such_page(app, tiny_atlas):
    found = TestClient(app).get("/try").text
    assert json.loads(re.search(r'id="page"[^>]*>(.*?)</script>', found, re.S)[1])["trying"] == {"meaning": True}
    assert '"trying"' not in TestClient(create_app(tiny_atlas)).get("/").text


@pytest.fixture(scope="module")
def site(app):
    with serving(app) as site:
        yield site


@pytest.fixture(params=[(1200, "light"), (390, "dark")], ids=["wide", "narrow"])
def page(chromium, site, request):
    width, scheme = request.param
    size = {"width": width, "height": 900}
    context = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    said, strangers = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((site, "data:")) else None)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert said == [] and strangers == []


def answer(page, path: str, act) -> dict:
    """What the server says to what ``act`` makes the page ask."""
    with page.expect_response(lambda response: response.url.split("?")[0].endswith(path)) as asked:
        act()
    return asked.value.json()


def shown(page, label: str) -> list[str]:
    links = page.get_by_role("list", name=label, exact=True).locator("a")
    return [
        href.removeprefix("/features/") for href in links.evaluate_all("all => all.map(a => a.getAttribute('href'))")
    ]


@pytest.mark.browser
def test_a_text_is_tried(page, site):
    page.goto(f"{site}/")
    page.get_by_role("link", name="Try it").click()
    box = page.get_by_label("Text to try")
    box.fill(TEXT)
    found = answer(page, "/api/try", lambda: box.press("Enter"))
    tokens = page.get_by_role("listbox").get_by_role("option")
    expect(tokens).to_have_count(len(TEXT) + 1)
    ids = [str(f["id"]) for f in found["features"]]
    expect(page.get_by_role("list", name="Features of the text").locator("a")).to_have_count(len(ids))
    assert shown(page, "Features of the text") == ids
    expect(page.get_by_role("link", name=f"Feature {ids[0]}", exact=False).first).to_be_visible()  # the first is shown

    tokens.nth(3).click()
    expect(tokens.nth(3)).to_have_attribute("aria-selected", "true")
    assert shown(page, "Strongest features of the token") == [str(f["id"]) for f in found["tokens"][3]["features"]]
    page.get_by_role("listbox").press("ArrowRight")
    expect(tokens.nth(4)).to_have_attribute("aria-selected", "true")
    assert page.url.endswith("&at=4")

    other = ids[-1]
    button = page.get_by_role("button", name=f"Show feature {other} over the text", exact=True).last
    (trace,) = answer(page, "/api/try/feature", button.click)["traces"]
    assert trace["feature"]["id"] == int(other)
    fires = [i for i, code in enumerate(trace["codes"]) if code > 0]
    page.get_by_role("img", name=f"Activation of feature {other} at each").wait_for()
    warm = "all => all.flatMap((e, i) => (e.querySelector('.warm') ? [i] : []))"
    assert tokens.evaluate_all(warm) == fires

    before = page.locator("article").inner_text()
    assert page.url == f"{site}/try?mode=text&{found['state']}&trace={other}&at=4"
    page.reload()
    page.get_by_role("img", name=f"Activation of feature {other} at each").wait_for()
    expect(page.locator("article")).to_have_text(before, use_inner_text=True)
    assert page.get_by_label("Text to try").input_value() == TEXT


@pytest.mark.browser
def test_features_are_ranked_and_left_out(page, site):
    page.goto(f"{site}/try?mode=text&text=alpha+beta+if+gamma")
    page.get_by_role("list", name="Features of the text").wait_for()
    found = answer(page, "/api/try", lambda: page.get_by_role("button", name="tokens", exact=True).click())
    expect(page.locator(".answer[aria-busy=false]")).to_be_visible()
    assert found["features"][0]["tokens"] == max(f["tokens"] for f in found["features"])
    assert shown(page, "Features of the text") == [str(f["id"]) for f in found["features"]]
    few = answer(page, "/api/try", lambda: page.get_by_role("combobox").select_option("0.01"))
    expect(page.locator(".answer[aria-busy=false]")).to_be_visible()
    assert few["n_fired"] < found["n_fired"]
    assert "sort=tokens" in page.url and "densest=0.01" in page.url
    page.get_by_role("listbox").get_by_role("option").nth(1).click()
    page.get_by_role("link", name="Which features fire on this token elsewhere?").click()
    page.get_by_role("list", name="Features of the token").wait_for()
    assert "mode=token" in page.url and page.get_by_label("Token", exact=True).input_value() == "a"


@pytest.mark.browser
def test_here_and_not_there(page, site):
    page.goto(f"{site}/try")
    page.get_by_role("button", name="Contrast").click()
    page.get_by_label("Texts A", exact=True).fill("\n".join(f"alpha {i}" for i in range(6)))
    page.get_by_label("Texts B", exact=True).fill("\n".join(f"}}{{][ {i}" for i in range(6)))
    found = answer(page, "/api/contrast", lambda: page.get_by_role("button", name="Run").click())
    page.get_by_text(found["verdict"]).wait_for()
    assert [found["contrast"][key] for key in ("n_here", "n_there")] == [6, 6]
    for side, key in (("More active in A", "more_here"), ("More active in B", "more_there")):
        ids = [str(f["id"]) for f in found["contrast"][key]]
        assert ids and shown(page, side) == ids
    heads = page.locator(".heads").first
    expect(heads).to_contain_text("mean activation in A, B")
    expect(heads).to_contain_text("difference A − B")
    expect(heads.locator("[title^='False discovery rate q']")).to_have_count(
        1 if found["contrast"]["least_q"] <= 0.05 else 0
    )
    before = page.locator("article").inner_text()
    page.reload()
    page.get_by_text(found["verdict"]).wait_for()
    expect(page.locator("article")).to_have_text(before, use_inner_text=True)


@pytest.mark.browser
def test_by_token_and_by_meaning(page, site):
    page.goto(f"{site}/try?mode=token&text=alpha+beta&text=gamma+delta&token=a&limit=5")
    page.get_by_role("list", name="Features of the token").wait_for()
    assert page.get_by_label("Texts").input_value() == "alpha beta\ngamma delta"
    assert 0 < len(shown(page, "Features of the token")) <= 5
    page.get_by_role("button", name="By meaning").click()
    box = page.get_by_label("Meaning to search for")
    box.fill("alpha")
    found = answer(page, "/api/meaning", lambda: box.press("Enter"))
    page.get_by_role("list", name="Features by meaning").wait_for()
    assert shown(page, "Features by meaning") == [str(f["id"]) for f in found["found"]["features"]]
    assert page.url == f"{site}/try?mode=meaning&query=alpha"
    page.get_by_role("list", name="Features by meaning").get_by_role("link").first.click()
    page.wait_for_url(f"{site}/features/*")
    page.go_back()
    page.get_by_role("list", name="Features by meaning").wait_for()


@pytest.mark.browser
@pytest.mark.parametrize(
    "query, sentence",
    [
        ("mode=text&text=" + "a" * 300, "has 301 tokens; at most 256"),
        ("mode=text&text=a&sort=beauty", "sort='beauty'"),
        ("mode=token&text=a&token=b", "None of these texts has the token"),
    ],
)
def test_refusals_are_sentences(chromium, site, query, sentence):
    page = chromium.new_page()
    page.goto(f"{site}/try?{query}")
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    assert page.url == f"{site}/try?{query}"
    page.close()


@pytest.mark.browser
def test_a_busy_server_says_so(chromium, site):
    page = chromium.new_page()
    busy = {"detail": "The index for search by meaning is being built, once. Try again soon."}
    page.route("**/api/meaning*", lambda route: route.fulfill(status=503, json=busy))
    page.goto(f"{site}/try?mode=meaning&query=alpha")
    expect(page.get_by_role("alert")).to_have_text(busy["detail"])
    page.close()

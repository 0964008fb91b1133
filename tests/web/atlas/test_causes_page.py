"""What editing a model showed of a feature, in a real browser: the page's numbers are the record's."""

import re

import pytest
from browsing import expect, serving, whole

from physalis.web import create_app

pytestmark = pytest.mark.browser

NEEDS, LOSS, SHIFTS, WORTH = (
    "Token ablation (occlusion)", "Ablation: effect on the loss", "Ablation: effect on next-token probabilities",
    "Evidence",
)  # fmt: skip
TITLES = {
    "examples": "Activating examples", "top_tokens": "Top tokens", "promoted": "Logit effects",
    "neighbours": "Neighbours", "ablation": LOSS, "leave_one_out": NEEDS, "headline": "The heading of this page",
}  # fmt: skip


@pytest.fixture(scope="module")
def edited(tiny_atlas):
    """A feature for which the model was edited, with tokens that it needs and tokens that change."""
    found = (tiny_atlas[i] for i in range(len(tiny_atlas)))
    return next(f for f in found if f.causes and f.causes.leave_one_out and f.causes.ablation.fell)


@pytest.fixture(scope="module")
def plain(tiny_atlas):
    """A feature as an atlas from before there were causes tells it."""
    return next(f for f in (tiny_atlas[i] for i in range(len(tiny_atlas))) if f.n_fired and not f.causes)


@pytest.fixture(scope="module")
def site(tiny_atlas):
    with serving(create_app(tiny_atlas)) as site:
        yield site


@pytest.fixture(params=[(1200, "light"), (390, "dark")], ids=["1200", "390"])
def open_feature(chromium, site, request):
    """``open_feature(id)``; at the end, all fitted, the console was silent and no other server was asked."""
    width, scheme = request.param
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce", has_touch=width < 500
    )
    page = context.new_page()
    said, strangers = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((site, "data:")) else None)

    def open_(id: int):
        page.goto(f"{site}/features/{id}")
        whole(page)
        return page

    yield open_
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = "[...document.querySelectorAll('button')].filter(e => e.offsetParent && e.offsetHeight < 24).length"
    assert page.evaluate(small) == 0
    context.close()
    assert said == [] and strangers == []


def figure(page, title: str):
    return page.get_by_role("figure", name=title, exact=True)


def numbers(text: str) -> list[float]:
    """Numbers as the page writes them, among other words."""
    text = text.replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")).replace("·10", "e")
    return [float(n) for n in re.findall(r"[+-]?\d*\.?\d+(?:e-?\d+)?", text)]


def near(value: float):
    return pytest.approx(value, rel=0.051, abs=1e-6)  # two significant digits


def test_which_tokens_it_needs(open_feature, edited):
    page = open_feature(edited.id)
    (found,) = edited.causes.leave_one_out
    panel = figure(page, NEEDS)
    bars = panel.locator("li[data-at]")
    expect(bars).to_have_count(len(found.needs))
    for i, need in enumerate(found.needs):
        (share,) = numbers(bars.nth(i).get_attribute("aria-label").rsplit("replaced", 1)[1])
        assert share == pytest.approx(100 * abs(need.share), abs=0.51)
    largest = max(found.needs, key=lambda need: need.share)
    tall = [bar.bounding_box()["height"] for bar in bars.locator(".plot i").all()]
    assert tall[largest.position] == max(tall)
    if largest.share >= 0.05:
        row = panel.get_by_label("Tokens by the share of the activation that is lost with them").locator("li").first
        assert numbers(row.locator(".value").inner_text())[-1] == pytest.approx(100 * largest.share, abs=0.51)
    expect(panel.locator("figcaption")).to_contain_text("the text was edited")


def test_what_the_model_loses(open_feature, edited):
    page = open_feature(edited.id)
    found = edited.causes.ablation
    panel = figure(page, LOSS)
    rows = panel.get_by_label("Change of the loss, nats a token").locator("li")
    for i, estimate in enumerate((found.change, found.random, found.beyond_random)):
        told = numbers(rows.nth(i).locator(".value").inner_text())
        assert told == [near(estimate.value), near(estimate.low), near(estimate.high)]
        expect(rows.nth(i).locator(".track s")).to_have_count(len(found.examples))
    # Where the interval holds 0 the page must not say that anything is lost.
    unsure = found.beyond_random.low <= 0 <= found.beyond_random.high
    assert ("cannot be told" in panel.locator(".verdict").inner_text()) == unsure
    levels = panel.get_by_label("Examples by activation").get_by_role("button")
    expect(levels).to_have_count(len(found.examples))
    for i, example in enumerate(found.examples):
        levels.nth(i).click()
        expect(levels.nth(i)).to_have_attribute("aria-pressed", "true")
        code, change = numbers(levels.nth(i).inner_text())[-2:]
        assert (code, change) == (near(example.code), near(sum(example.changes) / len(example.changes)))
        bars = panel.locator("li[data-at]")
        expect(bars).to_have_count(len(example.changes))
        first = edited.groups[example.group].examples[example.example].position + 1
        assert bars.first.get_attribute("data-at") == str(first)
        told = numbers(bars.first.get_attribute("aria-label").rsplit(": ", 1)[1])
        assert told == [near(example.changes[0]), near(example.random[0])]


def test_what_it_changes_in_the_end(open_feature, edited):
    page = open_feature(edited.id)
    panel = figure(page, SHIFTS)
    for name, shifts in (("less", edited.causes.ablation.fell), ("more", edited.causes.ablation.rose)):
        rows = panel.get_by_label(f"Tokens {name} likely without it").locator("li")
        expect(rows).to_have_count(min(8, len(shifts)))
        for i in range(rows.count()):
            told = numbers(rows.nth(i).locator(".value").inner_text())
            assert told == [near(100 * shifts[i].before), near(100 * shifts[i].after)]


def test_every_panel_says_what_it_is_worth(open_feature, edited):
    page = open_feature(edited.id)
    panel = figure(page, WORTH)
    for worth in edited.worth:
        line = panel.locator(f"[data-level='{worth.level}'] [data-panel~='{worth.panel}']" if worth.level else
                             f".level:not([data-level]) [data-panel~='{worth.panel}']")  # fmt: skip
        expect(line).to_contain_text(TITLES[worth.panel], ignore_case=True)
        title, _, why = line.inner_text().partition(". ")
        assert TITLES[worth.panel].lower() in title.lower().split("; ")
        assert numbers(why) == pytest.approx(numbers(worth.why), rel=0.051)
    tested = {worth.panel for worth in edited.worth if worth.level == "tested"}
    fires = figure(page, "Top tokens").locator("figcaption").inner_text()
    assert ("tested by an edit" in fires) == ("top_tokens" in tested)
    assert ("could have refuted" in page.locator(".caution").inner_text()) == ("headline" in tested)


def test_pages_without_causes_say_so(open_feature, plain):
    page = open_feature(plain.id)
    expect(figure(page, "Top tokens")).to_be_visible()
    nothing = figure(page, WORTH).locator(".level", has_text="no evidence").locator("li")
    told = "Ablation: effect on the loss; token ablation (occlusion). "
    assert nothing.all_inner_texts() == [told + plain.unmeasured]
    for title in (NEEDS, LOSS, SHIFTS):
        assert figure(page, title).count() == 0
    assert "tested by an edit" not in page.locator("main").inner_text()

"""Pages of records that nobody of ours wrote, in a real browser: two of one name, none where one should be, addresses
that are cut in the middle. What cannot be drawn costs its panel, and the rest is there."""

import os

import pytest
from browsing import expect, serving

from physalis.web import create_app

pytestmark = pytest.mark.browser


def changed(atlas, *, summary=lambda found: {}, feature=lambda found: {}):
    """The atlas with some fields of its records put in place unchecked."""

    class Changed(type(atlas)):
        def summary(self):
            found = super().summary()
            return found.model_copy(update=summary(found))

        def __getitem__(self, id):
            found = super().__getitem__(id)
            return found.model_copy(update=feature(found))

    return Changed.open(atlas.folder)


def seen(page, name):
    """Keeps a picture where one is asked for."""
    if "PICTURES" in os.environ:
        page.screenshot(path=f"{os.environ['PICTURES']}/{name}.png", full_page=True)


@pytest.fixture(scope="module")
def fires(tiny_atlas):
    return tiny_atlas.summary().striking[0]


def test_two_baselines_of_one_name_are_both_shown(tiny_atlas, browse):
    twice = changed(tiny_atlas, summary=lambda s: {
        "baselines": [*s.baselines, *s.baselines], "striking": [*s.striking, *s.striking],
    })  # fmt: skip
    with serving(create_app(twice)) as site:
        page = browse(site, "/")
        expect(page.locator("h1")).to_contain_text("features of")
        name = tiny_atlas.summary().baselines[0].name
        first = page.locator("figure", has_text="Evaluation").locator("section").first
        expect(first.get_by_text(name, exact=True)).to_have_count(2)
        seen(page, "baselines")
        page.locator("a", has_text="Features").first.click()  # and its scripts go on
        expect(page.locator("main ol > li").first).to_be_visible()


def test_counts_of_features_add_up_and_say_of_what(tiny_atlas, browse):
    dead = changed(tiny_atlas, summary=lambda s: {"n_dead": 28, "counted_on": "training"})
    with serving(create_app(dead)) as site:
        page = browse(site, "/")
        rows = page.locator("table.counts tr")
        n = len(tiny_atlas)
        expect(rows.nth(0)).to_contain_text(f"{n - 28}")
        expect(rows.nth(1)).to_contain_text("+ 28")
        expect(rows.nth(2)).to_contain_text(f"= {n}")
        expect(rows.filter(has_text="text that it was trained on")).to_have_count(2)


def test_a_feature_with_the_same_twice_is_shown(tiny_atlas, browse, fires):
    def doubled(f):
        return {
            "groups": [*f.groups, *f.groups], "top_tokens": f.top_tokens * 2, "promoted": f.promoted * 2,
            "suppressed": f.suppressed * 2, "nearest": f.nearest * 2, "cofiring": f.cofiring * 2, "worth": f.worth * 2,
        }  # fmt: skip

    with serving(create_app(changed(tiny_atlas, feature=doubled))) as site:
        page = browse(site, f"/features/{fires}")
        expect(page.locator("h2", has_text="Logit effects")).to_be_visible()
        expect(page.locator("[role=note]", has_text="cannot be drawn")).to_have_count(0)


def test_a_record_that_cannot_be_drawn_costs_its_panel(tiny_atlas, browse, fires):
    damaged = changed(
        tiny_atlas, summary=lambda s: {"density_histogram": None}, feature=lambda f: {"top_tokens": [None]}
    )
    with serving(create_app(damaged)) as site:
        page = browse(site, "/")
        expect(page.locator("figure", has_text="Activation density of all features")).to_contain_text("cannot be drawn")
        expect(page.locator("h2", has_text="Provenance")).to_be_visible()
        expect(page.locator("[role=note]", has_text="cannot be drawn")).to_have_count(1)
        seen(page, "panel")


def test_a_page_that_cannot_be_drawn_says_so(tiny_atlas, browse, fires):
    with serving(create_app(changed(tiny_atlas, feature=lambda f: {"top_tokens": None}))) as site:
        page = browse(site, "/")
        page.evaluate(f"history.pushState(null, '', '/features/{fires}'); dispatchEvent(new PopStateEvent('popstate'))")
        expect(page.locator("main")).to_contain_text("This page cannot be drawn")
        expect(page.locator("header").first).to_contain_text("physalis")
        seen(page, "page")
        page.locator("header a", has_text="Summary").click()
        expect(page.locator("h1")).to_contain_text("features of")


def test_an_address_that_is_cut_in_a_character_shows_its_article(tiny_atlas, browse, tmp_path):
    article = tmp_path / "words.md"
    article.write_text("# Words\n\nSome words.\n\n## A part\n\nAnd others.\n")
    with serving(create_app(tiny_atlas, articles=[article])) as site:
        for hash in ("#%E0%A4%A", "#%", "#%zz", "#a-part"):
            page = browse(site, f"/articles/words{hash}")
            expect(page.locator("article")).to_contain_text("And others.")


def test_a_mishap_is_told_as_one(tiny_atlas, browse, monkeypatch):
    class Broken(type(tiny_atlas)):
        def __getitem__(self, id):
            raise KeyError(id)

    with serving(create_app(Broken.open(tiny_atlas.folder))) as site:
        page = browse(site, "/")
        page.on("console", lambda message: None)
        answer = page.request.get(f"{site}/features/3")
        assert answer.status == 500
        assert "Something went wrong" in answer.text() and "finds the reason in its log" in answer.text()

"""The whole way of a person through an atlas in a real browser, and every page on that way without serious faults for
people who use a screen reader or a keyboard."""

import shutil

import pytest
from browsing import expect, serving
from faults import serious
from test_comments_page import signed_in
from test_meaning import Trigrams

from physalis.people import comments, notes
from physalis.people.comments import Database, Invitations
from physalis.people.notes import Notes
from physalis.web import create_app
from physalis.web.atlas.live import beside
from physalis.web.guard.guard import guard


class Owner:
    """An atlas with its model, and beside it notes and comments."""

    def __init__(self, folder, tiny_atlas, tiny, tiny_dictionary):
        self.folder = shutil.copytree(tiny_atlas.folder, folder / "atlas")
        self.notes = Notes.open(notes.beside(self.folder), atlas=tiny_atlas.manifest.hash)
        database = Database(comments.beside(self.folder))
        invitations = Invitations(database)
        owner, guest = invitations.invite("Ada", "Engines", role="owner"), invitations.invite("Ben", "Wu")
        self.owner_link, self.guest_link = f"/invitation#{owner.token}", f"/invitation#{guest.token}"
        live = beside(
            tiny_atlas, tiny, tiny_dictionary, notes=self.notes, embedder=Trigrams()
        )  # fmt: skip
        self.app = guard(create_app(tiny_atlas, live, self.notes, author="Ada", comments=database))


@pytest.fixture
def owned(tmp_path, tiny_atlas, tiny, tiny_dictionary):
    return Owner(tmp_path, tiny_atlas, tiny, tiny_dictionary)


@pytest.mark.browser
def test_found_named_steered_listed_published_and_commented_on(owned, browse, physalis, tmp_path):
    with serving(owned.app) as site:
        page = signed_in(browse, site, owned.owner_link)

        page.get_by_role("link", name="Try it").click()
        page.get_by_role("button", name="Contrast").click()
        page.get_by_label("Texts A", exact=True).fill("\n".join(f"alpha {i}" for i in range(6)))
        page.get_by_label("Texts B", exact=True).fill("\n".join(f"}}{{][ {i}" for i in range(6)))
        page.get_by_role("button", name="Run").click()
        found = page.locator(".answer[aria-busy=false]").locator("a[href^='/features/']").first
        id = int(found.get_attribute("href").removeprefix("/features/"))
        found.click()
        page.wait_for_url(f"**/features/{id}")

        page.get_by_label("A label for this feature").fill("the word alpha")
        page.get_by_role("button", name="Add label").click()
        expect(page.get_by_role("group", name="Votes on “the word alpha”")).to_be_visible()

        page.get_by_role("link", name="Steer with this feature").click()
        page.get_by_label("Prompt").fill("alpha beta")
        page.get_by_label("tokens").fill("8")
        page.get_by_role("button", name="Generate").click()
        expect(page.get_by_role("button", name="Generate")).to_be_visible()
        plain, edited = (page.locator(f"[data-side='{side} the edits']").inner_text() for side in ("without", "with"))
        assert plain and edited

        page.goto(f"{site}/features/{id}")
        page.get_by_role("button", name="Add to list").click()
        page.get_by_label("Name of the new list").fill("Greek letters")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_text("In the list Greek letters.")).to_be_visible()

        def published(out):
            code, _, said = physalis("publish", owned.folder, "--features", "Greek letters", "--out", out)
            assert code == 0, said
            files = sorted(each.stem for each in (out / "features").glob("*.html"))
            assert files == [str(id)]
            return out / "features" / f"{id}.html"

        file = published(tmp_path / "before")
        reader = browse(f"file://{file.parent.parent}/", f"features/{id}.html")
        expect(reader.get_by_role("figure", name="Top tokens")).to_be_visible()
        expect(reader.get_by_role("figure", name="Labels", exact=True)).to_contain_text("the word alpha")
        assert reader.get_by_role("article", name="Comment by Ben").count() == 0

        guest = signed_in(browse, site, owned.guest_link)
        guest.goto(f"{site}/features/{id}")
        guest.get_by_role("button", name="Add comment").click()
        guest.get_by_label(f"Your comment on feature {id}").fill("It fires on *alpha* only.")
        guest.get_by_role("button", name="Submit comment").click()
        expect(guest.get_by_text("awaiting approval")).to_be_visible()
        visitor = browse(site, f"/features/{id}")
        expect(visitor.get_by_role("figure", name="Top tokens")).to_be_visible()
        visitor.wait_for_load_state("networkidle")
        assert visitor.get_by_role("article", name="Comment by Ben").count() == 0

        page.reload()
        page.get_by_role("button", name="Publish the comment by Ben").click()
        expect(page.get_by_text("awaiting approval")).to_have_count(0)
        visitor.reload()
        expect(visitor.get_by_role("article", name="Comment by Ben").locator("em")).to_have_text("alpha")
        for open_ in (page, guest, visitor):
            open_.wait_for_load_state("networkidle")

    file = published(tmp_path / "after")
    reader = browse(f"file://{file.parent.parent}/", f"features/{id}.html")
    expect(reader.get_by_text("only.")).to_be_visible()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_page_has_serious_faults(owned, browse, scheme):
    owned.notes.label(3, "alphas", author="Ada")
    made = owned.notes.make_list("Greek letters", author="Ada", features=[3, 5])
    with serving(owned.app) as site:
        page = signed_in(browse, site, owned.owner_link, scheme=scheme)
        pages = (
            "/", "/features", "/features?query=alpha", "/features/3", "/map", "/try", "/try?mode=text&text=alpha+beta",
            "/steer?edit=add:3:40&text=alpha", "/lists", f"/lists/{made.list.list}", "/comments", "/invitation",
        )  # fmt: skip
        for path in pages:
            page.goto(site + path)
            page.wait_for_load_state("networkidle")
            assert serious(page) == [], path

"""Notes in the pages: their records in TypeScript, and names, votes, notes and lists written in a real browser."""

import pytest
from browsing import expect, fits, serving
from typescript import fields, interfaces

from physalis.people.notes import Notes, records
from physalis.web import create_app
from physalis.web.atlas.records import Writable

EVIL = "<img src=x onerror=alert(1)>"


def test_typescript_knows_the_records():
    written = interfaces("notes")
    kinds = [records.Label, records.Note, records.Listing, records.Entry, records.Vote]
    shown = [records.Labelled, records.Tally, records.FullList, records.ListRow, records.Listed]
    for model in [*kinds, *shown, records.FeatureNotes, records.Said, Writable]:
        assert written[model.__name__] == fields(model), model


@pytest.fixture
def notes(tmp_path, tiny_atlas) -> Notes:
    return Notes.open(tmp_path / "notes.db", atlas=tiny_atlas.manifest.hash)


@pytest.mark.browser
@pytest.mark.parametrize("width, scheme", [(1200, "light"), (390, "dark")])
def test_people_write(browse, notes, tiny_atlas, width, scheme):
    theirs = notes.label(3, "words of <b>Ben</b>", author="Ben").id
    notes.note(3, "Ben's, and not to be deleted by Ada.", author="Ben")
    with serving(create_app(tiny_atlas, notes=notes, author="Ada")) as site:
        page = browse(site, "/features/3", width, scheme)
        figure = page.get_by_role("figure", name="Labels, notes and lists")

        page.get_by_label("A label for this feature").fill("alphas & <i>betas</i>")
        page.get_by_role("button", name="Add label").click()
        votes = page.get_by_role("group", name="Votes on “alphas & <i>betas</i>”")
        expect(votes).to_be_visible()
        ben = page.get_by_role("group", name="Votes on “words of <b>Ben</b>”")
        for name, now in (("agree 0", "agree 1"), ("disagree 0", "disagree 1")):
            ben.get_by_role("button", name=name, exact=True).click()
            expect(ben.get_by_role("button", name=now, exact=True, pressed=True)).to_be_visible()
        assert notes.tallies("label", [theirs])[theirs].by == {"Ada": -1}
        ben.get_by_role("button", name="disagree 1").click()
        expect(ben.get_by_role("button", name="disagree 0")).to_be_visible()
        assert notes.tallies("label", [theirs]) == {}
        votes.get_by_role("button", name="agree 0", exact=True).click()
        expect(votes.get_by_role("button", name="agree 1", exact=True)).to_be_visible()

        page.get_by_role("button", name="Add note").click()
        page.get_by_label("Note", exact=True).fill(f"{EVIL}\nIt is *not* silent here.")
        page.get_by_role("button", name="Save").click()
        expect(figure.get_by_text(EVIL)).to_be_visible()
        assert figure.locator("img, i, b:not(.votes b)").count() == 0
        assert [each.author for each in notes.notes_of(3)] == ["Ben", "Ada"]

        page.get_by_role("button", name="Add to list").click()
        page.get_by_label("Name of the new list").fill("Greek letters")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(figure.get_by_text("In the list Greek letters.")).to_be_visible()
        assert fits(page, width)

        page.reload()
        expect(votes.get_by_role("button", pressed=True)).to_have_text("agree 1")
        expect(figure.get_by_role("button", name="delete")).to_have_count(2)  # her label and her note
        figure.get_by_role("button", name="delete").last.click()
        figure.get_by_role("button", name="delete permanently").click()
        expect(figure.get_by_text(EVIL)).to_have_count(0)
        assert [each.author for each in notes.notes_of(3)] == ["Ben"]
        figure.get_by_role("link", name="Greek letters").click()
        expect(page.get_by_role("heading", name="Greek letters")).to_be_visible()


@pytest.mark.browser
@pytest.mark.parametrize("width, scheme", [(1200, "dark"), (390, "light")])
def test_lists_are_kept(browse, notes, tiny_atlas, width, scheme):
    with serving(create_app(tiny_atlas, notes=notes, author="Ada")) as site:
        page = browse(site, "/", width, scheme)
        page.get_by_role("navigation").get_by_role("link", name="Lists").click()
        expect(page.get_by_text("There is no list yet.")).to_be_visible()
        page.get_by_label("name").fill("Odd ones")
        page.get_by_label("description").fill(EVIL)
        assert fits(page, width)
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_role("heading", name="Odd ones")).to_be_visible()
        expect(page.locator(".lead")).to_have_text(EVIL)
        rows = page.locator("main ol > li:not(.none)")
        for n, id in enumerate((5, 3, 8), 1):
            page.get_by_placeholder("index").fill(str(id))
            page.get_by_role("button", name="Add", exact=True).click()
            expect(rows).to_have_count(n)
        page.get_by_role("button", name="Edit label and note of 3").click()
        page.get_by_label("label in this list").fill("the <i>second</i>")
        page.get_by_label("note", exact=True).fill(EVIL)
        page.get_by_role("button", name="Save").click()
        expect(rows.nth(1).locator(".remark")).to_have_text(EVIL)
        page.get_by_role("button", name="Move 3 up").click()
        expect(rows.nth(0)).to_contain_text("the <i>second</i>")
        assert rows.nth(0).locator(".remark").inner_text() == EVIL and fits(page, width)
        page.get_by_role("button", name="Remove 5").click()
        expect(rows).to_have_count(2)
        page.get_by_role("button", name="rename").click()
        page.get_by_label("name", exact=True).fill("Even ones")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="Even ones")).to_be_visible()
        (row,) = notes.lists()
        kept = notes.full_list(row.list.list)
        assert (row.list.name, row.list.description) == ("Even ones", EVIL)
        assert [(e.feature, e.label, e.note) for e in kept.entries] == [(3, "the <i>second</i>", EVIL), (8, "", "")]

        rows.nth(1).get_by_role("link").click()  # a feature opened from a list is walked along it
        expect(page.get_by_role("link", name="Next feature, 3")).to_be_visible()
        page.go_back()
        page.get_by_role("button", name="delete list").click()
        page.get_by_role("button", name="delete for everyone").click()
        expect(page.get_by_text("There is no list yet.")).to_be_visible()
        assert list(notes.lists()) == []


@pytest.mark.browser
def test_readers_are_shown_no_fields(browse, notes, tiny_atlas):
    notes.label(3, "alphas", author="Ben")
    made = notes.make_list("Greek letters", author="Ben", features=[3])
    with serving(create_app(tiny_atlas, notes=notes)) as site:
        for path in ("/features/3", "/lists", f"/lists/{made.list.list}"):
            page = browse(site, path, 390)
            expect(page.locator("main")).to_contain_text("Ben")
            inside = (
                page.get_by_role("figure", name="Labels, notes and lists")
                if path == "/features/3"
                else page.locator("main")
            )
            assert inside.locator("button, input, textarea, select").count() == 0
        assert page.get_by_role("link", name="Lists").count() and not page.locator("text=undefined").count()
        page = browse(site, "/features/8")
        assert page.get_by_role("figure", name="Labels, notes and lists").count() == 0  # nothing is said of it
    with serving(create_app(tiny_atlas)) as site:
        assert browse(site, "/features/3").get_by_role("link", name="Lists").count() == 0


@pytest.mark.browser
def test_refusals_are_sentences(browse, notes, tiny_atlas):
    id = notes.make_list("Greek letters", author="Ben", features=[3]).list.list
    with serving(create_app(tiny_atlas, notes=notes, author="Ada")) as site:
        page = browse(site, f"/lists/{id}")
        page.get_by_placeholder("index").fill("3")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("alert")).to_have_text("Feature 3 is in this list already.")

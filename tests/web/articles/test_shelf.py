"""Articles beside a served atlas, and comments on their words and figures, from invitation to reader."""

import json
import re

import pytest
from browsing import fits
from browsing import serving as on_a_socket
from fastapi.testclient import TestClient
from faults import serious
from test_articles import desk as desk
from test_comments_page import Stage, expect, signed_in
from test_passages import HOSTILE, TEXT
from typescript import fields, interfaces

from physalis.errors import BadInput
from physalis.people.comments.anchors import FigureAnchor, PassageAnchor
from physalis.web import create_app
from physalis.web.articles import shelf
from physalis.web.articles.articles import read_article
from physalis.web.articles.passages import words_of
from physalis.web.atlas import live
from physalis.web.guard.guard import guard
from physalis.web.publish.site import publish
from physalis.web.server import serving

AT = "http://127.0.0.1:8123"
SELECT = """([first, from, last, to]) => {
  const find = (words) => {
    const walk = document.createTreeWalker(document.querySelector('.body'), NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) if (walk.currentNode.data.includes(words)) return walk.currentNode;
  };
  const [a, b] = [find(first), find(last)];
  getSelection().setBaseAndExtent(a, a.data.indexOf(first) + from, b, b.data.indexOf(last) + to);
}"""


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path / "atlas.comments")


@pytest.fixture
def served(stage, desk, tiny_atlas):
    """An atlas with comments and two articles."""
    (desk / "odd.md").write_text(TEXT)
    return guard(create_app(tiny_atlas, comments=stage.database, articles=[desk / "Commas.md", desk / "odd.md"]))


@pytest.fixture
def client(served):
    return TestClient(served, base_url=AT)


def told(page: str) -> dict:
    (record,) = re.findall(r'id="page">(.*?)</script>', page)
    return json.loads(record)


def test_typescript_knows_the_records():
    written = interfaces("articles")
    assert written["Told"] == fields(shelf.Told)
    assert written["Written"] == {**fields(shelf.Written), "figures": "Figure[]"}


def test_an_article_has_a_page_and_a_record(client):
    page = client.get("/articles/commas")
    (text,) = re.findall(r'<main id="article">(.*?)</main>', page.text, re.S)
    assert "<title>Commas &amp; what they do – physalis</title>" in page.text
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert '<a href="/features/4">feature four</a>' in text and "../" not in text
    record = client.get("/articles/commas.json").json()
    assert record == client.get("/api/articles/commas").json()
    assert record.pop("html") == text and told(page.text)["article"] == record
    assert [figure["kind"] for figure in record["figures"]] == ["feature", "list", "experiment"]
    (picture,) = re.findall(r'src="(/articles/pictures/[0-9a-f]+\.png)"', text)
    assert client.get(picture).headers["content-type"] == "image/png"


def test_the_other_pages_name_the_articles(client, tiny_atlas):
    page = client.get("/").text
    assert told(page)["articles"] == client.get("/api/articles").json()
    assert [each["path"] for each in told(page)["articles"]] == ["/articles/commas", "/articles/odd"]
    assert 'id="article"' not in page
    without = TestClient(create_app(tiny_atlas), base_url=AT)
    assert "articles" not in told(without.get("/").text) and without.get("/articles/commas").status_code == 404


@pytest.mark.parametrize(
    "path", ["/articles/none", "/articles/pictures/Commas.md", "/articles/pictures/..%2fCommas.md", "/articles/%00"]
)
def test_what_is_not_there_is_told(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert re.search("There is no (article|picture|page)", told(answer.text)["error"])


def test_two_articles_of_one_name_are_refused(desk, tiny_atlas):
    with pytest.raises(BadInput, match="Two articles would both be articles/commas"):
        create_app(tiny_atlas, articles=[desk / "Commas.md", desk / "Commas.md"])


def test_comments_hang_on_what_is_there(client, stage):
    token = stage.links["guest"].partition("#")[2]
    csrf = client.post("/api/comments/session", json={"token": token}, headers={"origin": AT}).json()["csrf"]
    there = [
        FigureAnchor(figure="commas.commas"), FigureAnchor(figure="odd.first"), FigureAnchor(figure="commas.figure-2"),
        PassageAnchor(article="commas", exact="Features are directions"), PassageAnchor(article="odd", exact="🦉"),
    ]  # fmt: skip
    gone = [
        FigureAnchor(figure="commas"), FigureAnchor(figure="commas.none"), FigureAnchor(figure="none.first"),
        PassageAnchor(article="none", exact="Features"), PassageAnchor(article="commas", exact=HOSTILE),
    ]  # fmt: skip
    for anchor in there + gone:
        body = {"anchor": anchor.model_dump(), "text": "Here?"}
        answer = client.post("/api/comments", json=body, headers={"origin": AT, "x-csrf-token": csrf})
        assert answer.status_code == (201 if anchor in there else 404), anchor
        if answer.status_code == 201:
            stage.comments.publish(stage.owner, answer.json()["id"], 1)
    # An article's threads are those on its figures too, and no other's.
    found = client.get("/api/comments?on=article/commas").json()
    assert [thread["comment"]["anchor"]["kind"] for thread in found] == ["figure", "figure", "passage"]


@pytest.mark.parametrize("alive", [False, True])
def test_serve_takes_articles(alive, desk, tiny, tiny_atlas, tiny_dictionary, monkeypatch):
    apps = []
    monkeypatch.setattr(serving, "serve_app", lambda make, folder, **options: apps.append(make()))
    monkeypatch.setattr(live, "load_model", lambda name, **how: tiny)
    monkeypatch.setattr(live, "MiniLM", lambda: None)
    serving.serve(tiny_atlas.folder, tiny_dictionary if alive else None, articles=[desk / "Commas.md"])
    assert TestClient(apps[0], base_url=AT).get("/articles/commas").status_code == 200


@pytest.mark.browser
@pytest.mark.parametrize("width, scheme", [(1200, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)])
def test_from_selected_words_to_a_published_comment(browse, served, stage, desk, tiny_atlas, width, scheme):
    with on_a_socket(served) as site:
        guest = signed_in(browse, site, stage.links["guest"], width, scheme)
        guest.goto(f"{site}/")
        guest.get_by_role("link", name="Commas & what they do").click()
        expect(guest.get_by_role("figure", name="Comments")).to_contain_text("select words of the article")
        expect(guest.locator("main figure [data-example]").first).to_be_visible()
        assert guest.get_by_role("button", name="Comment on these words").count() == 0

        guest.evaluate(SELECT, ["Features are", 0, "often", 2])  # from the text into a note beside it
        guest.get_by_role("button", name="Comment on these words").wait_for()
        assert fits(guest, width) and serious(guest) == []
        guest.keyboard.press("Escape")
        expect(guest.get_by_role("button", name="Comment on these words")).to_have_count(0)
        guest.evaluate(SELECT, ["Features are", 0, "Features are", 2])
        assert guest.get_by_role("button", name="Comment on these words").bounding_box()["x"] >= 0
        guest.evaluate(SELECT, ["\nand ", 1, "the end", 7])
        guest.get_by_role("button", name="Comment on these words").wait_for()
        guest.keyboard.press("Tab")
        guest.keyboard.press("Enter")
        field = guest.get_by_label("Your comment on these words")
        expect(field).to_be_focused()
        field.fill("Is that *all*?")
        expect(guest.locator(".passage").first).to_be_visible()
        assert fits(guest, width) and serious(guest) == []
        guest.get_by_role("button", name="Submit comment").click()
        remark = guest.get_by_role("article", name="Comment by Émilie")
        expect(remark).to_contain_text("awaiting approval")
        words = "and feature four, this or the end"
        expect(remark.locator("blockquote")).to_have_text(words)

        guest.get_by_role("button", name="Comment on this figure, Figure 1").click()
        guest.get_by_label("Your comment on Figure 1").fill("On code, too?")
        guest.get_by_role("button", name="Submit comment").click()
        expect(guest.get_by_role("article", name="Comment by Émilie").filter(has_text="On Figure 1")).to_be_visible()
        # Marks come and go around figures that are alive.
        guest.get_by_role("slider", name="Activations of feature 3").focus()
        guest.keyboard.press("ArrowRight")
        guest.get_by_role("button", name="show the strongest").click()
        expect(guest.get_by_role("button", name="show the strongest")).to_have_count(0)
        queue = stage.comments.queue(stage.owner)
        assert [comment.anchor.place for comment in queue] == ["article/commas", "figure/commas.commas"]
        assert queue[0].anchor.exact == words

        visitor = browse(site, "/articles/commas", width, scheme)
        visitor.wait_for_load_state("networkidle")
        assert visitor.locator(".passage, .talk").count() == 0
        assert visitor.get_by_role("figure", name="Comments").count() == 0
        owner = signed_in(browse, site, stage.links["owner"], width, scheme)
        owner.goto(f"{site}/comments")
        waits = owner.get_by_role("region", name="Awaiting your approval")
        expect(waits.get_by_role("heading", name="Commas & what they do")).to_have_count(1)
        waits.get_by_role("link", name=words).click()
        publish_ = owner.get_by_role("button", name="Publish the comment by Émilie")
        expect(publish_).to_have_count(2)
        expect(owner.locator(".passage").first).to_be_in_viewport()
        for left in (1, 0):
            publish_.first.click()
            expect(publish_).to_have_count(left)
        owner.get_by_role("button", name="Reply to Émilie").first.click()
        owner.get_by_label("Your reply to Émilie").fill("For now.")
        owner.get_by_role("button", name="Submit reply").click()
        owner.get_by_role("button", name="Publish the comment by Ada Lovelace").click()
        expect(owner.get_by_text("awaiting approval")).to_have_count(0)

        publish(tiny_atlas, desk / "out", articles=[desk / "Commas.md"], comments=stage.comments.published())
        for home, path in ((site, "/articles/commas"), ("file://", f"{desk}/out/articles/commas.html")):
            reader = browse(home, path, width, scheme)
            remark = reader.locator("article[id^=comment-]").filter(has_text="Is that all?")
            expect(remark.locator("header").first).to_contain_text("Cirey")
            expect(remark).to_contain_text("For now.")
            marked = reader.locator(".passage")
            assert "".join(marked.all_text_contents()).split() == words.split()
            assert fits(reader, width) and serious(reader) == []
            marked.first.click()
            expect(remark).to_be_in_viewport()
            remark.get_by_role("link", name=words).click()
            expect(marked.first).to_be_in_viewport()
            reader.get_by_role("link", name="1 comment").click()
            expect(reader.get_by_text("On code, too?")).to_be_in_viewport()
            reader.go_back()
            expect(marked.first).to_be_in_viewport()
            assert reader.get_by_role("button", name="Comment on").count() == 0


@pytest.mark.browser
def test_the_page_counts_words_as_the_server_does(browse, served, stage, desk, tiny_atlas):
    words = words_of(read_article(desk / "odd.md", tiny_atlas).html)
    with on_a_socket(served) as site:
        guest = signed_in(browse, site, stage.links["guest"])
        guest.goto(f"{site}/articles/odd")
        guest.get_by_role("button", name="Comment on this figure, Figure 1").wait_for()
        # A name with other letters than a to z is none that comments can give.
        expect(guest.get_by_role("button", name="Comment on this figure")).to_have_count(1)
        for ends in (["Features", 0, "They fire again", 16], ["A note", 0, "here", 4], ["🦉", 0, "🦉", 2]):
            guest.evaluate(SELECT, ends)
            guest.get_by_role("button", name="Comment on these words").click()
            guest.get_by_label("Your comment on these words").fill("All of it?")
            guest.get_by_role("button", name="Submit comment").click()
            expect(guest.get_by_label("Your comment on these words")).to_have_count(0)
        anchors = [comment.anchor for comment in stage.comments.queue(stage.owner)]
        text, _, note = words.rpartition("A note")
        assert [anchor.exact for anchor in anchors] == [text.strip(), f"A note{note}".strip(" ."), "🦉"]
        for anchor in anchors:
            start, end = anchor.find(words)
            assert words[:start].endswith(anchor.prefix) and words[end:].startswith(anchor.suffix)
        assert anchors[2].prefix.endswith("x < y ") and len(anchors[2].prefix) == 40
        guest.get_by_role("link", name="commas", exact=True).click()
        expect(guest.get_by_role("figure", name="Top tokens")).to_be_visible()
        guest.go_back()
        expect(guest.locator(".passage").filter(has_text="🦉")).to_have_count(1)


@pytest.mark.browser
def test_hostile_words_stay_text(browse, stage, desk, tiny_atlas):
    (desk / "paper.md").write_text(f"# T\n\nThey wrote {HOSTILE} here.\n")
    guest = stage.invitations.invite(HOSTILE[:100]).invitation
    for exact in (f"wrote {HOSTILE}", HOSTILE * 2):
        anchor = PassageAnchor(article="paper", exact=exact)
        stage.comments.publish(stage.owner, stage.comments.write(guest, anchor, HOSTILE).id, 1)
    publish(tiny_atlas, desk / "out", features=[1], articles=[desk / "paper.md"], comments=stage.comments.published())
    app = guard(create_app(tiny_atlas, comments=stage.database, articles=[desk / "paper.md"]))
    with on_a_socket(app) as site:
        for home, path in (
            (site, "/articles/paper"),
            (site, "/comments"),
            ("file://", f"{desk}/out/articles/paper.html"),
        ):
            page = browse(home, path, 390)
            remarks = page.locator("main article:has(> header time)")
            expect(remarks).to_have_count(2)
            expect(remarks.locator("blockquote").first).to_have_text(f"wrote {HOSTILE}")
            expect(remarks.locator("header b").first).to_have_text(HOSTILE[:100])
            assert page.locator("main :is(img, script)").count() == 0 and fits(page, 390)
            if path != "/comments":
                expect(page.locator(".passage")).to_have_text(f"wrote {HOSTILE}")
                expect(page.get_by_text("not in the article any more")).to_have_count(1)

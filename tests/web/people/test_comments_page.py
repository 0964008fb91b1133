"""Comments in the pages: their records in TypeScript; people invite, write, publish and read in real browsers."""

import json
import re
import shutil
from pathlib import Path

import pytest
from browsing import expect, fits
from browsing import serving as on_a_socket
from fastapi.testclient import TestClient
from typescript import fields, interfaces

from physalis.people.comments import Comments, Database, Invitations, anchors, beside, records
from physalis.people.comments.anchors import FeatureAnchor
from physalis.people.comments.store import LONGEST
from physalis.web import create_app
from physalis.web.atlas import live
from physalis.web.atlas.records import Commentable
from physalis.web.guard.guard import guard
from physalis.web.people import comments as routes
from physalis.web.publish.site import publish
from physalis.web.server import serving

EVIL = "<img src=x onerror=alert(1)> <script>alert(2)</script> [go](javascript:alert(3)) *kept*"
SHOWN = "<img src=x onerror=alert(1)> <script>alert(2)</script> [go](javascript:alert(3)) kept"
THREE = FeatureAnchor(feature=3)


def test_typescript_knows_the_records():
    written = interfaces("comments")
    hung = [anchors.FeatureAnchor, anchors.FigureAnchor, anchors.PassageAnchor]
    told = [records.Comment, records.Thread, records.Invitation, records.Fault, routes.Me, routes.Sent, Commentable]
    for model in [*hung, *told]:
        assert written[model.__name__] == fields(model), model


class Stage:
    """The comments of an atlas: an owner, a guest, and what they wrote."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder)
        self.comments, self.invitations = Comments(self.database), Invitations(self.database)
        owner = self.invitations.invite("Ada Lovelace", "Analytical Engines", role="owner")
        guest = self.invitations.invite("Émilie <b>du Châtelet</b>", "Cirey")
        self.owner, self.guest = owner.invitation, guest.invitation
        self.links = {"owner": f"/invitation#{owner.token}", "guest": f"/invitation#{guest.token}"}

    def published(self, text: str, anchor=THREE) -> records.Comment:
        return self.comments.publish(self.owner, self.comments.write(self.guest, anchor, text).id, 1)

    def app(self, atlas):
        return guard(create_app(atlas, comments=self.database))


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path / "atlas.comments")


def signed_in(browse, site, link, width=1200, scheme="light"):
    page = browse(site, link, width, scheme)
    assert page.evaluate("location.href") == f"{site}/invitation"  # the token is out of the address
    page.get_by_role("button", name="Accept the invitation").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    return page


@pytest.mark.browser
@pytest.mark.parametrize("width, scheme", [(1200, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)])
def test_from_an_invitation_to_a_published_comment(browse, stage, tiny_atlas, width, scheme):
    with on_a_socket(stage.app(tiny_atlas)) as site:
        owner = signed_in(browse, site, stage.links["owner"], width, scheme)
        owner.goto(f"{site}/comments")
        owner.get_by_label("name", exact=True).fill("Sun Tzu")
        owner.get_by_label("affiliation", exact=True).fill("Wu")
        owner.get_by_role("button", name="Create link").click()
        link = owner.get_by_label("The link of Sun Tzu, Wu").input_value()
        assert link.startswith(f"{site}/invitation#") and fits(owner, width)

        guest = signed_in(browse, site, link.removeprefix(site), width, scheme)
        expect(guest.get_by_role("heading", name="Sun Tzu")).to_be_visible()
        guest.goto(f"{site}/features/3")
        figure = guest.get_by_role("figure", name="Comments")
        figure.get_by_role("button", name="Add comment").click()
        guest.get_by_label("Your comment on feature 3").fill("It fires on **commas**.")
        assert fits(guest, width)
        figure.get_by_role("button", name="Submit comment").click()
        expect(figure.get_by_text("awaiting approval")).to_be_visible()
        figure.get_by_role("button", name="edit").click()
        guest.get_by_label("Your comment", exact=True).fill("It fires on **semicolons**.")
        figure.get_by_role("button", name="Save").click()
        expect(figure.locator("strong")).to_have_text("semicolons")

        visitor = browse(site, "/features/3", width, scheme)
        expect(visitor.get_by_role("figure", name="Top tokens")).to_be_visible()
        visitor.wait_for_load_state("networkidle")
        assert visitor.get_by_role("figure", name="Comments").count() == 0
        (waiting,) = stage.comments.queue(stage.owner)
        assert (waiting.name, waiting.affiliation, waiting.version) == ("Sun Tzu", "Wu", 2)

        owner.goto(f"{site}/features/3")
        owner.get_by_role("button", name="Publish the comment by Sun Tzu").click()
        expect(owner.get_by_role("figure", name="Comments").get_by_text("awaiting approval")).to_have_count(0)
        visitor.reload()
        remark = visitor.get_by_role("article", name="Comment by Sun Tzu")
        expect(remark.locator("strong")).to_have_text("semicolons")
        expect(remark.locator("header")).to_contain_text("Wu")
        assert remark.get_by_role("button").count() == 0 and fits(visitor, width)

        owner.get_by_role("button", name="Reply to Sun Tzu").click()
        owner.get_by_label("Your reply to Sun Tzu").fill("On which text?")
        owner.get_by_role("button", name="Submit reply").click()
        reply = owner.get_by_role("article", name="Reply by Ada Lovelace")
        expect(reply.get_by_text("awaiting approval")).to_be_visible()
        owner.goto(f"{site}/comments")
        waits = owner.get_by_role("region", name="Awaiting your approval")
        expect(waits.get_by_text("replies to Sun Tzu")).to_be_visible()
        waits.get_by_role("button", name="Publish the comment by Ada Lovelace").click()
        expect(waits.get_by_text("No comment awaits approval.")).to_be_visible()
        visitor.goto(f"{site}/comments")
        expect(visitor.get_by_role("article", name="Reply by Ada Lovelace")).to_contain_text("On which text?")
        assert visitor.get_by_role("region", name="Who may write").count() == 0 and fits(visitor, width)

        guest.goto(f"{site}/comments")
        mine = guest.get_by_role("region", name="Yours")
        mine.get_by_role("button", name="withdraw").click()
        mine.get_by_role("button", name="withdraw permanently").click()
        expect(mine.get_by_text("withdrawn", exact=True)).to_be_visible()
        visitor.goto(f"{site}/comments")
        expect(visitor.get_by_text("No comment is published yet.")).to_be_visible()
        guest.goto(f"{site}/invitation")
        guest.get_by_role("button", name="Sign out").click()
        expect(guest.get_by_role("heading", name="By invitation")).to_be_visible()
        assert guest.context.cookies() == []
    assert stage.comments.verify() == stage.invitations.verify() == []


@pytest.mark.browser
def test_links_that_do_not_open_say_why(browse, stage, tiny_atlas):
    lost = stage.invitations.invite("Lost")
    stage.invitations.revoke(lost.invitation.id)
    with on_a_socket(stage.app(tiny_atlas)) as site:
        first = signed_in(browse, site, stage.links["guest"])
        expect(first.get_by_role("heading", name="Émilie <b>du Châtelet</b>")).to_be_visible()
        whys = {
            stage.links["guest"]: "This invitation was already used. Ask who invited you for a new link.",
            f"/invitation#{lost.token}": "This invitation was revoked. Ask who invited you for a new link.",
            "/invitation#forged": "This is not a link of an invitation here. Check that it was copied whole.",
        }
        for link, why in whys.items():
            page = browse(site, link, 390)
            page.get_by_role("button", name="Accept the invitation").click()
            expect(page.locator(".lead")).to_have_text(why)
            expect(page.get_by_role("alert")).to_have_text(why)
            assert page.context.cookies() == [] and fits(page, 390)
        browse.refusals = len(whys)
        # Somebody else's link, opened where one is signed in: asked first.
        first.goto(site + stage.links["owner"])
        first.get_by_role("button", name="Accept it all the same").click()
        expect(first.get_by_role("heading", name="Ada Lovelace")).to_be_visible()


@pytest.mark.browser
def test_what_is_written_stays_text(browse, stage, tiny_atlas, tmp_path):
    shown = stage.published(EVIL)
    stage.comments.publish(stage.owner, stage.comments.reply(stage.guest, shown.id, EVIL).id, 1)
    stage.comments.write(stage.guest, THREE, "Not for everyone.")
    publish(tiny_atlas, tmp_path / "site", features=[3, 4], comments=stage.comments.published())
    with on_a_socket(stage.app(tiny_atlas)) as site:
        places = [(site, path) for path in ("/features/3", "/comments")]
        for home, path in [*places, ("file://", str(tmp_path / "site/features/3.html"))]:
            page = browse(home, path, 390)
            remarks = page.locator("main article:has(> header time)")
            expect(remarks).to_have_count(2)
            for remark in remarks.all():
                expect(remark.locator("p").first).to_have_text(SHOWN)
                expect(remark.locator("header b").first).to_have_text("Émilie <b>du Châtelet</b>")
                assert remark.locator("img, script, a, b b").count() == 0
            assert "Not for everyone" not in page.content() and fits(page, 390)
            expect(page.get_by_role("figure", name="Comments")).to_have_count(int(path != "/comments"))


@pytest.mark.browser
def test_a_version_that_was_not_read_is_not_published(browse, stage, tiny_atlas):
    waiting = stage.comments.write(stage.guest, THREE, "First.")
    with on_a_socket(stage.app(tiny_atlas)) as site:
        owner = signed_in(browse, site, stage.links["owner"])
        owner.goto(f"{site}/features/3")
        expect(owner.get_by_text("First.")).to_be_visible()
        stage.comments.edit(stage.guest, waiting.id, "Second.")
        owner.get_by_role("button", name="Publish the comment").click()
        expect(owner.get_by_role("alert")).to_contain_text("was edited: version 1 was read, 2 is the last")
        expect(owner.get_by_text("Second.")).to_be_visible()
        browse.refusals = 1
        assert stage.comments.published() == []
        owner.get_by_role("button", name="Publish the comment").click()
        expect(owner.get_by_text("awaiting approval")).to_have_count(0)
        assert stage.comments.published()[0].comment.text == "Second."


def test_an_atlas_without_comments_has_no_such_routes(stage, tiny_atlas):
    without = TestClient(create_app(tiny_atlas), base_url="http://127.0.0.1")
    served = TestClient(create_app(tiny_atlas, comments=stage.database), base_url="http://127.0.0.1")
    for path in ("/comments", "/invitation", "/api/comments", "/api/comments/me"):
        assert (without.get(path).status_code, served.get(path).status_code) == (404, 200), path

    def told(client):
        (record,) = re.findall(r'id="page">(.*?)</script>', client.get("/features/3").text)
        return json.loads(record).get("comments")

    assert told(without) is None and told(served) == {"longest": LONGEST}


def test_only_features_of_the_atlas_are_written_on(stage, tiny_atlas):
    client = TestClient(stage.app(tiny_atlas), base_url="http://127.0.0.1:8123")
    token = stage.links["guest"].partition("#")[2]
    client.headers["x-csrf-token"] = client.post("/api/comments/session", json={"token": token}).json()["csrf"]
    last = len(tiny_atlas) - 1
    for anchor, status in ((last, 201), (last + 1, 404)):
        body = {"anchor": {"kind": "feature", "feature": anchor}, "text": "Here?"}
        assert client.post("/api/comments", json=body).status_code == status
    stage.published("One.")
    stage.published("Two.", FeatureAnchor(feature=4))
    everywhere = client.get("/api/comments").json()
    assert [thread["comment"]["text"] for thread in everywhere] == ["One.", "Two."]
    assert client.get("/api/comments?on=feature/4").json() == everywhere[1:]


def test_a_site_has_the_published_comments(stage, tiny_atlas, tmp_path):
    shown = stage.published("It fires on *semicolons*.")
    stage.published("Of an atlas that is gone.", FeatureAnchor(feature=len(tiny_atlas)))
    stage.comments.write(stage.guest, THREE, "This one waits.")
    site = tmp_path / "site"
    publish(tiny_atlas, site, most=2, comments=stage.comments.published())
    page = (site / "features/3.html").read_text()
    assert "<p>It fires on <em>semicolons</em>.</p>" in page and f'id="comment-{shown.id}"' in page
    assert "Émilie &lt;b&gt;du Châtelet&lt;/b&gt;" in page and "Cirey" in page
    others = [p.read_text() for p in site.rglob("*.html") if p.name != "3.html"]
    assert len(others) == 5 and not any("semicolons" in text or 'id="article"' in text for text in others)
    assert not any("waits" in text or "is gone" in text for text in [page, *others])
    stage.comments.withdraw(stage.guest, shown.id)
    publish(tiny_atlas, site, features=[3], comments=stage.comments.published())
    assert "semicolons" not in (site / "features/3.html").read_text()


@pytest.fixture
def atlas(tiny_atlas, tmp_path):
    """A copy that comments may lie beside."""
    return shutil.copytree(tiny_atlas.folder, tmp_path / "atlas")


def test_serve_finds_the_comments_beside_the_atlas(atlas, tiny, tiny_dictionary, monkeypatch):
    served = []
    monkeypatch.setattr(serving, "serve_app", lambda make, folder, **options: served.append(make()))
    monkeypatch.setattr(live, "load_model", lambda name, **how: tiny)
    monkeypatch.setattr(live, "MiniLM", lambda: None)

    def statuses():
        serving.serve(atlas)
        serving.serve(atlas, tiny_dictionary)
        found = [TestClient(app, base_url="http://127.0.0.1").get("/api/comments/me").status_code for app in served]
        served.clear()
        return found

    assert statuses() == [404, 404] and not beside(atlas).exists()
    Invitations(Database(beside(atlas))).invite("Ada")
    assert statuses() == [200, 200]


def test_the_owner_of_the_files_rules_by_commands(physalis, atlas, tmp_path):
    def ok(*arguments):
        code, out, err = physalis("comments", *arguments)
        assert code == 0, err
        return out

    code, out, err = physalis("comments", "list", atlas)
    assert code == 2 and "has no comments. Invite somebody" in err and not beside(atlas).exists()
    code, out, err = physalis("comments", "invite", atlas, "Ada", "Wu", "--role", "owner")
    assert code == 0 and re.fullmatch(r"http://127\.0\.0\.1:8123/invitation#[\w-]{43}\n", out), err
    assert "Ada (Wu) signs in once" in err and out.partition("#")[2].strip() not in err
    sent = json.loads(ok("invite", atlas, "Émilie", "--days", "3", "--origin", "https://a.example", "--json"))
    assert sent["link"].startswith("https://a.example/invitation#") and sent["invitation"]["role"] == "guest"

    database = Database(beside(atlas))
    comments, invitations = Comments(database), Invitations(database)
    guest = invitations.accept(sent["link"].partition("#")[2]).session.person
    listed = ok("list", atlas).splitlines()
    assert "Ada (Wu), owner: open until" in listed[0] and listed[1] == f"{guest.id}  Émilie, guest: accepted"
    waiting = comments.write(guest, THREE, "It fires on commas.\nOr not.")
    out = ok("queue", atlas)
    assert f"{waiting.id} 1  feature/3  Émilie" in out and "    Or not.\n" in out
    comments.edit(guest, waiting.id, "It fires on semicolons.")
    code, out, err = physalis("comments", "publish", atlas, waiting.id, 1)
    assert code == 2 and "version 1 was read, 2 is the last" in err and comments.published() == []
    assert json.loads(ok("publish", atlas, waiting.id, 2, "--json"))[0]["state"] == "published"
    assert comments.published()[0].comment.text == "It fires on semicolons."
    site = tmp_path / "site"
    assert physalis("publish", atlas, "--features", "3", "--out", site)[0] == 0
    assert "It fires on semicolons." in (site / "features/3.html").read_text()

    renewed = ok("renew", atlas, guest.id)
    assert "127.0.0.1:8123/invitation#" in renewed and invitations.all()[1].state == "open"
    assert "Émilie" in ok("revoke", atlas, guest.id) and invitations.all()[1].state == "revoked"
    assert "withdrawn" in ok("withdraw", atlas, waiting.id) and comments.published() == []
    assert ok("verify", atlas) == "All is as it was written\n" and ok("verify", atlas, "--json") == "[]\n"
    with database.change() as db:
        db.execute("UPDATE invitations SET role = 'owner' WHERE id = ?", (guest.id,))
    code, out, err = physalis("comments", "verify", atlas)
    assert code == 1 and out == f"invitation {guest.id}: This invitation is not as it was written.\n"


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["invite", "ATLAS", " "], "name has 1 to 100 characters"),
        (["invite", "ATLAS", "Ada", "--days", "400"], "1 to 365 days; received 400"),
        (["invite", "ATLAS", "Ada", "--origin", "atlas.example"], "An origin is like https://"),
        (["invite", "ATLAS", "Ada", "--role", "king"], "king"),
        (["invite", "NOWHERE", "Ada"], "nowhere"),
        (["publish", "ATLAS", "0" * 16, "1"], "atlas has no comments"),
    ],
)
def test_refused_commands_write_nothing(physalis, atlas, tmp_path, arguments, says):
    places = {"ATLAS": atlas, "NOWHERE": tmp_path / "nowhere"}
    code, out, err = physalis("comments", *(places.get(each, each) for each in arguments))
    assert code == 2 and out == "" and says in err
    assert not any(Invitations(Database(folder)).all() for folder in tmp_path.glob("*.comments"))

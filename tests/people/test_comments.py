"""Comments: found where they hang, signed, every version kept, shown when published, whole after a kill."""

import hashlib
import hmac
import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
from pydantic import ValidationError

from physalis.errors import BadInput
from physalis.people.comments import Comments, Database, Invitations, store
from physalis.people.comments.anchors import ANCHOR, FeatureAnchor, FigureAnchor, PassageAnchor, read_place
from physalis.people.comments.database import DATABASE, KEY
from physalis.people.comments.markdown import to_html
from physalis.people.comments.store import LONGEST
from physalis.people.comments.threads import thread_html
from physalis.people.refusals import Conflict, Missing, NotAllowed

TWELVE = FeatureAnchor(feature=12)


class Stage:
    """A database with an owner and two guests, at a time that stands still until it is moved."""

    def __init__(self, folder):
        self.folder, self.time = folder, 1_700_000_000
        self.database = Database(folder, clock=lambda: self.time)
        self.comments, self.invitations = Comments(self.database), Invitations(self.database)
        invite = self.invitations.invite
        self.owner = invite("Ada Lovelace", "Analytical Engines", role="owner").invitation
        self.guest = invite("Émilie du Châtelet", "Cirey").invitation
        self.other = invite("孫子 (Sun Tzu)").invitation

    def published(self, text="True.", anchor=TWELVE):
        comment = self.comments.write(self.guest, anchor, text)
        return self.comments.publish(self.owner, comment.id, 1)

    def change(self, sql, *values):
        """What a foreign hand does to the file."""
        with sqlite3.connect(self.folder / DATABASE) as db:
            db.execute(sql, values)
        db.close()


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def test_a_comment_is_shown_once_published(stage):
    comments = stage.comments
    written = comments.write(stage.guest, TWELVE, "It fires on *semicolons*.")
    assert written.state == "waiting" and written.version == 1
    assert (written.name, written.affiliation, written.role) == ("Émilie du Châtelet", "Cirey", "guest")
    assert written.written == "2023-11-14T22:13:20Z"  # what `date -u -d @1700000000` says
    assert comments.published("feature/12") == [] and comments.published() == []
    assert comments.queue(stage.owner) == comments.mine(stage.guest) == [written]
    assert comments.mine(stage.other) == []

    stage.time += 60
    edited = comments.edit(stage.guest, written.id, "It fires on **commas**.")
    assert edited.version == 2 and edited.edited == "2023-11-14T22:14:20Z" and edited.written == written.written
    with pytest.raises(Conflict, match="version 1 was read, 2 is the last"):
        comments.publish(stage.owner, written.id, 1)
    stage.time += 60
    shown = comments.publish(stage.owner, written.id, 2)
    assert shown.state == "published" and shown.changed == "2023-11-14T22:15:20Z"
    assert shown.html == "<p>It fires on <strong>commas</strong>.</p>\n"
    assert [thread.comment for thread in comments.published("feature/12")] == [shown]
    assert comments.published("feature/1") == [] and comments.queue(stage.owner) == []
    assert comments.publish(stage.owner, written.id, 2) == shown  # twice is once
    with pytest.raises(Conflict, match="while it waits"):
        comments.edit(stage.guest, written.id, "Something else.")
    texts = [(version.number, version.text) for version in comments.versions(stage.guest, written.id)]
    assert texts == [(1, "It fires on *semicolons*."), (2, "It fires on **commas**.")]

    gone = comments.withdraw(stage.guest, written.id)
    assert gone.state == "withdrawn" and comments.published() == []
    with pytest.raises(Conflict, match="final"):
        comments.publish(stage.owner, written.id, 2)
    assert comments.verify() == []


def test_replies_are_one_level_deep(stage):
    comments, first = stage.comments, stage.published()
    reply = comments.reply(stage.other, first.id, "Is it?")
    assert reply.anchor == TWELVE and reply.parent == first.id
    assert comments.published("feature/12")[0].replies == []
    comments.publish(stage.owner, reply.id, 1)
    answer = comments.reply(stage.owner, first.id, "It is.")
    comments.publish(stage.owner, answer.id, 1)
    (thread,) = comments.published("feature/12")
    assert [each.text for each in thread.replies] == ["Is it?", "It is."]
    with pytest.raises(BadInput, match=f"one level deep.*Reply to {first.id}"):
        comments.reply(stage.guest, reply.id, "Deeper.")
    waiting = comments.write(stage.guest, TWELVE, "Not yet.")
    with pytest.raises(Conflict, match="is waiting"):
        comments.reply(stage.guest, waiting.id, "To myself.")
    comments.withdraw(stage.owner, first.id)
    assert comments.published() == []


def test_who_may(stage):
    comments = stage.comments
    waiting = comments.write(stage.guest, TWELVE, "Mine.")
    for refused in (
        lambda: comments.publish(stage.guest, waiting.id, 1),
        lambda: comments.publish(stage.other, waiting.id, 1),
        lambda: comments.queue(stage.guest),
        lambda: comments.edit(stage.owner, waiting.id, "Not mine."),
    ):
        with pytest.raises(NotAllowed):
            refused()
    for unknown in (
        lambda: comments.edit(stage.other, waiting.id, "Not mine."),
        lambda: comments.withdraw(stage.other, waiting.id),
        lambda: comments.reply(stage.other, waiting.id, "Before its time."),
        lambda: comments.versions(stage.other, waiting.id),
        lambda: comments.publish(stage.owner, "0" * 16, 1),
    ):
        with pytest.raises(Missing):
            unknown()
    shown = comments.publish(stage.owner, waiting.id, 1)
    for refused in (
        lambda: comments.edit(stage.other, shown.id, "Not mine."),
        lambda: comments.withdraw(stage.other, shown.id),
        lambda: comments.versions(stage.other, shown.id),
    ):
        with pytest.raises(NotAllowed):
            refused()
    assert comments.published()[0].comment.text == "Mine."


def test_signatures_are_what_they_say(stage):
    """Computed here from the raw rows and the key's file, after RFC 2104."""
    comment = stage.published("Ünïcode \N{SNOWMAN} and \\ \" '", PassageAnchor(article="a", exact="x"))
    key = (stage.folder / KEY).read_bytes()
    anchor = '{"kind":"passage","article":"a","exact":"x","prefix":"","suffix":""}'
    signed = ["text", comment.id, anchor, None, stage.guest.id, comment.name, comment.affiliation, "guest", 1]
    signed += [comment.text, 1_700_000_000]
    message = json.dumps(signed, separators=(",", ":")).encode()
    pads = [bytes(byte ^ pad for byte in key.ljust(64, b"\0")) for pad in (0x36, 0x5C)]
    expected = hashlib.sha256(pads[1] + hashlib.sha256(pads[0] + message).digest()).digest()
    (kept,) = stage.database.rows.execute("SELECT signature FROM versions WHERE comment = ?", (comment.id,)).fetchone()
    assert hmac.compare_digest(kept, expected)
    assert (stage.folder / KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE versions SET text = 'False.' WHERE comment = :id",
        "UPDATE versions SET text = CAST('True.' AS BLOB) WHERE comment = :id",
        "UPDATE versions SET text = CAST(x'ff' AS TEXT) WHERE comment = :id",
        "UPDATE versions SET time = time + 1 WHERE comment = :id",
        "UPDATE versions SET time = 'never' WHERE comment = :id",
        "UPDATE versions SET number = 2 WHERE comment = :id",
        "UPDATE versions SET signature = zeroblob(32) WHERE comment = :id",
        "UPDATE versions SET signature = 'text' WHERE comment = :id",
        "UPDATE versions SET signature = (SELECT signature FROM versions WHERE comment != :id) WHERE comment = :id",
        "UPDATE comments SET name = 'Isaac Newton' WHERE id = :id",
        "UPDATE comments SET affiliation = 'Royal Society' WHERE id = :id",
        "UPDATE comments SET role = 'owner' WHERE id = :id",
        "UPDATE comments SET author = (SELECT author FROM comments WHERE id != :id) WHERE id = :id",
        """UPDATE comments SET anchor = '{"kind":"feature","feature":13}' WHERE id = :id""",
        "UPDATE comments SET anchor = 'no JSON' WHERE id = :id",
        "UPDATE comments SET place = 'feature/13' WHERE id = :id",
        "UPDATE comments SET parent = (SELECT id FROM comments WHERE id != :id) WHERE id = :id",
        "UPDATE comments SET state = 'published', changed = changed + 1 WHERE id = :id",
        "UPDATE comments SET number = 'many' WHERE id = :id",
        "UPDATE comments SET written = written - 1 WHERE id = :id",
        "UPDATE comments SET seal = (SELECT seal FROM comments WHERE id != :id) WHERE id = :id",
        "DELETE FROM versions WHERE comment = :id",
        "DELETE FROM comments WHERE id = :id",
    ],
)
def test_a_changed_row_is_found_and_not_shown(stage, sql):
    kept = stage.comments.write(stage.other, TWELVE, "Another.")
    stage.comments.publish(stage.owner, kept.id, 1)
    comment = stage.published()
    assert stage.comments.verify() == []
    with sqlite3.connect(stage.folder / DATABASE) as db:
        assert db.execute(sql, {"id": comment.id}).rowcount == 1
    db.close()
    assert {fault.id for fault in stage.comments.verify()} == {comment.id}
    for place in ("feature/12", "feature/13", None):
        assert comment.id not in [thread.comment.id for thread in stage.comments.published(place)]
    assert kept.id in [thread.comment.id for thread in stage.comments.published()]


def test_a_row_written_by_hand_is_found(stage):
    comment = stage.published()
    stage.change("INSERT INTO versions SELECT comment, 2, 'False.', time, signature FROM versions")
    stage.change("UPDATE comments SET number = 2")
    assert stage.comments.published() == []
    assert comment.id in {fault.id for fault in stage.comments.verify()}
    with pytest.raises(Missing):
        stage.comments.edit(stage.guest, comment.id, "So that it is signed again.")


def test_a_reply_without_its_comment_is_found(stage):
    reply = stage.comments.reply(stage.guest, stage.published().id, "Yes.")
    stage.change("DELETE FROM versions WHERE comment != ?", reply.id)
    stage.change("DELETE FROM comments WHERE id != ?", reply.id)
    assert [fault.problem for fault in stage.comments.verify()] == ["The comment that it replies to is gone."]


def test_texts_that_cannot_be_used(stage):
    write = stage.comments.write
    longest = "ü" * LONGEST
    assert write(stage.guest, TWELVE, longest).text == longest
    for text, words in (
        (longest + "ü", "at most 10,000 characters; received 10,001"),
        ("", "empty"),
        (" \r\n\t\n", "empty"),
        ("a\0b", r"U\+0000"),
        ("a\x1b[31mb", r"U\+001B"),
        ("\ud800", r"U\+D800"),
    ):
        with pytest.raises(BadInput, match=words):
            write(stage.guest, TWELVE, text)
    assert write(stage.guest, TWELVE, "\r\n\r\n    code\r\nend\r ").text == "    code\nend"


def test_nobody_fills_the_disk(stage, monkeypatch):
    assert store.MOST_VERSIONS == store.MOST_WAITING == 100
    for name in ("MOST_VERSIONS", "MOST_WAITING"):
        monkeypatch.setattr(store, name, 5)
    comments = stage.comments
    first = comments.write(stage.guest, TWELVE, "1")
    for n in range(2, 6):
        comments.edit(stage.guest, first.id, str(n))
    with pytest.raises(BadInput, match="5 versions"):
        comments.edit(stage.guest, first.id, "One more.")
    for n in range(1, 5):
        comments.write(stage.guest, TWELVE, str(n))
    with pytest.raises(BadInput, match="5 of your comments wait"):
        comments.write(stage.guest, TWELVE, "One more.")
    comments.write(stage.other, TWELVE, "Others may.")
    comments.withdraw(stage.guest, first.id)
    comments.write(stage.guest, TWELVE, "Room again.")


def test_anchors_and_places():
    for anchor, place in (
        (TWELVE, "feature/12"),
        (FigureAnchor(figure="TMS-1"), "figure/TMS-1"),
        (PassageAnchor(article="a.b_c-d", exact="words"), "article/a.b_c-d"),
    ):
        assert anchor.place == place == read_place(place)
        assert ANCHOR.validate_json(anchor.model_dump_json()) == anchor
    for wrong in ("", "feature/", "feature/-1", "feature/012", "feature/12/", "feature/2147483648", "figure/../x"):
        with pytest.raises(BadInput, match="feature/12, figure/NAME or article/NAME"):
            read_place(wrong)
    for name in ("", "..", ".x", "a/b", "a..b", "a\nb", "a\n", "é", "x" * 101):
        with pytest.raises(ValidationError):
            FigureAnchor(figure=name)
        with pytest.raises(BadInput):
            read_place(f"figure/{name}")
    with pytest.raises(ValidationError):
        PassageAnchor(article="a", exact=" \n")


def test_a_passage_is_found_again():
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices("ab ", k=80))
        start = rng.randrange(70)
        end = start + rng.randrange(1, 10)
        if not text[start:end].strip():
            continue
        passage = PassageAnchor(article="a", exact=text[start:end], prefix=text[:start], suffix=text[end:])
        assert passage.find(text) == (start, end)  # all of the text around it fits one place only
        added = "".join(rng.choices("ab ", k=9))
        assert passage.find(added + text) == (start + 9, end + 9)
    passage = PassageAnchor(article="a", exact="model", prefix="the second ", suffix=" is")
    assert passage.find("the first model is, the second model is") == (31, 36)
    assert passage.find("no such word") is None


def test_markdown_means_what_it_says():
    text = "A *b* **c** `d<e` [f](https://example.org/?a=1&b=2) <mailto:g@example.org>\n\n> h\n\n"
    html = to_html(text + "1. i\n\n```\nj & k\n```")
    rel = 'rel="nofollow noopener noreferrer"'
    for part in (
        "<em>b</em>", "<strong>c</strong>", "<code>d&lt;e</code>", "<blockquote>", "<ol>", "<li>i</li>",
        "<pre><code>j &amp; k\n</code></pre>", "mailto:g@example.org",
    ):  # fmt: skip
        assert part in html
    assert html.count("<a ") == html.count(rel) == 2 and 'href="https://example.org/?a=1&amp;b=2"' in html
    assert to_html("# no heading") == "<p># no heading</p>\n"
    assert to_html("[relative](/features/12)") == "<p>[relative](/features/12)</p>\n"


def test_threads_are_articles(stage):
    first = stage.published("*One*", PassageAnchor(article="intro", exact="a < b"))
    stage.comments.publish(stage.owner, stage.comments.reply(stage.owner, first.id, "Two").id, 1)
    html = thread_html(stage.comments.published("article/intro")[0])
    assert html.count("<article") == html.count("</article>") == 2
    assert f'id="comment-{first.id}"' in html and "<blockquote>a &lt; b</blockquote>" in html
    assert html.index("<em>One</em>") < html.index("Two") and html.count("<blockquote>") == 1


def test_threads_of_a_program_write_at_once(stage):
    def write(n):
        for i in range(10):
            stage.comments.write(stage.guest, TWELVE, f"{n}.{i}")
        stage.database.close()

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    texts = [comment.text for comment in stage.comments.mine(stage.guest)]
    assert sorted(texts) == sorted(f"{n}.{i}" for n in range(4) for i in range(10))
    assert stage.comments.verify() == []


def test_what_was_told_to_be_kept_is_kept_after_a_kill(stage):
    code = (
        "import sys; from physalis.people.comments import *\n"
        "from physalis.people.comments.anchors import FeatureAnchor\n"
        "database = Database(sys.argv[1]); person = Invitations(database).all()[1]\n"
        "for n in range(100): print(Comments(database).write(person, FeatureAnchor(feature=n), 'Kept.').id, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, stage.folder], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        told += writer.stdout.read().split()
    again = Comments(Database(stage.folder))
    assert set(told) <= {comment.id for comment in again.queue(stage.owner)} and len(told) >= 20
    assert again.verify() == []


def test_databases_that_cannot_be_used(stage, tmp_path):
    key = stage.folder / KEY
    ask = stage.database.rows.execute
    assert ask("PRAGMA journal_mode").fetchone()[0] == "delete"
    assert ask("PRAGMA synchronous").fetchone()[0] == 3  # EXTRA
    right = key.read_bytes()
    key.write_bytes(bytes(32))
    with pytest.raises(BadInput, match="not the key"):
        Database(stage.folder)
    key.write_bytes(b"short")
    with pytest.raises(BadInput, match="32 bytes, this has 5"):
        Database(stage.folder)
    key.unlink()
    with pytest.raises(BadInput, match="is missing"):
        Database(stage.folder)
    key.write_bytes(right)
    stage.change("PRAGMA user_version = 99")
    with pytest.raises(BadInput, match="layout 99"):
        Database(stage.folder)
    other = tmp_path / "other"
    Database(other).close()
    (other / DATABASE).write_bytes(b"no database" * 100)
    with pytest.raises(BadInput, match="cannot be read"):
        Database(other)


def test_a_full_disk_is_told(stage):
    pages = stage.database.rows.execute("PRAGMA page_count").fetchone()[0]
    stage.database.rows.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(BadInput, match="disk is full"):
        stage.comments.write(stage.guest, TWELVE, "x" * 9000)
    stage.database.rows.execute("PRAGMA max_page_count = 100000")
    assert stage.comments.mine(stage.guest) == []
    stage.comments.write(stage.guest, TWELVE, "x" * 9000)


def test_comments_do_not_import_torch():
    code = "import sys, physalis.people.comments, physalis.web.guard.guard; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

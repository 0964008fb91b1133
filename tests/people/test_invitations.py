"""Invitations: a link works once, for one person, for a while; what is stored opens nothing."""

import hashlib
import sqlite3
import threading

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from physalis.errors import BadInput
from physalis.people.comments import Database, Invitations
from physalis.people.comments.database import DATABASE
from physalis.people.comments.invitations import csrf_fits
from physalis.people.refusals import Conflict, Missing, NotAllowed
from physalis.web.guard.guard import guard
from physalis.web.people.comments import comments_router

DAY = 86400


class Clock:
    now = 1_700_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def invitations(tmp_path, clock):
    return Invitations(Database(tmp_path, clock=clock))


def everything(folder):
    """All bytes of the database, its log among them."""
    return b"".join(file.read_bytes() for file in folder.glob(f"{DATABASE}*"))


def change(folder, sql, *values):
    with sqlite3.connect(folder / DATABASE) as db:
        assert db.execute(sql, values).rowcount == 1
    db.close()


def test_a_link_becomes_a_session_once(invitations):
    invited = invitations.invite("  Mary Somerville ", "Royal Astronomical Society")
    assert invited.invitation.name == "Mary Somerville" and invited.invitation.state == "open"
    assert invited.invitation.role == "guest" and invited.invitation.expires == "2023-12-14T22:13:20Z"  # 30 days later
    opened = invitations.accept(invited.token)
    assert opened.session.person.id == invited.invitation.id
    assert invitations.session(opened.token) == opened.session
    assert invitations.all()[0].state == "accepted"
    for _ in range(2):
        with pytest.raises(NotAllowed, match="already used"):
            invitations.accept(invited.token)
    assert invitations.session(opened.token) == opened.session


def test_only_digests_are_stored(invitations, tmp_path):
    tokens = [invitations.invite("Somebody").token for _ in range(20)]
    sessions = [invitations.accept(token).token for token in tokens[:10]]
    kept = everything(tmp_path)
    for token in tokens + sessions:
        assert len(token) == 43  # 256 bits in base 64
        assert token.encode() not in kept
        assert hashlib.sha256(token.encode()).digest() in kept
    assert len({*tokens, *sessions}) == 30


def test_forged_tokens_open_nothing(invitations, tmp_path):
    token = invitations.invite("Somebody").token
    changed = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    digest = hashlib.sha256(token.encode())
    others = ("", "x", "' OR 1=1 --", "\0", "\ud800", "é" * 999)
    for forged in (*others, changed, token + "A", token.lower(), digest.hexdigest()):
        with pytest.raises(NotAllowed, match="not a link"):
            invitations.accept(forged)
        assert invitations.session(forged) is None
    assert invitations.session(token) is None  # a link's token is not a session's
    session = invitations.accept(token).token
    with pytest.raises(NotAllowed, match="not a link"):
        invitations.accept(session)  # nor the other way round


def test_links_expire(invitations, clock):
    tokens = [invitations.invite("Somebody", days=7).token for _ in range(2)]
    clock.now += 7 * DAY - 1
    invitations.accept(tokens[0])
    clock.now += 1
    with pytest.raises(NotAllowed, match="expired"):
        invitations.accept(tokens[1])
    assert [each.state for each in invitations.all()] == ["accepted", "expired"]


def test_sessions_expire(invitations, clock):
    token = invitations.accept(invitations.invite("Somebody").token, days=2).token
    clock.now += 2 * DAY - 1
    assert invitations.session(token) is not None
    clock.now += 1
    assert invitations.session(token) is None
    for days in (0, -1, 366):
        with pytest.raises(BadInput, match=f"received {days}"):
            invitations.invite("Somebody", days=days)


def test_revoking_ends_everything(invitations):
    unused, used = invitations.invite("Unused"), invitations.invite("Used")
    session = invitations.accept(used.token).token
    for each in (unused, used):
        assert invitations.revoke(each.invitation.id).state == "revoked"
        assert invitations.revoke(each.invitation.id).state == "revoked"  # twice is once
        with pytest.raises(NotAllowed, match="revoked"):
            invitations.accept(each.token)
        with pytest.raises(Conflict, match="revoked"):
            invitations.renew(each.invitation.id)
    assert invitations.session(session) is None
    with pytest.raises(Missing):
        invitations.revoke("0" * 16)


def test_a_person_gets_another_link(invitations):
    first = invitations.invite("Forgetful", "Somewhere")
    old = invitations.accept(first.token).token
    second = invitations.renew(first.invitation.id)
    assert second.invitation.id == first.invitation.id and second.invitation.state == "open"
    assert invitations.session(old) is None
    with pytest.raises(NotAllowed, match="not a link"):
        invitations.accept(first.token)
    assert invitations.accept(second.token).session.person.name == "Forgetful"


def test_leaving(invitations):
    opened = [invitations.accept(invitations.invite("Somebody").token) for _ in range(2)]
    invitations.leave(opened[0].token)
    invitations.leave("unknown")
    assert invitations.session(opened[0].token) is None and invitations.session(opened[1].token) is not None


def test_of_many_at_once_one_gets_in(invitations):
    token = invitations.invite("Popular").token
    start, let_in, refused = threading.Barrier(8), [], []

    def enter():
        start.wait()
        try:
            let_in.append(invitations.accept(token).token)
        except NotAllowed as error:
            refused.append(str(error))

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(let_in) == 1 and len(refused) == 7 and all("already used" in each for each in refused)
    assert invitations.session(let_in[0]) is not None


@pytest.mark.parametrize(
    "assignment",
    [
        "name = 'Somebody else'", "affiliation = 'Elsewhere'", "role = 'owner'", "expires = expires + 1",
        "created = 0", "accepted = NULL", "revoked = 1", "hash = zeroblob(32)", "hash = 'text'", "seal = zeroblob(32)",
    ],
)  # fmt: skip
def test_a_changed_invitation_opens_nothing(invitations, tmp_path, assignment):
    invited = invitations.invite("Somebody")
    session = invitations.accept(invited.token).token
    assert invitations.verify() == [] and invitations.session(session) is not None
    change(tmp_path, f"UPDATE invitations SET {assignment}")
    assert [fault.id for fault in invitations.verify()] == [invited.invitation.id]
    assert invitations.session(session) is None and invitations.all() == []
    with pytest.raises(NotAllowed):
        invitations.accept(invited.token)


def test_a_session_made_by_hand_opens_nothing(invitations, tmp_path):
    guest, owner = invitations.invite("Guest"), invitations.invite("Owner", role="owner")
    token = invitations.accept(guest.token).token
    change(tmp_path, "UPDATE sessions SET invitation = ?", owner.invitation.id)
    assert invitations.session(token) is None
    change(tmp_path, "UPDATE sessions SET invitation = ?", guest.invitation.id)
    assert invitations.session(token) is not None
    change(tmp_path, "UPDATE sessions SET hash = ?", hashlib.sha256(b"chosen").digest())
    assert invitations.session("chosen") is None


def test_names(invitations):
    for name in ("Sun Tzu 孫子", "O'Brien <ob@example.org>", "José", "علی\u200cرضا", "x" * 100):
        assert invitations.invite(name).invitation.name == name
    for name, words in (
        ("", "1 to 100 characters; received 0"),
        ("x" * 101, "received 101"),
        ("Ada\r\nSet-Cookie: a=b", r"U\+000D"),
        ("Ada\nB", r"U\+000A"),
        ("Ada\u2028B", r"U\+2028"),
        ("Ada\u202egnp.exe", r"U\+202E"),
        ("\u200b", "no letter"),
        ("a\0", r"U\+0000"),
    ):
        with pytest.raises(BadInput, match=words):
            invitations.invite(name)
    with pytest.raises(BadInput, match="affiliation"):
        invitations.invite("Ada", "a\nb")


def test_each_session_has_its_own_csrf_token(invitations):
    sessions = [invitations.accept(invitations.invite("Somebody").token).session for _ in range(3)]
    for a in sessions:
        for b in sessions:
            assert csrf_fits(a, b.csrf) == (a is b)
        assert not csrf_fits(a, "") and not csrf_fits(a, a.csrf[:-1]) and not csrf_fits(a, "é")


def test_over_the_web(tmp_path):
    database = Database(tmp_path)
    invitations = Invitations(database)
    app = FastAPI()
    app.include_router(comments_router(database, lambda anchor: True))
    client = TestClient(guard(app, host="127.0.0.1"), base_url="http://127.0.0.1:8123")
    at = "/api/comments"
    assert client.get(f"{at}/me").json() == {"role": "visitor", "id": "", "name": "", "affiliation": "", "csrf": ""}
    assert client.get(f"{at}/invitations").status_code == 401

    owner = client.post(f"{at}/session", json={"token": invitations.invite("Owner", role="owner").token})
    assert owner.status_code == 200 and owner.json() == client.get(f"{at}/me").json()
    head = {"x-csrf-token": owner.json()["csrf"]}
    sent = client.post(f"{at}/invitations", json={"name": "Guest", "affiliation": "Elsewhere"}, headers=head)
    assert sent.status_code == 201 and sent.json()["invitation"]["role"] == "guest"
    path, _, token = sent.json()["link"].partition("#")
    assert path == "/invitation" and len(token) == 43
    id = sent.json()["invitation"]["id"]
    renewed = client.post(f"{at}/invitations/{id}/renew", json={}, headers=head).json()["link"].partition("#")[2]

    guest = TestClient(client.app, base_url="http://127.0.0.1:8123")
    assert guest.post(f"{at}/session", json={"token": token}).status_code == 403
    assert guest.post(f"{at}/session", json={"token": renewed}).json()["name"] == "Guest"
    assert guest.get(f"{at}/invitations").status_code == 403
    listed = client.get(f"{at}/invitations").json()
    assert [(each["name"], each["state"]) for each in listed] == [("Owner", "accepted"), ("Guest", "accepted")]
    assert client.post(f"{at}/invitations/{id}/revoke", headers=head).json()["state"] == "revoked"
    assert guest.get(f"{at}/me").json()["role"] == "visitor"
    assert client.get(f"{at}/faults").json() == []

    assert client.delete(f"{at}/session", headers=head).json()["role"] == "visitor"
    assert client.get(f"{at}/me").json()["role"] == "visitor"


@pytest.mark.parametrize(
    ("base", "host", "origin", "name", "secure"),
    [
        ("http://127.0.0.1:8123", "127.0.0.1", None, "physalis_session_8123", False),
        ("http://localhost:9", "127.0.0.1", None, "physalis_session_9", False),
        ("https://atlas.example.org", "127.0.0.1", "https://atlas.example.org", "__Host-physalis_session", True),
    ],
)
def test_cookies_are_as_strict_as_they_can_be(tmp_path, base, host, origin, name, secure):
    database = Database(tmp_path)
    app = FastAPI()
    app.include_router(comments_router(database, lambda anchor: True))
    client = TestClient(guard(app, host=host, origin=origin), base_url=base)
    answer = client.post("/api/comments/session", json={"token": Invitations(database).invite("Somebody").token})
    pair, *rest = [part.strip() for part in answer.headers["set-cookie"].split(";")]
    attributes = {part.lower() for part in rest}
    assert pair.startswith(f"{name}=") and {"httponly", "samesite=strict", "path=/"} <= attributes
    assert ("secure" in attributes) == secure and not any(part.startswith("domain") for part in attributes)
    assert client.get("/api/comments/me").json()["name"] == "Somebody"
    assert answer.headers["cache-control"] == "no-store"

"""Attacks over the web, none of which may succeed, each beside the honest request that does: on the routes of comments
alone, and on a served atlas that has them. Those through what is written in a comment are in test_markdown."""

import json
import random
import socket
import threading
from urllib.parse import quote

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from physalis.people.comments import Comments, Database, Invitations
from physalis.web import create_app
from physalis.web.guard.guard import Rate, guard
from physalis.web.people.comments import comments_router
from physalis.web.server.rooms import HEADERS
from physalis.web.server.serving import bind

HOME, AT = "http://127.0.0.1:8123", "/api/comments"
PLENTY = Rate(10**6, 10.0**6)
HONEST = {"anchor": {"kind": "feature", "feature": 12}, "text": "It fires on *semicolons*."}


class Stage:
    """A guarded server, of an atlas if one is given, with an owner and two guests signed in."""

    def __init__(self, folder, atlas=None, **options):
        self.time = 1_700_000_000
        self.database = Database(folder, clock=lambda: self.time)
        self.comments, self.invitations = Comments(self.database), Invitations(self.database)
        self.atlas = atlas
        if atlas is None:
            self.routes = FastAPI()
            self.routes.include_router(comments_router(self.database, lambda anchor: anchor.place != "feature/999"))
        else:
            self.routes = create_app(atlas, comments=self.database)
        self.app = guard(self.routes, **{"by_address": PLENTY, "by_session": PLENTY} | options)
        self.visitor = self.client()
        self.owner, self.guest, self.other = (self.enter(name) for name in ("owner", "guest", "other"))

    def client(self):
        return TestClient(self.app, base_url=HOME)

    def copy(self, browser):
        """Another with the same cookies and without the token."""
        copied = self.client()
        copied.cookies.update(browser.cookies)
        return copied

    def enter(self, name):
        """A browser in which somebody accepted an invitation."""
        browser = self.client()
        token = self.invitations.invite(name, role="owner" if name == "owner" else "guest").token
        browser.headers["x-csrf-token"] = browser.post(f"{AT}/session", json={"token": token}).json()["csrf"]
        return browser

    def count(self):
        return self.database.rows.execute("SELECT count(*) FROM comments").fetchone()[0]


@pytest.fixture(params=["the routes alone", "a whole atlas"])
def stage(request, tmp_path):
    return Stage(tmp_path, request.getfixturevalue("tiny_atlas") if request.param == "a whole atlas" else None)


def test_other_sites_change_nothing(stage):
    token = stage.guest.headers["x-csrf-token"]
    evil = {"origin": "https://evil.example"}
    wrong = [evil, {"origin": "null"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]
    strangers = [each.headers["x-csrf-token"] for each in (stage.other, stage.owner)]
    wrong += [{"x-csrf-token": each} for each in ("", "x", token[:-1], token.upper(), *strangers)]
    for headers in wrong:
        assert stage.guest.post(AT, json=HONEST, headers=headers).status_code == 403, headers
    bare = stage.copy(stage.guest)
    assert bare.post(AT, json=HONEST).status_code == 403  # the cookie alone
    bare.cookies.set("x-csrf-token", "chosen")
    assert bare.post(AT, json=HONEST, headers={"x-csrf-token": "chosen"}).status_code == 403  # the same in both places
    for kind, body in (("text/plain", json.dumps(HONEST)), ("application/x-www-form-urlencoded", "text=x")):
        sent = {"content-type": kind, "x-csrf-token": token}  # what a form can send
        assert bare.post(AT, content=body, headers=sent).status_code == 422
    assert stage.visitor.post(AT, json=HONEST, headers={"x-csrf-token": token}).status_code == 401  # the token alone
    link = {"token": stage.invitations.invite("Somebody").token}
    assert stage.client().post(f"{AT}/session", json=link, headers=evil).status_code == 403
    assert stage.count() == 0

    same = {"sec-fetch-site": "same-origin"}
    for headers in ({}, {"origin": HOME}, same, {"origin": HOME} | same):
        assert stage.guest.post(AT, json=HONEST, headers=headers).status_code == 201
    assert stage.client().post(f"{AT}/session", json=link, headers={"origin": HOME}).status_code == 200


def test_every_change_needs_the_token(stage):
    id = stage.guest.post(AT, json=HONEST).json()["id"]
    paths = stage.routes.openapi()["paths"]
    changes = [(method.upper(), path) for path, ways in paths.items() for method in ways if method != "get"]
    changes.remove(("POST", f"{AT}/session"))  # signing in, before there is a token
    assert len(changes) == 9
    for method, path in changes:
        for person in (stage.guest, stage.owner):
            answer = stage.copy(person).request(method, path.replace("{id}", id), json=sendable(path))
            assert answer.status_code == 403 and "X-CSRF-Token" in answer.json()["detail"], (method, path)
    assert stage.guest.put(f"{AT}/{id}", json={"text": "Honest."}).json()["version"] == 2


def sendable(path):
    """A body that the route would take."""
    bodies = {"invitations": {"name": "X"}, "renew": {}, "publish": {"version": 1}, "replies": {"text": "x"}}
    return bodies.get(path.rpartition("/")[2], HONEST if path == AT else {"text": "x"})


def test_guests_do_not_rule(stage):
    waiting = stage.guest.post(AT, json=HONEST).json()
    at = f"{AT}/{waiting['id']}"
    rule = [("POST", f"{at}/publish", {"version": 1}), ("POST", f"{AT}/invitations", {"name": "Friend"})]
    rule += [("GET", f"{AT}/{page}", None) for page in ("queue", "faults", "invitations")]
    for method, path, body in rule:
        for person, status in ((stage.guest, 403), (stage.other, 403), (stage.visitor, 401)):
            assert person.request(method, path, json=body).status_code == status, path
    for person, status in ((stage.other, 404), (stage.visitor, 401)):
        assert person.put(at, json={"text": "Not mine."}).status_code == status
        assert person.get(f"{at}/versions").status_code == status
    for extra in ({"state": "published"}, {"name": "Ada"}, {"author": "x"}, {"role": "owner"}):
        assert stage.guest.post(AT, json=HONEST | extra).status_code == 422
    assert stage.owner.post(f"{AT}/invitations", json={"name": "X", "role": "owner"}).status_code == 422
    for person in (stage.visitor, stage.guest, stage.other, stage.owner):
        assert person.get(AT, params={"on": "feature/12"}).json() == []

    for method, path, body in rule:
        assert stage.owner.request(method, path, json=body).status_code in (200, 201), path
    for person in (stage.visitor, stage.other):
        (thread,) = person.get(AT, params={"on": "feature/12"}).json()
        assert thread["comment"]["html"] == "<p>It fires on <em>semicolons</em>.</p>\n"
    reply = stage.other.post(f"{at}/replies", json={"text": "Does it?"})
    assert reply.status_code == 201 and reply.json()["parent"] == waiting["id"]
    assert stage.guest.post(f"{at}/withdraw").json()["state"] == "withdrawn"


def test_links_that_are_not_open(stage):
    used, revoked, lapsed = (stage.invitations.invite(name) for name in ("Used", "Revoked", "Lapsed"))
    assert stage.client().post(f"{AT}/session", json={"token": used.token}).status_code == 200
    stage.invitations.revoke(revoked.invitation.id)
    stage.time += 31 * 86400
    honest = stage.invitations.invite("Honest").token
    forged = ["", "x", "A" * 43, honest[:-1], honest.swapcase(), "../" * 9, "' OR '1'='1", "%00", "é", "\0", "{}"]
    for token in (used.token, revoked.token, lapsed.token, *forged):
        browser = stage.client()
        answer = browser.post(f"{AT}/session", json={"token": token})
        assert answer.status_code == 403 and "set-cookie" not in answer.headers, token
        assert browser.get(f"{AT}/me").json()["role"] == "visitor"
    assert stage.guest.get(f"{AT}/me").json()["role"] == "visitor"  # its 30 days are over
    for cookie in ("", "x", "A" * 43, used.token, honest, "a=b", '"', "\\"):
        headers = {"cookie": f"physalis_session_8123={cookie}"}
        assert stage.client().get(f"{AT}/me", headers=headers).json()["role"] == "visitor"
    assert stage.client().post(f"{AT}/session", json={"token": honest}).json()["name"] == "Honest"


def test_a_session_is_never_of_another_s_choice(stage):
    chosen, name = "chosen-by-another", "physalis_session_8123"
    token = stage.invitations.invite("Victim").token
    entered = stage.client().post(f"{AT}/session", json={"token": token}, headers={"cookie": f"{name}={chosen}"})
    assert entered.status_code == 200 and chosen not in entered.headers["set-cookie"]
    given = entered.headers["set-cookie"].partition("=")[2].partition(";")[0]
    for cookie, role in ((chosen, "visitor"), (given, "guest")):
        assert stage.client().get(f"{AT}/me", headers={"cookie": f"{name}={cookie}"}).json()["role"] == role
    second = stage.copy(stage.guest)  # who signs in over another's session ends that one
    again = second.post(f"{AT}/session", json={"token": stage.invitations.invite("Next").token})
    assert again.json()["name"] == "Next" and stage.guest.get(f"{AT}/me").json()["role"] == "visitor"


def test_no_path_leads_out(stage):
    places = ["../../etc/passwd", "figure/../../etc/passwd", "figure/..%2f..%2fetc", "article/....//etc"]
    places += ["figure/C:\\x", "figure//etc/passwd", "feature/12/../13", "article/a\0b", "file:///etc/passwd"]
    places.append("figure/" + "a" * 999)
    for place in places:
        assert stage.visitor.get(AT, params={"on": place}).status_code == 400, place
        name = place.partition("/")[2]
        for anchor in ({"kind": "figure", "figure": name}, {"kind": "passage", "article": name, "exact": "x"}):
            assert stage.guest.post(AT, json=HONEST | {"anchor": anchor}).status_code == 422, anchor
        assert stage.guest.post(f"{AT}/{quote(place, safe='')}/withdraw").status_code in (404, 422), place
    nowhere = {"anchor": {"kind": "feature", "feature": 999}}
    assert stage.guest.post(AT, json=HONEST | nowhere).status_code == 404
    assert stage.count() == 0
    for anchor in ({"kind": "figure", "figure": "TMS-1"}, {"kind": "passage", "article": "intro", "exact": "../.."}):
        # An atlas has no figures and articles to write on.
        assert stage.guest.post(AT, json=HONEST | {"anchor": anchor}).status_code == (404 if stage.atlas else 201)
    assert stage.visitor.get(AT, params={"on": "figure/TMS-1"}).json() == []


def test_bodies_that_are_none(stage):
    kind = {"content-type": "application/json"}
    whole = json.dumps(HONEST)
    broken = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"text": "\\ud800"}']
    broken += [b"[" * 30_000, b'{"a":' * 9000, b"1" * 60_000]
    broken += [whole[:-1].encode(), whole.encode("utf-16")[1:], whole.replace("12", "NaN").encode(), b'{"\\ud800": 1}']
    broken += [whole.replace("12", each).encode() for each in ("-1", "1e999", "12.5", "true", '"12"', "null", "9" * 99)]
    for body in broken:
        answer = stage.guest.post(AT, content=body, headers=kind)
        assert answer.status_code in (400, 422), body[:40]
        assert isinstance(answer.json()["detail"], str), answer.text
    assert stage.guest.post(AT, json=HONEST | {"text": "x" * 70_000}).status_code == 413
    assert stage.guest.post(AT, json=HONEST | {"text": "x" * 10_001}).status_code == 400
    assert stage.guest.post(AT, content=whole, headers={"content-type": "application/xml"}).status_code == 422
    assert stage.count() == 0
    assert stage.guest.post(AT, content=whole, headers=kind).status_code == 201
    assert stage.guest.post(AT, json=HONEST | {"text": "ü" * 10_000}).status_code == 201


@pytest.fixture
def address(stage):
    """The guarded server on a real socket."""
    with bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(stage.app, log_level="critical", ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


def ask(address, head, chunks=()):
    """The status of an answer over a socket; writing stops when the server hangs up."""
    with socket.create_connection(address[:2], timeout=30) as line:
        sent = 0
        try:
            line.sendall(head)
            for chunk in chunks:
                line.sendall(chunk)
                sent += len(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            return int(line.recv(4096).split()[1]), sent
        except (ConnectionResetError, IndexError):
            return 0, sent  # it hung up while we still wrote, so that its answer was lost


def test_endless_bodies_end(stage, address):
    host = f"Host: 127.0.0.1:{address[1]}\r\nContent-Type: application/json\r\n".encode()
    start = b"POST /api/comments/session HTTP/1.1\r\n" + host
    chunked = start + b"Transfer-Encoding: chunked\r\n\r\n"
    piece = b"400\r\n" + b"x" * 1024 + b"\r\n"
    status, sent = ask(address, chunked, [piece] * 100_000)
    assert status in (0, 413) and sent < 50_000_000  # of 100 MB
    assert ask(address, chunked, [piece] * 66)[0] in (0, 413)
    assert ask(address, start + b"Content-Length: 70000\r\n\r\n")[0] == 413
    for length in (b"-5", b"x", b"5\r\nContent-Length: 6"):
        assert ask(address, start + b"Content-Length: " + length + b"\r\n\r\nhello")[0] == 400
    both = start + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert ask(address, both)[0] in (400, 422)  # no body: never the start of a second request
    body = json.dumps({"token": stage.invitations.invite("Honest").token}).encode()
    pieces = [b"%x\r\n%s\r\n" % (1, body[i : i + 1]) for i in range(len(body))]
    assert ask(address, chunked, [*pieces, b"0\r\n\r\n"])[0] == 200


def test_no_header_is_written_by_another(stage):
    for name in ("Ada\r\nSet-Cookie: a=b", "Ada\nX: y", "Ada\x85", "Ada\u2028"):
        for body in ({"name": name}, {"name": "Ada", "affiliation": name}):
            assert stage.owner.post(f"{AT}/invitations", json=body).status_code == 400
    for place in ("figure/a\r\nX: y", "feature/12\n", "x%0d%0aSet-Cookie: a=b"):
        answer = stage.visitor.get(AT, params={"on": place})
        expected = {"content-length", "content-type", "cache-control", *(HEADERS if stage.atlas else ())}
        assert answer.status_code == 400 and set(answer.headers) == expected
    sent = stage.owner.post(f"{AT}/invitations", json={"name": "Ada: Countess, of Lovelace; a=b"})
    token = sent.json()["link"].partition("#")[2]
    cookie = stage.client().post(f"{AT}/session", json={"token": token}).headers["set-cookie"]
    assert "Ada" not in cookie and cookie.count("=") == 4  # its name, Max-Age, Path and SameSite


def test_too_much_at_once(tmp_path):
    stage = Stage(tmp_path, by_address=Rate(20, 0.001), by_session=Rate(5, 0.001))
    answers = [stage.guest.post(AT, json=HONEST) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [201] * 5 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0 and stage.count() == 5
    assert stage.other.post(AT, json=HONEST).status_code == 201
    assert [stage.visitor.post(f"{AT}/session", json={"token": "x"}).status_code for _ in range(11)][-2:] == [429] * 2
    assert stage.visitor.get(f"{AT}/me").status_code == 200


def test_no_other_name_reaches_this_machine(stage):
    for host in ("evil.example", "evil.example:8123", "127.0.0.1.evil.example", "0.0.0.0:8123", "192.168.0.2:8123"):
        rebound = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        assert stage.guest.post(AT, json=HONEST, headers=rebound).status_code == 421
        assert stage.guest.get(f"{AT}/me", headers=rebound).status_code == 421
    assert stage.count() == 0
    assert stage.guest.post(AT, json=HONEST, headers={"host": "127.0.0.1:8123"}).status_code == 201


def test_nothing_that_is_sent_breaks_the_server(stage):
    """Random bytes and random JSON on every route of comments: refused or done, never an error of the server's own."""
    rng = random.Random(0)
    id = stage.guest.post(AT, json=HONEST).json()["id"]
    words = ["", "x", id, "0" * 16, "feature/12", "..", "\0", "é", "\ud800", "a" * 300]
    words += [0, -1, 2**70, 1e308, True, None, HONEST["anchor"]]
    words += [{"kind": "figure", "figure": "a"}, {"kind": "passage", "article": "a", "exact": "b"}]
    keys = ["text", "anchor", "token", "version", "name", "affiliation", "days", "kind", "\ud800", ""]

    def value(depth=0):
        kind = rng.random()
        if depth < 3 and kind < 0.3:
            return {rng.choice(keys): value(depth + 1) for _ in range(rng.randrange(4))}
        return [value(depth + 1) for _ in range(3)] if depth < 3 and kind < 0.4 else rng.choice(words)

    paths = stage.routes.openapi()["paths"].items()
    routes = [(m.upper(), path) for path, ways in paths for m in ways if path.startswith(AT)]
    routes += [("PATCH", AT), ("OPTIONS", AT), ("HEAD", f"{AT}/me"), ("POST", f"{AT}/nothing")]
    seen = set()
    for method, path in routes * 12:
        person = rng.choice([stage.owner, stage.guest, stage.visitor])
        place = path.replace("{id}", rng.choice([id, "0" * 16, "x", "%00", "%ff", "..%2f.."]))
        body = rng.randbytes(rng.randrange(60)) if rng.random() < 0.3 else json.dumps(value())
        kinds = ["application/json", "application/json", "text/plain", "x", b"a/b; c=\xff"]
        headers = {"content-type": rng.choice(kinds)}
        asked = rng.choice(["", "?on=feature/12", "?on=%ff%00", "?on", "?on=a&on=b", "?x=%F0%9F", "?" + "a=b&" * 50])
        answer = person.request(method, place + asked, content=body, headers=headers)
        assert answer.status_code < 500, (method, path, body, answer.text)
        seen.add(answer.status_code)
    assert {200, 401, 403, 404, 405, 422} <= seen
    assert stage.comments.verify() == stage.invitations.verify() == []

"""The guard: hosts, tokens, rates, origins and bodies, each with what it lets through beside what it refuses."""

import json
import random
from fractions import Fraction
from types import SimpleNamespace

import anyio
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from physalis.errors import BadInput
from physalis.web.addresses import household
from physalis.web.guard import LATE_S, REFUSAL_RATE, costs, guard
from physalis.web.hosts import is_local, require_token
from physalis.web.rates import Buckets, Rate

TOKEN = "A-token.that_is~long"
HOME = "http://127.0.0.1:8123"


def pages():
    app = FastAPI()

    @app.get("/{path:path}")
    def read(path: str) -> str:
        return path

    @app.post("/{path:path}")
    async def write(path: str, request: Request) -> int:
        return len(await request.body())

    return app


def client(base=HOME, address="192.0.2.7", **options):
    return TestClient(guard(pages(), **options), base_url=base, client=(address, 1), follow_redirects=False)


def client_of(app):
    return TestClient(app, base_url=HOME, client=("192.0.2.7", 1))


def test_local_is_what_only_this_machine_reaches():
    for host in ("127.0.0.1", "127.8.8.8", "localhost", "LOCALHOST", "::1", "[::1]"):
        assert is_local(host), host
        require_token(host, None)
    for host in ("0.0.0.0", "::", "", "192.168.0.2", "10.0.0.1", "example.org", "localhost.example.org", "127.1"):
        assert not is_local(host), host
        with pytest.raises(BadInput, match="needs a token; received none"):
            require_token(host, None)
        with pytest.raises(BadInput, match="needs a token; received none"):
            guard(pages(), host=host)
        require_token(host, TOKEN)
    for poor in ("", "short", "with a space inside it", "x" * 201, "new\nline" * 4, "ü" * 20):
        with pytest.raises(BadInput, match=f"received {len(poor)} characters"):
            require_token("127.0.0.1", poor)


def test_a_suggested_token_is_a_good_one():
    with pytest.raises(BadInput) as error:
        require_token("0.0.0.0", None)
    suggested = str(error.value).split("--token ")[1].split(")")[0]
    require_token("0.0.0.0", suggested)


def test_the_first_visit_leaves_a_cookie():
    visitor = client(host="0.0.0.0", token=TOKEN)
    assert visitor.get("/features").status_code == 401
    first = visitor.get(f"/features?token={TOKEN}&query=a%20b")
    assert first.status_code == 303 and first.headers["location"] == "/features?query=a+b"
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and TOKEN not in cookie and "Secure" not in cookie
    assert visitor.get(first.headers["location"]).status_code == 200
    assert visitor.post("/x", content=b"12").json() == 2
    other = client(host="0.0.0.0", token="another." + TOKEN)
    other.cookies = visitor.cookies
    assert other.get("/").status_code == 401  # a new token ends all visits


def test_a_visit_over_tls_is_bound_to_its_host():
    visitor = client("https://atlas.example.org", host="0.0.0.0", token=TOKEN)
    cookie = visitor.get(f"/?token={TOKEN}").headers["set-cookie"]
    assert cookie.startswith("__Host-") and "Secure" in cookie and "Path=/" in cookie and "Domain" not in cookie
    assert visitor.get("/").status_code == 200


def test_programs_bring_the_token_themselves():
    program = client(host="0.0.0.0", token=TOKEN)
    right = {"authorization": f"Bearer {TOKEN}"}
    assert program.post("/x", content=b"1", headers=right).json() == 1
    assert program.post(f"/x?token={TOKEN}", content=b"1").json() == 1
    for wrong in ("Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN):
        answer = program.get("/x", headers={"authorization": wrong})
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", wrong
    assert program.get("/x?token=").status_code == program.get(f"/x?token={TOKEN}&token=x").status_code == 401


def test_guessing_is_slowed_down():
    guesser = client(host="0.0.0.0", token=TOKEN)
    answers = [guesser.get(f"/?token=guess{n}").status_code for n in range(60)]
    assert answers[:30] == [401] * 30 and answers[31:] == [429] * 29
    assert guesser.get(f"/?token={TOKEN}").status_code == 303  # whoever has it, has it


def test_the_token_leads_nowhere_else():
    visitor = client(host="0.0.0.0", token=TOKEN)
    for path in ("//evil.example", "/\\evil.example", "///evil.example//x", "/%2F%2Fevil.example", "/a%0d%0aA:x"):
        place = visitor.get(f"{HOME}{path}?token={TOKEN}").headers["location"]
        assert place.startswith("/") and not place.startswith(("//", "/\\")) and "\n" not in place and "\r" not in place


def test_hosts():
    for name in ("127.0.0.1:8123", "localhost:8123", "LocalHost", "[::1]:8123"):
        assert client().get("/", headers={"host": name}).status_code == 200, name
    for name in ("evil.example", "evil.example:8123", "127.0.0.1.evil.example", "localhost.evil", "192.168.0.2"):
        assert client().get("/", headers={"host": name}).status_code == 421, name
    for name in ("", "a b", "127.0.0.1:x", "a@127.0.0.1", "127.0.0.1/x", "127.0.0.1:8123:1"):
        assert client().get("/", headers={"host": name}).status_code == 400, name
    public = client(origin="https://atlas.example.org")
    assert public.get("/", headers={"host": "atlas.example.org"}).status_code == 200
    assert public.get("/", headers={"host": "other.example.org"}).status_code == 421
    for wrong in ("atlas.example.org", "ftp://x", "https://", "https://a/b", "https://a b"):
        with pytest.raises(BadInput, match="https://atlas.example.org"):
            guard(pages(), origin=wrong)


def test_two_hosts_are_none():
    answer = run(guard(pages()), [(b"host", b"127.0.0.1"), (b"host", b"localhost")], [b""])
    assert answer["status"] == 400
    assert run(guard(pages()), [(b"host", b"127.0.0.1")], [b""])["status"] == 200
    assert run(guard(pages()), [], [b""])["status"] == 400


def test_origins():
    same = {"sec-fetch-site": "same-origin"}
    for honest in ({}, {"origin": HOME}, same, {"origin": HOME} | same):
        assert client().post("/x", content=b"1", headers=honest).json() == 1
    public = "https://atlas.example.org"
    near = ("http://127.0.0.1:9999", "http://127.0.0.1", f"{HOME}.evil.example")
    for origin in ("null", "", "https://evil.example", *near, public):
        assert client().post("/x", headers={"origin": origin}).status_code == 403, origin
    for site in ("cross-site", "same-site", "none", "", "same-origin, cross-site"):
        assert client().post("/x", headers={"origin": HOME, "sec-fetch-site": site}).status_code == 403, site
    assert client(public, origin=public).post("/x", headers={"origin": public}).status_code == 200
    for method in ("PUT", "PATCH", "DELETE", "FANCY"):
        assert client().request(method, "/x", headers={"origin": "https://evil.example"}).status_code == 403


LINK = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def test_other_sites_load_nothing_from_here_but_may_lead_here():
    for site in ("cross-site", "same-site", "", "same-origin, cross-site"):
        told = {"sec-fetch-site": site}
        assert client().get("/features?query=x", headers=told | LINK).status_code == 200, site
        for how in (
            {}, {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, LINK | {"sec-fetch-dest": "iframe"},
            {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, {"sec-fetch-dest": "document"},
        ):  # fmt: skip
            answer = client().get("/features?query=x", headers=told | how)
            assert answer.status_code == 403 and "Another site asked" in answer.json()["detail"], (site, how)
        for path in ("/static/app/index.js", "/assets/index.js", "/favicon.ico"):
            assert client().get(path, headers=told).status_code == 200
        assert client().post("/static/x", headers=told | LINK).status_code == 403
    for own in ({}, {"sec-fetch-site": "none"}, {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}):
        assert client().get("/features", headers=own).status_code == 200


def test_what_costs_is_asked_what_changes_are():
    app = FastAPI()

    @app.get("/cheap")
    def cheap() -> str:
        return ""

    @app.get("/dear", dependencies=[Depends(costs)])
    def dear() -> str:
        return "dear"

    assert TestClient(app).get("/dear").json() == "dear"  # without a guard there is nobody to ask
    one = TestClient(guard(app, by_address=Rate(3, 0.001)), base_url=HOME, client=("192.0.2.1", 1))
    for foreign in (
        {"origin": "https://evil.example"},
        LINK | {"sec-fetch-site": "cross-site"},
        LINK | {"sec-fetch-site": "same-site"},
    ):
        one = TestClient(guard(app, by_address=Rate(3, 0.001)), base_url=HOME, client=("192.0.2.1", 1))
        answer = one.get("/dear", headers=foreign)
        assert answer.status_code == 403 and "another site" in answer.json()["detail"], foreign
    typed = {"sec-fetch-site": "none"} | LINK
    assert [one.get("/dear", headers=typed).status_code for _ in range(4)] == [200, 200, 429, 429]
    late = one.get("/dear")
    assert int(late.headers["retry-after"]) > 900 and "too much" in late.json()["detail"]
    assert [one.get("/cheap").status_code for _ in range(20)] == [200] * 20


def test_who_is_refused_often_is_answered_late(monkeypatch):
    late, inside = [], []

    async def sleep(seconds: float) -> None:
        late.append(seconds)
        inside.append(app._reading._inside + app._changing._inside)

    app = guard(pages())
    app._refusals = Buckets(REFUSAL_RATE, clock=lambda: 0.0)  # however slow this machine is, nobody is forgiven
    monkeypatch.setattr("physalis.web.guard.asyncio", SimpleNamespace(sleep=sleep))
    ours, others = client_of(app), TestClient(app, base_url=HOME, client=("192.0.2.8", 1))
    foreign = {"sec-fetch-site": "cross-site"}
    assert {ours.get("/a", headers=foreign).status_code for _ in range(REFUSAL_RATE.burst)} == {403}
    assert not late
    assert {ours.get("/a", headers=foreign).status_code for _ in range(5)} == {403}
    assert ours.put("/a").status_code == 405  # what the app refuses counts too
    assert ours.post("/a", content=json.dumps([0] * 30_000)).status_code == 413
    assert late == [LATE_S] * 7
    assert inside == [0] * 7  # meanwhile they are in nobody's way
    assert ours.get("/a").status_code == 200 and others.get("/a", headers=foreign).status_code == 403
    assert len(late) == 7


def test_an_ipv4_visitor_is_one_however_a_socket_spells_it():
    app = guard(pages(), by_address=Rate(1, 0.001))
    clients = [TestClient(app, base_url=HOME, client=(address, 1)) for address in ("192.0.2.1", "::ffff:192.0.2.1")]
    assert [each.post("/x").status_code for each in clients] == [200, 429]
    assert TestClient(app, base_url=HOME, client=("::ffff:192.0.2.2", 1)).post("/x").status_code == 200


def test_who_comes_through_a_tunnel_is_who_dug_it():
    """6to4 (RFC 3056) and Teredo (RFC 4380) give one IPv4 address thousands of networks."""
    assert {household(f"2002:c000:207:{i:x}::1") for i in (0, 1, 65535)} == {"192.0.2.7"}
    assert household("2001:0:4136:e378:8000:63bf:3fff:fdd2") == household("192.0.2.45")
    assert household("2001:db8:0:1::2") == household("2001:db8:0:1:ffff::") != household("2001:db8:0:2::2")


def test_rates_are_by_address_and_by_session():
    rate = {"by_address": Rate(5, 0.001), "by_session": Rate(2, 0.001)}
    app = guard(pages(), **rate)
    one, two = (TestClient(app, base_url=HOME, client=(address, 1)) for address in ("192.0.2.1", "192.0.2.2"))
    assert [one.post("/x").status_code for _ in range(7)] == [200] * 5 + [429] * 2
    assert two.post("/x").status_code == 200
    assert all(one.get("/x").status_code == 200 for _ in range(20))
    assert 900 <= int(one.post("/x").headers["retry-after"]) <= 1000
    two.cookies.set("physalis_session_8123", "somebody")
    assert [two.post("/x").status_code for _ in range(3)] == [200, 200, 429]
    six = [TestClient(app, base_url=HOME, client=(f"2001:db8::{n}", 1)) for n in range(8)]
    assert [each.post("/x").status_code for each in six] == [200] * 5 + [429] * 3  # one /64
    assert TestClient(app, base_url=HOME, client=("2001:db8:0:1::1", 1)).post("/x").status_code == 200


def test_buckets_are_what_they_are_said_to_be():
    """Against the same sums in fractions, and against what a bucket is for: so many in any stretch of time."""
    rng = random.Random(0)
    for _ in range(20):
        burst, per_second = rng.randint(1, 6), rng.choice([1, 2, 4])
        now = [0.0]
        buckets = Buckets(Rate(burst, float(per_second)), clock=lambda now=now: now[0])
        level, then, taken = Fraction(burst), Fraction(0), []
        for _ in range(100):
            now[0] += rng.choice([0, 0, 0.125, 0.5, 2])
            exact = Fraction(now[0])
            level, then = min(Fraction(burst), level + (exact - then) * per_second), exact
            wait = buckets.take("somebody")
            assert wait == (0 if level >= 1 else float((1 - level) / per_second))
            if not wait:
                level -= 1
                taken.append(now[0])
        for i, start in enumerate(taken):  # and in no stretch of time more than it allows
            for j in range(i, len(taken)):
                assert j - i + 1 <= burst + (taken[j] - start) * per_second


def test_buckets_do_not_fill_the_memory():
    buckets = Buckets(Rate(1, 0.001), most=100)
    assert buckets.take("first") == 0 and buckets.take("first") > 0
    for n in range(99):
        buckets.take(n)
    assert buckets.take("first") > 0  # still known, and now the last used
    for n in range(1000):
        buckets.take(n)
    assert len(buckets) == 100 and buckets.take("first") == 0


def run(app, headers, chunks, *, method="POST", pause=0.0):
    """What an app answers to a body that comes in ``chunks``, without the client library between, which would join
    them; ``read`` counts those that it asked for."""
    answer, left = {"read": 0}, list(chunks)

    async def receive():
        if not left:
            await anyio.sleep(60)
        await anyio.sleep(pause)
        answer["read"] += 1
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        if message["type"] == "http.response.start":
            answer.update(status=message["status"], headers=dict(message["headers"]))
        else:
            answer["body"] = answer.get("body", b"") + message.get("body", b"")

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": "/x", "raw_path": b"/x", "query_string": b"", "root_path": "", "headers": headers,
        "client": ("192.0.2.7", 1), "server": ("127.0.0.1", 8123),
    }  # fmt: skip
    anyio.run(app, scope, receive, send)
    return answer


LOCAL = [(b"host", b"127.0.0.1")]


def test_bodies_are_counted_as_they_come():
    app = guard(pages(), most_bytes=1000)
    for chunks in ([b"x" * 1000], [b"x"] * 1000, [b"", b"x" * 999, b"", b"x"], [b""]):
        answer = run(app, LOCAL, chunks)
        assert answer["status"] == 200 and int(answer["body"]) == sum(map(len, chunks))
    answer = run(app, LOCAL, [b"x" * 100] * 1000)
    assert answer["status"] == 413 and answer["read"] == 11  # and not one more
    assert answer["headers"][b"connection"] == b"close"
    assert run(app, LOCAL, [b"x" * 1001], method="GET")["status"] == 413
    said = [*LOCAL, (b"content-length", b"1001")]
    assert run(app, said, [b"x"] * 2)["read"] == 0  # refused by what it says
    assert run(app, [*LOCAL, (b"content-length", b"10")], [b"x" * 1001])["status"] == 413  # and by what it is
    for wrong in (b"-1", b"ten", b"1e3", b"", b"0x10", "²".encode()):
        assert run(app, [*LOCAL, (b"content-length", wrong)], [b"x"])["status"] == 400, wrong
    assert run(app, [*LOCAL, (b"content-length", b"9" * 5000)], [b"x"])["status"] == 413


def test_bodies_hold_no_more_than_pages_send():
    app = guard(pages(), most_bytes=1 << 20)
    deep = "[" * 100_000
    for body, status in (
        ({f"key {n}": n for n in range(2000)}, 413),
        ([{"key": n} for n in range(2000)], 413),
        ([0] * 30_000, 413),
        ([[0] * 200] * 200, 413),
        ({"text": '"key": [1, 2, 3], ' * 10_000}, 200),
        ({"features": [0] * 10_000}, 200),
    ):
        answer = client_of(app).post("/x", json=body)
        assert answer.status_code == status, (str(body)[:60], status)
        assert status == 200 or "at most 1,000 fields and 20,000 values" in answer.json()["detail"]
    for text in (deep, "x" * 10_000, '{"a":' * 50_000):
        assert client_of(app).post("/x", content=text).status_code == 200  # refused where it is read


def test_slow_bodies_are_given_up():
    app = guard(pages(), most_seconds=0.2)
    answer = run(app, LOCAL, [b"x"] * 1000, pause=0.05)
    assert answer["status"] == 408 and answer["read"] < 1000
    assert run(app, LOCAL, [b"x"] * 3, pause=0.01)["status"] == 200


def test_who_left_is_not_answered():
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    async def inner(scope, receive, send):
        raise AssertionError("nobody is there")

    scope = {"type": "http", "method": "POST", "headers": LOCAL, "path": "/", "query_string": b"", "scheme": "http"}
    anyio.run(guard(inner), scope, receive, send)
    assert sent == []


def test_nothing_but_http_passes():
    passed, sent = [], []

    async def inner(scope, receive, send):
        passed.append(scope["type"])

    async def send(message):
        sent.append(message)

    for kind in ("lifespan", "websocket"):
        anyio.run(guard(inner), {"type": kind, "headers": []}, None, send)
    assert passed == ["lifespan"] and [message["type"] for message in sent] == ["websocket.close"]

"""Connections: who says nothing, half a sentence, or does not listen holds none for long, and keeps nobody out."""

import contextlib
import logging
import resource
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from hanging import until

from physalis.web.guard import connections
from physalis.web.guard.connections import FOLD, Limits, configured
from physalis.web.guard.guard import guard
from physalis.web.guard.journal import Sparing
from physalis.web.guard.proxies import read_proxies
from physalis.web.guard.rates import Rate
from physalis.web.server.serving import address, bind

LARGE = "x" * 30_000_000
PATIENT = Limits(head_s=30, idle_s=30, stall_s=30)


def pages() -> FastAPI:
    app = FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def page() -> str:
        return "here"

    @app.get("/large", response_class=PlainTextResponse)
    async def large() -> str:
        return LARGE

    @app.get("/slow", response_class=PlainTextResponse)
    def slow() -> str:
        time.sleep(0.3)
        return "slow"

    @app.post("/", response_class=PlainTextResponse)
    async def write() -> str:
        return "written"

    return app


@contextlib.contextmanager
def served(limits, proxies=(), app=None, **options):
    """An app on a socket of this machine, and where."""
    guarded = guard(app or pages(), **{"by_address": Rate(10**6, 1e6)} | options)
    config = configured(guarded, limits=limits, proxies=read_proxies(proxies))
    with bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield address(listener).rstrip("/")
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@contextlib.contextmanager
def hold(home, n, words=b"", *, source="127.0.0.1", receive=None):
    """``n`` connections that say some words, and no more."""
    port = int(home.rpartition(":")[2])
    held = []
    try:
        for _ in range(n):
            one = socket.socket()
            if receive is not None:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
            one.bind((source, 0))
            one.connect(("127.0.0.1", port))
            with contextlib.suppress(OSError):  # one that is closed already
                one.sendall(words)
            held.append(one)
        yield held
    finally:
        for one in held:
            one.close()


def getting(path) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()


def rest(one, wait=10.0) -> bytes:
    """What comes until the other side closes; raises TimeoutError if it does not."""
    one.settimeout(wait)
    came = b""
    with contextlib.suppress(ConnectionError):
        while more := one.recv(1 << 16):
            came += more
    return came


def ask(home, path="/", source="127.0.0.1", **options) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source), timeout=10) as client:
        return client.get(home + path, **options)


def test_who_says_nothing_or_half_is_not_waited_for():
    with served(Limits(head_s=0.3, idle_s=30, stall_s=30)) as home:
        with hold(home, 3) as silent, hold(home, 3, b"GET / HTTP/1.1\r\nhost: 127") as half:
            assert [rest(one) for one in silent] == [b""] * 3
            for one in half:
                told = rest(one)
                assert told.startswith(b"HTTP/1.1 408 ") and b"did not arrive in time" in told
        assert ask(home).text == "here"


def test_a_head_that_trickles_in_is_not_waited_for():
    with served(Limits(head_s=0.5, idle_s=30, stall_s=30)) as home, hold(home, 1) as (one,):
        with pytest.raises(OSError):
            for byte in b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"x: y\r\n" * 1000:
                one.sendall(bytes([byte]))
                time.sleep(0.05)


def test_a_second_head_is_not_waited_for_either():
    whole = getting("/")
    with served(Limits(head_s=0.3, idle_s=30, stall_s=30)) as home:
        for words in (whole + b"GET", whole * 3 + b"G"):
            with hold(home, 1, words) as (one,):
                told = rest(one)
                assert told.count(b"here") == words.count(whole) and b" 408 " in told


def test_a_connection_that_asks_nothing_more_is_closed():
    with served(Limits(head_s=30, idle_s=0.3, stall_s=30)) as home:
        with hold(home, 2, getting("/")) as held:
            assert [rest(one).endswith(b"here") for one in held] == [True, True]
        with httpx.Client(base_url=home) as client:  # and within that time it serves again
            assert [client.get("/").text for _ in range(5)] == ["here"] * 5


def test_an_answer_that_is_not_read_is_dropped():
    with served(Limits(head_s=30, idle_s=30, stall_s=0.4)) as home:
        with hold(home, 3, getting("/large"), receive=4096) as held:
            time.sleep(2)
            assert all(len(rest(one)) < len(LARGE) for one in held)
        assert len(ask(home, "/large").content) == len(LARGE)  # who reads gets all of it


def test_a_slow_answer_is_waited_for():
    with served(Limits(head_s=0.1, idle_s=0.1, stall_s=0.1)) as home:
        assert ask(home, "/slow").text == "slow"


def test_an_address_that_holds_all_it_gets_is_still_answered():
    """So is everybody, where all have one address: the longest silent goes."""
    with served(Limits(30, 30, 30, by_address=20)) as home, hold(home, 60) as held:
        assert [ask(home).text for _ in range(5)] == ["here"] * 5
        until(lambda: sum(map(closed, held)) >= 40)
        gone = sum(closed(one) for one in held)
        assert 40 <= gone <= 45
        assert all(closed(one) for one in held[:40]) and not any(closed(one) for one in held[50:])


def test_who_half_asks_or_does_not_read_makes_room():
    posting = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\nhalf"
    for words in (posting, getting("/large")):
        with served(Limits(30, 30, 30, by_address=6)) as home, hold(home, 6, words, receive=4096):
            time.sleep(0.5)
            assert ask(home).text == "here"


def test_who_is_being_served_is_not_put_out(monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE_S", 60)  # on a busy machine the first of many is soon no new one
    app, come, may_go = pages(), threading.Semaphore(0), threading.Event()

    @app.get("/held", response_class=PlainTextResponse)
    def held() -> str:
        come.release()
        may_go.wait(60)
        return "held"

    with served(Limits(30, 30, 30, by_address=4), app=app) as home, hold(home, 4, getting("/held")) as asking:
        assert all(come.acquire(timeout=60) for _ in asking)
        with hold(home, 4 * FOLD + 4) as extra:  # there is no room for the last of these
            assert [rest(one, 60.0) for one in extra[-8:]] == [b""] * 8
        assert not any(map(closed, asking))
        may_go.set()
        for one in asking:
            one.settimeout(60)
            assert one.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_all_together_have_a_limit_and_the_most_crowded_address_pays():
    with served(Limits(30, 30, 30, by_address=100, most=20)) as home:
        with hold(home, 5, source="127.0.0.2") as few, hold(home, 15, source="127.0.0.3") as many:
            assert [ask(home, source=f"127.0.0.{n}").text for n in range(4, 9)] == ["here"] * 5
            assert not any(map(closed, few)) and any(map(closed, many))


def test_a_proxy_opens_connections_for_many():
    with served(Limits(30, 30, 30, by_address=5, most=100), proxies=["127.0.0.1"]) as home, hold(home, 30) as held:
        assert ask(home).text == "here" and not any(map(closed, held))


def closed(one) -> bool:
    one.settimeout(0.01)
    try:
        return one.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_another_address_is_answered_beside_the_worst():
    """Idle connections, readers who do not read and long searches by one address, beside the pages of another."""
    worst = "127.0.0.2"
    with (
        served(Limits(30, 30, 30, by_address=60, most=100)) as home,
        hold(home, 20, getting("/slow") * 20, source=worst),
        hold(home, 20, getting("/large"), source=worst, receive=4096),
        hold(home, 100, source=worst),
        hold(home, 20, getting("/slow") * 20, source=worst),
    ):
        assert [ask(home, source="127.0.0.3").text for _ in range(5)] == ["here"] * 5
        # Few at a time are worked on for one address, of the forty that there are threads for.
        assert ask(home, "/slow", source="127.0.0.3").text == "slow"
        assert ask(home, source=worst).text == "here"


class Heard(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def test_who_speaks_no_http_does_not_fill_the_log(request):
    log, heard = logging.getLogger("uvicorn.error"), Heard()
    request.addfinalizer(lambda: log.removeHandler(heard))
    for old in [each for each in log.filters if isinstance(each, Sparing)]:  # which has heard it all before
        log.removeFilter(old)
    odd = (
        b"\x16\x03\x01 rubbish\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    )
    with served(Limits(1, 1, 1)) as home:
        log.addHandler(heard)  # after uvicorn has set up its own
        for words in odd:
            with hold(home, 10, words) as held:
                assert all(b" 400 " in told or b"here" in told for told in map(rest, held))
    assert any("Invalid HTTP" in line for line in heard.lines) and len(heard.lines) == len(set(heard.lines))


def test_a_process_may_open_as_many_files_as_its_user_may(monkeypatch):
    limits, asked = [(256, 1024), (256, resource.RLIM_INFINITY), (100_000, 100_000)], []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, to: asked.append(to))
    for limit in limits:
        monkeypatch.setattr(resource, "getrlimit", lambda kind, limit=limit: limit)
        connections.raise_room()
    assert asked == [(1024, 1024), (2 * connections.MOST + connections.RESERVE, resource.RLIM_INFINITY)]

    def refusing(kind, to):
        raise ValueError("more than this system allows")

    monkeypatch.setattr(resource, "setrlimit", refusing)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[0])
    connections.raise_room()  # and goes on with what there is


def test_the_room_is_below_what_the_process_may_open(monkeypatch):
    for soft, least, most in ((256, 16, 128), (1024, 256, 640), (1 << 20, 1000, connections.MOST)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, soft=soft: (soft, soft))
        assert least <= connections.room() <= most
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert connections.room() == connections.MOST


FLOOD = """
import resource, socket, sys, time, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
from fastapi import FastAPI, Response
import uvicorn
from physalis.web.guard.connections import configured
from physalis.web.guard.guard import guard
from physalis.web.guard.journal import Sparing
from physalis.web.server.serving import address, bind
app = FastAPI()
@app.get("/")
async def page() -> str: return "here"
LARGE = b"x" * 5_000_000
@app.get("/large")
async def large() -> Response: return Response(LARGE)
@app.get("/search")
def search() -> str: return str(sum(i * i for i in range(300_000)))
with bind("127.0.0.1", 0) as listener:
    print(address(listener), flush=True)
    uvicorn.Server(configured(guard(app))).run([listener])
"""


@pytest.mark.slow
def test_a_process_with_few_descriptors_outlives_more_connections_than_it_has():
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    process = subprocess.Popen([sys.executable, "-c", FLOOD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        home = process.stdout.readline().strip().rstrip("/")
        with (
            hold(home, 1030, source="127.0.0.2"),
            hold(home, 400, getting("/large"), source="127.0.0.2", receive=4096),
            hold(home, 50, getting("/search") * 5, source="127.0.0.2"),
        ):
            began = time.monotonic()
            assert [ask(home, source="127.0.0.3").json() for _ in range(10)] == ["here"] * 10
            print(f"{(time.monotonic() - began) / 10:.3f} s a page of another address")
        assert ask(home, source="127.0.0.2").json() == "here"
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert "Too many open files" not in said


def who(scope_seen):
    async def app(scope, receive, send):
        scope_seen.append((scope["client"][0], scope["scheme"]))
        await PlainTextResponse("here")(scope, receive, send)

    return app


FORGED = [
    {"x-forwarded-for": "8.8.8.8", "x-forwarded-proto": "https"},
    {"x-forwarded-for": "8.8.8.8, 127.0.0.1"},
    {"forwarded": "for=8.8.8.8;proto=https"},
    {"x-real-ip": "8.8.8.8"},
]


def test_nobody_is_believed_about_who_they_are():
    seen = []
    with served(PATIENT, app=who(seen)) as home:
        for headers in FORGED:
            ask(home, headers=headers)
    assert seen == [("127.0.0.1", "http")] * len(FORGED)


def test_a_named_proxy_is_believed_about_what_it_wrote_itself():
    seen = []
    with served(PATIENT, ["127.0.0.1", "10.0.0.0/8"], app=who(seen)) as home:
        for headers in (
            [("x-forwarded-for", "9.9.9.9")],
            [("x-forwarded-for", "1.1.1.1, 8.8.8.8 , 9.9.9.9"), ("x-forwarded-proto", "https")],
            [
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-for", "8.8.8.8, 9.9.9.9"),
                ("x-forwarded-proto", "x, HTTPS"),
            ],
            [("x-forwarded-for", "1.1.1.1, 127.0.0.1")],  # somebody on the proxy's own machine
            [("x-forwarded-for", "8.8.8.8, unknown"), ("x-forwarded-proto", "gopher")],
            [("x-forwarded-for", "")],
            [("x-forwarded-for", "8.8.8.8, [2001:db8::1]")],
            [("x-forwarded-for", "8.8.8.8, ::ffff:9.9.9.9")],
            [],
        ):
            ask(home, headers=headers)
        ask(home, source="127.0.0.2", headers={"x-forwarded-for": "9.9.9.9", "x-forwarded-proto": "https"})
    here, there = "127.0.0.1", "9.9.9.9"
    assert seen == [
        (there, "http"), (there, "https"), (there, "https"), (here, "http"), (here, "http"), (here, "http"),
        ("2001:db8::1", "http"), (there, "http"), (here, "http"), ("127.0.0.2", "http"),
    ]  # fmt: skip


def test_rates_are_not_escaped_by_a_header():
    with served(PATIENT, by_address=Rate(3, 0.001)) as home:
        answers = [httpx.post(home, headers={"x-forwarded-for": f"9.9.9.{n}"}).status_code for n in range(5)]
    assert answers == [200, 200, 200, 429, 429]

"""A server that is told to stop does so within seconds, whatever it is doing, and without a word that nobody needs."""

import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack, contextmanager

import pytest
from hanging import read_until, say
from tree import ROOT

APP = """
import asyncio, sys, threading, time
from fastapi import FastAPI, Request
from physalis.runtime.cancellation import check_interrupted
from physalis.web.server import server, serving
from physalis.web.server.events import Events
from physalis.web.worker.model_lock import ModelLock

app, turns, ever = FastAPI(), ModelLock(), threading.Event()

def steps():
    while True:
        yield {"plain": "a"}
        time.sleep(0.01)
        check_interrupted()

def stuck():  # as a call into a library is that does not come back
    yield {"plain": "a"}
    time.sleep(1000)

@app.get("/streamed")
async def streamed(request: Request):
    return await Events.of(turns.stream(request, steps))

@app.get("/whole")
async def whole(request: Request):
    return await turns.answer(request, lambda: list(steps()))

@app.get("/stuck")
async def hangs(request: Request):
    return await Events.of(turns.stream(request, stuck))

@app.get("/thread")
def thread():
    time.sleep(1000)

@app.get("/loop")
async def loop():
    time.sleep(1000)

@app.get("/task")
async def task():
    await asyncio.sleep(1000)

@app.post("/write")
def write(path: str):
    time.sleep(0.5)
    open(path, "w").write("all of it")

@app.get("/page")
def page():
    return 1

server.SPARE_S = 0.5
server.Server.__init__.__kwdefaults__["grace"] = 1
serving.serve_app(lambda: app, "it")
print("and on", flush=True)
"""


@contextmanager
def running(script: str):
    """A server in a process of its own, and where it is."""
    command = [sys.executable, "-c", textwrap.dedent(script).replace('"it")', '"it", port=0)')]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            line = next(line for line in process.stderr if " is at http" in line)
            yield process, ("127.0.0.1", int(re.search(r"http://127.0.0.1:(\d+)/", line)[1]))
        finally:
            process.kill()


def ends(process, sig: signal.Signals) -> tuple[int, str, str]:
    process.send_signal(sig)
    said, errors = process.communicate(timeout=30)  # for slow machines; it would be 1,000 s
    return process.returncode, said, errors


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("path", ["/streamed", "/whole", "/task", "/page"])
def test_what_can_stop_does(path, sig):
    with running(APP) as (process, at), say(at, path) as client:
        if path in ("/streamed", "/page"):
            read_until(client, b"data: " if path == "/streamed" else b"1")
        else:
            time.sleep(0.3)
        code, said, errors = ends(process, sig)
        if path == "/streamed":
            rest = read_until(client, b"[DONE]")
            assert b"being stopped" in rest and b"[DONE]" in rest
        if path in ("/whole", "/task"):
            answer = read_until(client, b"}")
            assert b" 503 " in answer and b"being stopped" in answer
    assert code == (0 if sig == signal.SIGINT else -signal.SIGTERM)
    assert ("and on" in said) == (sig == signal.SIGINT)  # nothing keeps what comes after it
    assert "Traceback" not in errors and "given up" not in errors


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("path", ["/stuck", "/thread", "/loop"])
def test_what_cannot_stop_ends_with_the_process(path, sig):
    with running(APP) as (process, at), say(at, path) as client:
        if path == "/stuck":
            read_until(client, b"data: ")
        else:
            time.sleep(0.3)
        code, said, errors = ends(process, sig)
    assert code == 128 + sig and "given up" in errors and "Traceback" not in errors and not said


def test_half_a_request_holds_nothing_up():
    with running(APP) as (process, at), socket.create_connection(at) as client:
        client.sendall(b"POST /write?path=x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{")
        time.sleep(0.2)
        code, _, errors = ends(process, signal.SIGTERM)
    assert code == -signal.SIGTERM and "Traceback" not in errors


def test_who_asks_for_a_websocket_gets_the_page_and_nothing_is_logged():
    head = b"GET /page HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    with running(APP) as (process, at), socket.create_connection(at) as client:
        client.sendall(head)
        assert b" 200 " in read_until(client, b"\r\n\r\n1")
        _, _, errors = ends(process, signal.SIGTERM)
    assert not errors


def test_what_was_asked_before_is_written(tmp_path):
    with running(APP) as (process, at), ExitStack() as stack:
        client = stack.enter_context(say(at, f"/write?path={tmp_path / 'it'}", {}))
        time.sleep(0.2)
        code, _, errors = ends(process, signal.SIGTERM)
        assert b" 200 " in read_until(client, b"null")
    assert code == -signal.SIGTERM and (tmp_path / "it").read_text() == "all of it"


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_first_moment_is_heeded(sig):
    """As soon as the address is printed, before uvicorn looks for signals."""
    at_once = f"import os\nserving._tell = lambda *_: os.kill(os.getpid(), {int(sig)})\nserving.serve_app("
    command = [sys.executable, "-c", APP.replace("serving.serve_app(", at_once).replace('"it")', '"it", port=0)')]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == (0 if sig == signal.SIGINT else -sig), ended.stderr
    assert ended.stderr == "" and ended.stdout == ("and on\n" if sig == signal.SIGINT else "")


def test_a_second_signal_does_no_harm():
    with running(APP) as (process, at), say(at, "/thread"):
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        code, _, errors = ends(process, signal.SIGINT)
    assert code == 128 + signal.SIGINT and "Traceback" not in errors


def test_the_real_server_stops_a_text(tiny_activations, tiny_dictionary, tiny_atlas):
    script = f"""
    import time
    from physalis.atlas import Atlas
    from physalis.models.tiny import tiny_model
    from physalis.web.server import serving
    from physalis.web.atlas.app import create_app
    from physalis.web.atlas.live import beside

    model = tiny_model()
    model.__dict__["ends"] = frozenset()
    model.hf.blocks[0].register_forward_pre_hook(lambda *_: time.sleep(0.05))
    atlas = Atlas.open({str(tiny_atlas.folder)!r})
    serving.serve_app(lambda: create_app(atlas, beside(atlas, model, {str(tiny_dictionary)!r})), "it")
    """
    with running(script) as (process, at), say(at, "/api/steer", {"text": "alpha", "tokens": 240}) as client:
        assert b"plain" in read_until(client, b"plain")
        code, _, errors = ends(process, signal.SIGTERM)
        assert b"[DONE]" in read_until(client, b"[DONE]")
    assert code == -signal.SIGTERM and not errors, errors


def test_its_source_starts_no_thread_while_a_signal_is_heeded():
    """The thread that is interrupted may hold the lock that starting one takes."""
    source = (ROOT / "src/physalis/web/server/server.py").read_text()
    heeding = source[source.index("def handle_exit") : source.index("async def shutdown")]
    assert "Thread(" not in heeding and "Timer(" not in heeding

"""Signs of life: a worker that hangs is ended and started again, its visitors are told, and one that lives is left."""

import asyncio
import os
import signal
import threading
from multiprocessing import Pipe
from pathlib import Path

import echoing
import pytest
import uvicorn
from fastapi import Request
from hanging import until
from test_relay import Visit

from physalis.errors import Unavailable
from physalis.web.server.server import Server
from physalis.web.worker import service
from physalis.web.worker import worker as worker_
from physalis.web.worker.relay import Passed, Relay
from physalis.web.worker.worker import Setting, Worker


class Counted(Worker):
    """Tells of each sign of life."""

    def __init__(self, *setting, **options) -> None:
        self.beats = threading.Semaphore(0)
        super().__init__(*setting, **options)

    def _alive(self) -> bool:
        alive = super()._alive()
        self.beats.release()
        return alive


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_, "WORKING", echoing.__name__)
    monkeypatch.setenv("PYTHONPATH", str(Path(echoing.__file__).parent), prepend=os.pathsep)
    own = Counted(Setting(tmp_path, tmp_path), beat_s=0.01)
    yield own
    own.close()


async def asked(relay: Relay) -> bytes:
    visit = Visit()
    await Passed(relay, Request(visit.scope, visit.receive), b"{}")(visit.scope, visit.receive, visit.send)
    return visit.body


def test_one_that_hangs_is_ended_and_started_again(own):
    """Nobody has to ask for that; who asked meanwhile is told."""

    async def run() -> None:
        relay = Relay(own)
        assert await asked(relay) == b"here"
        hung, before = own._process, relay.client
        own.silence = 1
        hung.send_signal(signal.SIGSTOP)
        with pytest.raises(Unavailable, match="Ask again in a moment"):
            await asked(relay)
        own.silence = 60
        await asyncio.to_thread(until, lambda: hung.poll() == -signal.SIGKILL and not own._starting)
        assert own._process is not hung and own._process.poll() is None
        assert await asked(relay) == b"here"
        await asyncio.gather(*relay._closing)
        assert before.is_closed

    asyncio.run(run())


def test_one_that_lives_is_left_alone(own):
    before = own._process
    for _ in range(20):
        assert own.beats.acquire(timeout=60)
    assert own._process is before and before.poll() is None


def test_a_worker_gives_signs_of_life_and_ends_with_who_asks(tmp_path, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(service.os, "_exit", lambda code: ended.set())
    ours, theirs = Pipe()
    socket = tmp_path / "socket"
    socket.mkdir()
    thread = threading.Thread(target=service._live_with, args=(theirs, socket))
    thread.start()
    for _ in range(3):
        ours.send(None)
        assert ours.poll(60) and ours.recv() is None
    ours.close()
    thread.join(60)
    assert ended.is_set() and not socket.exists()


def test_threads_behind_an_app_do_not_hold_its_server_up(own):
    """Nobody's request began the one that asks for signs of life: a server told to stop does not wait for it."""
    server = Server(uvicorn.Config(lambda: None))
    beating = next(thread for thread in threading.enumerate() if thread.name == "heartbeat")
    server.spare_threads()
    assert beating in server._others and threading.main_thread() not in server._others

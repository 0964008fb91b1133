"""Relay: what becomes of an answer whose visitor, or whose worker, is gone. Answers as such: test_worker."""

import asyncio
import json
from pathlib import Path

import pytest
from fastapi import HTTPException, Request

from physalis.errors import Unavailable
from physalis.web.worker.relay import Passed, Relay
from physalis.web.worker.worker import Worker

EVENTS = b"content-type: text/event-stream; charset=utf-8"


class At(Worker):
    """One that others made."""

    def __init__(self, address: Path) -> None:
        self._at = address

    @property
    def address(self) -> Path:
        return self._at

    def missed(self) -> None:
        raise Unavailable("It is being started again.")


class Visit:
    """A request, and all that its visitor is sent. ``leave`` hangs up, as the server does when it is stopped."""

    def __init__(self) -> None:
        self.sent: list[dict] = []
        self.began, self.left = asyncio.Event(), asyncio.Event()
        self.scope = {
            "type": "http", "method": "POST", "path": "/api/steer", "query_string": b"", "headers": [],
            "scheme": "http", "server": ("127.0.0.1", 1), "root_path": "",
        }  # fmt: skip

    async def receive(self) -> dict:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body":
            self.began.set()

    async def pass_to(self, address) -> None:
        relay = Relay(At(address))
        async with relay.client:
            await Passed(relay, Request(self.scope, self.receive), b"{}")(self.scope, self.receive, self.send)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def worker(address, *said: bytes, hangs_up: bool = False) -> tuple[asyncio.Server, asyncio.Event]:
    """One that answers with these bytes and then with nothing; what tells that its visitor is gone."""
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"".join(said))
        await writer.drain()
        if not hangs_up:
            while await reader.read(100):
                pass
            gone.set()
        writer.close()

    return await asyncio.start_unix_server(answer, path=address), gone


def head(kind: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + kind + b"\r\ntransfer-encoding: chunked\r\n\r\n"


def test_who_listens_to_a_stream_that_is_stopped_hears_its_end(tmp_path):
    async def run() -> Visit:
        server, gone = await worker(tmp_path / "w", head(EVENTS), b'd\r\ndata: "abc"\n\n\r\n')
        visit = Visit()
        passing = asyncio.ensure_future(visit.pass_to(tmp_path / "w"))
        began = asyncio.ensure_future(visit.began.wait())
        await asyncio.wait({passing, began}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        visit.left.set()
        await passing
        await asyncio.wait_for(gone.wait(), 60)  # the worker need not go on
        server.close()
        return visit

    visit = asyncio.run(run())
    assert visit.body.startswith(b"data: ") and visit.body.endswith(b"data: [DONE]\n\n")
    said = json.loads(visit.body.split(b"data: ")[-2])
    assert "being stopped" in said["detail"]
    assert visit.sent[-1]["more_body"] is False


def test_what_has_not_begun_is_refused_in_a_sentence(tmp_path):
    async def run() -> None:
        server, gone = await worker(tmp_path / "w")
        visit = Visit()
        passing = asyncio.ensure_future(visit.pass_to(tmp_path / "w"))
        await asyncio.sleep(0.05)
        visit.left.set()
        with pytest.raises(HTTPException, match="being stopped"):
            await passing
        await asyncio.wait_for(gone.wait(), 60)
        server.close()

    asyncio.run(run())


def test_half_an_answer_is_not_made_a_whole_one(tmp_path):
    """Whatever it is: the end that tells that it is whole is not sent."""

    async def run() -> Visit:
        server, _ = await worker(
            tmp_path / "w", head(b"content-type: application/json"), b'5\r\n{"a":\r\n', hangs_up=True
        )
        visit = Visit()
        with pytest.raises(Exception, match="closed"):
            await visit.pass_to(tmp_path / "w")
        server.close()
        return visit

    visit = asyncio.run(run())
    assert visit.body == b'{"a":' and all(message.get("more_body", True) for message in visit.sent)


def test_a_worker_that_is_not_there_is_missed(tmp_path):
    with pytest.raises(Unavailable, match="started again"):
        asyncio.run(Visit().pass_to(tmp_path / "none"))


def test_a_stream_whose_worker_ends_says_so(tmp_path):
    async def run() -> Visit:
        server, _ = await worker(tmp_path / "w", head(EVENTS), b'd\r\ndata: "abc"\n\n\r\n', hangs_up=True)
        visit = Visit()
        await visit.pass_to(tmp_path / "w")
        server.close()
        return visit

    visit = asyncio.run(run())
    assert visit.body.endswith(b"data: [DONE]\n\n") and visit.sent[-1]["more_body"] is False
    assert "process ended" in json.loads(visit.body.split(b"data: ")[-2])["detail"]


def test_below_a_prefix_a_worker_is_asked_what_it_answers_alone(tmp_path):
    async def run() -> bytes:
        asked = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set_result(await reader.readuntil(b"\r\n"))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(answer, path=tmp_path / "w")
        visit = Visit()
        visit.scope |= {"path": "/a/commas/api/steer", "root_path": "/a/commas"}
        await visit.pass_to(tmp_path / "w")
        server.close()
        return await asked

    assert asyncio.run(run()).partition(b"?")[0] == b"POST /api/steer"


def test_the_client_of_a_worker_that_is_gone_is_closed(tmp_path):
    async def run() -> None:
        at = At(tmp_path / "first")
        relay = Relay(at)
        first = relay.client
        assert relay.client is first and not first.is_closed
        at._at = tmp_path / "second"
        second = relay.client
        assert second is not first
        await asyncio.gather(*relay._closing)
        assert first.is_closed and not second.is_closed and relay.client is second

    asyncio.run(run())

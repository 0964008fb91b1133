"""relay: passes on to a worker (``web.worker``) what is asked of the model, and back what it answers, as it comes.

Who hangs up here has hung up there: the worker's work for them ends.
"""

import asyncio
import contextlib
import string
from pathlib import Path
from urllib.parse import quote

import httpx
from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Receive, Scope, Send

from physalis.web.atlas.records import Live, Steerable, Tryable
from physalis.web.guard.admission import leave_early
from physalis.web.guard.guard import costs
from physalis.web.server.events import DONE, Events, event
from physalis.web.worker.model_lock import MOST_SECONDS, SPARE_SECONDS, hung_up, stopping
from physalis.web.worker.worker import Worker

PASSED = (b"accept", b"accept-encoding", b"content-type")
"""Headers that a worker is told."""
PLAIN = {"accept-encoding": "identity"}
"""What is asked for whoever does not say what they can read."""
PATIENCE = httpx.Timeout(2 * (MOST_SECONDS + SPARE_SECONDS), connect=5.0, pool=None)
"""Who waits for a turn and then has one waits twice as long as one may take."""
ENDED = "The model's process ended before this was done. Ask again in a moment."
AS_IT_IS = string.punctuation.replace("#", "")
"""Of a query: with a "#" it would end."""
DROPPED = frozenset({"connection", "date", "keep-alive", "server", "transfer-encoding"})
"""Headers of its answer that are about its connection alone."""


def relayed(worker: Worker) -> Live:
    """What a worker adds to the pages of its atlas."""
    told, relay = worker.told, Relay(worker)
    router = APIRouter()

    async def passed_on(request: Request) -> Response:
        return Passed(relay, request, await request.body())

    for route in told.routes:
        prices = [Depends(costs)] if route.costs else []
        router.add_api_route(
            route.path, passed_on, methods=[*route.methods], dependencies=prices, include_in_schema=False
        )
    return Live(
        Steerable.model_validate_json(told.steering), Tryable.model_validate_json(told.trying), [router], told.described
    )


class Relay:
    """The connections to a worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._client: httpx.AsyncClient | None = None
        self._address: Path | None = None
        self._closing: set[asyncio.Future[None]] = set()

    @property
    def client(self) -> httpx.AsyncClient:
        """Made where it is used: it belongs to an event loop, and to the worker's address. That of a worker which is
        gone is closed."""
        if self._client is None or self._address != self.worker.address:
            if self._client is not None:
                closing = asyncio.ensure_future(self._client.aclose())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            self._address = self.worker.address
            transport = httpx.AsyncHTTPTransport(uds=str(self._address), limits=httpx.Limits())
            self._client = httpx.AsyncClient(
                transport=transport, base_url="http://worker", headers=PLAIN, timeout=PATIENCE, trust_env=False
            )
        return self._client


class Passed(Response):
    """The answer to a request that is passed on."""

    def __init__(self, relay: Relay, request: Request, body: bytes) -> None:
        super().__init__()
        self._relay, self._request, self._sent = relay, request, body
        self._begun: str | None = None
        """The content type of the answer, once it has begun."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leave_early(scope)  # whoever waits for the model has a place there
        passing = asyncio.ensure_future(self._pass(send))
        gone = asyncio.ensure_future(hung_up(receive))
        try:
            await asyncio.wait({passing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                return passing.result()
        finally:
            for each in (passing, gone):
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await each
        # Nobody is there, or the server is being stopped, which is said to who still listens.
        if self._begun is None:
            raise stopping()
        if self._begun.startswith(Events.media_type):
            last = event({"detail": stopping().detail}) + DONE
            await send({"type": "http.response.body", "body": last.encode(), "more_body": False})

    async def _pass(self, send: Send) -> None:
        client, request = self._relay.client, self._request
        headers = [(name, value) for name, value in request.headers.raw if name in PASSED]
        query = quote(request.scope["query_string"], safe=AS_IT_IS).encode()
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))  # a worker serves one atlas alone
        url = httpx.URL(path=path, query=query)
        asked = client.build_request(request.method, url, headers=headers, content=self._sent)
        try:
            answer = await client.send(asked, stream=True)
        except httpx.TransportError:
            self._relay.worker.missed()
            raise
        try:
            kind = self._begun = answer.headers.get("content-type", "")
            kept = [(name, value) for name, value in answer.headers.raw if name.decode().lower() not in DROPPED]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            try:
                async for part in answer.aiter_raw():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except httpx.TransportError:
                if not kind.startswith(Events.media_type):
                    raise
                last = event({"detail": ENDED}) + DONE
                return await send({"type": "http.response.body", "body": last.encode(), "more_body": False})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await answer.aclose()

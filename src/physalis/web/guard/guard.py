"""guard: what every request passes before the pages see it.

In this order, each refusal one sentence as JSON:
1. the address is no longer than any page asks with;
2. the Host header is a name of this server (a page elsewhere cannot reach it by pointing its own name here: DNS
   rebinding);
3. where other machines can reach it, the visitor has the server's token;
4. no page of another site is behind it, unless somebody came here from there by a link (Sec-Fetch-Site);
5. who changes something is not in too great a hurry (token buckets for each address and each session);
6. what changes something comes from these pages, not from another site (Origin and Sec-Fetch-Site);
7. the body arrives whole, in time, is not too large, and does not hold too much;
8. there is a place to work on it (``web.guard.admission``): who asks for much waits, in nobody else's way.

Whoever is refused often is answered late: a refusal costs little, and thousands of them a second cost the others.

Steps 5 and 6 are asked as well of what only reads but runs the model: its routes depend on ``costs``. Steps 4 and 6
keep other sites out of every browser of this decade; requests that act for a signed-in person also need the token of
their session, which ``web.people.comments`` asks for.
"""

import asyncio
from collections.abc import Callable, Sequence

import anyio
from fastapi import HTTPException
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from physalis.web.guard.admission import Admission, held
from physalis.web.guard.checks import (
    FEW_BYTES,
    READING,
    Check,
    HostCheck,
    OriginCheck,
    RateLimit,
    Refused,
    TokenCheck,
    check_site,
    check_size,
    check_values,
    refuse,
    visitor,
)
from physalis.web.guard.hosts import require_token
from physalis.web.guard.rates import Buckets, Rate

ADDRESS_RATE, SESSION_RATE = Rate(120, 2.0), Rate(60, 1.0)
"""Changes: people who share an address share the first, and nobody writes as fast as the second."""
REFUSAL_RATE, LATE_S = Rate(40, 4.0), 1.0
"""Refusals of one address that are said at once, and how late the others are."""
CHANGES_AT_ONCE = 2
"""Changes wait for a disk, and for each other: they have places of their own, so that who reads waits for neither."""
_CHARGE = "physalis.charge"


class Guard:
    """An app behind its checks. Made by ``guard``."""

    def __init__(
        self, app: ASGIApp, checks: Sequence[Check], charges: Sequence[Check], *, most_bytes: int, most_seconds: float
    ) -> None:
        """``checks`` are asked of every request; ``charges`` of those that change something, and of what costs."""
        self._app, self._checks, self._charges = app, checks, charges
        self._bytes, self._seconds = most_bytes, most_seconds
        self._reading, self._changing = Admission(), Admission(CHANGES_AT_ONCE)
        self._refusals = Buckets(REFUSAL_RATE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # nothing here speaks websocket, and the checks below are not made for it
            return await send({"type": "websocket.close", "code": 1008})
        request = Request(scope)
        reading = request.method in READING
        refusal = _first(self._checks if reading else [*self._checks, *self._charges], request)
        if refusal is not None:
            return await self._refuse(request, refusal, send)
        body = await self._body(request, receive)
        if isinstance(body, Response):
            return await self._refuse(request, body, send)
        if body is None:  # nobody is there any more
            return None
        leave = await (self._reading if reading else self._changing).enter(visitor(request))
        if leave is None:
            much = refuse(429, "That was too much at once. Ask less.", retry_after="1")
            return await self._refuse(request, much, send)
        try:
            refusal = await run_in_threadpool(check_values, body) if len(body) > FEW_BYTES else None
            if refusal is not None:
                leave()
                return await self._refuse(request, refusal, send)
            await self._answer(request, body, receive, send, leave)
        finally:
            leave()

    async def _answer(
        self, request: Request, body: bytes, receive: Receive, send: Send, leave: Callable[[], None]
    ) -> None:
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        def charge() -> Response | None:
            leave()  # whoever waits for the model has a place there
            return _first(self._charges, request)

        async def answered(message: Message) -> None:
            leave()  # the answer is made: however slowly it is read, it is in nobody's way
            if message["type"] == "http.response.start" and message["status"] >= 400:
                await self._put_off(request)
            await send(message)

        scope = held(dict(request.scope), leave)
        if request.method in READING:
            scope[_CHARGE] = charge
        await self._app(scope, replay, answered)

    async def _refuse(self, request: Request, refusal: Response, send: Send) -> None:
        await self._put_off(request)
        await refusal(request.scope, request.receive, send)

    async def _put_off(self, request: Request) -> None:
        """Wait before a refusal is said, where there were many."""
        if self._refusals.take(visitor(request)):
            await asyncio.sleep(LATE_S)

    async def _body(self, request: Request, receive: Receive) -> bytes | Response | None:
        """The whole body, counted as it comes: what its length is said to be only serves to refuse it sooner."""
        large = f"The body of a request has at most {self._bytes:,} bytes here. Send less."
        for said in request.headers.getlist("content-length"):
            if not (said.isascii() and said.isdigit()):
                return refuse(400, f"Content-Length is a number; received {ascii(said[:40])}.", connection="close")
            if int(said[:20]) > self._bytes:
                return refuse(413, large, connection="close")
        body = bytearray()
        try:
            with anyio.fail_after(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self._bytes:
                        return refuse(413, large, connection="close")
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return refuse(408, f"The request did not arrive within {self._seconds:g} s.", connection="close")


def guard(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    origin: str | None = None,
    most_bytes: int = 64 * 1024,
    most_seconds: float = 20.0,
    by_address: Rate = ADDRESS_RATE,
    by_session: Rate = SESSION_RATE,
) -> Guard:
    """Put an app that listens on ``host`` behind all checks.

    ``token`` is asked of every visitor if it is given, and has to be given unless only this machine can reach ``host``.
    ``origin`` is where a proxy shows the server to the world, such as "https://atlas.example.org". The rates are those
    of requests that change something or run the model. Raises BadInput as ``require_token`` does.
    """
    require_token(host, token)
    checks: list[Check] = [check_size, HostCheck(host, origin)]
    if token is not None:
        checks.append(TokenCheck(token))
    checks.append(check_site)
    charges = [RateLimit(by_address, by_session), OriginCheck(origin)]
    return Guard(app, checks, charges, most_bytes=most_bytes, most_seconds=most_seconds)


async def costs(request: Request) -> None:
    """For routes to depend on that run the model: behind a guard, they are asked what changes are, whatever their
    method. Raises HTTPException with the guard's refusal."""
    charge = request.scope.get(_CHARGE)
    refusal = charge() if charge is not None else None
    if isinstance(refusal, Refused):
        raise HTTPException(refusal.status_code, refusal.sentence, refusal.told)


def _first(checks: Sequence[Check], request: Request) -> Response | None:
    return next((found for check in checks if (found := check(request)) is not None), None)

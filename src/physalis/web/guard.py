"""guard: what every request passes before the pages see it, and require_token: where a server may listen.

In this order, each refusal one sentence as JSON:
1. the Host header is a name of this server (a page elsewhere cannot reach it by pointing its own name here: DNS
   rebinding);
2. where other machines can reach it, the visitor has the server's token;
3. who writes is not in too great a hurry (token buckets for each address and each session);
4. what changes something comes from these pages, not from another site (Origin and Sec-Fetch-Site);
5. the body arrives whole, in time, and is not too large.

Step 4 keeps other sites out of every browser of this decade; requests that act for a signed-in person also need the
token of their session, which ``web.comments`` asks for.
"""

import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import anyio
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from physalis.errors import BadInput

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

LOCAL = "localhost"
SHORTEST_TOKEN = 16
VISIT_DAYS = 30
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)

Check = Callable[[Request], Response | None]
"""Looks at a request without its body; a response refuses it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second for long."""

    burst: int
    per_second: float


ADDRESS_RATE, SESSION_RATE = Rate(120, 2.0), Rate(60, 1.0)
"""Changes: people who share an address share the first, and nobody writes as fast as the second."""


class Guard:
    """An app behind its checks. Made by ``guard``."""

    def __init__(self, app: ASGIApp, checks: Sequence[Check], *, most_bytes: int, most_seconds: float) -> None:
        self._app, self._checks = app, checks
        self._bytes, self._seconds = most_bytes, most_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # nothing here speaks websocket, and the checks below are not made for it
            return await send({"type": "websocket.close", "code": 1008})
        request = Request(scope)
        refusal = next((found for check in self._checks if (found := check(request)) is not None), None)
        if refusal is not None:
            return await refusal(scope, receive, send)
        body = await self._body(request, receive)
        if isinstance(body, Response):
            return await body(scope, receive, send)
        if body is None:  # nobody is there any more
            return None
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)

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
    of requests that change something. Raises BadInput as ``require_token`` does.
    """
    require_token(host, token)
    checks: list[Check] = [HostCheck(host, origin)]
    if token is not None:
        checks.append(TokenCheck(token))
    checks += [RateLimit(by_address, by_session), OriginCheck(origin)]
    return Guard(app, checks, most_bytes=most_bytes, most_seconds=most_seconds)


def require_token(host: str, token: str | None) -> None:
    """Raises BadInput if other machines can reach ``host`` and there is no token, or if the token is a poor one."""
    if token is None and not is_local(host):
        raise BadInput(
            f"Other machines can reach {host!r}, so serving there needs a token; received none. Give one (for instance "
            f"--token {secrets.token_urlsafe(24)}), or serve on 127.0.0.1."
        )
    if token is not None and re.fullmatch(rf"[A-Za-z0-9._~-]{{{SHORTEST_TOKEN},200}}", token) is None:
        raise BadInput(
            f"A token is {SHORTEST_TOKEN} to 200 letters, digits, dots, dashes, underscores or tildes; received "
            f"{len(token)} characters that are not. Take one that nobody guesses: {secrets.token_urlsafe(24)}"
        )


def is_local(host: str) -> bool:
    """Whether only this machine can reach a host. What is not sure to be so is not."""
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == LOCAL


def refuse(status: int, sentence: str, **headers: str) -> Response:
    """A sentence instead of an answer. ``retry_after="3"`` is the header Retry-After."""
    fixed = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return JSONResponse(
        {"detail": sentence}, status, fixed | {name.replace("_", "-"): value for name, value in headers.items()}
    )


def cookie_name(what: str, request: Request, *, secure: bool) -> str:
    """The name of a cookie. A secure one is bound to its host and path (``__Host-``); others tell servers on one host
    apart by their port, which browsers do not."""
    if secure:
        return f"__Host-physalis_{what}"
    return f"physalis_{what}_{_parts(request)[1] or '80'}"


def session_cookie(request: Request) -> tuple[str, bool]:
    """Name of the cookie that holds a session, and whether it is secure: always, except on this machine."""
    secure = not is_local(_parts(request)[0])
    return cookie_name("session", request, secure=secure), secure


def _parts(request: Request) -> tuple[str, str]:
    """Name and port from the Host header, both empty if it cannot be read."""
    hosts = request.headers.getlist("host")
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return ("", "") if match is None else (match[1].lower(), match[2] or "")


class HostCheck:
    """Lets through what asks for a name of this server: one of this machine, or of ``origin``. A server for other
    machines that was told no origin cannot know its names and takes any: there the token keeps others out."""

    def __init__(self, host: str, origin: str | None) -> None:
        public = [] if origin is None else [public_name(origin)]
        self._names = {LOCAL, "127.0.0.1", "[::1]", host.lower(), f"[{host.strip('[]').lower()}]", *public}
        self._any = not is_local(host) and origin is None

    def __call__(self, request: Request) -> Response | None:
        name, _ = _parts(request)
        if not name:
            return refuse(400, "A request has one Host header, with a name and perhaps a port.")
        if not self._any and name not in self._names:
            return refuse(421, f"{name!r} is not a name of this server. Open it by the address that it printed.")
        return None


class TokenCheck:
    """Lets through who has the token: ?token= on the first visit, which leaves a cookie, or Authorization: Bearer."""

    def __init__(self, token: str) -> None:
        self._token = token
        # The cookie does not tell the token: it is enough for visits, and for nothing else.
        self._cookie = hashlib.sha256(f"physalis visit {token}".encode()).hexdigest()
        self._wrong = Buckets(Rate(30, 0.2))

    def __call__(self, request: Request) -> Response | None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        asked = request.query_params.getlist("token")
        secure = request.scope["scheme"] == "https"
        name = cookie_name("visit", request, secure=secure)
        if asked and _same(asked[-1], self._token):
            if request.method not in READING:
                return None
            response = RedirectResponse(_without_token(request), 303, {"cache-control": "no-store"})
            # Lax, since a link in a letter has to work: it lets read, and no more.
            response.set_cookie(
                name, self._cookie, VISIT_DAYS * 86400, path="/", httponly=True, samesite="lax", secure=secure
            )
            return response
        if scheme.lower() == "bearer" and _same(bearer.strip(), self._token):
            return None
        kept = request.cookies.get(name)
        if not asked and kept is not None and _same(kept, self._cookie):
            return None
        if asked or bearer or kept is not None:
            wait = self._wrong.take(_address(request))
            if wait:
                return refuse(429, "Too many wrong tokens.", retry_after=str(math.ceil(wait)))
        sentence = "This server asks for a token: open the link that its owner gave you, which ends in ?token=..."
        return refuse(401, sentence, www_authenticate="Bearer")


class RateLimit:
    """Slows down who changes things, by network address and by session."""

    def __init__(self, by_address: Rate, by_session: Rate) -> None:
        self._addresses, self._sessions = Buckets(by_address), Buckets(by_session)

    def __call__(self, request: Request) -> Response | None:
        if request.method in READING:
            return None
        wait = self._addresses.take(_address(request))
        session = request.cookies.get(session_cookie(request)[0])
        if not wait and session is not None:
            wait = self._sessions.take(hashlib.sha256(session.encode("utf-8", "replace")).digest())
        if wait:
            seconds = math.ceil(wait)
            return refuse(429, f"That was too much at once. Try again in {seconds} s.", retry_after=str(seconds))
        return None


class OriginCheck:
    """Refuses changes that a browser asks for on behalf of another site."""

    def __init__(self, origin: str | None) -> None:
        self._origin = None if origin is None else origin.lower()

    def __call__(self, request: Request) -> Response | None:
        if request.method in READING:
            return None
        host = request.headers.get("host", "").lower()
        ours = {f"http://{host}", f"https://{host}", self._origin}
        sites, origins = request.headers.getlist("sec-fetch-site"), request.headers.getlist("origin")
        if all(site == "same-origin" for site in sites) and all(origin.lower() in ours for origin in origins):
            return None
        return refuse(403, "This request comes from another site. Nothing was changed.")


class Buckets:
    """A token bucket for each key. Only the ``most`` last used are kept, so that nobody can fill the memory with keys:
    one that is forgotten starts full again, which it mostly was, being the longest unused."""

    def __init__(self, rate: Rate, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: Hashable) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        with self._lock:
            now = self._clock()
            level, then = self._levels.get(key, (float(self._rate.burst), now))
            level = min(float(self._rate.burst), level + (now - then) * self._rate.per_second)
            wait = 0.0 if level >= 1 - 1e-9 else (1 - level) / self._rate.per_second
            self._levels[key] = (level if wait else level - 1, now)
            self._levels.move_to_end(key)
            if len(self._levels) > self._most:
                self._levels.popitem(last=False)
        return wait


def _address(request: Request) -> str:
    """Who asks: an IPv4 address, or the /64 of an IPv6 one, since that is what one household has."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def _same(given: str, kept: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), kept.encode())


def _without_token(request: Request) -> str:
    """The same page without its token, on this server whatever the path looks like ("//elsewhere" would leave it)."""
    rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
    return "/" + quote(request.scope["path"].lstrip("/\\"), safe="/") + (f"?{rest}" if rest else "")


def public_name(origin: str) -> str:
    """The name in an origin. Raises BadInput if it is none."""
    match = re.fullmatch(r"https?://(?P<host>[^/?#@\s]+)", origin)
    named = _HOST.fullmatch(match["host"]) if match else None
    if named is None:
        raise BadInput(f"An origin is like https://atlas.example.org, without a path; received {origin!r}.")
    return named[1].lower()

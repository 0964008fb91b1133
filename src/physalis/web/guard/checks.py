"""checks: what is asked of a request before its body is read. Each refusal is one sentence as JSON."""

import hashlib
import hmac
import json
import math
from collections.abc import Callable
from urllib.parse import quote, urlencode

from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.requests import Request

from physalis.web.guard.addresses import household
from physalis.web.guard.hosts import LOCAL, cookie_name, host_of, is_local, public_name, sessions
from physalis.web.guard.rates import Buckets, Rate

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
MOST_PARAMETERS = 1000
"""Of an address: to take thousands apart would keep everyone waiting."""
FEW_BYTES, MOST_FIELDS, MOST_VALUES = 4096, 1000, 20_000
"""Of a body: so many bytes need no counting; fields and values of one that has more. What is wrong with each of them
would have to be told."""
OPEN = ("/static/", "/assets/", "/favicon")
"""Beginnings of what any page may load: the same for everyone, and cheap."""
VISIT_DAYS = 30

Check = Callable[[Request], Response | None]
"""Looks at a request without its body; a response refuses it."""


class Refused(JSONResponse):
    """A sentence instead of an answer."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str]) -> None:
        fixed = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        super().__init__({"detail": sentence}, status, fixed | headers)
        self.sentence, self.told = sentence, headers


def refuse(status: int, sentence: str, **headers: str) -> Refused:
    """A sentence instead of an answer. ``retry_after="3"`` is the header Retry-After."""
    return Refused(status, sentence, {name.replace("_", "-"): value for name, value in headers.items()})


def visitor(request: Request) -> str:
    """Who asks, by their network address."""
    return household(request.client.host if request.client else "")


class HostCheck:
    """Lets through what asks for a name of this server: one of this machine, or of ``origin``. A server for other
    machines that was told no origin cannot know its names and takes any: there the token keeps others out."""

    def __init__(self, host: str, origin: str | None) -> None:
        public = [] if origin is None else [public_name(origin)]
        self._names = {LOCAL, "127.0.0.1", "[::1]", host.lower(), f"[{host.strip('[]').lower()}]", *public}
        self._any = not is_local(host) and origin is None

    def __call__(self, request: Request) -> Response | None:
        name, _ = host_of(request)
        if not name:
            return refuse(400, "A request has one Host header, with a name and perhaps a port.")
        if not self._any and name not in self._names:
            return refuse(421, f"{name[:100]!r} is not a name of this server. Open it by the address that it printed.")
        return None


def check_size(request: Request) -> Response | None:
    """Refuses an address with more parameters than any page asks with."""
    n = request.scope.get("query_string", b"").count(b"&") + 1
    if n > MOST_PARAMETERS:
        return refuse(400, f"An address has at most {MOST_PARAMETERS:,} parameters here; received {n:,}. Ask less.")
    return None


def check_site(request: Request) -> Response | None:
    """Refuses what a page of another site had a browser ask for, unless somebody goes here from there: pages load
    nothing from here (pictures, frames, scripts), and follow links. Browsers say who asks; programs do not."""
    said = request.headers.getlist
    if all(site in ("same-origin", "none") for site in said("sec-fetch-site")):
        return None
    if request.method == "GET" and said("sec-fetch-mode") == ["navigate"] and said("sec-fetch-dest") == ["document"]:
        return None
    if request.method in READING and request.scope["path"].startswith(OPEN):
        return None
    return refuse(403, "Another site asked for this. Nothing was done: open this server's pages by their own address.")


def check_values(body: bytes) -> Response | None:
    """Refuses a body with more fields or values than any page sends. What is no JSON is refused where it is read."""
    try:
        left = [json.loads(body)]
    except (ValueError, RecursionError):
        return None
    fields = values = 0
    while left and fields <= MOST_FIELDS and values <= MOST_VALUES:
        each = left.pop()
        if isinstance(each, dict):
            fields += len(each)
            left += each.values()
        elif isinstance(each, list):
            values += len(each)
            left += each[: MOST_VALUES + 1]
    if left:
        return refuse(413, f"A body has at most {MOST_FIELDS:,} fields and {MOST_VALUES:,} values here. Send less.")
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
            wait = self._wrong.take(visitor(request))
            if wait:
                return refuse(429, "Too many wrong tokens.", retry_after=str(math.ceil(wait)))
        sentence = "This server asks for a token: open the link that its owner gave you, which ends in ?token=..."
        return refuse(401, sentence, www_authenticate="Bearer")


class RateLimit:
    """Slows down whoever is in too great a hurry, by network address and by session."""

    def __init__(self, by_address: Rate, by_session: Rate) -> None:
        self._addresses, self._sessions = Buckets(by_address), Buckets(by_session)

    def __call__(self, request: Request) -> Response | None:
        wait = self._addresses.take(visitor(request))
        for session in sessions(request):
            wait = wait or self._sessions.take(hashlib.sha256(session.encode("utf-8", "replace")).digest())
        if wait:
            seconds = math.ceil(wait)
            return refuse(429, f"That was too much at once. Try again in {seconds} s.", retry_after=str(seconds))
        return None


class OriginCheck:
    """Refuses what a browser asks for on behalf of another site. Who types an address asks for themselves."""

    def __init__(self, origin: str | None) -> None:
        self._origin = None if origin is None else origin.lower()

    def __call__(self, request: Request) -> Response | None:
        host = request.headers.get("host", "").lower()
        ours = {f"http://{host}", f"https://{host}", self._origin}
        own = ("same-origin", "none") if request.method in READING else ("same-origin",)
        sites, origins = request.headers.getlist("sec-fetch-site"), request.headers.getlist("origin")
        if all(site in own for site in sites) and all(origin.lower() in ours for origin in origins):
            return None
        return refuse(403, "This request comes from another site. Nothing was changed.")


def _same(given: str, kept: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), kept.encode())


def _without_token(request: Request) -> str:
    """The same page without its token, on this server whatever the path looks like ("//elsewhere" would leave it)."""
    rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
    return "/" + quote(request.scope["path"].lstrip("/\\"), safe="/") + (f"?{rest}" if rest else "")

"""hosts: where a server may listen, under which names it answers, and how its cookies are called there."""

import ipaddress
import re
import secrets

from starlette.requests import Request

from physalis.errors import BadInput

LOCAL = "localhost"
SHORTEST_TOKEN = 16
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)


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


def public_name(origin: str) -> str:
    """The name in an origin. Raises BadInput if it is none."""
    match = re.fullmatch(r"https?://(?P<host>[^/?#@\s]+)", origin)
    named = HOST.fullmatch(match["host"]) if match else None
    if named is None:
        raise BadInput(f"An origin is like https://atlas.example.org, without a path; received {origin!r}.")
    return named[1].lower()


def host_of(request: Request) -> tuple[str, str]:
    """Name and port from the Host header, both empty if it cannot be read."""
    hosts = request.headers.getlist("host")
    match = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return ("", "") if match is None else (match[1].lower(), match[2] or "")


def cookie_name(what: str, request: Request, *, secure: bool) -> str:
    """The name of a cookie. A secure one is bound to its host and path (``__Host-``); others tell servers on one host
    apart by their port, which browsers do not."""
    if secure:
        return f"__Host-physalis_{what}"
    return f"physalis_{what}_{host_of(request)[1] or '80'}"


def session_cookie(request: Request) -> tuple[str, bool]:
    """Name of the cookie that holds a session, and whether it is secure: always, except on this machine. Rooms below
    others have people of their own, and a cookie each."""
    secure = not is_local(host_of(request)[0])
    room = request.scope.get("root_path", "").replace("/", "_")
    return cookie_name("session", request, secure=secure) + room, secure


def sessions(request: Request) -> list[str]:
    """What all cookies hold that are called as sessions are, of whatever room."""
    name, _ = session_cookie(request)
    return [value for key, value in request.cookies.items() if key == name or key.startswith(f"{name}_")]

"""proxies: whom to believe about who asks. A header is anyone's to write; only what a proxy of ours wrote is true."""

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from physalis.errors import BadInput
from physalis.web.guard.addresses import Network, read_address

SCHEMES = ("http", "https")


def read_proxies(names: Sequence[str]) -> tuple[Network, ...]:
    """The networks of some proxies. Raises BadInput for what is neither an address nor a network."""
    found = []
    for name in names:
        try:
            found.append(ipaddress.ip_network(name))
        except ValueError as error:
            raise BadInput(
                f"A proxy is named by its address, such as 127.0.0.1, or by its network, such as 10.0.0.0/24; received "
                f"{name[:60]!r}."
            ) from error
    return tuple(found)


def is_among(host: str, networks: Sequence[Network]) -> bool:
    """Whether a host is in one of some networks."""
    address = read_address(host)
    return address is not None and any(address in network for network in networks)


class Proxies:
    """An app behind proxies. Of a request that one of them sent, the visitor's address and scheme are those that it
    wrote itself: the last of X-Forwarded-For and X-Forwarded-Proto, since the visitor may have written what stands
    before. Of all others, and where there is nothing that can be read, they are those of the connection."""

    def __init__(self, app: ASGIApp, networks: Sequence[Network]) -> None:
        self._app, self._networks = app, networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client") and is_among(scope["client"][0], self._networks):
            headers = Headers(scope=scope)
            address = read_address(_last(headers, "x-forwarded-for"))
            scheme = _last(headers, "x-forwarded-proto").lower()
            scope = {
                **scope,
                "client": scope["client"] if address is None else (str(address), 0),
                "scheme": scheme if scheme in SCHEMES else scope["scheme"],
            }
        await self._app(scope, receive, send)


def _last(headers: Headers, name: str) -> str:
    """The last entry of the last header of a name; empty if there is none."""
    said = headers.getlist(name)
    return said[-1].rpartition(",")[2].strip().strip("[]") if said else ""

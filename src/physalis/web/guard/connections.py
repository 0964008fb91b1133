"""connections: how many a server keeps open, for how long, and for whom.

A connection costs a file descriptor, which a process has few of, and nobody has to say anything to hold one. So:
- the head of a request arrives within ``head_s``, and a connection that asks nothing more is closed after ``idle_s``;
- an answer that is not read is dropped after ``stall_s`` (bodies of requests are timed by ``web.guard.guard``);
- one address has at most ``by_address`` connections, all together at most ``most``, below what the process may open.
  One more takes the place of the one that has kept the server waiting longest: of the same address, or of the one that
  has most. Where all of an address are being answered, or came just now, it may have ``FOLD`` times as many, so that
  the answer to too many can be a sentence; after that the new one is closed.

Where every visitor has the same address, as on one's own machine, they are so served beside someone who holds all they
get. Those that a proxy opened are its own: only ``most`` counts for them.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from physalis.web.guard.addresses import Network, household
from physalis.web.guard.journal import Sparing
from physalis.web.guard.proxies import Proxies, is_among

MOST, RESERVE = 2_000, 512
"""Connections that a server keeps, and descriptors that it needs besides: for databases, each thread its own, and for
connections that are only looked at to be closed."""
EACH = 2
"""Descriptors that one connection may need: its own, and while its request waits for the model one to the worker."""
FOLD = 4
"""How many times ``by_address`` one address may have where it keeps the server waiting with none."""
PATIENCE_S = 0.5
"""A connection that was heard of since is none that keeps the server waiting: its request may be on its way."""
BACKLOG = 64
"""Connections that are taken in one go: all of them are open before the first can be counted."""
PROGRESS = 4096
"""Bytes; less than that in ``stall_s`` is no reading."""
_LATE = b'{"detail":"The head of the request did not arrive in time."}'
_TIMEOUT = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    + f"content-length: {len(_LATE)}\r\n\r\n".encode()
    + _LATE
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may take. ``most`` is None for what the process has descriptors for."""

    head_s: float = 10.0
    idle_s: float = 15.0
    stall_s: float = 30.0
    by_address: int = 128
    most: int | None = None


class Connection(H11Protocol):
    """One connection. ``crowd`` are all of its server."""

    crowd: "OpenConnections"

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.host = self.client[0] if self.client else ""
        self.visitor = household(self.host)
        self.heard = self.moved = self.loop.time()
        self.head_since: float | None = self.heard
        self.unsent = 0
        if not self.crowd.enter(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        self.crowd.hear(self)
        super().data_received(data)
        if self._answering:
            self.head_since = None
        elif self.head_since is None:
            self.head_since = self.heard

    def on_response_complete(self) -> None:
        super().on_response_complete()
        now = self.loop.time()
        # The next request may have begun to arrive while this one was answered.
        self.head_since = now if not self._answering and self.conn.trailing_data[0] else None
        self.heard = now
        self.crowd.hear(self)

    def _should_upgrade(self) -> bool:  # uvicorn's would log advice about packages, a line for each who asks
        return False

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def waits(self) -> bool:
        """Whether the next step is the visitor's: to ask, to send the rest, or to read."""
        return not self._answering or self.cycle.more_body or self.flow.write_paused

    def tick(self, now: float, limits: Limits) -> None:
        """Look at the clock."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or self.unsent - unsent >= PROGRESS:
            self.moved = now
        self.unsent = unsent if self.moved == now else max(unsent, self.unsent)
        if unsent and now - self.moved > limits.stall_s:
            self.transport.abort()
        elif self.head_since is not None and now - self.head_since > limits.head_s and not self.transport.is_closing():
            if self.conn.trailing_data[0]:  # who said nothing at all is told nothing: browsers open some in advance
                self.transport.write(_TIMEOUT)
            self.transport.close()
        elif self.head_since is None and not self._answering and now - self.heard > limits.idle_s:
            self.transport.close()


class OpenConnections:
    """The open connections of a server."""

    def __init__(self, limits: Limits, proxies: Sequence[Network] = ()) -> None:
        self.limits, self._proxies = limits, proxies
        self._most = room() if limits.most is None else limits.most
        self._by: dict[str, dict[Connection, None]] = {}
        """Of each visitor, whoever was heard of longest ago first."""
        self._n = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._n

    def enter(self, new: Connection) -> bool:
        """Whether there is a place for a new connection, or one was made."""
        mine = self._by.get(new.visitor, {})
        if len(mine) >= self.limits.by_address and not is_among(new.host, self._proxies):
            if not self._drop(mine, patience=PATIENCE_S) and len(mine) >= FOLD * self.limits.by_address:
                return False
        if self._n >= self._most and not self._drop(max(self._by.values(), key=len)):
            return False
        self._by.setdefault(new.visitor, {})[new] = None
        self._n += 1
        if self._timer is None:
            self._watch(new.loop)
        return True

    def hear(self, connection: Connection) -> None:
        """A connection was heard of."""
        mine = self._by.get(connection.visitor, {})
        if connection in mine:
            del mine[connection]
            mine[connection] = None

    def leave(self, connection: Connection) -> None:
        mine = self._by.get(connection.visitor, {})
        if connection in mine:
            del mine[connection]
            self._n -= 1
            if not mine:
                del self._by[connection.visitor]

    def _drop(self, connections: dict[Connection, None], *, patience: float = 0.0) -> bool:
        """Close the one that has kept the server waiting longest, if any does for so many seconds."""
        for each in connections:  # whoever was heard of longest ago first
            if each.loop.time() - each.heard < patience:
                break
            if each.waits:
                self.leave(each)
                each.transport.abort()
                return True
        return False

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at every connection now and then, as long as there are any."""
        now = loop.time()
        for connection in [each for mine in self._by.values() for each in mine]:
            connection.tick(now, self.limits)
        for mine in [*self._by.values()]:
            if not is_among(next(iter(mine)).host, self._proxies):
                while len(mine) > self.limits.by_address and self._drop(mine, patience=PATIENCE_S):
                    pass
        often = min(1.0, self.limits.head_s / 4, self.limits.idle_s / 4, self.limits.stall_s / 4)
        self._timer = loop.call_later(often, self._watch, loop) if self._by else None


def room() -> int:
    """How many connections this process has descriptors for, after those that it needs itself: at most MOST."""
    try:
        import resource
    except ImportError:  # Windows counts otherwise, and allows thousands
        return MOST // 4
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(MOST, max(soft - RESERVE, soft // 2) // EACH)


def raise_room() -> None:
    """Have the process open as many files as its user may: shells often start with few."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = EACH * MOST + RESERVE
    wanted = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):  # macOS allows less than it says
            pass


def configured(app: ASGIApp, *, proxies: Sequence[Network] = (), limits: Limits = Limits()) -> uvicorn.Config:
    """How uvicorn is to serve an app: with these limits, and believing nobody but these proxies who asks."""
    raise_room()
    said = logging.getLogger("uvicorn.error")  # also where a request is no HTTP, one line for each
    if not any(isinstance(each, Sparing) for each in said.filters):
        said.addFilter(Sparing())
    crowd = OpenConnections(limits, proxies)
    protocol = type("Connection", (Connection,), {"crowd": crowd})
    # No websockets here; asking for them would only import them.
    return uvicorn.Config(
        Proxies(app, proxies), http=protocol, log_level="warning", ws="none", lifespan="off", proxy_headers=False,
        timeout_keep_alive=math.ceil(limits.idle_s), backlog=BACKLOG,
    )  # fmt: skip

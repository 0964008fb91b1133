"""Server: uvicorn's, which stops soon when it is told to, whatever its requests are at.

1. SIGINT or SIGTERM: no new connections, and every request is told that its client is gone, so that work which can end
   early does (``web.worker.model_lock``). What was already asked of notes and comments is written meanwhile.
2. What is not done ``GRACE_S`` later is cancelled.
3. What does not stop even then, a thread inside a library or a disk that does not answer, ends with the process.
"""

import asyncio
import contextlib
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import cast

import uvicorn
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GRACE_S = 5
"""Seconds that requests have to come to their end."""
SPARE_S = 2.0
"""And then the event loop; work that can be interrupted notices within that too."""
SWITCH_S = 0.0005
"""How long a thread computes before another that waits has Python's lock. Every call of the system by the event loop
lets go of it, so that a request waits as many times for it as it makes such calls; Python's own 5 ms add up."""
BY_SIGNAL = 128
"""What a shell adds to the number of the signal that ended a process."""


class Server(uvicorn.Server):
    """One server, to be run once."""

    def __init__(
        self, config: uvicorn.Config, *, started: Callable[[], None] = lambda: None, grace: int = GRACE_S
    ) -> None:
        """``started`` is called once signals are heeded, before the first request is. ``config`` is changed."""
        self._started, self._grace, self._signal = started, grace, 0
        self._stopping = asyncio.Event()
        self._others: set[threading.Thread] = set()
        self._told, self._over = threading.Event(), threading.Event()
        config.app, config.timeout_graceful_shutdown = _stoppable(cast(ASGIApp, config.app), self._stopping), grace
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until interrupted or ``should_exit``. After a signal no thread that a request began is left: where one
        does not stop, the process ends here."""
        with self.capture_signals(), self._watched():  # around uvicorn's own: a signal that comes before is heeded too
            self._others = set(threading.enumerate())
            self._started()
            with _switching_after(SWITCH_S):
                super().run(sockets)
            if self._signal:
                self._wait_for(set(threading.enumerate()) - self._others)

    def spare_threads(self) -> None:
        """What runs now behind the app: no request began it, and the server does not wait for it when it stops."""
        self._others |= {thread for thread in threading.enumerate() if thread.daemon}

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signal = sig
        self._told.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Ends the process where what is done inside does not end soon after a signal: what blocks the event loop does
        not let it look at its own clock. The thread is there before the signal: none can be started while it is heeded,
        for the one that it interrupts may be starting one."""

        def watch() -> None:
            self._told.wait()
            if not self._over.wait(self._grace + SPARE_S):
                self._end()

        threading.Thread(target=watch, daemon=True, name="stopping").start()
        try:
            yield
        finally:
            self._over.set()
            self._told.set()

    def _wait_for(self, threads: set[threading.Thread]) -> None:
        until = time.monotonic() + SPARE_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            self._end()

    def _end(self) -> None:
        print("What was still being computed did not stop and was given up.", file=sys.stderr, flush=True)
        for child in multiprocessing.active_children():
            child.terminate()
        sys.stdout.flush()
        os._exit(BY_SIGNAL + self._signal)


@contextlib.contextmanager
def _switching_after(seconds: float) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _stoppable(app: ASGIApp, stopping: asyncio.Event) -> ASGIApp:
    """An app whose requests hear that their client is gone when the server stops, and which answers also those that are
    cancelled."""

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        whole = began = False

        async def received() -> Message:
            nonlocal whole
            if whole:
                return await _unless(stopping, receive)
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await app(scope, received, sent)
        except asyncio.CancelledError:
            if not stopping.is_set():
                raise
            if began:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await JSONResponse({"detail": "The server is being stopped."}, 503)(scope, receive, send)

    return told


async def _unless(stopping: asyncio.Event, receive: Receive) -> Message:
    """What comes from the client; that it is gone, where the server stops first."""
    receiving, ending = asyncio.ensure_future(receive()), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
        return receiving.result() if receiving.done() else {"type": "http.disconnect"}
    finally:
        receiving.cancel()
        ending.cancel()

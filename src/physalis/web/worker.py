"""worker: the model beside an atlas, in a process of its own.

What a model computes shares nothing with the pages then: neither Python's lock nor memory, and it yields to them where
there are too few cores for both. The pages pass on to it what is asked of the model (``web.relay``). One that ended,
as the system ends processes for want of memory, is started again when it is next asked for.

A worker ends with the process that started it, however that ended, and is told nothing by Ctrl-C.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

from physalis.errors import Unavailable
from physalis.stopping import deaf

NICENESS = 10
"""How much a worker yields to pages, and to whatever else the machine does."""
AGAIN_S = 20.0
"""How soon after it was started one that ended is started again."""
_SOCKET = "worker"


@dataclass(frozen=True)
class Setting:
    """What a worker is about: as ``web.live.load_beside`` takes it. ``noted`` is whether there are notes."""

    atlas: Path
    dictionary: Path
    activations: Path | None = None
    noted: bool = False
    device: str | None = None
    dtype: str | None = None


class Route(NamedTuple):
    """What a worker answers."""

    path: str
    methods: Sequence[str]
    costs: bool
    """Whether it takes the model's time."""


class Told(NamedTuple):
    """What a worker says of itself once it answers."""

    steering: str
    trying: str
    """Records as JSON."""
    routes: Sequence[Route]
    described: Mapping[str, Any]
    """Its routes as OpenAPI."""


class Worker:
    """A worker that runs, or is started again. ``told`` is what the first said."""

    def __init__(self, setting: Setting) -> None:
        """Start it and wait until it answers. Raises what it raises: BadInput where the setting is at fault."""
        self._setting = setting
        self._folder = tempfile.TemporaryDirectory(prefix="physalis-")  # for this user alone
        self._lock = threading.Lock()
        self._process: SpawnProcess | None = None
        self._ours: Connection | None = None
        self._starting = False
        self._started = 0.0
        self.told = self._start()

    @property
    def address(self) -> str:
        """The path of the socket at which it answers."""
        return str(Path(self._folder.name) / _SOCKET)

    def missed(self) -> None:
        """Have one that does not answer started again, if it ended. Raises Unavailable in any case: with the sentence
        for whoever asked."""
        with self._lock:
            ended = self._process is None or not self._process.is_alive()
            if ended and not self._starting and time.monotonic() > self._started + AGAIN_S:
                self._starting = True
                threading.Thread(target=self._restart, daemon=True, name="worker").start()
        raise Unavailable("The model is being started again, since its process ended. Ask again in a moment.")

    def close(self) -> None:
        """End it."""
        if self._ours is not None:
            self._ours.close()
        if self._process is not None:
            self._process.terminate()
            self._process.join()
        self._folder.cleanup()

    def _restart(self) -> None:
        try:
            with contextlib.suppress(Exception):  # it has said why; whoever asks next has it tried again
                self._start()
        finally:
            with self._lock:
                self._starting = False

    def _start(self) -> Told:
        self._started = time.monotonic()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(self._setting, self.address, theirs), daemon=True)
        with deaf():
            self._process.start()
        theirs.close()
        self._ours = ours
        try:
            told = ours.recv()
        except EOFError:
            raise Unavailable("The model's process ended before it answered. It may lack memory.") from None
        if isinstance(told, BaseException):
            raise told
        return told


def _work(setting: Setting, address: str, theirs: Connection) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(theirs, Path(address).parent), daemon=True, name="parent").start()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    try:
        app, told = _open(setting)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(address)
        listener.listen(128)
    except BaseException as error:
        theirs.send(error)
        return
    _serve(app, listener, lambda: theirs.send(told))


def _open(setting: Setting) -> tuple[Any, Told]:
    from physalis.atlas import Atlas
    from physalis.notes import Notes, beside
    from physalis.web.app import plain_app
    from physalis.web.guard import costs
    from physalis.web.live import load_beside
    from physalis.web.refusals import refuse_in_words

    atlas = Atlas.open(setting.atlas)
    notes = Notes.open(beside(setting.atlas.resolve()), atlas=atlas.manifest.hash) if setting.noted else None
    where = {"device": setting.device, "dtype": setting.dtype}
    live = load_beside(atlas, setting.dictionary, setting.activations, notes=notes, **where)
    app = plain_app("physalis", openapi_url="/api/openapi.json")
    routes = []
    for router in live.routers:
        app.include_router(router)
        for route in router.routes:
            priced = any(each.dependency is costs for each in getattr(route, "dependencies", ()))
            routes.append(Route(getattr(route, "path", ""), sorted(getattr(route, "methods", ())), priced))
    refuse_in_words(app, here="the pages of an atlas")
    return app, Told(live.steering.model_dump_json(), live.trying.model_dump_json(), routes, app.openapi())


def _serve(app: Any, listener: socket.socket, started: Callable[[], None]) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    # Connections are the pages', which keep them: what visitors may do was judged there.
    config = uvicorn.Config(app, log_level="warning", ws="none", lifespan="off", timeout_keep_alive=10**6)
    Server(config).run([listener])


def _end_with(parent: Connection, folder: Path) -> None:
    """End this process when the other end of a connection is gone."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)

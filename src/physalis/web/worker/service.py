"""service: what a worker (``web.worker``) does: it answers for the model at a socket of this machine. Loads torch.

Its visitors are the pages alone, which have judged what they pass on: nothing is refused for its origin or its rate.
"""

import contextlib
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute

from physalis.atlas import Atlas
from physalis.naming import Known
from physalis.people.notes import Notes, beside
from physalis.web.atlas.live import load_beside
from physalis.web.guard.guard import costs
from physalis.web.server.rooms import Room, app_of
from physalis.web.worker.worker import Route, Setting, Told

NICENESS = 10
"""How much a worker yields to pages, and to whatever else the machine does."""


def work(parent: Connection) -> None:
    """Answer at the socket, and with the setting, that ``parent`` sends, until that is gone. What is told of it, or the
    error that ended it before it could answer, is sent back."""
    setting, address = parent.recv()
    threading.Thread(target=_live_with, args=(parent, address.parent), daemon=True, name="parent").start()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(OSError):  # Linux may share processors among sessions first, and then inside each
        Path("/proc/self/autogroup").write_text(str(NICENESS))
    try:
        app, told = _open(setting)
        address.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(address))
        listener.listen(128)
    except BaseException as error:
        return parent.send(error)
    # Its connections are the pages', which keep them.
    config = uvicorn.Config(app, log_level="warning", ws="none", lifespan="off", timeout_keep_alive=10**6)
    _Server(config, lambda: parent.send(told)).run([listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._begun = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._begun()


def _open(setting: Setting) -> tuple[FastAPI, Told]:
    atlas = Atlas.open(setting.atlas)
    notes = Notes.open(beside(setting.atlas.resolve()), atlas=atlas.manifest.hash) if setting.noted else None
    atlas = atlas.with_annex(Known(atlas, notes).annex)
    where = {"device": setting.device, "dtype": setting.dtype}
    live = load_beside(atlas, setting.dictionary, setting.activations, notes=notes, **where)
    app = app_of([Room("physalis", live.routers, here="the pages of an atlas")])
    routes = [_told(each) for router in live.routers for each in router.routes if isinstance(each, APIRoute)]
    return app, Told(live.steering.model_dump_json(), live.trying.model_dump_json(), routes, app.openapi())


def _told(route: APIRoute) -> Route:
    return Route(route.path, sorted(route.methods or ()), any(each.dependency is costs for each in route.dependencies))


def _live_with(parent: Connection, folder: Path) -> None:
    """Give a sign of life whenever one is asked for, and end this process when the other end of the connection is
    gone."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            parent.send(parent.recv())
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    work(Connection(int(sys.argv[1])))

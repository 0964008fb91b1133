"""worker: the model beside an atlas, in a process of its own.

What a model computes shares nothing with the pages then: neither Python's lock nor memory, and it yields to them where
there are too few cores for both. The pages pass on to it what is asked of the model (``web.relay``). One that ended,
as the system ends processes for want of memory, is started again when it is next asked for.

A worker ends with the process that started it, however that ended, and is told nothing by Ctrl-C.
"""

import contextlib
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

from physalis.errors import Unavailable
from physalis.stopping import deaf

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
        try:
            self.told = self._start()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> Path:
        """The socket at which it answers."""
        return Path(self._folder.name) / _SOCKET

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
            told = Unavailable("The model's process ended before it answered. It may lack memory.")
        if isinstance(told, BaseException):
            raise told
        return told


def _work(setting: Setting, address: Path, theirs: Connection) -> None:
    from physalis.web.working import work  # not where pages are served, which need no torch

    work(setting, address, theirs)

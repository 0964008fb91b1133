"""worker: the model beside an atlas, in a process of its own.

What a model computes shares nothing with the pages then: neither Python's lock nor memory, and it yields to them where
there are too few cores for both. The pages pass on to it what is asked of the model (``web.worker.relay``). One that
ended, as the system ends processes for want of memory, is started again when it is next asked for. One that hangs is
ended and started again: it is asked for a sign of life every few seconds, which a thread gives that waits for nothing.

A worker ends with the process that started it, however that ended, and is told nothing by Ctrl-C.
"""

import atexit
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from physalis.errors import Unavailable

AGAIN_S = 20.0
"""How soon after it was started one that ended is started again."""
BEAT_S = 5.0
"""How long after one sign of life the next is asked for."""
SILENCE = 30
"""Seconds for which one that is asked may say nothing. They are counted one by one: while this process is stopped, too,
none goes by."""
LONGEST = 70
"""Bytes of the folder for temporary files: the path of a socket has 103 at most."""
WORKING = "physalis.web.worker.service"
"""The module that a worker runs."""
_SOCKET = "worker"

_log = logging.getLogger("physalis")


@dataclass(frozen=True)
class Setting:
    """What a worker is about: as ``web.atlas.live.load_beside`` takes it. ``noted`` is whether there are notes."""

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

    def __init__(self, setting: Setting, *, beat_s: float = BEAT_S, silence: int = SILENCE) -> None:
        """Start it and wait until it answers. Raises what it raises: BadInput where the setting is at fault."""
        self._setting = setting
        self.beat_s, self.silence = beat_s, silence
        self._folder = _folder()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: Connection | None = None
        self._starting = False
        self._started = 0.0
        self._closed = threading.Event()
        atexit.register(self.close)
        try:
            self.told = self._start()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._watch, daemon=True, name="heartbeat").start()

    @property
    def address(self) -> Path:
        """The socket at which it answers."""
        return Path(self._folder.name) / _SOCKET

    def missed(self) -> None:
        """Have one that does not answer started again, if it ended. Raises Unavailable in any case: with the sentence
        for whoever asked."""
        with self._lock:
            ended = self._process is None or self._process.poll() is not None or not self.address.exists()
            if ended and not self._starting and time.monotonic() > self._started + AGAIN_S:
                self._starting = True
                threading.Thread(target=self._restart, daemon=True, name="worker").start()
            lost = ended or self._starting
        if not lost:
            raise Unavailable("The model's process does not answer just now. Ask again in a moment.")
        raise Unavailable("The model is being started again, since its process ended. Ask again in a moment.")

    def close(self) -> None:
        """End it."""
        atexit.unregister(self.close)
        self._closed.set()
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        if self._ours is not None:
            self._ours.close()
        if self._process is not None:
            self._process.kill()  # it keeps nothing, and one that was stopped hears nothing else
            self._process.wait()

    def _watch(self) -> None:
        """Ask it for signs of life, and have one that gives none started again."""
        while not self._closed.wait(self.beat_s):
            try:
                if self._alive():
                    continue
            except (EOFError, OSError):  # it ended, or was ended: whoever asks next has it started again
                continue
            with self._lock:
                if self._starting or self._closed.is_set():
                    continue
                self._starting = True
            _log.warning("The model's process said nothing for %d s: it is ended and started again.", self.silence)
            self._restart()

    def _alive(self) -> bool:
        """Whether it says so. Raises EOFError and OSError where nobody is there."""
        ours = self._ours
        if ours is None or self._starting:
            return True
        ours.send(None)
        if not any(ours.poll(1.0) for _ in range(self.silence)):
            return False
        ours.recv()
        return True

    def _restart(self) -> None:
        try:
            self._end()  # one whose socket somebody deleted is still there
            self._folder.cleanup()
            self._folder = _folder()
            self._start()
        except Exception as error:  # whoever asks next has it tried again
            _log.warning("The model's process could not be started again: %s", error)
        finally:
            with self._lock:
                self._starting = False

    def _start(self) -> Told:
        self._started = time.monotonic()
        ours, theirs = multiprocessing.Pipe()
        # Not as multiprocessing starts one, which runs the caller's own script once more. Ctrl-C in a terminal is for
        # that terminal's session.
        command = [sys.executable, "-P", "-m", WORKING, str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        try:
            ours.send((self._setting, self.address))
            told = ours.recv()
        except (EOFError, OSError):
            told = Unavailable("The model's process ended before it answered. It may lack memory.")
        if isinstance(told, BaseException):
            ours.close()
            raise told
        self._ours = ours
        return told


def _folder() -> tempfile.TemporaryDirectory[str]:
    """For a socket, and for this user alone."""
    near = None if len(os.fsencode(tempfile.gettempdir())) <= LONGEST else "/tmp"
    return tempfile.TemporaryDirectory(prefix="physalis-", dir=near)

"""queue: Queue, the features of an atlas explained by a process of its own while they are read: those opened first.

That process (see ``queueing``) does what ``explain`` does, so that its folder is the same, byte for byte, and can be
gone on with by either. It works through the pieces of ``explain`` in the order in which readers open features; one that
is opened is explained alone at once, between two others, and kept in memory until its piece is there.
"""

import atexit
import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, NamedTuple

from physalis import artifact
from physalis.atlas import Atlas
from physalis.atlas.records import Record
from physalis.errors import BadInput
from physalis.explanations.records import Explanation

WORKING = "physalis.explanations.queueing"
"""The module that the process runs."""
MOST = 256
"""Opened features that wait, at most: of more the ones opened first wait for their pieces."""

State = Literal["preparing", "explaining", "finished", "stopped"]


class Sources(NamedTuple):
    """What is explained, from what, and where that is written."""

    dictionary: Path
    activations: Path
    out: Path

    @classmethod
    def beside(
        cls, atlas: Atlas, dictionary: Path | str | None = None, activations: Path | str | None = None
    ) -> "Sources":
        """Of an atlas: its dictionary and the recording of that, which are looked for beside it unless given. They are
        explained where ``explain`` would by itself, DICTIONARY-explanations, but beside the atlas, where its pages find
        it. Raises BadInput where one of them is not there."""
        hash = atlas.manifest.inputs.get("dictionary")
        if dictionary is None:
            dictionary = _find(atlas, "dictionary", hash)
        elif artifact.read(Path(dictionary), "dictionary").hash != hash:
            raise BadInput(f"{atlas.folder} is the atlas of another dictionary than {dictionary}. Give that.")
        if activations is None:
            activations = _find(atlas, "activations", atlas.manifest.inputs.get("activations"))
        out = atlas.folder.resolve().parent / f"{Path(dictionary).resolve().name}-explanations"
        return cls(Path(dictionary), Path(activations), out)


def _find(atlas: Atlas, kind: str, hash: str | None) -> Path:
    for folder in artifact.inside(atlas.folder.resolve().parent):
        if artifact.kind_of(folder) == kind:
            try:
                if artifact.read(folder, kind).hash == hash:
                    return folder
            except BadInput:  # another may be whole
                continue
    what = {"dictionary": "dictionary that it is of", "activations": "recording that it was made of"}[kind]
    raise BadInput(f"Beside {atlas.folder} there is not the {what}. Name it with --{kind}.")


class Progress(Record):
    """How far a queue is."""

    state: State
    done: int
    total: int
    """Features."""


class Begun(NamedTuple):
    """The process has all that rules are learned from."""

    done: int
    total: int


class Alone(NamedTuple):
    """An opened feature was explained: its record as JSON."""

    line: str


class Ended(NamedTuple):
    """All is written, or there is a sentence that says why not."""

    why: str | None


class Line:
    """The features that wait to be explained, and what is known of the others. Safe to share between threads."""

    def __init__(self, send: Callable[[int], None]) -> None:
        """``send`` asks for a feature whoever explains."""
        self.why: str | None = None
        """The sentence that says why it stopped."""
        self._send = send
        self._state: State = "preparing"
        self._done = self._total = 0
        self._waiting: dict[int, None] = {}
        self._alone: dict[int, Explanation] = {}
        self._changed = threading.Condition()

    @property
    def progress(self) -> Progress:
        """How far it is."""
        with self._changed:
            return Progress(state=self._state, done=self._done, total=self._total)

    @property
    def works(self) -> bool:
        """Whether rules are still to come."""
        return self._state in ("preparing", "explaining")

    def open(self, feature: int) -> None:
        """Somebody reads of this feature: it is explained before all others."""
        with self._changed:
            if feature in self._alone or feature in self._waiting or not self.works:
                return
            self._waiting[feature] = None
            if len(self._waiting) > MOST:
                del self._waiting[next(iter(self._waiting))]
        self._send(feature)

    def get(self, feature: int) -> Explanation | None:
        """What was found of an opened feature before its piece was done; None where nothing was yet."""
        with self._changed:
            return self._alone.get(feature)

    def place(self, feature: int) -> int | None:
        """How many opened features come before it: 0 for the one that is explained now, or next. None where it was not
        opened, or is explained."""
        with self._changed:
            return [*reversed(self._waiting)].index(feature) if feature in self._waiting else None

    def wait(self, feature: int | None = None, seconds: float | None = None) -> bool:
        """Wait until an opened feature is explained, or all are, unless given; not after it has stopped. Returns
        whether that came about within ``seconds``."""

        def over() -> bool:
            return not self.works or feature in self._alone

        with self._changed:
            return self._changed.wait_for(over, seconds) and (feature in self._alone or self._state == "finished")

    def hear(self, said: "Begun | int | Alone | Ended") -> None:
        """What whoever explains says: that it begins, that so many more features are done, one alone, or its end."""
        with self._changed:
            if isinstance(said, Begun):
                self._state, self._done, self._total = "explaining", said.done, said.total
            elif isinstance(said, int):
                self._done += said
            elif isinstance(said, Alone):
                found = Explanation.model_validate_json(said.line)
                self._alone[found.feature] = found
                self._waiting.pop(found.feature, None)
            else:
                self._waiting.clear()
                self._state, self.why = "finished" if said.why is None else "stopped", said.why
            self._changed.notify_all()


class Queue:
    """A process that explains what is opened first, and its ``line``."""

    def __init__(self, sources: Sources) -> None:
        """Start it. What it cannot do, such as write where another writes, is told by the line and said on standard
        error, not raised: whatever is shown meanwhile is shown without it."""
        self.sources = sources
        self.line = Line(self._send)
        self._closing = False
        self._ours, theirs = multiprocessing.Pipe()
        # As web.worker.worker starts its own: not the caller's script once more, and in a session of its own, which
        # Ctrl-C of a terminal does not reach.
        command = [sys.executable, "-P", "-m", WORKING, str(theirs.fileno())]
        env = {"OMP_WAIT_POLICY": "passive"} | os.environ  # its threads would take the pages' cores while they wait
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True, env=env)
        theirs.close()
        atexit.register(self.close)
        self._send(sources)
        self._listener = threading.Thread(target=self._listen, daemon=True, name="queue")
        self._listener.start()

    def close(self) -> None:
        """End the process: what is whole is kept, and gone on with by the next queue or by ``explain``."""
        atexit.unregister(self.close)
        self._closing = True
        self._process.kill()
        self._process.wait()
        self._listener.join()
        self._ours.close()

    def _send(self, said: Sources | int) -> None:
        with contextlib.suppress(OSError):  # it ended, which the listener tells
            self._ours.send(said)

    def _listen(self) -> None:
        said = None
        while not isinstance(said, Ended):
            try:
                said = self._ours.recv()
            except (EOFError, OSError):
                said = Ended("Its process ended before it was done. Serve again: it goes on where it was.")
            if isinstance(said, Ended) and said.why is not None and not self._closing:
                print(f"The features are not explained. {said.why}", file=sys.stderr, flush=True)
            self.line.hear(said)


def connection(number: str) -> Connection:
    """The process's end, by the number that it was started with."""
    return Connection(int(number))

"""Watch: whether an atlas's folder still holds the file that is open, and what is done when it does not. No torch.

Before an answer and after it the file's place is looked at (two calls of the system). Where another file stands there,
or anything was written into it, nothing is answered: it may be half of one atlas and half of another. It is then read
as a whole and compared with the hash in its manifest. A whole atlas of the same dictionary is taken up; the notes and
comments of the old one stay with it, as its features have the same numbers. That of another dictionary is refused until
the server is started anew.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from physalis import artifact
from physalis.atlas.reader import AtlasReader
from physalis.atlas.schema import DATABASE
from physalis.atlas.snapshot import Snapshot
from physalis.databases import Stamp
from physalis.errors import BadInput, Unavailable

T = TypeVar("T")

PATIENCE_S = 0.05
"""How long whoever asks first waits for a new file to be looked at. A small one is by then."""
BLOCK = 1 << 20

_log = logging.getLogger("physalis")


@dataclass(frozen=True, slots=True)
class State:
    """What the file system tells of an atlas's two files."""

    manifest: Stamp | None
    database: Stamp | None

    @classmethod
    def of(cls, folder: Path) -> "State":
        return cls(Stamp.of(folder / artifact.MANIFEST), Stamp.of(folder / DATABASE))


@dataclass(frozen=True, slots=True)
class Standing:
    """An atlas as it stood in its folder when it was opened."""

    state: State
    manifest: artifact.Manifest
    n_features: int
    opened: AtlasReader

    @classmethod
    def read(cls, folder: Path) -> "Standing":
        """Raises BadInput if there is no finished, undamaged atlas."""
        state, manifest, file = State.of(folder), artifact.read(folder, "atlas"), folder / DATABASE
        n_features, size = (manifest.facts.get(name) for name in ("n_features", "bytes"))
        if type(n_features) is not int or n_features < 1 or type(size) is not int:
            raise BadInput(f"{folder / artifact.MANIFEST} does not say what {DATABASE} holds. Build the atlas again.")
        there = 0 if state.database is None else state.database.size
        if state.database is None or there != size:
            raise BadInput(
                f"{file} is damaged: it has {there:,} bytes where {size:,} were written. "
                "Copy it again or build the atlas again."
            )
        try:
            return cls(state, manifest, n_features, AtlasReader(Snapshot(file, state.database), n_features))
        except Unavailable as error:
            raise BadInput(f"{file} cannot be read. {error} Or build the atlas again.") from error
        except BadInput as error:
            raise BadInput(f"{file} cannot be read: {error}. Copy it again, or build the atlas again.") from error


class Watch:
    """An atlas that answers as long as what was opened stands there."""

    def __init__(self, folder: Path, standing: Standing) -> None:
        self.folder, self.standing = folder, standing
        self._lock = threading.Lock()
        self._looking: threading.Thread | None = None
        self._refused: tuple[State, str] | None = None
        """The last state that was looked at in vain, and why."""

    def ask(self, question: Callable[[AtlasReader], T]) -> T:
        """The answer of what stands there, from before to after the same file. Raises Unavailable without one."""
        standing = self._stands()
        try:
            answer = question(standing.opened)
        except BadInput:
            self._check_still(standing)  # what is amiss may be that it is being replaced
            raise
        self._check_still(standing)
        return answer

    def read_ahead(self) -> None:
        """Have the file read from its disk, from its beginning to its end, by a thread of its own."""
        threading.Thread(target=_read_through, args=(self.folder / DATABASE,), daemon=True).start()

    def _check_still(self, standing: Standing) -> None:
        if State.of(self.folder) != standing.state:
            raise Unavailable("This atlas changed while it was read. Try again.")

    def _stands(self) -> Standing:
        now, standing = State.of(self.folder), self.standing
        if now == standing.state:
            return standing
        with self._lock:
            if self._looking is None and (self._refused is None or self._refused[0] != now):
                if self._refused is None:
                    _log.warning("%s changed while it is shown. Nothing of it is until it is whole.", self.folder)
                self._looking = threading.Thread(target=self._look, args=(now,), daemon=True)
                self._looking.start()
            looking = self._looking
        if looking is not None:
            looking.join(PATIENCE_S)
        standing, refused = self.standing, self._refused
        if State.of(self.folder) == standing.state:
            return standing
        why = refused[1] if refused is not None and refused[0] == now else "Its files changed, and are being looked at."
        raise Unavailable(f"This atlas cannot be shown just now. {why}")

    def _look(self, state: State) -> None:
        try:
            found = self._whole()
        except BadInput as error:
            why = str(error) if isinstance(error, Unavailable) else "It is being copied, or damaged. Try again later."
            if self._refused is None or self._refused[1] != why:
                _log.warning("%s is not shown: %s", self.folder, error)
            with self._lock:
                self._refused, self._looking = (state, why), None
            return
        except BaseException:
            with self._lock:
                self._looking = None
            raise
        with self._lock:
            before, self.standing = self.standing, found
            self._refused = self._looking = None
        bind = ""
        if found.manifest.hash != before.manifest.hash:
            bind = f" Before the next start, bind its notes to it: physalis notes rebind {self.folder}"
        _log.warning("%s is whole, and shown again.%s", self.folder, bind)

    def _whole(self) -> Standing:
        """What stands there, if that is an atlas of the same dictionary and every byte of it is as it was written."""
        before = self.standing
        if State.of(self.folder).database is None:
            raise Unavailable("Its files are not in their place.")
        found = Standing.read(self.folder)
        if not _same_dictionary(before, found):
            raise Unavailable(
                "That of another dictionary stands in its place, of which the notes and comments here are not. Whoever "
                "keeps it: start the server anew to show that."
            )
        if artifact.file_digest(self.folder / DATABASE) != found.manifest.files.get(DATABASE):
            raise BadInput(f"{DATABASE} is not what its manifest says.")
        if State.of(self.folder) != found.state:
            raise BadInput("It changes while it is read.")
        return found


def _same_dictionary(one: Standing, other: Standing) -> bool:
    if one.manifest.hash == other.manifest.hash:
        return True
    named = one.manifest.inputs.get("dictionary")
    return named is not None and named == other.manifest.inputs.get("dictionary") and one.n_features == other.n_features


def _read_through(file: Path) -> None:
    try:
        with open(file, "rb", buffering=0) as f:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            block = bytearray(BLOCK)
            while f.readinto(block):
                pass
    except OSError:
        return  # whoever asks for a page is told

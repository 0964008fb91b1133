"""Written: which files of a folder are ours, through every kill, so that publishing again removes those and no others.

The manifest names them, but it is gone while they are written anew. Until it is there again, a journal beside it names
every file that it named and each that was written since, with its sha256: a line before each file.
"""

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from physalis.artifact import JOB, LOCK, MANIFEST, Manifest, folder, untrusted
from physalis.errors import BadInput

JOURNAL = "written.jsonl"
OWN = (MANIFEST, JOB, LOCK, JOURNAL)
MOST = 64 << 20
"""Bytes of a journal: a site of a million pages has as many."""


class Written:
    """The files that were written into a folder, by name with their sha256."""

    def __init__(self, root: Path, known: dict[str, list[str]], *, complete: bool) -> None:
        self._root, self._known, self._complete = root, known, complete

    @classmethod
    def go_on(cls, root: Path, done: Manifest | None) -> "Written":
        """What the manifest and the journal of an earlier run name. Raises BadInput for a journal that cannot be
        read."""
        known = {name: [sha] for name, sha in (done.files if done is not None else {}).items()}
        journal = folder.is_file(root, JOURNAL)
        if journal:
            for name, sha in _lines(root / JOURNAL):
                known.setdefault(name, []).append(sha)
        # A stranger's manifest may name files whose content anybody knows: none of ours is hidden.
        known = {name: shas for name, shas in known.items() if not any(p.startswith(".") for p in name.split("/"))}
        first = {each.name for each in root.iterdir()} <= {JOB, LOCK}
        # An earlier release left no journal when it was killed: what it wrote cannot be told from others' files.
        return cls(root, known, complete=done is not None or journal or first)

    def check_free(self, names: Sequence[str]) -> None:
        """Raise BadInput if one of ``names`` is a file that is not ours, or cannot be written; nothing has been yet."""
        for name in names:
            folder.check(self._root, name)
            if self._complete and name not in self._known and os.path.lexists(self._root / name):
                raise BadInput(
                    f"{self._root / name} was not written by publish, and a page would have its place. Move it away, "
                    "or choose another --out; nothing was touched."
                )

    def begin(self) -> None:
        """Write the journal: from now on the manifest may go."""
        lines = (_line(name, sha) for name, shas in self._known.items() for sha in shas)
        folder.write(self._root, JOURNAL, "".join(lines).encode())

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, unless it holds just that already. Raises BadInput as ``folder.write`` does."""
        sha = hashlib.sha256(content).hexdigest()
        if sha not in self._known.get(name, ()):
            self._note(name, sha)
            self._known.setdefault(name, []).append(sha)
        folder.write(self._root, name, content)

    def prune(self, keep: Collection[str]) -> list[str]:
        """Remove all that is ours but ``keep``; returns the names of those that were changed since, which stay."""
        kept = set(keep)
        return folder.prune(self._root, self._known, lambda name: name in kept or name in OWN)

    def _note(self, name: str, sha: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(self._root / JOURNAL, flags, 0o644), "a") as file:
                file.write(_line(name, sha))
        except OSError as error:
            raise BadInput(
                f"{self._root / JOURNAL} cannot be written ({error.strerror}). It says which files are ours until all "
                "are there; make room for it and run the same command again: it goes on where it stopped."
            ) from error


def forget(root: Path) -> None:
    """Remove the journal: the manifest names everything again."""
    (root / JOURNAL).unlink(missing_ok=True)


def _line(name: str, sha: str) -> str:
    return json.dumps([name, sha]) + "\n"


def _lines(journal: Path) -> list[tuple[str, str]]:
    found = []
    for line in untrusted.read_text(journal, most=MOST).split("\n")[:-1]:  # the last was cut by a kill, or is empty
        said = untrusted.parse_json(line, journal)
        if not (isinstance(said, list) and len(said) == 2 and all(isinstance(each, str) for each in said)):
            raise BadInput(f"{journal} is damaged. Remove it; files that are published no more then stay.")
        found.append((said[0], said[1]))
    return found

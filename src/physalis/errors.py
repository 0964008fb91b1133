"""BadInput: the one error that is the user's to mend; Unavailable: what cannot be had just now."""

from pathlib import Path
from typing import Any


class BadInput(ValueError):
    """What a person gave cannot be used. The message says what was wrong, the value received and what to do."""


class Unavailable(BadInput):
    """What was asked for cannot be had now: a file is gone, damaged, locked, or being replaced. A server answers 503.

    The message names files, not folders: visitors of a server read it.
    """


class AnotherJob(BadInput):
    """A folder holds what another job made, or was making. The command line tells the two apart in its own words."""

    def __init__(self, message: str, folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
        """``was`` is the job in the folder, and ``now`` the one that was asked for: everything that decides what they
        make, as JSON."""
        super().__init__(message)
        self.folder, self.was, self.now = folder, was, now

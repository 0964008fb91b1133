"""Stamp: which file stands at a path, and in which state, as far as the file system tells."""

import os
import stat
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """Two of one path that are equal say that nothing happened to the file between them."""

    device: int
    inode: int
    size: int
    changed: int
    """Nanoseconds since 1970 at its last write."""

    @classmethod
    def of(cls, path: Path) -> "Stamp | None":
        """None where no file can be seen."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def same_file(self, other: "Stamp") -> bool:
        """Whether both are of one file, whatever was written into it meanwhile."""
        return self[:2] == other[:2]

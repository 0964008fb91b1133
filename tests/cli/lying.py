"""lying: what lies in a folder, to be held against what lay there before, or lies in another."""

import hashlib
import re
from pathlib import Path

from physalis import artifact


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """What lies there, but for locks, which say nothing."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def made(folder: Path) -> dict[str, str]:
    """What lies there, but for locks and databases, with the times that the lab tells left out."""
    found = {}
    for path in (each for each in folder.rglob("*") if each.is_file() and each.suffix not in (".db", ".key")):
        if path.name != artifact.LOCK:
            told = re.sub(rb'"seconds": ?[0-9.e-]+', b"", path.read_bytes())
            told = re.sub(rb"[0-9a-f]{64}", b"", told) if b'"kind": "lab"' in told else told
            found[str(path.relative_to(folder))] = hashlib.sha256(told).hexdigest()
    return found

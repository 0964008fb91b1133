"""folder: files that are written and removed below a folder which others may have touched: never through a link, and
nothing that we did not write.
"""

import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from physalis import artifact
from physalis.artifact import untrusted
from physalis.errors import BadInput


def check(folder: Path, name: str) -> None:
    """Raise BadInput unless ``name``, such as ``features/12.html``, can be written: what stands on the way are folders
    and no links that lead elsewhere, and nothing but a file stands in its place."""
    path = folder / name
    for above in _on_the_way(folder, name):
        if os.path.lexists(above) and not stat.S_ISDIR(above.lstat().st_mode):
            raise _in_the_way(above)
    mode = path.lstat().st_mode if os.path.lexists(path) else stat.S_IFREG
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):  # a link is replaced, what it leads to is left alone
        raise _in_the_way(path)


def write(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole or not at all, and the folders on the way to it, unless it holds just that already. Raises
    BadInput as ``check`` does."""
    check(folder, name)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (is_file(folder, name) and path.stat().st_size == len(content) and path.read_bytes() == content):
        artifact.write_atomic(path, lambda temporary: temporary.write_bytes(content))


def is_file(folder: Path, name: str) -> bool:
    """Whether there is a regular file, which is no link and is reached through none."""
    try:
        ways = all(stat.S_ISDIR(above.lstat().st_mode) for above in _on_the_way(folder, name))
        return ways and stat.S_ISREG((folder / name).lstat().st_mode)
    except (OSError, ValueError):
        return False


def prune(folder: Path, written: Mapping[str, Collection[str]], keep: Callable[[str], bool]) -> list[str]:
    """Remove the files that we have ``written`` (name to the sha256 of each of its contents), unless ``keep`` wants
    one. A file that is not what we wrote any more is somebody's: it stays, and its name is returned."""
    theirs = []
    for name, shas in written.items():
        if keep(name) or not is_file(folder, name):
            continue
        if artifact.file_digest(folder / name) in shas:
            (folder / name).unlink()
        else:
            theirs.append(name)
    return theirs


def _on_the_way(folder: Path, name: str) -> list[Path]:
    """The folders between a folder and a file of it, outermost first. Raises BadInput for a name that leads out."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BadInput(f"{untrusted.shown(name)} does not lie in {folder}.")
    return [folder / above for above in reversed(path.parents) if above.parts]


def _in_the_way(path: Path) -> BadInput:
    mode = path.lstat().st_mode
    said = "a link" if stat.S_ISLNK(mode) else "a file" if stat.S_ISREG(mode) else untrusted.kind_of(mode)
    return BadInput(f"{path} is {said}, and a part of what is written here would have its place. Move it away.")

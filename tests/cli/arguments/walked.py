"""Every command of the command line, found by walking the app, so that a new one cannot be forgotten."""

import shlex
from collections.abc import Iterator
from typing import NamedTuple

import cyclopts

from physalis.cli import app


class Command(NamedTuple):
    """A command that runs, and the page that ``--help`` shows of it."""

    path: tuple[str, ...]
    app: cyclopts.App

    @property
    def example(self) -> list[list[str]]:
        """The words of each command line of its example."""
        _, _, line = self.app.help_epilogue.partition("Example:\n")
        return [shlex.split(each)[1:] for each in line.strip().split("&&")]

    def __str__(self) -> str:
        return " ".join(self.path)


def walk(of: cyclopts.App = app, path: tuple[str, ...] = ()) -> Iterator[Command]:
    """The commands below an app, in its order."""
    for name in of:
        if name.startswith("-"):
            continue
        below = of[name]
        if below.default_command is None:
            yield from walk(below, (*path, name))
        else:
            yield Command((*path, name), below)


COMMANDS = tuple(walk())

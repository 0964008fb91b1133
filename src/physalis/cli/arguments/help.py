"""The pages that ``--help`` shows: commands in groups, each option with what it does and its default, an example."""

import re
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

from cyclopts import Group
from cyclopts.help import HelpEntry, HelpPanel
from cyclopts.help.formatters import DefaultFormatter

from physalis.cli.arguments.defaults import defaults_of
from physalis.cli.arguments.settings import architectures

MAKE = Group("Make", sort_key=1)
READ = Group("Read", sort_key=2)
COMPARE = Group("Test and compare", sort_key=3)
SHARE = Group("Share", sort_key=4)
LAB = Group("Lab", sort_key=5)
MACHINE = Group("This machine", sort_key=6)
OPTIONS = Group("Options", sort_key=8)
_places = count()


class Page(DefaultFormatter):
    """Shows with each option the default that the public function's signature states."""

    def __init__(self, of: str, called: dict[str, str]) -> None:
        """``of`` is the function, such as "training.training.train"; ``called`` has the options whose name there is
        another, "other.function.name" where it is one of another function."""
        super().__init__()
        self.of, self.called = of, called

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        """Print one panel."""
        entries = [each.copy(default=self._default(each)) for each in panel.entries]
        super().__call__(console, options, panel.copy(entries=entries))

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        """Print what the command does, its paragraphs as wide as the terminal."""
        text = str(description.primary_renderable).strip()
        console.print(re.sub(r"(?<!\n)\n(?!\n)", " ", text) + "\n", markup=False, highlight=False)

    def _default(self, entry: HelpEntry) -> str | None:
        if entry.default is not None or entry.required or not entry.positive_names or not self.of:
            return entry.default
        name = entry.positive_names[0].removeprefix("--").replace("-", "_")
        function, _, name = self.called.get(name, name).rpartition(".")
        return defaults_of(function or self.of).get(name)


class Settings(DefaultFormatter):
    """Lists below ``--set`` what can be set, and for which architectures."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        """Print the panel."""
        of: dict[tuple[str, str, str], list[str]] = {}
        for name, settings in architectures().items():
            for each in settings.values():
                of.setdefault((each.name, each.default, each.meaning), []).append(name)
        entries = [
            HelpEntry(
                positive_names=(name,), description=f"{first(meaning)} ({', '.join(owners)})", default=default or None
            )
            for (name, default, meaning), owners in of.items()
        ]
        plain = ", ".join(architectures())
        listed = HelpEntry(positive_names=("Architectures",), description=f"{plain}.")
        super().__call__(console, options, panel.copy(entries=[*panel.entries, listed, *entries]))


def first(text: str) -> str:
    """The first sentence."""
    return re.split(r"(?<=[.])\s", text, maxsplit=1)[0].replace("``", "")


SETTINGS = Group("Settings of an architecture", sort_key=9, help_formatter=Settings())


def page(*, of: str = "", example: str, **called: str) -> dict[str, Any]:
    """What ``App.command`` is told of a command's page. ``example`` is a line that works as pasted, in a folder in
    which the examples of the commands before it were run."""
    epilogue = f"Example:\n  {example}"
    return {"help_formatter": Page(of, called), "help_epilogue": epilogue, "sort_key": next(_places)}


class Verb(NamedTuple):
    """A command and its page."""

    run: Callable[..., None]
    name: str
    page: dict[str, Any]


def verb(*, of: str = "", example: str, name: str = "", **called: str) -> Callable[[Callable[..., None]], Verb]:
    """Makes a Verb of a function; ``of`` is the public function whose defaults are its own."""

    def made(run: Callable[..., None]) -> Verb:
        return Verb(run, name or run.__name__.replace("_", "-"), page(of=of, example=example, **called))

    return made

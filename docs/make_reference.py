"""Writes docs/reference.md from the docstrings of the public names; with --check, only says if it would change."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import physalis

PAGE = Path(__file__).parent / "reference.md"


def signature(value: object) -> str:
    """The parameters with their defaults, without annotations that would drown them."""
    if inspect.isclass(value) and issubclass(value, Exception):
        return ""
    parameters = inspect.signature(value).parameters.values()  # pyright: ignore[reportArgumentType]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name != "self"]
    return str(
        inspect.Signature([p.replace(default=Named(p.default)) if inspect.isfunction(p.default) else p for p in plain])
    )


class Named:
    """A function as a default value, shown by its name: its repr holds an address."""

    def __init__(self, function: Callable) -> None:
        self.function = function

    def __repr__(self) -> str:
        return self.function.__name__


def entry(name: str) -> str:
    """One public name: signature, docstring and, for a class, its public methods."""
    value = getattr(physalis, name)
    text = f"## `{name}{signature(value)}`\n\n`{value.__module__}`\n\n{inspect.getdoc(value)}\n"
    if inspect.isclass(value) and value.__module__.startswith("physalis"):
        for method, member in vars(value).items():
            member = getattr(member, "__func__", getattr(member, "fget", getattr(member, "func", member)))
            if not method.startswith("_") and callable(member) and inspect.getdoc(member):
                text += f"\n### `{name}.{method}`\n\n{inspect.getdoc(member)}\n"
    return text


def page() -> str:
    """All of them, in alphabetical order."""
    head = "# Reference\n\nMade from the docstrings by `python docs/make_reference.py`.\n\n"
    return head + "\n".join(entry(name) for name in sorted(physalis.__all__, key=str.lower))


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page())
    PAGE.write_text(page())

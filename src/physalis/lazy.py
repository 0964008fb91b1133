"""lazy: names of a package that are imported when they are first asked for: torch takes seconds."""

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def lazy(
    package: str, home: Mapping[str, str], *, renamed: Mapping[str, str] = {}
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``. ``home`` has for each public name the module inside the package that
    defines it, ``renamed`` old names, which are answered to with a warning."""

    def get(name: str) -> Any:
        if name in renamed:
            warnings.warn(f"{package}.{name} is called {renamed[name]} now.", FutureWarning, stacklevel=2)
            name = renamed[name]
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return get, names

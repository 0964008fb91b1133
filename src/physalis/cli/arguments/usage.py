"""usage(): the first line of a command's ``--help``: what it needs, by the names that the rest of the page uses."""

import inspect
from collections.abc import Callable, Iterator

import cyclopts
from cyclopts import Parameter


def usage(path: str, run: Callable[..., object]) -> str:
    """Such as "physalis train [OPTIONS] ACTIVATIONS... --out FOLDER"."""
    parameters = inspect.signature(run).parameters.values()
    places = [_place(each) for each in parameters if each.kind != each.KEYWORD_ONLY]
    needed = [each for each in parameters if each.kind == each.KEYWORD_ONLY and each.default is each.empty]
    return " ".join([path, "[OPTIONS]", *places, *map(_option, needed)])


def write_usages(app: cyclopts.App, path: str) -> None:
    """Have every command below ``app`` show its own."""
    for name in app:
        if name.startswith("-"):
            continue
        each, there = app[name], f"{path} {name}"
        if each.default_command is None:
            write_usages(each, there)
        else:
            each.usage = f"Usage: {usage(there, each.default_command)}\n"


def _place(parameter: inspect.Parameter) -> str:
    name = next((name for each in _said(parameter) for name in each.name or ()), parameter.name)
    name = name.upper().strip("_").replace("_", "-")
    if parameter.kind == parameter.VAR_POSITIONAL:
        return f"[{name}...]"
    several = "..." if "list[" in str(parameter.annotation) else ""
    return f"{name}{several}" if parameter.default is parameter.empty else f"[{name}{several}]"


def _option(parameter: inspect.Parameter) -> str:
    of = next((each.metavar for each in _said(parameter) if each.metavar), "VALUE")
    return f"--{parameter.name.replace('_', '-')} {of}"


def _said(parameter: inspect.Parameter) -> Iterator[Parameter]:
    return (each for each in getattr(parameter.annotation, "__metadata__", ()) if isinstance(each, Parameter))

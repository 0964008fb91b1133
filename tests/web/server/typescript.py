"""The records of Python as the pages spell them, in frontend/src/lib/records/."""

import re
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tree import ROOT

LIB = ROOT / "frontend/src/lib/records"
NAMES = {int: "number", float: "number", str: "string", bool: "boolean", type(None): "null"}


def interfaces(module: str) -> dict[str, dict[str, str]]:
    """Name to fields to types of all interfaces of a module, with those of the interfaces that they extend."""
    found: dict[str, dict[str, str]] = {}
    text = (LIB / f"{module}.ts").read_text()
    for name, parent, body in re.findall(r"export interface (\w+)(?: extends (\w+))? \{(.*?)\n\}", text, re.S):
        found[name] = found.get(parent, {}) | dict(re.findall(r"^  (\w+): ([^;]+);", body, re.M))
    return found


def fields(model: Any, names: Mapping[Any, str] = NAMES) -> dict[str, str]:
    """Field to its type in TypeScript of a record."""
    return {name: spelled(about.annotation, names) for name, about in model.model_fields.items()}


def spelled(kind: Any, names: Mapping[Any, str] = NAMES) -> str:
    """A type as TypeScript spells it; ``names`` are those that have one of their own there."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind in names:
        return names[kind]
    if origin is Annotated:  # limits are Python's affair
        return spelled(inside[0], names)
    if origin is Literal:
        return " | ".join(map(ascii, inside))
    if origin in (UnionType, Union):
        return " | ".join(spelled(each, names) for each in inside)
    if origin is dict:  # keys are words there
        return f"Record<string, {spelled(inside[1], names)}>"
    if origin in (list, tuple):
        of = spelled(inside[0], names)
        return f"({of})[]" if " | " in of and not of.endswith("[]") else f"{of}[]"
    return kind.__name__

"""settings: what an architecture can be told beside its size: the fields of its config, read from their text, so that
``--help`` lists them and a wrong one is told before torch is imported."""

import ast
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from physalis.cli.arguments.defaults import defaults_of, parsed
from physalis.errors import BadInput

DECIDED = {"sites", "layers", "k"}
"""Fields that follow from what is read, or have an option of their own."""


class Setting(NamedTuple):
    """A field of a config."""

    name: str
    kind: str
    """As it is declared: "int", "float", "bool", or a tuple of them."""
    default: str
    meaning: str


@cache
def architectures() -> dict[str, dict[str, Setting]]:
    """The settings of each architecture, by its name and theirs, in the order of ``dictionaries.ARCHITECTURES``."""
    found = {}
    for path in sorted(
        files("physalis").joinpath("dictionaries", "architectures").iterdir(), key=lambda each: each.name
    ):
        if path.name.endswith(".py"):
            found |= _in(f"dictionaries.architectures.{path.name.removesuffix('.py')}")
    return {name: found[name] for name in _listed()}


def check_architecture(name: str) -> str:
    """Its name as it is written. Raises BadInput listing those there are."""
    if name.lower() not in architectures():
        raise BadInput(f"There is no dictionary architecture {name!r}. Choose one of: {', '.join(architectures())}.")
    return name.lower()


def read_settings(given: Sequence[str], chosen: Iterable[str]) -> dict[str, Any]:
    """Read ["aux_weight=0.1"] as {"aux_weight": .1}. Raises BadInput for what none of the ``chosen`` architectures has,
    or what is no value of it."""
    if not given:  # an architecture of somebody's own, made in Python, has no file here to be looked into
        return {}
    known = {name: each for one in chosen for name, each in architectures()[check_architecture(one)].items()}
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise BadInput(f"Cannot read --set {text!r}. Write NAME=VALUE, as in --set aux_weight=0.1.")
        if name not in known:
            there = ", ".join(known) or "none: its size is all there is to set"
            names = list(chosen)
            have = "has" if len(names) == 1 else "have"
            others = " and ".join(other for other, settings in architectures().items() if name in settings)
            where = f" It is one of {others}." if others else ""
            raise BadInput(f"{' and '.join(names)} {have} no setting {name!r}. Settings there: {there}.{where}")
        if name in found:
            raise BadInput(f"--set {name} was given twice. Give it once.")
        found[name] = _value(known[name], value.strip())
    return found


def _value(setting: Setting, text: str) -> Any:
    inside = setting.kind.removeprefix("tuple[").removesuffix(", ...]")
    try:
        if setting.kind.startswith("tuple"):
            return tuple(_one(inside, part) for part in text.split(",") if part.strip())
        return _one(inside, text)
    except (ValueError, KeyError):
        each = {"int": "a whole number", "float": "a number", "bool": "yes or no"}.get(inside, inside)
        wanted = f"{each}, or several with commas between" if setting.kind.startswith("tuple") else each
        raise BadInput(f"The setting {setting.name} is {wanted}; received {text!r}.") from None


def _one(kind: str, text: str) -> Any:
    if kind == "bool":
        return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]
    return int(text) if kind == "int" else float(text) if kind == "float" else text.strip()


def _listed() -> list[str]:
    """The names in ARCHITECTURES."""
    for node in parsed("dictionaries").body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ARCHITECTURES" and node.value:
            return [ast.unparse(each).lower() for each in node.value.elts] if isinstance(node.value, ast.Tuple) else []
    raise LookupError("dictionaries.ARCHITECTURES")


def _in(module: str) -> dict[str, dict[str, Setting]]:
    """The architectures that a module defines: classes that are made from a config."""
    classes = {node.name: node for node in parsed(module).body if isinstance(node, ast.ClassDef)}
    found = {}
    for name, node in classes.items():
        makes = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        config = next((a.annotation for a in makes.args.args if a.arg == "config"), None) if makes else None
        if isinstance(config, ast.Name) and config.id in classes:
            found[name.lower()] = dict(_fields(module, classes[config.id]))
    return found


def _fields(module: str, config: ast.ClassDef) -> Iterable[tuple[str, Setting]]:
    defaults = defaults_of(f"{module}.{config.name}")
    for node, after in zip(config.body, [*config.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.target.id in DECIDED:
            continue
        told = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        name = node.target.id
        yield name, Setting(name, ast.unparse(node.annotation), defaults.get(name, ""), " ".join(str(told).split()))

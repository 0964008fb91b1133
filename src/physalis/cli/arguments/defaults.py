"""defaults_of(): the defaults of a public function, read from its text: importing it would take the seconds that torch
takes, and ``--help`` is to be there at once."""

import ast
import operator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

ARITHMETIC = {ast.Div: operator.truediv, ast.Mult: operator.mul, ast.Pow: operator.pow, ast.LShift: operator.lshift}


def defaults_of(function: str) -> dict[str, str]:
    """The defaults in the signature of a function or method, or of the fields of a class, as a person would write them;
    where a function takes a record of options, those of its fields too. It is named by module and name inside physalis,
    such as "training.training.train"; None and empty defaults are left out, for they stand for something that the help
    says in words."""
    module, *names = _split(function)
    tree = parsed(module)
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    homes = {
        name.asname or name.name: f"{node.module.removeprefix('physalis.')}.{name.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("physalis.")
        for name in node.names
    }
    node: Any = tree
    for name in names:
        node = next(n for n in node.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == name)
    found: dict[str, str] = {}
    for key, given in _defaults(node).items():
        value = constants.get(given.id, given) if isinstance(given, ast.Name) else given
        match value:
            case ast.Call(func=ast.Name(id=record), keywords=changed) if record in homes:
                own = {each.arg: _spelt(each.value) for each in changed if each.arg}
                found |= defaults_of(homes[record]) | own
                continue
            case ast.Attribute(value=ast.Name(id=record), attr=field) if record in homes:
                said = defaults_of(homes[record]).get(field)
            case _:
                said = _spelt(value)
        if said:
            found[key] = said
    return found


@cache
def parsed(module: str) -> ast.Module:
    """The text of a module, such as "site" or "web.server.serving"."""
    return ast.parse(_file(module.split(".")).read_text(encoding="utf-8"))


def _split(function: str) -> list[str]:
    """The module, and the names inside it."""
    parts = function.split(".")
    n = next(n for n in range(len(parts) - 1, 0, -1) if _file(parts[:n]).is_file())
    return [".".join(parts[:n]), *parts[n:]]


def _file(parts: list[str]) -> Traversable:
    at = files("physalis").joinpath(*parts)
    return at / "__init__.py" if at.is_dir() else files("physalis").joinpath(*parts[:-1], f"{parts[-1]}.py")


def _defaults(node: ast.FunctionDef | ast.ClassDef) -> dict[str, ast.expr]:
    if isinstance(node, ast.ClassDef):
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and each.value is not None]
        return {each.target.id: each.value for each in fields if isinstance(each.target, ast.Name) and each.value}
    places = [*node.args.posonlyargs, *node.args.args]
    last = places[len(places) - len(node.args.defaults) :]
    named = [
        *zip(last, node.args.defaults, strict=True),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]
    return {argument.arg: value for argument, value in named if value is not None}


def _spelt(value: ast.expr) -> str:
    try:
        found: Any = ast.literal_eval(value)
    except ValueError:
        found = _product(value)
    match found:
        case None | () | {}:
            return ""
        case bool():
            return "yes" if found else "no"
        case int() | float():
            return f"{found:,}" if isinstance(found, int) else f"{found:.3g}"
        case tuple():
            return " ".join(map(str, found))
        case _:
            return str(found)


def _product(value: ast.expr) -> Any:
    """Such as 1 / 32; None for what is no arithmetic."""
    if not isinstance(value, ast.BinOp) or type(value.op) not in ARITHMETIC:
        return None
    left, right = (each.value if isinstance(each, ast.Constant) else None for each in (value.left, value.right))
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        return None
    return ARITHMETIC[type(value.op)](left, right)

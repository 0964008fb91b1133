"""unfit(): what of a request does not fit what its route takes, as a sentence: the field by name, what it must be, and
what was received, in short."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from physalis.web.server.shortened import cut, shown

BOUNDS = {
    "minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "of at least {} characters", "maxLength": "of at most {} characters",
    "minItems": "of at least {} entries", "maxItems": "of at most {} entries",
}  # fmt: skip
TYPES = {"integer": "a whole number", "number": "a number", "string": "a text", "boolean": "true or false"}
BLANK = "It is blank, not of the form asked for, or has a line break or a character that does not show"
MOST = 6
"""Names of fields that a sentence repeats of what was sent."""
Schema = Mapping[str, Any]


def unfit(request: Request, error: RequestValidationError) -> str:
    """The sentence about the first error."""
    first = error.errors()[0]
    _, *names = first["loc"]
    name, given = cut(".".join(map(str, names))) or "body", first.get("input")
    match first["type"]:
        case "json_invalid":
            return f"The body is no JSON: {cut(str(first['ctx']['error']))}. Send an object, as application/json."
        case "missing" if not names:
            told = "The body is missing. It must be {}, as application/json."
            return told.format(_must_be(request, names))
        case "missing":
            return f"The field {_ascii(name)} is missing: it must be {_must_be(request, names)}. {_received(given)}"
        case "union_tag_not_found":
            kind, tags = first["ctx"]["discriminator"].strip("'"), _tags(_schema(request, names))
            return f"The field {_ascii(name)}.{kind} is missing: it must be one of {tags}. {_received(given)}"
        case "model_attributes_type" | "model_type" | "dict_type":
            must = _must_be(request, names)
            return f"{_ascii(name)} must be {must}, as JSON, sent as application/json. {_received(given)}"
        case "string_pattern_mismatch":
            reason = BLANK
        case _:
            reason = cut(str(first["msg"]).removeprefix("Value error, "))
    return f"{_ascii(name)}={shown(given)} cannot be used: {_ascii(reason)}."


def _received(given: object) -> str:
    if isinstance(given, Mapping):
        told = ", ".join(shown(each) for each in list(given)[:MOST]) or "an empty object"
        return f"Received {'only ' * bool(given)}{cut(told)}{', …' * (len(given) > MOST)}."
    if isinstance(given, list | tuple):
        return f"Received a list of {len(given):,}."
    return f"Received {shown(given)}."


def _ascii(text: str) -> str:  # half a surrogate pair could not be sent back
    return text.encode("utf-8", "backslashreplace").decode()


def _schema(request: Request, names: Sequence[str | int]) -> Schema:
    """What the server's description says of a field of a body; empty where it does not."""
    described = request.app.openapi()
    route = request.scope.get("route")
    operation = described.get("paths", {}).get(getattr(route, "path_format", ""), {}).get(request.method.lower(), {})
    content = operation.get("requestBody", {}).get("content", {})
    node = next((kind.get("schema", {}) for kind in content.values()), {})
    for name in names:
        node = _inside(_resolved(node, described), name)
    return _resolved(node, described)


def _resolved(node: Schema, described: Schema) -> Schema:
    """Follows references, and leaves out that something may be null."""
    some = [each for each in node.get("anyOf", ()) if each.get("type") != "null"]
    node = some[0] if len(some) == 1 else node
    if "$ref" in node:
        return described["components"]["schemas"][node["$ref"].rpartition("/")[2]]
    return node


def _inside(node: Schema, name: str | int) -> Schema:
    tags = node.get("discriminator", {}).get("mapping", {})
    if name in tags:
        return {"$ref": tags[name]}
    return node.get("items", {}) if isinstance(name, int) else node.get("properties", {}).get(name, {})


def _tags(node: Schema) -> str:
    return ", ".join(node.get("discriminator", {}).get("mapping", {}))


def _must_be(request: Request, names: Sequence[str | int]) -> str:
    return _described(_schema(request, names), request.app.openapi())


def _described(node: Schema, described: Schema) -> str:
    node = _resolved(node, described)
    if "enum" in node or "const" in node:
        return " or ".join(str(each) for each in node.get("enum", [node.get("const")]))
    if "discriminator" in node:
        return f"an object with {node['discriminator']['propertyName']}, one of {_tags(node)}"
    if "properties" in node:
        return f"an object with {', '.join(node.get('required', node['properties']))}"
    if node.get("type") == "array":
        told = f"a list, each {_described(node.get('items', {}), described)}"
    else:
        told = TYPES.get(node.get("type", ""), "given")
    return ", ".join([told, *(bound.format(f"{node[key]:,.10g}") for key, bound in BOUNDS.items() if key in node)])

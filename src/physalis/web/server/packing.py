"""packing: records in few bytes, and JSON that may stand inside a page.

A feature's page is mostly the text of its examples, which takes half as much when it is not cut into tokens, and their
codes, most of which are 0.
"""

import json
from collections.abc import Iterable
from itertools import chain
from typing import Any

from physalis.atlas.records import Feature

_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_PRIVATE = range(0xE000, 0xF8FF)
"""Unicode's characters without a meaning: one of them is in no text of a page."""


def pack(feature: Feature) -> dict[str, Any]:
    """The record with each example as ``[document, position, text, codes]``: its tokens with the character ``between``
    them, which stands in none, and its codes that are not 0, each after its place: [4, 1.5, 9, 0.25]."""
    told = feature.model_dump(mode="json")
    between = _absent(token for group in told["groups"] for e in group["examples"] for token in e["tokens"])
    for group in told["groups"]:
        group["examples"] = [
            [
                example["document"],
                example["position"],
                between.join(example["tokens"]),
                [x for at, code in enumerate(example["codes"]) if code for x in (at, code)],
            ]
            for example in group["examples"]
        ]
    return told | {"between": between}


def _absent(tokens: Iterable[str]) -> str:
    used = set(chain.from_iterable(tokens))
    return next(c for c in chain("|^~`¦", map(chr, _PRIVATE)) if c not in used)


def script_json(value: Any) -> str:
    """JSON that neither ends the element it stands in nor begins another, and is JavaScript too: ``<``, ``>``, ``&``
    and the two line separators that JavaScript once took for line ends are escaped. Raises ValueError for NaN."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)

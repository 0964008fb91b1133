"""models: language models with named sites, the text they read, and a whole small transformer to test with.

Names are imported when they are first asked for: text can be looked at without waiting for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from physalis.models.corpus import documents, files
    from physalis.models.families import FAMILIES, Family, family_of
    from physalis.models.inspection import Inspection, inspect_model
    from physalis.models.loading import announced, load_model, load_tokenizer
    from physalis.models.model import Model, Write
    from physalis.models.packages import cache_folder
    from physalis.models.packing import Packed, check_context, check_enough, encoded, first_token, pack, packed
    from physalis.models.tiny import ByteTokenizer, Tiny, TinyConfig, tiny_model
    from physalis.models.trail import Trail, changed

_HOME = {
    "FAMILIES": "families", "ByteTokenizer": "tiny", "Family": "families", "Inspection": "inspection",
    "Model": "model", "Packed": "packing", "Tiny": "tiny", "TinyConfig": "tiny", "Trail": "trail", "Write": "model",
    "announced": "loading", "cache_folder": "packages", "changed": "trail", "check_context": "packing",
    "check_enough": "packing", "documents": "corpus", "encoded": "packing", "family_of": "families",
    "files": "corpus", "first_token": "packing", "inspect_model": "inspection", "load_model": "loading",
    "load_tokenizer": "loading", "pack": "packing", "packed": "packing", "tiny_model": "tiny",
}  # fmt: skip
"""Name to the module that defines it."""

__all__ = [
    "FAMILIES", "ByteTokenizer", "Family", "Inspection", "Model", "Packed", "Tiny", "TinyConfig", "Trail", "Write",
    "announced", "cache_folder", "changed", "check_context", "check_enough", "documents", "encoded", "family_of",
    "files", "first_token", "inspect_model", "load_model", "load_tokenizer", "pack", "packed", "tiny_model",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'physalis.models' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"physalis.models.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""models: language models with named sites, one way through them, and a whole small transformer to test with.

``load_model`` gives a ``Model``; ``Model.run`` reads and writes at its sites. Names are imported when they are first
asked for: what a model is made of can be looked at without waiting for torch.
"""

from typing import TYPE_CHECKING

from physalis.lazy import lazy

if TYPE_CHECKING:
    from physalis.models.families import FAMILIES, Family, family_of
    from physalis.models.freezing import Frozen
    from physalis.models.hooks import Write
    from physalis.models.inspection import Inspection, inspect_model
    from physalis.models.model import Model
    from physalis.models.shuffling import shuffled
    from physalis.models.sites.places import ModelSite
    from physalis.models.sources.loading import announced, load_corpus, load_model, load_tokenizer
    from physalis.models.sources.packages import cache_folder
    from physalis.models.text.packing import Packed, check_context, check_enough, first_token, pack, packed
    from physalis.models.tiny import ByteTokenizer, Tiny, TinyConfig, tiny_model

_HOME = {
    "FAMILIES": "families", "ByteTokenizer": "tiny", "Family": "families", "Frozen": "freezing",
    "Inspection": "inspection", "Model": "model", "ModelSite": "sites.places", "Packed": "text.packing", "Tiny": "tiny",
    "TinyConfig": "tiny", "Write": "hooks", "announced": "sources.loading", "cache_folder": "sources.packages",
    "check_context": "text.packing", "check_enough": "text.packing", "family_of": "families",
    "first_token": "text.packing", "inspect_model": "inspection", "load_corpus": "sources.loading",
    "load_model": "sources.loading", "load_tokenizer": "sources.loading", "pack": "text.packing",
    "packed": "text.packing", "shuffled": "shuffling", "tiny_model": "tiny",
}  # fmt: skip
"""Name to the module that defines it."""

__all__ = [
    "FAMILIES", "ByteTokenizer", "Family", "Frozen", "Inspection", "Model", "ModelSite", "Packed", "Tiny", "TinyConfig",
    "Write", "announced", "cache_folder", "check_context", "check_enough", "family_of", "first_token",
    "inspect_model", "load_corpus", "load_model", "load_tokenizer", "pack", "packed",
    "shuffled", "tiny_model",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOME)

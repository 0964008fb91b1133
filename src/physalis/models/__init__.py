"""models: language models with named sites, the text they read, and a whole small transformer to test with."""

from physalis.models.corpus import documents, files
from physalis.models.families import FAMILIES, Family, family_of
from physalis.models.inspection import Inspection, inspect_model
from physalis.models.loading import announced, load_model, load_tokenizer
from physalis.models.model import Model, Write
from physalis.models.packages import cache_folder
from physalis.models.packing import Packed, check_context, check_enough, encoded, first_token, pack, packed
from physalis.models.tiny import ByteTokenizer, Tiny, TinyConfig, tiny_model
from physalis.models.trail import Trail, changed

__all__ = [
    "FAMILIES", "ByteTokenizer", "Family", "Inspection", "Model", "Packed", "Tiny", "TinyConfig", "Trail", "Write",
    "announced", "cache_folder", "changed", "check_context", "check_enough", "documents", "encoded", "family_of",
    "files", "first_token", "inspect_model", "load_model", "load_tokenizer", "pack", "packed", "tiny_model",
]  # fmt: skip

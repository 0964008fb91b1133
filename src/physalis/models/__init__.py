"""models: language models with named sites, the text they read, and a whole small transformer to test with."""

from physalis.models.corpus import Packed, documents, pack
from physalis.models.families import FAMILIES, Family, family_of
from physalis.models.inspection import Inspection, inspect_model
from physalis.models.loading import load_model, load_tokenizer
from physalis.models.model import Model, Write
from physalis.models.packages import cache_folder
from physalis.models.tiny import ByteTokenizer, Tiny, TinyConfig, tiny_model

__all__ = [
    "FAMILIES", "ByteTokenizer", "Family", "Inspection", "Model", "Packed", "Tiny", "TinyConfig", "Write",
    "cache_folder", "documents", "family_of", "inspect_model", "load_model", "load_tokenizer", "pack", "tiny_model",
]  # fmt: skip

"""search: from text to features: what fires on it, what fires here and not there, and what means something like it."""

from physalis.search.contrast import (
    MEASURES,
    Measure,
    contrast,
    mean_code,
    share_of_texts,
    share_of_tokens,
    verdict,
)
from physalis.search.meaning import Embedder, Meanings
from physalis.search.minilm import MiniLM
from physalis.search.reading import Reader, Reading, Summed
from physalis.search.sets import texts_of
from physalis.search.tokens import on_token

__all__ = [
    "MEASURES", "Embedder", "Meanings", "Measure", "MiniLM", "Reader", "Reading", "Summed", "contrast", "mean_code",
    "on_token", "share_of_texts", "share_of_tokens", "texts_of", "verdict",
]  # fmt: skip

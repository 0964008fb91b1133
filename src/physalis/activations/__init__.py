"""activations: what a model computed at a site, stored as shards of shuffled rows, with its tokens, mean, scale and
hygiene."""

from physalis.activations.hygiene import Hygiene
from physalis.activations.layout import Span, lay_out
from physalis.activations.mixing import Rows, Source, mixed
from physalis.activations.shards import MemoryShard, Shard, Sums, merge_sums, moments, permuted, sums, write_shard
from physalis.activations.store import DOCUMENTS, KIND, LAYOUT, TOKENS, Activations, seal

__all__ = [
    "DOCUMENTS", "KIND", "LAYOUT", "TOKENS",
    "Activations", "Hygiene", "MemoryShard", "Rows", "Shard", "Source", "Span", "Sums",
    "lay_out", "merge_sums", "mixed", "moments", "permuted", "seal", "sums", "write_shard",
]  # fmt: skip

"""activations: what a model computed at a site, stored as shards of shuffled rows, with its tokens, mean, scale and
hygiene; and several of them joined."""

from physalis.activations.hygiene import Hygiene
from physalis.activations.layout import Span, check_spans, lay_out
from physalis.activations.mixing import Readable, Round, Rows, mixed
from physalis.activations.pairs import PairedRows, Pairs
from physalis.activations.parts import Part, frame_of, inputs_of, offset_of, origin_of
from physalis.activations.positions import DOCUMENTS, TOKENS, Positions
from physalis.activations.recorded import Recorded, Stored
from physalis.activations.rounding import all_read_back, read_back
from physalis.activations.sealing import seal
from physalis.activations.shards import (
    MemoryShard,
    Shard,
    Sums,
    merge_sums,
    moments,
    permuted,
    read_sidecar,
    sums,
    write_shard,
)
from physalis.activations.store import KIND, LAYOUT, STATISTICS, Activations
from physalis.activations.views import View

__all__ = [
    "DOCUMENTS", "KIND", "LAYOUT", "STATISTICS", "TOKENS", "Activations", "Hygiene", "MemoryShard", "PairedRows",
    "Pairs", "Part", "Positions", "Readable", "Recorded", "Round", "Rows", "Shard", "Span", "Stored", "Sums",
    "View", "all_read_back", "check_spans", "frame_of", "inputs_of", "lay_out", "merge_sums", "mixed", "moments",
    "offset_of", "origin_of", "permuted", "read_back", "read_sidecar", "seal", "sums", "write_shard",
]  # fmt: skip

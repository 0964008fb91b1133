"""The atlas's one file, atlas.db: its tables, and the writer that fills them in a fixed order. No torch.

| table | one row is |
| --- | --- |
| features | a feature's numbers and headline, readable with any SQLite client, and its snippet |
| pages | a feature's page: one compressed record (see pages) |
| causes | what editing the model showed of a feature, of those measured: a compressed `Causes` (see records) |
| words | a word, the features it leads to and their weights (see words) |
| meta | summary, region names, page shape, token strings |

The same content gives the same bytes: rows go in by a fixed order, and nothing that SQLite keeps (times, free pages,
a journal) depends on the run.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import numpy as np
import zstandard

from physalis.atlas.feature_pages import LEVEL, PageShape
from physalis.atlas.records import Causes, Summary
from physalis.atlas.search_index import WordIndex
from physalis.corpora.characters import Piece

DATABASE = "atlas.db"

LAYOUT = 2
"""Version of these tables, kept as the file's ``user_version``. Before 2 there were no causes, and it was 0."""

METRICS: dict[str, str] = {
    "density": "Share of tokens on which the feature fires.",
    "n_fired": "Number of tokens on which the feature fires.",
    "max_code": "Its largest activation.",
    "mean_code": "Its mean activation over the tokens on which it fires.",
    "token_entropy": "Bits: 0 fires on one token only, large on anything.",
    "logit_kurtosis": "Excess kurtosis of its direct effect on the logits: large promotes few, definite tokens.",
    "nearest_cosine": "Cosine to the nearest other decoder direction.",
}
"""Metrics that every feature has, with one line each: a list sorts and filters by them."""

PLACE = ("x", "y", "region")

SNIPPET_BEFORE, SNIPPET_AFTER = 8, 4
"""Tokens of the top example shown beside a feature in a list."""

SNIPPET = np.dtype(
    [("tokens", "<i4", SNIPPET_BEFORE + 1 + SNIPPET_AFTER), ("codes", "<u2", SNIPPET_BEFORE + 1 + SNIPPET_AFTER)]
)

_PRAGMAS = (
    f"PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA user_version = {LAYOUT};"
)

TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE features (
    id INTEGER PRIMARY KEY, density REAL NOT NULL, n_fired INTEGER NOT NULL, max_code REAL NOT NULL,
    mean_code REAL NOT NULL, token_entropy REAL NOT NULL, logit_kurtosis REAL NOT NULL, nearest_cosine REAL NOT NULL,
    x REAL NOT NULL, y REAL NOT NULL, region INTEGER NOT NULL, headline TEXT NOT NULL, snippet BLOB NOT NULL)""",
    "CREATE TABLE pages (id INTEGER PRIMARY KEY, page BLOB NOT NULL)",
    "CREATE TABLE causes (id INTEGER PRIMARY KEY, causes BLOB NOT NULL)",
    "CREATE TABLE words (word TEXT PRIMARY KEY, ids BLOB NOT NULL, weights BLOB NOT NULL) WITHOUT ROWID",
)
"""A reader takes no file that defines anything else: what a file defines can run."""


class StoreWriter:
    """Fills a new atlas.db at ``path``: pages in id order, causes if any, then ``finish`` once with the rest."""

    def __init__(self, path: Path, shape: PageShape) -> None:
        path.unlink(missing_ok=True)
        # One writer, no readers, renamed when whole: a journal would only slow it down. ``isolation_level=None`` leaves
        # transactions to us.
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(_PRAGMAS + "; ".join(TABLES) + ";")
        self._db.execute("BEGIN")
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._shape = shape
        self._next = 0

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def pages(self, packed: Sequence[bytes]) -> None:
        """Add the packed pages of the next features."""
        self._db.executemany("INSERT INTO pages VALUES (?, ?)", enumerate(packed, self._next))
        self._next += len(packed)

    def causes(self, found: Mapping[int, Causes]) -> None:
        """Add what was found of some features, once, by rising id."""
        blobs = ((id, self._compressor.compress(each.model_dump_json().encode())) for id, each in sorted(found.items()))
        self._db.executemany("INSERT INTO causes VALUES (?, ?)", blobs)

    def finish(
        self,
        *,
        columns: Mapping[str, np.ndarray],
        headlines: Sequence[str],
        snippets: np.ndarray,
        words: WordIndex,
        pieces: Mapping[int, Piece],
        summary: Summary,
        regions: Sequence[str],
    ) -> None:
        """Add everything else and close. ``columns`` holds every metric and place, a number a feature; ``pieces`` the
        text of every token id that the pages mention, or its bytes where it is only part of a character."""
        numbers = [columns[name].tolist() for name in (*METRICS, *PLACE)]
        blobs = (snippet.tobytes() for snippet in snippets)
        rows = zip(range(len(headlines)), *numbers, headlines, blobs, strict=True)
        self._db.executemany(f"INSERT INTO features VALUES ({', '.join('?' * (len(numbers) + 3))})", rows)
        self._db.executemany("INSERT INTO words VALUES (?, ?, ?)", words.rows())
        ids = sorted(pieces)
        written = [each if isinstance(each, str) else {"hex": each.hex()} for each in map(pieces.__getitem__, ids)]
        table = json.dumps([ids, written], ensure_ascii=False, separators=(",", ":"))
        meta = {
            "regions": json.dumps(list(regions), ensure_ascii=False),
            "shape": json.dumps(asdict(self._shape)),
            "strings": self._compressor.compress(table.encode()),
            "summary": summary.model_dump_json(exclude=None if summary.document_shape else {"document_shape"}),
        }
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        self._db.execute("COMMIT")

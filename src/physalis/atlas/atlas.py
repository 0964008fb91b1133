"""Atlas: everything stored about a dictionary's features, read from one SQLite file. No torch.

Numbers that lists sort and filter by are read once into memory (some 40 bytes a feature); pages, headlines and words
are read from the file as they are asked for. An Atlas can be shared by threads: each gets its own connection.
"""

import json
import random
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from physalis import artifact
from physalis.atlas.pages import PageShape, StringTable, codes_of, decode, unpack
from physalis.atlas.records import Causes, Feature, FeatureList, FeatureRow, Map, Summary
from physalis.atlas.store import DATABASE, LAYOUT, METRICS, PLACE, SNIPPET
from physalis.atlas.words import score
from physalis.atlas.worth import worth
from physalis.errors import BadInput

SORTS = ("id", *METRICS)
"""What a list can be sorted by; a search also by "relevance"."""

Bounds = tuple[float | None, float | None]

_ROW = ", ".join(("id", *METRICS, *PLACE, "headline", "snippet"))


class Atlas:
    """A finished atlas. ``atlas[12]`` is feature 12; ``len(atlas)`` counts features, dead ones too."""

    def __init__(self, folder: Path, manifest: artifact.Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._local = threading.local()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path | str) -> "Atlas":
        """Open a folder that ``build_atlas`` finished. Raises BadInput if it is none, unfinished, damaged or newer."""
        folder = Path(folder)
        manifest = artifact.read(folder, "atlas")
        atlas = cls(folder, manifest)
        file = folder / DATABASE
        if not file.exists() or file.stat().st_size != manifest.facts["bytes"]:
            size = file.stat().st_size if file.exists() else 0
            raise BadInput(
                f"{file} is damaged: it has {size:,} bytes where {manifest.facts['bytes']:,} were written. "
                "Copy it again or build the atlas again."
            )
        if atlas._layout > LAYOUT:
            raise BadInput(
                f"{file} has layout {atlas._layout}; this physalis reads up to {LAYOUT}. Install a newer physalis."
            )
        return atlas

    def __len__(self) -> int:
        return self.manifest.facts["n_features"]

    def __getitem__(self, id: int) -> Feature:
        """Everything about one feature. Raises BadInput if there is none with that id."""
        self._check(id)
        (blob,) = self._db.execute("SELECT page FROM pages WHERE id = ?", (id,)).fetchone()
        row = self._rows([id])[id]
        page = decode(unpack(blob, self._shape), self._shape, self._strings, self._headlines)
        causes, unmeasured = self._causes(id, row["n_fired"])
        judged = worth(
            headline=row["headline"], n_fired=row["n_fired"], groups=page["groups"], top_tokens=page["top_tokens"],
            promoted=page["promoted"], neighbours=[*page["nearest"], *page["cofiring"]], causes=causes,
            unmeasured=unmeasured,
        )  # fmt: skip
        return Feature.trusted(**row, **page, causes=causes, unmeasured=unmeasured, worth=judged)

    def rows(self, ids: Sequence[int]) -> Sequence[FeatureRow]:
        """The list rows of some features, in the order asked for. Raises BadInput if one does not exist."""
        for id in ids:
            self._check(id)
        found = self._rows(ids)
        return [FeatureRow.trusted(**found[id]) for id in ids]

    def list(
        self,
        *,
        query: str = "",
        sort: str | None = None,
        descending: bool = True,
        filters: Mapping[str, Bounds] = {},
        offset: int = 0,
        limit: int = 50,
    ) -> FeatureList:
        """One page of the features that match.

        ``query`` holds words of which a feature must have every one, in its headline, tokens, promoted tokens or
        examples; the last may be unfinished. A number is also an id, finished or not; ``#12`` is only the id.
        ``sort`` is an entry of ``SORTS``; if none is given, a search comes best match first and a list by density.
        ``filters`` gives (low, high), both inclusive and either of them None, for any metric, place or id.
        Raises BadInput for a sort or filter that does not exist.
        """
        if offset < 0 or limit < 0:
            raise BadInput(f"offset and limit count from 0; received offset {offset} and limit {limit}.")
        query = query.lstrip()
        sort = sort or ("relevance" if query else "density")
        if sort != "relevance" and sort not in SORTS:
            raise BadInput(f"A list cannot be sorted by {sort!r}. Choose one of: relevance, {', '.join(SORTS)}.")
        keep = np.ones(len(self), bool)
        relevance = np.zeros(len(self), np.float32)
        if query:
            relevance = self._relevance(query)
            keep &= relevance > 0
        for name, (low, high) in filters.items():
            if name not in self._columns:
                raise BadInput(
                    f"Features have no metric {name!r} to filter by. Choose one of: {', '.join(self._columns)}."
                )
            keep &= self._columns[name] >= low if low is not None else True
            keep &= self._columns[name] <= high if high is not None else True
        order = self._order("density" if sort == "relevance" else sort)
        if descending or sort == "relevance":
            order = order[::-1]
        matching = order[keep[order]]
        shown = matching
        if sort == "relevance":
            shown = matching[_smallest(-relevance[matching] if descending else relevance[matching], offset + limit)]
        return FeatureList(
            total=len(matching), offset=offset, rows=[*self.rows(shown[offset : offset + limit].tolist())]
        )

    def map(self) -> Map:
        """Every living feature's place, and the regions' names."""
        living = np.flatnonzero(self._columns["region"] >= 0)
        headlines = [headline for (headline,) in self._db.execute("SELECT headline FROM features ORDER BY id")]
        column = {name: self._columns[name][living] for name in ("x", "y", "region", "density")}
        return Map.trusted(
            ids=living.tolist(),
            x=np.round(column["x"], 5).tolist(),
            y=np.round(column["y"], 5).tolist(),
            region=column["region"].astype(int).tolist(),
            density=column["density"].tolist(),
            headline=[headlines[i] for i in living],
            regions=[*self.regions],
        )

    def summary(self) -> Summary:
        """The dictionary as a whole."""
        return Summary.model_validate_json(self._meta("summary"))

    @cached_property
    def regions(self) -> Sequence[str]:
        """Names of the map's regions."""
        return json.loads(self._meta("regions"))

    def random(self) -> int:
        """The id of a living feature, any of them (of all, where none lives)."""
        living = np.flatnonzero(self._columns["n_fired"] > 0)
        return int(random.choice(living)) if len(living) else random.randrange(len(self))

    def beside(self, id: int) -> tuple[int, int]:
        """The ids before and after this one, round the ends. Raises BadInput if there is no feature with that id."""
        self._check(id)
        return (id - 1) % len(self), (id + 1) % len(self)

    def _check(self, id: int) -> None:
        if not 0 <= id < len(self):
            raise BadInput(f"There is no feature {id}: this atlas has {len(self):,}, from 0 to {len(self) - 1}.")

    def _causes(self, id: int, n_fired: int) -> tuple[Causes | None, str]:
        """What editing the model showed of a feature, or why nothing did."""
        if n_fired == 0:
            return None, "It never fires."
        if not self._n_edited:
            return None, "The model was not edited when this atlas was built: ask for some `causes`, and it is."
        found = self._db.execute("SELECT causes FROM causes WHERE id = ?", (id,)).fetchone()
        if found is not None:
            return Causes.model_validate_json(zstandard.decompress(found[0])), ""
        edited = f"{self._n_edited:,} of {len(self):,}"
        return None, f"The model was edited for {edited} features, the most striking first, and not for this one."

    def _relevance(self, query: str) -> np.ndarray:
        typed = query.strip()
        if typed.startswith("#") and _is_number(typed[1:]):
            relevance = np.zeros(len(self), np.float32)
            relevance[int(typed[1:]) : int(typed[1:]) + 1] = 1
            return relevance
        find = "SELECT word, ids, weights FROM words WHERE word >= ? AND word < ? ORDER BY word"
        relevance = score(query, len(self), lambda low, high: self._db.execute(find, (low, high)).fetchall())
        if _is_number(typed):
            first, span, weight = int(typed), 1, 1e9
            while first < len(self):  # 12, then 120 to 129, then 1200 to 1299 ...
                relevance[first : first + span] += weight
                if first == 0:
                    break
                first, span, weight = first * 10, span * 10, 1e6 / span
        return relevance

    @property
    def _db(self) -> sqlite3.Connection:
        if not hasattr(self._local, "db"):
            # ``immutable``: the file never changes once its manifest is written, so no locks and no -shm files.
            uri = f"{(self.folder / DATABASE).resolve().as_uri()}?mode=ro&immutable=1"
            self._local.db = sqlite3.connect(uri, uri=True, check_same_thread=False)
            self._local.db.execute(f"PRAGMA mmap_size = {1 << 40}")  # no call of the system for each block
        return self._local.db

    def _meta(self, key: str) -> Any:
        try:
            (value,) = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        except (sqlite3.DatabaseError, TypeError) as error:
            raise BadInput(f"{self.folder / DATABASE} cannot be read ({error}). Build the atlas again.") from error
        return value

    @cached_property
    def _layout(self) -> int:
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            raise BadInput(f"{self.folder / DATABASE} cannot be read ({error}). Build the atlas again.") from error
        return version or 1

    @cached_property
    def _n_edited(self) -> int:
        """Features whose causes were measured: none before there was a table of them."""
        if self._layout < 2:
            return 0
        (n,) = self._db.execute("SELECT count(*) FROM causes").fetchone()
        return n

    @cached_property
    def _shape(self) -> PageShape:
        return PageShape(**json.loads(self._meta("shape")))

    @cached_property
    def _strings(self) -> StringTable:
        ids, pieces = json.loads(zstandard.decompress(self._meta("strings")))
        return StringTable(ids, [each if isinstance(each, str) else bytes.fromhex(each["hex"]) for each in pieces])

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        names = (*METRICS, *PLACE)
        rows = self._db.execute(f"SELECT {', '.join(names)} FROM features ORDER BY id").fetchall()
        table = np.array(rows, np.float64).reshape(len(rows), len(names))
        return {"id": np.arange(len(rows)), **{name: table[:, i].copy() for i, name in enumerate(names)}}

    @cached_property
    def _orders(self) -> dict[str, np.ndarray]:
        return {}

    def _order(self, metric: str) -> np.ndarray:
        """Ids by rising value of a metric. Sorted once; equal values by falling id, so that falling lists rise."""
        with self._lock:
            if metric not in self._orders:
                values = self._columns[metric]
                self._orders[metric] = len(values) - 1 - np.argsort(values[::-1], kind="stable")
            return self._orders[metric]

    def _rows(self, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        found = {}
        for id in dict.fromkeys(ids):
            row = self._db.execute(f"SELECT {_ROW} FROM features WHERE id = ?", (id,)).fetchone()
            values = dict(zip(("id", *METRICS, *PLACE, "headline"), row, strict=False))
            snippet = np.frombuffer(row[-1], SNIPPET)[0]
            tokens = snippet["tokens"][snippet["tokens"] >= 0]
            (values["snippet"],) = self._strings.in_text(tokens[None])
            values["snippet_codes"] = codes_of(snippet["codes"][: len(tokens)], values["max_code"])
            found[id] = values
        return found

    def _headlines(self, ids: Sequence[int]) -> dict[int, str]:
        asked = ", ".join(str(int(id)) for id in ids)
        return dict(self._db.execute(f"SELECT id, headline FROM features WHERE id IN ({asked})").fetchall())


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12 and str(int(text)) == text


def _smallest(values: np.ndarray, n: int) -> np.ndarray:
    """Indexes of the ``n`` smallest values, rising, equal ones in order: a stable sort that does not sort the rest."""
    if n >= len(values):
        return np.argsort(values, kind="stable")
    few = np.flatnonzero(values <= np.partition(values, n)[n]) if n else np.empty(0, np.int64)
    return few[np.argsort(values[few], kind="stable")]

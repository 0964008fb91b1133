"""AtlasReader: everything that one atlas.db tells, read, checked and answered. No torch.

Numbers and headlines, which lists sort, filter and show, are read once into memory (some 150 bytes a feature); pages
and words are read from the file as they are asked for. What is damaged costs the page or the search that needs it.
"""

import json
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from physalis.atlas.annex import NONE, Annex, Called
from physalis.atlas.checks import check_page, columns_of, shape_of, strings_of
from physalis.atlas.compression import inflate
from physalis.atlas.evidence import worth
from physalis.atlas.feature_pages import Shown, codes_of_each, decode, unpack
from physalis.atlas.records import Causes, Feature, FeatureList, FeatureRow, Map, Summary
from physalis.atlas.schema import METRICS, PLACE, SNIPPET
from physalis.atlas.search_index import score
from physalis.atlas.snapshot import Snapshot
from physalis.corpora.characters import Piece
from physalis.errors import BadInput, Unavailable

SORTS = ("id", *METRICS)
"""What a list can be sorted by; a search also by "relevance"."""

Bounds = tuple[float | None, float | None]

MOST_STRINGS, MOST_CAUSES = 1 << 27, 1 << 23
"""Bytes of all tokens' text, and of what is told of one feature's causes."""
AT_ONCE = 500
"""Rows that are asked for in one statement."""


class AtlasReader:
    """One atlas.db. What it answers is as ``Atlas`` says it."""

    def __init__(self, tables: Snapshot, n_features: int) -> None:
        """Raises BadInput, with the end of a sentence, if it cannot be shown as a whole."""
        self.tables = tables
        self._n = n_features
        self._lock = threading.Lock()
        self._orders: dict[str, np.ndarray] = {}
        self._shape = shape_of(self._json("shape"))
        self._strings = strings_of(_loaded("strings", inflate(self._meta("strings"), most=MOST_STRINGS)))
        self.regions = self._read_regions()
        self._columns, self._headlines = self._read_features()
        self.summary = self._read_summary()
        self._edited = self._read_edited()
        if tables.value("SELECT max(id) FROM pages") != n_features - 1:
            raise BadInput("it does not have a page for every feature")

    def feature(self, id: int, annex: Annex = NONE) -> Feature:
        self.check(id)
        try:
            page = unpack(self.tables.value("SELECT page FROM pages WHERE id = ?", id), self._shape)
            check_page(page, self._shape, self._strings, self._n)
            (row,) = self._rows([id], self._snippet(id), annex)
            causes, unmeasured = self._causes(id, row["n_fired"])
        except Unavailable:
            raise
        except BadInput as error:
            raise Unavailable(
                f"What is stored of feature {id} is damaged: {error}. Whoever keeps this atlas: copy its atlas.db "
                "again, or build it again."
            ) from error
        fields = decode(page, self._shape, self._strings, lambda ids: self._named(ids, annex))
        judged = worth(
            headline=self._headlines[id], n_fired=row["n_fired"], groups=fields["groups"],
            top_tokens=fields["top_tokens"], promoted=fields["promoted"],
            neighbours=[*fields["nearest"], *fields["cofiring"]], causes=causes, unmeasured=unmeasured,
        )  # fmt: skip
        told = {**row, **fields, "tokens": self._headlines[id]}
        return Feature.trusted(**told, causes=causes, unmeasured=unmeasured, worth=judged)

    def shown(self, id: int) -> Shown:
        self.check(id)
        page = unpack(self.tables.value("SELECT page FROM pages WHERE id = ?", id), self._shape)
        check_page(page, self._shape, self._strings, self._n)
        return Shown.of(page, self._shape)

    def pieces(self) -> list[Piece]:
        return self._strings.pieces()

    def rows(self, ids: Sequence[int], annex: Annex = NONE) -> Sequence[FeatureRow]:
        for id in ids:
            self.check(id)
        different = [*dict.fromkeys(ids)]
        found = dict(zip(different, self._rows(different, self._snippets(different), annex), strict=True))
        return [FeatureRow.trusted(**found[id]) for id in ids]

    def listed(
        self,
        *,
        query: str = "",
        sort: str | None = None,
        descending: bool = True,
        filters: Mapping[str, Bounds] = {},
        offset: int = 0,
        limit: int = 50,
        annex: Annex = NONE,
    ) -> FeatureList:
        if offset < 0 or limit < 0:
            raise BadInput(f"offset and limit count from 0; received offset {offset} and limit {limit}.")
        query = query.lstrip()
        sort = sort or ("relevance" if query else "density")
        if sort not in ("relevance", *SORTS, *annex.columns):
            known = ", ".join(("relevance", *SORTS, *annex.columns))
            raise BadInput(f"A list cannot be sorted by {sort!r}. Choose one of: {known}.")
        keep = np.ones(self._n, bool)
        relevance = np.zeros(self._n, np.float32)
        if query:
            relevance = self._relevance(query, annex)
            keep &= relevance > 0
        for name, (low, high) in filters.items():
            columns = {**self._columns, **annex.columns}
            if name not in columns:
                raise BadInput(f"Features have no metric {name!r} to filter by. Choose one of: {', '.join(columns)}.")
            keep &= columns[name] >= low if low is not None else True
            keep &= columns[name] <= high if high is not None else True
        if sort in annex.columns:
            order = _rising(annex.columns[sort])
        else:
            order = self._order("density" if sort == "relevance" else sort)
        if descending or sort == "relevance":
            order = order[::-1]
        if sort in annex.columns:  # what has no rule comes after the rest, either way
            without = np.isnan(annex.columns[sort][order])
            order = np.concatenate([order[~without], order[without]])
        matching = order[keep[order]]
        shown = matching
        if sort == "relevance":
            shown = matching[_smallest(-relevance[matching] if descending else relevance[matching], offset + limit)]
        return FeatureList(
            total=len(matching), offset=offset, rows=[*self.rows(shown[offset : offset + limit].tolist(), annex)]
        )

    def columns(self, annex: Annex = NONE) -> dict[str, Any]:
        """An entry a feature: what rows of lists hold, but for the snippets."""
        whole = {name: self._columns[name].astype(np.int64) for name in ("n_fired", "region")}
        named = {"id": np.arange(self._n), "headline": [*self._named(range(self._n), annex).values()]}
        every = {**self._columns, **annex.columns}
        return named | {name: values.copy() for name, values in every.items() if name != "id"} | whole

    def map(self, annex: Annex = NONE) -> Map:
        living = np.flatnonzero(self._columns["region"] >= 0)
        column = {name: self._columns[name][living] for name in ("x", "y", "region", "density")}
        return Map.trusted(
            ids=living.tolist(),
            x=np.round(column["x"], 5).tolist(),
            y=np.round(column["y"], 5).tolist(),
            region=column["region"].astype(int).tolist(),
            density=column["density"].tolist(),
            headline=[*self._named(living.tolist(), annex).values()],
            regions=[*self.regions],
        )

    def random(self) -> int:
        living = np.flatnonzero(self._columns["n_fired"] > 0)
        return int(random.choice(living)) if len(living) else random.randrange(self._n)

    def check(self, id: int) -> None:
        if not 0 <= id < self._n:
            raise BadInput(f"There is no feature {id}: this atlas has {self._n:,}, from 0 to {self._n - 1}.")

    def _causes(self, id: int, n_fired: int) -> tuple[Causes | None, str]:
        """What editing the model showed of a feature, or why nothing did."""
        if n_fired == 0:
            return None, "It never fires."
        if not self._edited:
            return None, "The model was not edited when this atlas was built: ask for some `causes`, and it is."
        if id in self._edited:
            stored = self.tables.value("SELECT causes FROM causes WHERE id = ?", id)
            try:
                return Causes.model_validate_json(inflate(stored, most=MOST_CAUSES)), ""
            except ValidationError as error:
                raise BadInput("what the model's edits showed of it cannot be read") from error
        edited = f"{len(self._edited):,} of {self._n:,}"
        return None, f"The model was edited for {edited} features, the most striking first, and not for this one."

    def _relevance(self, query: str, annex: Annex) -> np.ndarray:
        typed = query.strip()
        if typed.startswith("#") and _is_number(typed[1:]):
            relevance = np.zeros(self._n, np.float32)
            relevance[int(typed[1:]) : int(typed[1:]) + 1] = 1
            return relevance
        find = "SELECT word, ids, weights FROM words WHERE word >= ? AND word < ? ORDER BY word"
        relevance = score(query, self._n, lambda low, high: self._found(find, low, high) + annex.find(low, high))
        if _is_number(typed):
            first, span, weight = int(typed), 1, 1e9
            while first < self._n:  # 12, then 120 to 129, then 1200 to 1299 ...
                relevance[first : first + span] += weight
                if first == 0:
                    break
                first, span, weight = first * 10, span * 10, 1e6 / span
        return relevance

    def _found(self, find: str, low: str, high: str) -> list[tuple[str, bytes, bytes]]:
        rows = self.tables.rows(find, low, high)
        if not all(isinstance(ids, bytes) and isinstance(weights, bytes) for _, ids, weights in rows):
            raise Unavailable(f"This atlas's index of words is damaged at {low!r}. Search for another word.")
        return rows

    def _order(self, metric: str) -> np.ndarray:
        """Ids by rising value of a metric. Sorted once; equal values by falling id, so that falling lists rise."""
        with self._lock:
            if metric not in self._orders:
                self._orders[metric] = _rising(self._columns[metric])
            return self._orders[metric]

    def _rows(self, ids: Sequence[int], snippets: np.ndarray, annex: Annex) -> list[dict[str, Any]]:
        """The fields of some features' rows, all at once: a row by itself takes ten times as long."""
        columns: dict[str, list[Any]] = {name: column[[*ids]].tolist() for name, column in self._columns.items()}
        for name in ("n_fired", "region"):
            columns[name] = [*map(int, columns[name])]
        names = [annex.names.get(id, Called(self._headlines[id], "tokens")) for id in ids]
        columns |= {"headline": [each.text for each in names], "named_by": [each.by for each in names]}
        columns["rule"] = [annex.rules.get(id) for id in ids]
        lengths = (snippets["tokens"] >= 0).sum(1).tolist()
        texts = self._strings.in_text(snippets["tokens"])
        codes = codes_of_each(snippets["codes"], np.array(columns["max_code"], np.float64))
        columns["snippet"] = [each[:n] for each, n in zip(texts, lengths, strict=True)]
        columns["snippet_codes"] = [each[:n] for each, n in zip(codes, lengths, strict=True)]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _snippet(self, id: int) -> np.ndarray:
        stored = self.tables.value("SELECT snippet FROM features WHERE id = ?", id)
        if not isinstance(stored, bytes) or len(stored) != SNIPPET.itemsize:
            raise BadInput("its strongest example is cut")
        snippet = np.frombuffer(stored, SNIPPET)
        if not self._sound(snippet)[0]:
            raise BadInput("its strongest example has a token that has no text")
        return snippet

    def _snippets(self, ids: Sequence[int]) -> np.ndarray:
        """An empty one where it is damaged, which the feature's own page tells: others of a list are shown."""
        found = np.zeros(len(ids), SNIPPET)
        found["tokens"] = -1
        for first in range(0, len(ids), AT_ONCE):
            some = ids[first : first + AT_ONCE]
            marks = ", ".join("?" * len(some))
            stored = dict(self.tables.rows(f"SELECT id, snippet FROM features WHERE id IN ({marks})", *some))
            for i, id in enumerate(some, first):
                snippet = stored.get(id)
                if isinstance(snippet, bytes) and len(snippet) == SNIPPET.itemsize:
                    found[i] = np.frombuffer(snippet, SNIPPET)[0]
        found["tokens"][~self._sound(found)] = -1
        return found

    def _sound(self, snippets: np.ndarray) -> np.ndarray:
        """Whether each is of tokens that have a text, with nothing between them."""
        tokens = snippets["tokens"]
        gaps = (tokens[:, :-1] < 0) & (tokens[:, 1:] >= 0)
        return (tokens.min(1) >= -1) & (tokens.max(1) < self._strings.size) & ~gaps.any(1)

    def _named(self, ids: Iterable[int], annex: Annex) -> dict[int, str]:
        return {id: annex.names[id].text if id in annex.names else self._headlines[id] for id in ids}

    def _meta(self, key: str) -> Any:
        found = self.tables.value("SELECT value FROM meta WHERE key = ?", key)
        if found is None:
            raise BadInput(f"it has no {key}")
        return found

    def _json(self, key: str) -> Any:
        return _loaded(key, self._meta(key))

    def _read_regions(self) -> list[str]:
        regions = self._json("regions")
        if not isinstance(regions, list) or not all(isinstance(each, str) for each in regions):
            raise BadInput("its regions' names are none")
        return regions

    def _read_features(self) -> tuple[dict[str, np.ndarray], list[str]]:
        names = (*METRICS, *PLACE)
        query = f"SELECT id, {', '.join(names)}, headline FROM features ORDER BY id LIMIT ?"
        rows = self.tables.rows(query, self._n + 1)
        columns = columns_of([row[:-1] for row in rows], names, self._n)
        headlines = [row[-1] for row in rows]
        if not set(map(type, headlines)) <= {str}:
            raise BadInput("it holds a headline that is no text")
        if self._n and not -1 <= columns["region"].min() <= columns["region"].max() < max(len(self.regions), 1):
            raise BadInput("it names a region that does not exist")
        return columns, headlines

    def _read_summary(self) -> Summary:
        try:
            summary = Summary.model_validate_json(self._meta("summary"))
        except ValidationError as error:
            raise BadInput("its summary cannot be read") from error
        if not all(0 <= id < self._n for id in summary.striking):
            raise BadInput("its summary names a feature that does not exist")
        return summary

    def _read_edited(self) -> frozenset[int]:
        """Features whose causes were measured: none before there was a table of them."""
        if self.tables.layout < 2:
            return frozenset()
        rows = self.tables.rows("SELECT id FROM causes LIMIT ?", self._n + 1)
        edited = frozenset(id for (id,) in rows)
        if len(edited) != len(rows) or not all(0 <= id < self._n for id in edited):
            raise BadInput("it tells the causes of a feature that does not exist")
        return edited


def _loaded(key: str, text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"its {key} cannot be read") from error


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12 and str(int(text)) == text


def _rising(values: np.ndarray) -> np.ndarray:
    return len(values) - 1 - np.argsort(values[::-1], kind="stable")


def _smallest(values: np.ndarray, n: int) -> np.ndarray:
    """Indexes of the ``n`` smallest values, rising, equal ones in order: a stable sort that does not sort the rest."""
    if n >= len(values):
        return np.argsort(values, kind="stable")
    few = np.flatnonzero(values <= np.partition(values, n)[n]) if n else np.empty(0, np.int64)
    return few[np.argsort(values[few], kind="stable")]

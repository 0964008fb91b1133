"""Reading an atlas: lists, searches, pages, errors; on a small one of random features."""

import importlib.util
import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from tree import ROOT

from physalis.atlas import Atlas
from physalis.atlas.records import Feature, FeatureList, Map
from physalis.errors import BadInput

N = 300


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    path = ROOT / "benchmarks" / "atlas.py"
    spec = importlib.util.spec_from_file_location("benchmark_atlas", path)
    assert spec and spec.loader
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    yield benchmark.synthetic_atlas(tmp_path_factory.mktemp("atlas") / "a b?", N)


def test_pages_are_valid_records(atlas: Atlas) -> None:
    assert len(atlas) == N
    for id in (0, 7, N - 1):
        feature = atlas[id]
        assert feature.id == id
        Feature.model_validate(feature.model_dump())
        assert [len(group.examples) for group in feature.groups] == [16, 5, 5, 5, 5, 5, 5]
        for group in feature.groups:
            for example in group.examples:
                assert len(example.tokens) == len(example.codes) == 49
                assert max(example.codes) <= feature.max_code * 1.001
        assert [n.headline for n in feature.nearest] == [atlas.rows([n.id])[0].headline for n in feature.nearest]


def test_other_records_are_valid(atlas: Atlas) -> None:
    FeatureList.model_validate(atlas.list().model_dump())
    placed = Map.model_validate(atlas.map().model_dump())
    assert placed.ids == list(range(N)) and len(placed.regions) == 40
    assert atlas.summary().n_features == N


def test_lists_sort_both_ways_and_page(atlas: Atlas) -> None:
    for metric in ("density", "max_code", "id"):
        down = [getattr(row, metric) for row in atlas.list(sort=metric, limit=N).rows]
        up = [getattr(row, metric) for row in atlas.list(sort=metric, descending=False, limit=N).rows]
        assert down == sorted(down, reverse=True) and up == sorted(up)
    pages = [atlas.list(sort="density", offset=offset, limit=70).rows for offset in range(0, N, 70)]
    assert [row for page in pages for row in page] == [*atlas.list(sort="density", limit=N).rows]
    assert atlas.list(offset=N).rows == [] and atlas.list(offset=N).total == N


def test_filters_bound_every_metric(atlas: Atlas) -> None:
    middle = atlas.list(sort="density", offset=N // 2, limit=1).rows[0].density
    found = atlas.list(filters={"density": (middle, None), "max_code": (None, 1.0)}, limit=N)
    assert 0 < found.total < N
    assert all(row.density >= middle and row.max_code <= 1 for row in found.rows)
    assert atlas.list(filters={"region": (3, 3)}).total == sum(r == 3 for r in atlas.map().region)
    assert atlas.list(filters={"density": (2, None)}).total == 0


def test_a_search_wants_every_word(atlas: Atlas) -> None:
    feature = atlas[11]
    one = feature.top_tokens[0].token.strip()
    two = feature.groups[0].examples[0].tokens[4].strip()
    for query in (one, f"{one} {two}", f"{two} {one}", f"  {one.upper()}  ", one[:-1]):
        assert 11 in [row.id for row in atlas.list(query=query, limit=N).rows], query
    both = atlas.list(query=f"{one} {two}", limit=N)
    assert both.total <= min(atlas.list(query=f"{word} ").total for word in (one, two))
    assert atlas.list(query=f"{one} neverseenword").total == 0
    assert atlas.list(query=one, filters={"id": (11, 11)}).total == 1
    assert [r.id for r in atlas.list(query=one, sort="id", limit=N).rows] == sorted(
        (r.id for r in atlas.list(query=one, limit=N).rows), reverse=True
    )


def test_a_number_is_an_id(atlas: Atlas) -> None:
    assert [row.id for row in atlas.list(query="12").rows][:1] == [12]
    assert {row.id for row in atlas.list(query="12", limit=11).rows} == {12, *range(120, 130)}
    assert [row.id for row in atlas.list(query="#12").rows] == [12]
    assert atlas.list(query="0").rows[0].id == 0
    assert atlas.list(query="#999999").total == 0 and atlas.list(query="99999999999999999999").total == 0


ODD = [
    "def __init__",
    '"',
    "'; DROP TABLE features;--",
    "(",
    "AND OR NOT",
    "a*",
    "*",
    "^",
    "\\",
    "日本 語",
    "#",
    "²",
    "%",
]
ODD += ["x" * 5000, "   ", "-1", "#-1", "{}[]", "\n", "\0"]


@pytest.mark.parametrize("query", ODD)
def test_no_search_is_an_error(atlas: Atlas, query: str) -> None:
    assert atlas.list(query=query).total >= 0


def test_bad_requests_are_sentences(atlas: Atlas) -> None:
    with pytest.raises(BadInput, match=r"no feature 300: this atlas has 300, from 0 to 299"):
        atlas[N]
    with pytest.raises(BadInput, match="no feature -1"):
        atlas[-1]
    with pytest.raises(BadInput, match="cannot be sorted by 'beauty'. Choose one of: relevance, id, density"):
        atlas.list(sort="beauty")
    with pytest.raises(BadInput, match="no metric 'beauty' to filter by"):
        atlas.list(filters={"beauty": (0, 1)})
    with pytest.raises(BadInput, match="count from 0"):
        atlas.list(offset=-1)


def test_walking(atlas: Atlas) -> None:
    assert atlas.beside(0) == (N - 1, 1) and atlas.beside(N - 1) == (N - 2, 0)
    assert all(0 <= atlas.random() < N for _ in range(20))


def test_threads_share_it(atlas: Atlas) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert [f.id for f in pool.map(lambda i: atlas[i], range(60))] == list(range(60))
        totals = set(pool.map(lambda _: atlas.list(query="a").total, range(20)))
    assert len(totals) == 1


def test_damage_is_named(atlas: Atlas, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(atlas.folder, copy)
    with open(copy / "atlas.db", "r+b") as f:
        f.truncate(5000)
    with pytest.raises(BadInput, match="is damaged: it has 5,000 bytes"):
        Atlas.open(copy)
    (copy / "atlas.db").unlink()
    with pytest.raises(BadInput, match="it has 0 bytes"):
        Atlas.open(copy)
    with pytest.raises(BadInput, match="holds no physalis atlas"):
        Atlas.open(tmp_path)


BEFORE_CAUSES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE features (
    id INTEGER PRIMARY KEY, density REAL NOT NULL, n_fired INTEGER NOT NULL, max_code REAL NOT NULL,
    mean_code REAL NOT NULL, token_entropy REAL NOT NULL, logit_kurtosis REAL NOT NULL, nearest_cosine REAL NOT NULL,
    x REAL NOT NULL, y REAL NOT NULL, region INTEGER NOT NULL, headline TEXT NOT NULL, snippet BLOB NOT NULL);
CREATE TABLE pages (id INTEGER PRIMARY KEY, page BLOB NOT NULL);
CREATE TABLE words (word TEXT PRIMARY KEY, ids BLOB NOT NULL, weights BLOB NOT NULL) WITHOUT ROWID;
"""
"""The tables as they were when an atlas knew no causes; ``user_version`` was 0."""


def rewritten(atlas: Atlas, folder: Path, change: str) -> Path:
    """A copy of an atlas; its database is what ``change`` makes of an empty one beside the real one, named ``new``."""
    shutil.copytree(atlas.folder, folder)
    (folder / "atlas.db").rename(folder / "new.db")
    with closing(sqlite3.connect(folder / "atlas.db")) as db:
        db.execute("ATTACH ? AS new", (str(folder / "new.db"),))
        db.executescript(change)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["facts"]["bytes"] = (folder / "atlas.db").stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_an_atlas_of_text_says_nothing_of_a_shape(tiny_atlas: Atlas) -> None:
    assert b"document_shape" not in (tiny_atlas.folder / "atlas.db").read_bytes()
    assert tiny_atlas.summary().document_shape is None


def test_an_atlas_from_before_there_were_causes_is_read(atlas: Atlas, tiny_atlas: Atlas, tmp_path: Path) -> None:
    copied = "".join(f"INSERT INTO {t} SELECT * FROM new.{t};" for t in ("meta", "features", "pages", "words"))
    old = Atlas.open(rewritten(tiny_atlas, tmp_path / "old", BEFORE_CAUSES + copied))
    for id in range(len(old)):
        was, now = old[id].model_dump(), tiny_atlas[id].model_dump()
        assert was.pop("causes") is None
        assert ("was not edited" in was.pop("unmeasured")) == (now["n_fired"] > 0)
        assert {entry["level"] for entry in was.pop("worth")} <= {"correlational", None}
        assert was == {name: value for name, value in now.items() if name in was}
    assert old.list(query="alpha") == tiny_atlas.list(query="alpha") and old.summary() == tiny_atlas.summary()
    later = rewritten(atlas, tmp_path / "later", "PRAGMA user_version = 3;")
    with pytest.raises(BadInput, match="has layout 3; this physalis reads up to 2"):
        Atlas.open(later)

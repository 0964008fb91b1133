"""Atlases, notes and comments of a stranger's: damaged at any place, or made to harm whoever opens them."""

import json
import os
import sqlite3
import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zstandard
from fastapi.testclient import TestClient
from small import FEATURES, copied, sealed, small_atlas

from physalis.atlas import Atlas
from physalis.atlas.feature_pages import pack
from physalis.errors import BadInput, Unavailable
from physalis.people.comments import Database
from physalis.people.notes import Notes
from physalis.web.atlas.app import create_app

Change = str | Callable[[sqlite3.Connection], object]
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n)"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory) -> Atlas:
    return small_atlas(tmp_path_factory.mktemp("atlas") / "atlas")


def changed(atlas: Atlas, to: Path, change: Change) -> Path:
    """A copy, changed by somebody who has a manifest agree with it."""
    copied(atlas.folder, to)
    with closing(sqlite3.connect(to / "atlas.db")) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("PRAGMA ignore_check_constraints = ON")
        change(db) if callable(change) else db.executescript(change)
        db.commit()
    return sealed(to)


def bomb(db: sqlite3.Connection) -> None:
    """200 kB that say they are 2 GB."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj(size=2 << 30)
    block = bytes(1 << 24)
    parts = [compressor.compress(block) for _ in range(128)]
    db.execute("UPDATE pages SET page = ? WHERE id = 5", (b"".join([*parts, compressor.flush()]),))


def meta(key: str, value: object) -> Change:
    return lambda db: db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))


def strings(ids: object, pieces: object) -> Change:
    return meta("strings", zstandard.compress(json.dumps([ids, pieces]).encode()))


def shape(**sizes: object) -> Change:
    def change(db: sqlite3.Connection) -> None:
        (said,) = db.execute("SELECT value FROM meta WHERE key = 'shape'").fetchone()
        db.execute("UPDATE meta SET value = ? WHERE key = 'shape'", (json.dumps(json.loads(said) | sizes),))

    return change


def page(atlas: Atlas, **fields: object) -> Change:
    """Page 5 with other values in some fields."""

    def change(db: sqlite3.Connection) -> None:
        from physalis.atlas.feature_pages import unpack

        opened = atlas._watch.standing.opened
        (stored,) = db.execute("SELECT page FROM pages WHERE id = 5").fetchone()
        changed = unpack(stored, opened._shape).copy()
        for name, value in fields.items():
            changed[name] = value
        (packed,) = pack(np.array([changed]), opened._shape)
        db.execute("UPDATE pages SET page = ? WHERE id = 5", (packed,))

    return change


def remade(table: str, definition: str) -> str:
    return f"ALTER TABLE {table} RENAME TO real_{table}; {definition}"


WHOLE = {
    "a view without end": remade("features", f"CREATE VIEW features AS {ENDLESS} SELECT i AS id FROM n;"),
    "a view of meta": remade("meta", f"CREATE VIEW meta AS {ENDLESS} SELECT 'shape' AS key, i AS value FROM n;"),
    "a view of words": remade("words", f"CREATE VIEW words AS {ENDLESS} SELECT 'a' word, x'' ids, x'' weights FROM n;"),
    "a view of pages": remade("pages", f"CREATE VIEW pages AS {ENDLESS} SELECT i AS id, x'' AS page FROM n;"),
    "a virtual table": remade("pages", "CREATE VIRTUAL TABLE pages USING fts5(id, page);"),
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON meta BEGIN SELECT 1; END;",
    "a generated column": "ALTER TABLE pages ADD COLUMN more AS (zeroblob(1000000000));",
    "an index on an expression": "CREATE INDEX i ON pages (length(page));",
    "a table more": "CREATE TABLE more (x);",
    "many tables": "BEGIN; " + "".join(f"CREATE TABLE t{i} (x); " for i in range(1100)) + "COMMIT;",
    "a table less": "DROP TABLE words;",
    "a schema that is none": "UPDATE sqlite_master SET sql = 'CREATE TABLE pages (' WHERE name = 'pages';",
    "no rows in meta": "DELETE FROM meta;",
    "a meta that is nothing": "DELETE FROM meta WHERE key = 'summary';",
    "a shape that is garbage": meta("shape", b"\xff\xfe"),
    "a shape that is a list": meta("shape", "[]"),
    "a shape that is deep": meta("shape", "[" * 100_000),
    "a shape that is huge": shape(bins=1 << 40),
    "a shape of many large pages": shape(top=4_000_000, before=4_000_000),
    "a shape of another sort": shape(bins="40"),
    "a shape that divides by nothing": shape(intervals=0),
    "strings that are garbage": meta("strings", os.urandom(300)),
    "strings cut short": lambda db: db.execute("UPDATE meta SET value = substr(value, 1, 900) WHERE key = 'strings'"),
    "strings of text": meta("strings", "text"),
    "a token's id of a billion": strings([10**9], ["a"]),
    "a token's id below 0": strings([-2], ["a"]),
    "a token's id that is a word": strings(["a"], ["a"]),
    "a token's id that is a list": strings([[1]], ["a"]),
    "a token twice": strings([1, 1], ["a", "b"]),
    "a token without a text": strings([1, 2], ["a"]),
    "a text of no sort": strings([1], [{"hex": "zz"}]),
    "a text that is a number": strings([1], [7]),
    "strings that are no lists": meta("strings", zstandard.compress(b'{"a": 1}')),
    "regions that are garbage": meta("regions", "{"),
    "regions that are numbers": meta("regions", "[1, 2]"),
    "fewer regions than there are": meta("regions", '["one"]'),
    "a summary that is garbage": meta("summary", b"\x00\x01"),
    "a summary that is a number": meta("summary", 7),
    "a summary without its fields": meta("summary", "{}"),
    "a striking feature that is none": lambda db: db.execute(
        "UPDATE meta SET value = json_set(value, '$.striking', json('[999999]')) WHERE key = 'summary'"
    ),
    "no features": "DELETE FROM features;",
    "a feature less": "DELETE FROM features WHERE id = 7;",
    "a feature more": "UPDATE features SET id = 100000 WHERE id = 7;",
    "a density that is a word": "UPDATE features SET density = 'many' WHERE id = 7;",
    "a density without end": "UPDATE features SET density = 9e999 WHERE id = 7;",
    "a place that is a blob": "UPDATE features SET x = x'00' WHERE id = 7;",
    "firings below 0": "UPDATE features SET n_fired = -5 WHERE id = 7;",
    **{
        f"{name} that cannot be": f"UPDATE features SET {name} WHERE id = 7;"
        for name in ("n_fired = 1.5", "density = 7", "density = -0.5", "max_code = -3", "nearest_cosine = 1e30")
    },
    "a region that is none": "UPDATE features SET region = 4000 WHERE id = 7;",
    "a headline that is a blob": "UPDATE features SET headline = x'ff' WHERE id = 7;",
    "causes of nobody": "INSERT INTO causes VALUES (99999, x'00');",
    "no pages": "DELETE FROM pages;",
    "the last page gone": f"DELETE FROM pages WHERE id = {FEATURES - 1};",
}
"""By which the whole cannot be shown."""


def snippet_of(*tokens):
    snippet = struct.pack("<13i", *tokens) + bytes(26)
    return lambda db: db.execute("UPDATE features SET snippet = ? WHERE id = 5", (snippet,))


PART = {
    "a page of 2 GB": (bomb, {5}),
    "a page that is garbage": ("UPDATE pages SET page = x'deadbeef' WHERE id = 5;", {5}),
    "a page that is text": ("UPDATE pages SET page = 'page' WHERE id = 5;", {5}),
    "a page that is empty": ("UPDATE pages SET page = x'' WHERE id = 5;", {5}),
    "a page cut short": ("UPDATE pages SET page = substr(page, 1, length(page) - 40) WHERE id = 5;", {5}),
    "a page that is gone": ("DELETE FROM pages WHERE id = 5;", {5}),
    "a page of another size": (
        lambda db: db.execute("UPDATE pages SET page = ? WHERE id = 5", (zstandard.compress(bytes(100)),)),
        {5},
    ),
    "a snippet that is short": ("UPDATE features SET snippet = x'00' WHERE id = 5;", {5}),
    "a snippet that is text": ("UPDATE features SET snippet = 'text' WHERE id = 5;", {5}),
    "a snippet of a token that is none": (snippet_of(*[10**9] * 13), {5}),
    "a snippet of a token far below none": (snippet_of(*[-(2**31)] * 13), {5}),
    "a snippet with gaps": (snippet_of(*[3, -1] * 6, 3), {5}),
    "causes that are garbage": ("INSERT INTO causes VALUES (5, x'00ff');", {5}),
    "causes that are others": (
        lambda db: db.execute("INSERT INTO causes VALUES (5, ?)", (zstandard.compress(b'{"a": 1}'),)),
        {5},
    ),
    "causes that are text": ("INSERT INTO causes VALUES (5, 'text');", {5}),
    "a headline that is no UTF-8": ("UPDATE features SET headline = CAST(x'ff41' AS TEXT) WHERE id = 5;", set()),
    "a headline with a NUL": ("UPDATE features SET headline = CAST(x'610062' AS TEXT) WHERE id = 5;", set()),
    "words of features that are none": ("UPDATE words SET ids = x'ffffff7f' || substr(ids, 5);", set()),
    "words without weights": ("UPDATE words SET weights = x'';", set()),
    "words of text": ("UPDATE words SET ids = 'text', weights = 'text';", set()),
    "words of numbers": ("UPDATE words SET ids = 7, weights = 7;", set()),
    "no words": ("DELETE FROM words;", set()),
}
"""What costs the pages of these features alone, and may cost the search."""

FIELDS = {
    "codes that are no number": {"max_code": float("nan")},
    "codes without end": {"max_code": float("inf")},
    "codes below 0": {"max_code": -1.0},
    "shares that are no number": {"share_of_code": float("nan")},
    "a range that is none": {"logit_range": (float("-inf"), float("nan"))},
    "a neighbour that is none": {"nearest": 10**8},
    "a neighbour below": {"cofiring": -7},
    "a token that is none": {"promoted": 10**8},
    "a token below": {"token": -7},
    "a peak outside": {"example_peak": 10_000},
}


def asked(folder: Path, torn: set[int]) -> None:
    """All of an atlas is asked for: what is torn is refused in a sentence and nothing else is."""
    client = TestClient(create_app(Atlas.open(folder)), raise_server_exceptions=False)
    for id in (4, 5, 6):
        for path in (f"/features/{id}", f"/features/{id}.json"):
            answer = client.get(path)
            assert answer.status_code == (503 if id in torn else 200), (path, answer.text)
    assert "is damaged" in client.get("/features/5.json").text or not torn
    for path in ("/", "/features?limit=100", "/map", "/api/map", "/api/features?limit=100"):
        assert client.get(path).status_code == 200, path
    for query in ("a", "ba", "bo do", "5", "#5"):
        assert client.get("/api/features", params={"query": query}).status_code in (200, 503)


@pytest.mark.parametrize("change", WHOLE.values(), ids=WHOLE)
def test_what_cannot_be_shown_as_a_whole_is_refused_at_the_start(atlas, tmp_path, change):
    started = time.monotonic()
    with pytest.raises(BadInput, match=r"atlas.db (cannot be read|is damaged)"):
        Atlas.open(changed(atlas, tmp_path / "atlas", change))
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(("change", "torn"), PART.values(), ids=PART)
def test_what_is_damaged_costs_its_own_page(atlas, tmp_path, change, torn):
    asked(changed(atlas, tmp_path / "atlas", change), torn)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_a_page_that_points_outside_is_damaged(atlas, tmp_path, fields):
    asked(changed(atlas, tmp_path / "atlas", page(atlas, **fields)), {5})


def test_a_page_that_says_it_is_large_is_not_unpacked(atlas, tmp_path):
    opened = Atlas.open(changed(atlas, tmp_path / "atlas", bomb))
    tracemalloc.start()
    with pytest.raises(Unavailable, match="it holds 2,147,483,648 bytes, and should hold"):
        opened[5]
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_table_that_leads_round_in_circles_is_left(atlas, tmp_path):
    """Interior pages of a tree that lead to one page again and again: rows without end, in a small file."""
    folder = copied(atlas.folder, tmp_path / "atlas")
    with closing(sqlite3.connect(folder / "atlas.db")) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'features'").fetchone()[0]
        n_pages = db.execute("PRAGMA page_count").fetchone()[0]
    raw = bytearray((folder / "atlas.db").read_bytes())
    leaf = raw[(root - 1) * size : root * size]
    levels = 6
    pages = [leaf]  # the last of new pages is the old leaf; each above leads to the one below 300 times
    for depth in range(levels):
        below = n_pages + depth + 1
        cells = b"".join(struct.pack(">I", below) + bytes([1]) for _ in range(300))
        start = size - len(cells)
        pointers = b"".join(struct.pack(">H", start + 5 * i) for i in range(300))
        head = struct.pack(">BHHHBI", 5, 0, 300, start, 0, below)
        pages.append((head + pointers).ljust(start, b"\0") + cells)
    top = pages.pop()
    raw[(root - 1) * size : root * size] = top
    raw += b"".join(pages)
    raw[28:32] = struct.pack(">I", n_pages + len(pages))
    (folder / "atlas.db").write_bytes(raw)
    started = time.monotonic()
    with pytest.raises(BadInput, match="cannot be read"):
        Atlas.open(sealed(folder))
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("facts", [{}, {"bytes": 7}, {"n_features": 10**12}, {"n_features": "60"}, {"n_features": 0}])
def test_a_manifest_that_does_not_fit(atlas, tmp_path, facts):
    folder = copied(atlas.folder, tmp_path / "atlas")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["facts"] = manifest["facts"] | facts if facts else {}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match=r"does not say what|is damaged|features where"):
        Atlas.open(folder)


ENDINGS = [*WHOLE.values(), *(change for change, _ in PART.values())]


@pytest.mark.parametrize("change", ENDINGS, ids=[*WHOLE, *PART])
def test_commands_end_in_a_sentence(atlas, tmp_path, physalis, change):
    folder = changed(atlas, tmp_path / "atlas", change)
    for command in (
        ("publish", folder, "--out", tmp_path / "site", "--features", "4-6"),
        ("export", "saedashboard", folder, "--out", tmp_path / "out", "--sae-set", "x", "--features", "4-6"),
        ("comments", "invite", folder, "Ada", "Here"),
    ):
        code, _, said = physalis(*command)
        assert code == 0 or (code == 2 and said.startswith("physalis: ") and "Traceback" not in said), (code, said)


def test_every_byte_of_an_atlas_may_be_another(atlas, tmp_path):
    """Bits turned at random places: whatever comes of it is an answer or a sentence."""
    random = np.random.default_rng(0)
    whole = (atlas.folder / "atlas.db").read_bytes()
    folder = copied(atlas.folder, tmp_path / "atlas")
    for _ in range(40):
        raw = bytearray(whole)
        at = random.integers(0, len(raw), 30)
        for place in [*at.tolist(), *random.integers(0, 300, 2).tolist()]:
            raw[place] ^= 1 << int(random.integers(8))
        (folder / "atlas.db").write_bytes(raw)
        try:
            opened = Atlas.open(sealed(folder))
        except BadInput:
            continue
        for question in (*(partial(opened.__getitem__, i) for i in range(0, FEATURES, 7)), opened.map, opened.list):
            try:
                question().model_dump_json()
            except Unavailable:
                continue


# What people wrote


STRANGE = (
    "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END;",
    f"CREATE VIEW v AS {ENDLESS} SELECT i FROM n;",
    f"ALTER TABLE replaced RENAME TO r; CREATE VIEW replaced AS {ENDLESS} SELECT i AS id FROM n;",
    "CREATE INDEX i ON records (length(body));",
    "CREATE TABLE more (x);",
    "DROP TABLE replaced;",
    "DELETE FROM meta;",
)


@pytest.mark.parametrize("sql", STRANGE)
def test_notes_that_define_something_else_are_refused(tmp_path, sql):
    file = tmp_path / "atlas.notes.db"
    Notes.open(file, atlas="a" * 64).label(5, "one", author="Ada")
    with closing(sqlite3.connect(file)) as db:
        db.executescript(sql)
    before = file.read_bytes()
    with pytest.raises(BadInput, match="cannot be read as notes|does not say which atlas"):
        Notes.open(file, atlas="a" * 64)
    assert file.read_bytes() == before


@pytest.mark.parametrize("sql", [sql.replace("records", "versions").replace("replaced", "sessions") for sql in STRANGE])
def test_comments_that_define_something_else_are_refused(tmp_path, sql):
    Database(tmp_path / "comments").close()
    with closing(sqlite3.connect(tmp_path / "comments" / "comments.db")) as db:
        db.executescript(sql.replace("body", "text"))
    with pytest.raises(BadInput, match="cannot be read as comments|is not the key of"):
        Database(tmp_path / "comments")


PLAIN = "CREATE TABLE records (seq INTEGER PRIMARY KEY, id TEXT, slot TEXT, body TEXT, current INTEGER)"
"""The table without the columns that SQLite makes of a body, and would not make of these."""


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"kind": "label"}', b'{"kind": "label", "feature": 5}', b"\xff", b"[" * 100_000]
)
def test_a_record_of_notes_that_is_none_costs_what_it_is_on(tmp_path, body):
    notes = Notes.open(tmp_path / "atlas.notes.db", atlas="a" * 64)
    notes.label(5, "one", author="Ada")
    notes.label(6, "two", author="Ada")

    def define(sql: str) -> str:
        with closing(sqlite3.connect(notes.path)) as db:
            db.execute("PRAGMA writable_schema = ON")
            (before,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'records'").fetchone()
            db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'records'", (sql,))
            db.execute(
                "DELETE FROM sqlite_master WHERE type = 'index' AND tbl_name = 'records'" if sql == PLAIN else ""
            )
            db.commit()
        return before

    with closing(sqlite3.connect(notes.path)) as db:
        kept = db.execute(
            "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE type = 'index'"
        ).fetchall()
    before = define(PLAIN)
    with closing(sqlite3.connect(notes.path)) as db:
        db.execute("UPDATE records SET body = CAST(? AS TEXT) WHERE seq = 1", (body,))
        db.commit()
    define(before)
    with closing(sqlite3.connect(notes.path)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", kept)
        db.commit()
    opened = Notes.open(notes.path, atlas="a" * 64)
    for question in (lambda: opened.of(5), lambda: [*opened.records()]):
        try:
            question()
        except Unavailable as error:
            assert "damaged" in str(error) or "cannot be read" in str(error)
    assert [each.label.text for each in opened.labels_of([6])[6]] == ["two"]

"""Texts and notes of strangers: lines without end, what unpacks to gigabytes, links, pipes, other people's names."""

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from physalis.corpora import documents, formats
from physalis.errors import BadInput
from physalis.models.text.corpus import _batches
from physalis.people.notes import Notes, neuronpedia, records
from physalis.people.notes import files as notes_files
from physalis.people.notes.files import export_notes, import_additions, import_notes
from physalis.people.notes.neuronpedia import import_explanations, import_list
from physalis.people.notes.records import Entry, Label, Listing, Note, Removal, Vote

ATLAS = "a" * 64


def refused(source: Path | str) -> str:
    with pytest.raises(BadInput) as error:
        for _ in documents(str(source)):
            pass
    assert len(str(error.value)) < 1000
    return str(error.value)


PACKED = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, "": bytes,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """Bounds that a test reaches soon."""
    monkeypatch.setattr(formats, "LONGEST_ROW", 1 << 20)
    monkeypatch.setattr(formats, "LONGEST_JSON", 1 << 20)
    monkeypatch.setattr(formats, "ROOM", 1 << 22)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.tsv"])
@pytest.mark.parametrize("start", [b'{"text": "', b"", b"\xff\xfe"], ids=["json", "spaces", "wide"])
@pytest.mark.usefixtures("small")
def test_a_line_without_end_is_not_held(tmp_path, packed, name, start):
    content = start + b" " * (3 << 20)
    (tmp_path / f"{name}{packed}").write_bytes(PACKED[packed](content))
    said = refused(tmp_path / f"{name}{packed}")
    assert "characters" in said or "field larger than field limit" in said or "unpacks to more than" in said


@pytest.mark.usefixtures("small")
def test_an_array_without_end_is_not_held(tmp_path):
    (tmp_path / "x.json").write_text("[\n" + '{"text": "a"},\n' * 200_000 + '{"text": "a"}]')
    assert "Write it as .jsonl" in refused(tmp_path / "x.json")


@pytest.mark.usefixtures("small")
def test_a_field_without_end_is_not_held(tmp_path):
    (tmp_path / "x.csv").write_text('text\n"' + ("a" * 999 + "\n") * 2000)
    assert "field larger than field limit" in refused(tmp_path / "x.csv")


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.usefixtures("small")
def test_what_unpacks_out_of_all_proportion_is_read_no_further(tmp_path, packed):
    (tmp_path / f"x.txt{packed}").write_bytes(PACKED[packed](b" " * (8 << 20)))
    assert "unpacks to more than 200 times its size" in refused(tmp_path / f"x.txt{packed}")


@pytest.mark.parametrize("field", ["text", "a.b"])
def test_a_text_that_a_parquet_file_says_a_thousand_times_is_held_once(tmp_path, field, monkeypatch):
    said = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * (1 << 20)]))
    column = {"text": said} if field == "text" else {"a": pa.StructArray.from_arrays([said], ["b"])}
    pq.write_table(pa.table(column), tmp_path / "x.parquet", compression="zstd", use_dictionary=True)
    before = pa.total_allocated_bytes()
    n = 0
    for text in documents(str(tmp_path / "x.parquet"), field=field):
        n += 1
        assert len(text) == 1 << 20 and pa.total_allocated_bytes() - before < 1 << 28
    assert n == 3000
    monkeypatch.setattr(formats, "LONGEST_ROW", 1000)
    with pytest.raises(BadInput, match="has more than 1,000 characters"):
        next(documents(str(tmp_path / "x.parquet"), field=field))


def test_other_columns_of_parquet_are_read_as_before(tmp_path):
    for kind, values in ((pa.large_string(), ["a", None]), (pa.binary(), [b"a", None])):
        pq.write_table(pa.table({"text": pa.array(values, kind)}), tmp_path / "x.parquet")
        assert [*documents(str(tmp_path / "x.parquet"))] == ["a", ""]
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "x.parquet")
    assert "holds a value of type int, not text" in refused(tmp_path / "x.parquet")


def test_long_rows_are_whole_and_long_texts_are_cut_as_before(tmp_path):
    long = "wörter und Wörter " * 60_000
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": long}, ensure_ascii=False) + "\n" + '{"text": "b"}')
    assert [*documents(str(tmp_path / "x.jsonl"))] == [long, "b"]
    for coding in ("utf-8", "utf-16"):
        (tmp_path / "x.txt").write_text(long, encoding=coding)
        found = [*documents(str(tmp_path / "x.txt"))]
        assert "".join(found) == long and max(map(len, found)) < 10 * formats.LONG_TEXT


def test_pipes_and_devices_are_sentences(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert "is a pipe, and no text file" in refused(tmp_path / "pipe.txt")
    assert "is a device, and no text file" in refused("/dev/zero")
    (tmp_path / "link.txt").symlink_to("/dev/zero")
    assert "is a device, and no text file" in refused(tmp_path / "link.txt")
    (tmp_path / "a.txt").write_text("text")
    assert [*documents(str(tmp_path))] == ["text"]  # of a folder, what is no file is none of its text files


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("text")
    (tmp_path / "texts/same.txt").symlink_to("a.txt")
    assert [*documents(str(tmp_path / "texts"))] == ["text", "text"]
    (tmp_path / "texts/b.txt").symlink_to("../secret.txt")
    assert "is a link that leads out of" in refused(tmp_path / "texts")
    assert [*documents(str(tmp_path / "texts/*.txt"))] == ["text", "secret", "text"]  # whoever writes this names them
    (tmp_path / "texts/b.txt").unlink()
    (tmp_path / "texts/folder").symlink_to(tmp_path)
    assert [*documents(str(tmp_path / "texts"))] == ["text", "text"]


def test_the_cache_of_the_hub_is_made_of_links(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/1f").write_text("text")
    (tmp_path / "snapshots/main").mkdir(parents=True)
    (tmp_path / "snapshots/main/a.txt").symlink_to("../../blobs/1f")
    assert [*documents(str(tmp_path / "snapshots/main"))] == ["text"]


def test_texts_are_tokenized_a_few_million_characters_at_a_time():
    assert [len(batch) for batch in _batches(["a"] * 130)] == [64, 64, 2]
    assert [len(batch) for batch in _batches(["a" * 3_000_000] * 3)] == [2, 1]


@pytest.fixture
def notes(tmp_path):
    return Notes.open(tmp_path / "notes.db", atlas=ATLAS)


ROW = {"modelId": "m", "layer": "1", "index": "3", "description": "dogs"}
ROWS = {
    '{"a":' * 200_000: "line 1: it nests too deep",
    "[" * 200_000: "it nests too deep",
    "9" * 5000: "it is not JSON",
    json.dumps(ROW | {"scoreV1": 10**400}): "its scoreV1 is",
    json.dumps(ROW | {"scoreV1": -(10**400)}): "its scoreV1 is",
    '{"modelId": "m", "layer": "1", "index": "3", "description": "d", "scoreV1": NaN}': "its scoreV1 is nan",
    '{"modelId": "m", "layer": "1", "index": "3", "description": "d", "scoreV1": 1e999}': "its scoreV1 is inf",
    json.dumps(ROW | {"index": "9" * 100_000}): "there is no feature 99999999999999999999:",
    json.dumps(ROW | {"index": [[1] * 1000] * 1000}): "its index is",
    json.dumps(ROW | {"createdAt": "x" * 100_000}): "its time is",
    json.dumps(ROW | {"createdAt": 10**300}): "its time is",
    json.dumps(ROW | {"description": "\ud800"}): "text",
    json.dumps(ROW | {"typeName": {"a": ["x" * 5000]}}): "method",
}


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_a_row_of_explanations_that_is_none_is_told(tmp_path, notes, row):
    (tmp_path / "x.jsonl").write_text(f"{row}\n{json.dumps(ROW)}\n")
    done = import_explanations(notes, tmp_path / "x.jsonl", n_features=300, source="m/1")
    assert done.added == 1 and ROWS[row] in done.left_out[0] and len(done.left_out[0]) < 400


def test_explanations_without_end(tmp_path, notes, monkeypatch):
    with gzip.open(tmp_path / "x.jsonl.gz", "wb") as file:
        for _ in range(8):
            file.write(b" " * (1 << 20))
    with pytest.raises(BadInput, match="x.jsonl.gz, line 1 has more than 4,194,304 bytes"):
        import_explanations(notes, tmp_path / "x.jsonl.gz", n_features=300)
    (tmp_path / "x.jsonl").write_text("\n" * 2000)
    monkeypatch.setattr(neuronpedia, "MOST", 1000)
    with pytest.raises(BadInput, match="holds more than 1,000 bytes"):
        import_explanations(notes, tmp_path / "x.jsonl", n_features=300)
    monkeypatch.undo()
    (tmp_path / "x.jsonl").write_text("{oops\n" * 50)
    monkeypatch.setattr(neuronpedia, "MOST_TOLD", 10)
    done = import_explanations(notes, tmp_path / "x.jsonl", n_features=300)
    assert len(done.left_out) == 11 and done.left_out[-1] == "And 40 more like these."
    monkeypatch.setattr(neuronpedia, "MOST_ROWS", 10)
    with pytest.raises(BadInput, match="more than 10 explanations"):
        (tmp_path / "x.jsonl").write_text(json.dumps(ROW) + "\n" + "{oops\n" * 20 + json.dumps(ROW))
        import_explanations(notes, tmp_path / "x.jsonl", n_features=300)
    os.mkfifo(tmp_path / "p.jsonl")
    with pytest.raises(BadInput, match="p.jsonl is a pipe"):
        import_explanations(notes, tmp_path / "p.jsonl", n_features=300)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "http://[", "https://x/?features=" + "[" * 9000, "9" * 5000]
)
def test_a_quick_list_that_is_none_is_a_sentence(notes, text):
    with pytest.raises(BadInput, match="not a quick list") as refused:
        import_list(notes, text, author="Ada", n_features=300)
    assert len(str(refused.value)) < 500


def written(tmp_path: Path, *made: records.Written) -> Path:
    other = Notes.open(tmp_path / "other.db", atlas=ATLAS)
    other.add(made)
    export_notes(other, tmp_path / "export")
    return tmp_path / "export"


def test_an_export_of_a_stranger_adds_and_changes_nothing(tmp_path, notes):
    label = notes.label(3, "dogs", author="Ada")
    pets = notes.make_list("Pets", author="Ada", features=[3])
    remark = notes.note(3, "see 4", author="Ben")
    fine = [
        records.write(Label, author="Eve", feature=3, text="cats"),
        records.write(Note, author="Eve", feature=4, text="a note"),
        records.write(Listing, author="Eve", list="c" * 32, name="Cats"),
        records.write(Entry, author="Eve", list="c" * 32, feature=3, place=0.0),
        records.write(Vote, author="Eve", feature=3, on="label", target=label.id, value=-1),
    ]
    changes = [
        records.write(Removal, author="Eve", what="label", feature=3, replaces=(label.id,)),
        records.write(Label, author="Ada", feature=3, text="rats", replaces=(label.id,)),
        records.write(Removal, author="Ben", what="note", feature=3, replaces=(remark.id,)),
        records.write(Removal, author="Eve", what="list", list=pets.list.list, replaces=(pets.list.id,)),
        records.write(Entry, author="Eve", list=pets.list.list, feature=9, place=1.0),
        records.write(Listing, author="Eve", list=pets.list.list, name="Mine now"),
    ]
    forged = [
        records.write(Label, author="Ada", feature=3, text="fools"),
        records.write(Note, author="Ben", feature=9, text="I quit"),
    ]
    folder = written(tmp_path, *fine, *changes, *forged)
    before = {record.id for record in notes.records()}
    done = import_additions(notes, folder)
    assert {record.id for record in notes.records()} == before | {record.id for record in fine}
    assert done.added == len(fine) and done.left_out == (
        "6 records would change or remove what stands here, and 2 are in the name of somebody who writes here: left "
        "out. Whoever trusts the folder can import it with --trust.",
    )
    assert {each.label.text for each in notes.labels_of([3])[3]} == {"dogs", "cats"}
    assert notes.full_list(pets.list.list).list.name == "Pets"
    assert import_additions(notes, folder).added == 0
    assert import_notes(notes, folder).added == len(changes) + len(forged)
    assert notes.full_list(pets.list.list).list.name == "Mine now"


def test_into_notes_where_nothing_stands_all_is_added(tmp_path, notes):
    label = records.write(Label, author="Eve", feature=3, text="cats")
    removal = records.write(Removal, author="Eve", what="label", feature=3, replaces=(label.id,))
    folder = written(tmp_path, label, removal)
    assert import_additions(notes, folder).added == 2 and not notes.labels_of([3]).get(3)


@pytest.mark.parametrize("name", ["labels", "labels/000000.jsonl", "lists"])
def test_notes_are_written_and_read_through_no_link(tmp_path, notes, name):
    label = records.write(Label, author="Eve", feature=3, text="cats")
    folder = written(tmp_path, label, records.write(Listing, author="Eve", list="c" * 32, name="Cats"))
    (folder / name).rename(tmp_path / "moved")
    (folder / name).symlink_to(tmp_path / "moved")
    before = {path: path.read_bytes() for path in tmp_path.glob("moved/*")}
    notes.label(7, "dogs", author="Ada")
    for attempt in (import_notes, import_additions, export_notes):
        with pytest.raises(BadInput, match=r"link"):
            attempt(notes, folder)
    assert before == {path: path.read_bytes() for path in tmp_path.glob("moved/*")}


def test_a_link_in_an_empty_folder_is_not_written_through(tmp_path, notes):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/labels").symlink_to(tmp_path / "elsewhere")
    notes.label(7, "dogs", author="Ada")
    with pytest.raises(BadInput, match="labels is a link"):
        export_notes(notes, tmp_path / "out")
    assert not [*(tmp_path / "elsewhere").iterdir()]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", '{"notes": "9", "atlas": 1}', '{"notes": ' + "9" * 5000 + "}", "\xff"]
)
def test_a_header_that_is_none_is_a_sentence(tmp_path, notes, text):
    folder = written(tmp_path, records.write(Label, author="Eve", feature=3, text="cats"))
    (folder / "notes.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=r"notes.json cannot be read|has format") as refused:
        import_notes(notes, folder)
    assert len(str(refused.value)) < 500


def test_lines_of_notes_without_end(tmp_path, notes, monkeypatch):
    folder = written(tmp_path, records.write(Label, author="Eve", feature=3, text="cats"))
    (folder / "labels/000000.jsonl").write_text('{"a":' * 100_000 + "\n")
    with pytest.raises(BadInput, match="line 1 is not a record of notes"):
        import_notes(notes, folder)
    monkeypatch.setattr(notes_files, "LONGEST", 1000)
    with pytest.raises(BadInput, match="line 1 has more than 1,000 bytes"):
        import_notes(notes, folder)

"""Text from every kind of source, and packed: nothing lost, every token with its document, the same every time."""

import bz2
import gzip
import json
import lzma
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from physalis.corpora import Trail, changed, documents, hub
from physalis.errors import BadInput
from physalis.models import Model, Packed, pack, tiny_model


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


# documents


def test_stdlib_is_real_text_in_a_fixed_order() -> None:
    texts = list(documents("stdlib"))
    assert texts[:20] == list(islice(documents("stdlib"), 20))
    assert sum(map(len, texts)) > 5_000_000
    assert len(set(texts)) > 0.99 * len(texts)
    assert sum(t.startswith(('"""', "#", "'''")) for t in texts) > 100
    first = texts[: len(texts) // 4]  # prose comes throughout, not at one end
    assert 5 < sum("import" not in t and "def " not in t for t in first)


def test_a_file_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    assert list(documents(str(tmp_path / "a.txt"))) == ["one\n\ntwo"]


def test_a_long_text_is_cut_at_blank_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    text = ("word " * 20 + "\n" + "word " * 300 + "\n\n") * 100
    (tmp_path / "long.txt").write_text(text)
    parts = list(documents(str(tmp_path / "long.txt")))
    assert "".join(parts) == text
    assert len(parts) > 2 and all(part.endswith("\n\n") and len(part) < 60_000 for part in parts)


def test_a_folder_gives_its_text_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.md").write_text("a")
    (tmp_path / "sub" / "c.py").write_text("c")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / ".hidden").write_text("no")
    assert list(documents(str(tmp_path))) == ["a", "b", "c"]
    assert list(documents(str(tmp_path / "*.txt"))) == ["b"]
    assert list(documents(str(tmp_path / "**/*.py"))) == ["c"]
    assert list(documents(f"{tmp_path / 'b.txt'}, {tmp_path / 'sub'}")) == ["b", "c"]


def test_rows_of_jsonl_and_parquet(tmp_path: Path) -> None:
    rows = [{"text": "one", "body": "x"}, {"text": "two", "body": None}]
    lines = "\n".join(map(json.dumps, rows)) + "\n\n"
    (tmp_path / "a.jsonl").write_text(lines)
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as f:
        f.write(lines)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        assert list(documents(str(tmp_path / name))) == ["one", "two"], name
        assert list(documents(str(tmp_path / name), field="body")) == ["x", ""], name
        with pytest.raises(BadInput, match="no field 'content' in .*; it has: text, body.*--field"):
            list(documents(str(tmp_path / name), field="content"))


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{oops\n')
    with pytest.raises(BadInput, match="Line 2 of .*a.jsonl is not JSON"):
        list(documents(str(tmp_path / "a.jsonl")))
    (tmp_path / "b.jsonl").write_text('{"text": 3}\n')
    with pytest.raises(BadInput, match="holds a value of type int, not text"):
        list(documents(str(tmp_path / "b.jsonl")))


@pytest.mark.parametrize("source", ["nowhere.txt", "./nowhere", "/nowhere", "nothing/*.txt", "a/b/c"])
def test_nothing_matching_is_refused(source: str) -> None:
    with pytest.raises(BadInput, match="No text file matches"):
        documents(source)


def test_one_wrong_path_of_a_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(BadInput, match="no file or folder 'nowhere' in the list"):
        documents(f"{tmp_path / 'a.txt'},nowhere")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0\1\2")
    with pytest.raises(BadInput, match="is not a text file"):
        documents(str(tmp_path / "a.bin"))


def test_a_dataset_without_its_library_or_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadInput, match=r"no file or folder 'some/corpus'.*physalis\[hub\]"):
        documents("some/corpus")


def test_a_dataset_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []

    class Fake:
        @staticmethod
        def load_dataset(*args: object, **options: object) -> list[dict[str, str]]:
            asked.append((args, options))
            return [{"text": "one"}, {"text": "two"}]

    monkeypatch.setitem(sys.modules, "datasets", Fake)
    monkeypatch.setattr(hub, "in_reach", lambda: True)
    assert list(documents("some/corpus:small")) == ["one", "two"]
    assert asked == [(("some/corpus", "small"), {"split": "train", "streaming": True})]
    with pytest.raises(BadInput, match="no field 'body' in some/corpus; it has: text"):
        list(documents("some/corpus", field="body"))
    monkeypatch.setattr(hub, "in_reach", lambda: False)
    with pytest.raises(BadInput, match="cannot be reached"):
        documents("some/corpus")


# as text comes

WORDS = "alpha beta gamma " * 20


def read(path: Path, field: str | None = None) -> list[str]:
    return list(documents(str(path), field=field))


def rows_of(*texts: str | None) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def test_bytes_become_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.txt"
    for data, wanted in (
        (b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        ("caf\xe9 日本".encode("utf-16"), "café 日本"),
        ("caf\xe9 日本".encode("utf-32"), "café 日本"),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        (b"a" * 9000 + b"\0b", "a" * 9000 + "\0b"),
        ("日本 ".encode() + b"\xff ok", "日本 \ufffd ok"),
    ):
        file.write_bytes(data)
        assert read(file) == [wanted]
    assert "not all UTF-8" not in capsys.readouterr().err
    file.write_bytes("caf\xe9 \x93so\x94\nplain\n".encode("latin-1"))
    assert read(file) == ["café “so”\nplain\n"]
    assert capsys.readouterr().err.count("are read as Windows-1252 (Latin-1)") == 1


def test_half_a_surrogate_pair_is_no_character(tmp_path: Path, model: Model) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "half \\ud83d of it"}\n{"text": "whole \\ud83c\\udf31"}\n')
    assert read(file) == ["half \ufffd of it", "whole 🌱"]
    assert next(pack(model, documents(str(file)), context=8, bos=True)).ids.shape[1] == 8


def test_a_line_without_an_end_is_read_in_pieces(tmp_path: Path) -> None:
    for text in ("one two three " * 60_000, "日本語" * 150_000, "x" * 700_000):
        (tmp_path / "long.txt").write_text(text)
        parts = read(tmp_path / "long.txt")
        assert "".join(parts) == text and len(parts) > 1 and max(map(len, parts)) < 500_000


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize(
    "name", ["a.txt", "a.jsonl", "a.JSONL", "a.ndjson", "a.json", "b.json", "c.json", "a.csv", "b.csv", "a.tsv"]
)
def test_every_format_packed_or_not(tmp_path: Path, name: str, suffix: str) -> None:
    texts = ["one, two; three", 'he said "four"\nfive']
    lines = rows_of(*texts)
    table = '"one, two; three"|1\n"he said ""four""\nfive"|2\n'
    held = {
        "a.txt": "".join(texts), "a.jsonl": lines, "a.JSONL": lines, "a.ndjson": lines, "b.json": lines,
        "a.json": json.dumps([{"text": text} for text in texts], indent=1), "c.json": json.dumps(texts),
        "a.csv": "text,n\n" + table.replace("|", ","), "b.csv": "text;n\r\n" + table.replace("|", ";"),
        "a.tsv": "text\tn\n" + table.replace("|", "\t"),
    }[name].encode()  # fmt: skip
    how = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    path = tmp_path / (name + suffix)
    path.write_bytes(how[suffix](held))
    assert read(path) == (["".join(texts)] if name == "a.txt" else texts)
    assert read(tmp_path) == read(path), "in a folder too"
    if suffix:
        packed = path.read_bytes()
        path.write_bytes(packed[: len(packed) - 9])
        with pytest.raises(BadInput, match=f"{path.name} cannot be read .*damaged, cut short"):
            read(path)
        path.write_bytes(b"something else")
        with pytest.raises(BadInput, match=f"{path.name} cannot be read"):
            read(path)


def test_columns_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for column in (
        pa.array(["one", None, "two"]).dictionary_encode(), pa.array(["one", None, "two"], pa.large_string()),
        pa.array([b"one", None, b"two"], pa.binary()), pa.array([b"one", None, b"two"], pa.large_binary()),
    ):  # fmt: skip
        pq.write_table(pa.table({"text": column}), path)
        assert read(path) == ["one", "", "two"]
    pq.write_table(pa.table({"text": pa.array([["a"], ["b"]])}), path)
    with pytest.raises(BadInput, match="holds a value of type list, not text"):
        read(path)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(BadInput, match="a.parquet cannot be read .*fetch it again"):
        read(path)


def test_fields_inside_fields(tmp_path: Path) -> None:
    rows = [{"doc": {"text": "one", "lang": "en"}}, {"doc": {"text": None, "lang": "de"}}, {"doc": None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.json", "a.parquet"):
        assert read(tmp_path / name, "doc.text") == ["one", "", ""]
        with pytest.raises(BadInput, match=r"no field 'text' in .*; it has: doc, doc.text, doc.lang"):
            read(tmp_path / name)
        with pytest.raises(BadInput, match="no field 'doc.body'"):
            read(tmp_path / name, "doc.body")
    (tmp_path / "b.jsonl").write_text('{"a.b": "a name with a dot"}\n')
    assert read(tmp_path / "b.jsonl", "a.b") == ["a name with a dot"]


def test_a_row_without_the_field_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(rows_of("one") + '{"id": 3}\n')
    with pytest.raises(BadInput, match="no field 'text' in line 2 of .*; it has: id"):
        read(tmp_path / "a.jsonl")
    (tmp_path / "a.csv").write_text("id,text\n1,one\n2\n")
    with pytest.raises(BadInput, match="no field 'text' in line 3 of .*; it has: id"):
        read(tmp_path / "a.csv")
    (tmp_path / "deep.jsonl").write_text('{"a":' * 100_000)
    (tmp_path / "digits.jsonl").write_text('{"text": ' + "1" * 5000 + "}")
    for name in ("deep.jsonl", "digits.jsonl"):
        with pytest.raises(BadInput, match="Line 1 of .* is not JSON"):
            read(tmp_path / name)


def test_names_with_commas_and_brackets(tmp_path: Path) -> None:
    for name in ("a,b", "c[1]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x,y[2].txt").write_text(name)
        for source in (name, f"{name}/x,y[2].txt", f"{name}/*.txt", f"{name}/**/*.txt"):
            assert read(tmp_path / source) == [name], source
    both = f"{tmp_path / 'a,b'}, {tmp_path / 'c[1]/x,y[2].txt'},{tmp_path / 'a,b/*.txt'}"
    assert list(documents(both)) == ["a,b", "c[1]", "a,b"]
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(BadInput):
            documents(str(tmp_path / name))


@pytest.mark.parametrize(
    "name", ["owner/name", "owner/name-v0.1", "owner/name:20231101.en", "openwebtext", "owner/na_me.x:sample-10BT"]
)
def test_names_of_data_sets_may_have_dots_and_a_configuration(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadInput, match="If it is a Hugging Face dataset, install the reader first"):
        documents(name)


def test_a_data_set_that_stops_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        @staticmethod
        def load_dataset(*args: object, **options: object):
            yield {"text": "one"}
            raise ConnectionError("gone\nfor good")

    monkeypatch.setitem(sys.modules, "datasets", Fake)
    monkeypatch.setattr(hub, "in_reach", lambda: True)
    found = documents("some/corpus")
    assert next(found) == "one"
    with pytest.raises(BadInput, match=r"Reading the dataset 'some/corpus' stopped \(gone\)"):
        next(found)


def test_a_trail_says_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 100)
    (tmp_path / "b.jsonl").write_text(rows_of(*["some words"] * 60_000))
    trail = Trail()
    assert len(list(islice(documents(str(tmp_path), trail=trail), 3))) == 3
    said = json.loads(json.dumps(trail.said()))
    assert [(f["name"], f["whole"]) for f in said["files"]] == [("a.txt", True), ("b.jsonl", False)]
    assert not said["ended"] and said["files"][1]["bytes"] < (tmp_path / "b.jsonl").stat().st_size / 2
    paths = [tmp_path / "a.txt", tmp_path / "b.jsonl"]
    assert changed(said, paths) is None
    with open(tmp_path / "b.jsonl", "a") as f:
        f.write(rows_of("behind what was read"))
    assert changed(said, paths) is None
    with open(tmp_path / "a.txt", "a") as f:
        f.write("b")
    assert changed(said, paths) == "a.txt is another file than it was"
    whole = Trail()
    list(documents(str(tmp_path), trail=whole))
    assert whole.ended and changed(whole.said(), paths) is None
    assert changed(whole.said(), [*paths, tmp_path / "c.txt"]) == "there were 2 files, now 3"


# packing


def joined(blocks: list[Packed], *, bos: bool) -> tuple[list[int], list[int]]:
    skip = 1 if bos else 0
    ids = np.concatenate([b.ids[:, skip:].ravel() for b in blocks])
    return ids.tolist(), np.concatenate([b.documents[:, skip:].ravel() for b in blocks]).tolist()


@pytest.mark.parametrize("bos", [True, False])
def test_packing_keeps_every_token_in_order(model: Model, bos: bool) -> None:
    texts = [f"document {i} " * (i % 7 + 1) for i in range(900)]
    blocks = list(pack(model, texts, context=16, bos=bos))
    ids, owners = joined(blocks, bos=bos)
    expected = [i for text in texts for i in (*text.encode(), 257)]
    numbers = [n for n, text in enumerate(texts) for _ in range(len(text) + 1)]
    assert ids == expected[: len(ids)] and len(expected) - len(ids) < 16
    assert owners == numbers[: len(ids)]
    assert [len(b.ids) for b in blocks[:-1]] == [256] * (len(blocks) - 1) and 0 < len(blocks[-1].ids) <= 256
    assert all(b.ids.dtype == b.documents.dtype == np.int32 and b.ids.shape[1] == 16 for b in blocks)
    for b in blocks:
        assert (b.ids[:, 0] == 256).all() == bos
        assert not bos or (b.documents[:, 0] == b.documents[:, 1]).all()


def test_documents_of_white_space_are_skipped_and_not_counted(model: Model) -> None:
    (block,) = pack(model, ["", " \n", "abcdefg", "\t", "hijklmno"], context=8, bos=False)
    assert block.ids.tolist() == [[*b"abcdefg", 257], [*b"hijklmno"]]
    assert block.documents.tolist() == [[0] * 8, [1] * 8]


def test_packing_reads_no_further_than_asked(model: Model) -> None:
    read: list[int] = []

    def endless():
        for i in range(10**9):
            read.append(i)
            yield "some text " * 20

    blocks = pack(model, endless(), context=32, bos=True)
    next(blocks)
    assert len(read) < 200


def test_without_a_bos_token_the_separator_stands_in(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model.tokenizer), "bos_token_id", None)
    (block,) = pack(model, ["abcdefgh"], context=5, bos=True)
    assert block.ids[0].tolist() == [257, *b"abcd"]


def test_empty_and_short_texts_are_refused(model: Model) -> None:
    with pytest.raises(BadInput, match="The text is empty"):
        list(pack(model, ["", "\n "], context=8, bos=True))
    with pytest.raises(BadInput, match="shorter than one context: 4 tokens, and a context holds 7"):
        list(pack(model, ["abc"], context=8, bos=True))
    with pytest.raises(BadInput, match="at least 2 tokens; received 1"):
        list(pack(model, ["abc"], context=1, bos=True))

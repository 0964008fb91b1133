"""Text from every kind of source, and packed: nothing lost, every token with its document, the same every time."""

import gzip
import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from physalis.errors import BadInput
from physalis.models import Model, Packed, documents, hub, pack, tiny_model


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
    with pytest.raises(BadInput, match="holds int, not text"):
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

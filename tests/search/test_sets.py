"""Sets of texts from files: lines, parts between empty lines, rows."""

import json

import pytest

from physalis.errors import BadInput
from physalis.search import texts_of


def test_lines_are_texts_and_where_empty_lines_stand_between_parts_are(tmp_path):
    lines, parts = tmp_path / "lines.txt", tmp_path / "parts.txt"
    lines.write_text("one\n two \nthree")
    parts.write_text("one\ntwo\n\n \nthree\n\n")
    assert texts_of(str(lines)) == ["one", "two", "three"]
    assert texts_of(str(parts)) == ["one\ntwo", "three"]
    assert texts_of(f"{lines},{parts}") == ["one", "two", "three", "one\ntwo", "three"]


def test_empty_lines_at_the_ends_part_nothing(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("\n\none\ntwo\n\n\n")
    assert texts_of(str(file)) == ["one", "two"]


def test_what_is_long_is_read_whole(tmp_path):
    """Plain text of more than 50,000 characters is cut at an empty line where it is recorded."""
    file, text = tmp_path / "long.txt", "word " * 12_000
    file.write_text("\n\n".join([text.strip()] * 3))
    assert texts_of(str(file)) == [text.strip()] * 3


def test_rows_are_texts(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"said": each}) + "\n" for each in ("one\n\ntwo", "three")))
    assert texts_of(str(file), field="said") == ["one\n\ntwo", "three"]


def test_no_text_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    for source, said in (("empty.txt", "holds no text"), ("nothing", "There is no file"), ("no.txt", "No text file")):
        with pytest.raises(BadInput, match=said):
            texts_of(str(tmp_path / source) if source != "nothing" else source)

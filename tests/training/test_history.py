"""What a run leaves behind for whoever watches it: read as it grows, cut, replaced or damaged."""

import json

import numpy as np
import pytest

from physalis.training import history


def test_the_rate_is_that_of_the_present_process():
    def mark(tokens, at, **more):
        return {"step": 0, "tokens": tokens, "at": at, **more}

    before = [mark(0, 0.0, checkpoint="c"), mark(100, 10.0), mark(200, 20.0)]
    assert history.rate([]) is None and history.rate(before[:1]) is None
    assert history.rate(before) == 10
    begun = [*before, mark(200, 1000.0, checkpoint="c")]
    assert history.rate(begun) is None, "nothing is known of a process that wrote no row"
    assert history.rate([*begun, mark(700, 1010.0)]) == 50
    assert history.rate([*begun, mark(700, 1010.0), mark(900, 1012.0)]) == 100, "compiling is over"
    slow = [mark(1000 * i, 1000.0 + 60 * i) for i in range(1, 4)]
    assert history.rate([*begun, *slow]) == pytest.approx(1000 / 60)


def test_a_history_is_read_as_it_grows(tmp_path, monkeypatch):
    file, read = tmp_path / "rows.jsonl", []
    monkeypatch.setattr(history, "_row", lambda line, real=history._row: read.append(line) or real(line))
    tail = history.Tail(file)
    assert tail.rows() == []
    rows = [{"step": i, "tokens": i, "word": "é" * (i % 7)} for i in range(300)]
    for i in range(0, 300, 3):
        with open(file, "ab") as out:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[i : i + 3]).encode()
            out.write(text[:-4])
            out.flush()
            assert len(tail.rows()) == i + 2  # the third is being written
            out.write(text[-4:])
        assert tail.rows() == rows[: i + 3]
    assert tail.rows() == rows and len(read) == 300, "each line is read once"


def test_a_history_that_was_cut_or_replaced_is_read_anew(tmp_path):
    file = tmp_path / "rows.jsonl"

    def written(steps):
        return "".join(json.dumps({"step": i, "tokens": i}) + "\n" for i in steps)

    file.write_text(written(range(100)))
    tail = history.Tail(file)
    assert len(tail.rows()) == 100
    for steps in (
        range(50),
        range(100, 200),
        range(1000, 1400),
    ):  # shorter, as long, longer; in place, as the same file
        file.write_text(written(steps))
        assert [row["step"] for row in tail.rows()] == [*steps]
    other = tmp_path / "other"
    other.write_text(written(range(7)))
    other.replace(file)
    assert len(tail.rows()) == 7
    file.unlink()
    assert tail.rows() == []
    file.write_text(written(range(3)))
    assert len(tail.rows()) == 3


def test_lines_that_are_no_rows_are_left_out(tmp_path):
    file = tmp_path / "rows.jsonl"
    rubbish = b'[]\n"x"\n{"step": "1"}\n\xff\xfe\n' + b"[" * 100_000 + b'\n{"step": 2, "tokens": 9}\n'
    file.write_bytes(b'{"step": 1, "tokens": 4}\n' + rubbish)
    assert [row["step"] for row in history.Tail(file).rows()] == [1, 2]
    assert [row["step"] for row in history.read(file)] == [1], "up to the first that is damaged"
    with history.Log(tmp_path, 2, tokens=9, checkpoint=tmp_path / "c", index=0) as log:
        log.write({"step": 2, "tokens": 9})
    (tmp_path / history.METRICS).rename(file)


def test_the_rate_goes_by_few_marks():
    """Those that are kept of a long run tell the same rate as all."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        marks, kept, at, most = [], [], 0.0, 0
        for i in range(300):
            at += float(rng.choice([0.1, 1, 5, 50]))
            mark = {"step": i, "tokens": 100 * i, "at": at}
            if i == 0 or rng.random() < 0.01:
                mark |= {"checkpoint": "c", "index": 0}
            marks.append(mark)
            kept = history.recent(kept, mark)
            most = max(most, len(kept))
            assert history.rate(kept) == history.rate(marks), i
            assert [m for m in kept if "checkpoint" in m][-1] == [m for m in marks if "checkpoint" in m][-1]
        assert most < 150

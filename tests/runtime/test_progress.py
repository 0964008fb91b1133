"""Progress: plain lines where there is no terminal, with rate, share and the last note."""

import contextlib
import io

import pytest

from physalis.runtime import progress as module
from physalis.runtime.progress import progress, status


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(module, "PLAIN_EVERY_S", 0.0)


def test_plain_lines(capsys):
    with progress("train", 200, "tokens", done=100) as advance:
        advance(50, note="fvu 0.2")
        advance(50)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("train: 75 % (") and "tokens/s" in lines[0] and " s left" in lines[0]
    assert lines[-1].startswith("train: 100 %") and lines[-1].endswith("fvu 0.2")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("train", 10, "tokens") as advance:
        advance(10, note="fvu 0.2")
    assert "tokens/s" in capsys.readouterr().err


def test_what_is_done_soon_is_not_told(capsys, monkeypatch):
    monkeypatch.setattr(module, "SOON_S", 3600.0)
    with status("loading"):
        pass
    assert capsys.readouterr() == ("", "")


def test_what_is_waited_for_is_told_once(capsys, monkeypatch):
    monkeypatch.setattr(module, "SOON_S", 0.0)
    with status("loading [tiny]"):
        assert capsys.readouterr() == ("", "loading [tiny] …\n")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with status("loading [tiny]"):
        pass
    assert "loading [tiny] …" in capsys.readouterr().err


def test_short_numbers():
    assert [module._short(x) for x in (0.5, 42, 1_500, 2e6, 3e9)] == ["0.5", "42", "1.5k", "2.0M", "3.0G"]


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "PLAIN_EVERY_S", 10.0)
    return clock


def test_what_is_left_is_judged_without_what_comes_before_the_first_units(capsys, clock):
    with progress("train", 1_000, "tokens") as advance:
        clock.now += 90  # kernels are compiled
        advance(10)
        for _ in range(30):
            clock.now += 1
            advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert "train: 11 % (10 tokens/s, 100 s, 89 s left)" in lines


def test_what_is_left_follows_the_rate(capsys, clock):
    with progress("train", 1_000, "tokens") as advance:
        for rate in (1, 10):
            for _ in range(80):
                clock.now += 1
                advance(rate)
    lines = capsys.readouterr().err.splitlines()
    assert "train: 88 % (10 tokens/s, 160 s, 12 s left)" in lines


def test_the_last_line_is_printed_once(capsys, clock):
    with progress("train", 100, "tokens") as advance:
        clock.now += 20
        advance(100)
    assert capsys.readouterr().err.splitlines() == ["train: 100 % (5.0 tokens/s, 20 s)"]


def test_a_bar_is_drawn_where_it_began_whoever_redirects(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown, elsewhere = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(shown), progress("plan", 2, "parts") as advance:
        with contextlib.redirect_stderr(elsewhere):
            advance(1)
    assert "plan" in shown.getvalue() and not elsewhere.getvalue()

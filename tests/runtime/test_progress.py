"""Progress: plain lines where there is no terminal, with rate, share and the last note."""

import pytest

from physalis.runtime import progress as module
from physalis.runtime.progress import progress


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


def test_short_numbers():
    assert [module._short(x) for x in (0.5, 42, 1_500, 2e6, 3e9)] == ["0.5", "42", "1.5k", "2.0M", "3.0G"]

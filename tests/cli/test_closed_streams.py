"""Streams that are closed, or lead to a full disk: the exit code still tells, and nothing is written elsewhere."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from physalis.__main__ import open_streams
open_streams()
file = os.open({there!r}, os.O_WRONLY | os.O_CREAT)
for stream in (sys.stdout, sys.stderr):
    print("said", file=stream, flush=True)
os.write(2, b"said")
sys.exit(3)
"""


def run(command: str) -> int:
    return subprocess.run(["bash", "-c", command], env=os.environ | {"PYTHON": sys.executable}, timeout=60).returncode


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_nothing_is_written_into_the_next_file(tmp_path, closed):
    (tmp_path / "script.py").write_text(SCRIPT.format(there=str(tmp_path / "data")))
    assert run(f'"$PYTHON" "{tmp_path}/script.py" {closed}') == 3
    assert (tmp_path / "data").read_bytes() == b""


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
def test_the_exit_code_still_tells(tmp_path, stream):
    assert run(f'"$PYTHON" -m physalis evaluate "{tmp_path}/no" "{tmp_path}/no" {stream}') == 2

"""docs/tasks.md: what the page says works as pasted, one task after another, in one folder."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from test_help import tiny_smollm2 as tiny_smollm2
from tree import ROOT

import physalis as package


class Task(NamedTuple):
    title: str
    blocks: list[tuple[str, str]]
    """The language and the text of each block of code."""


def tasks() -> list[Task]:
    page = (ROOT / "docs" / "tasks.md").read_text()
    parts = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    return [Task(title, re.findall(r"^```(\w+)\n(.*?)^```", body, re.M | re.S)) for title, body in parts]


READING = (7, 9, 10, 11, 12, 13, 14, 16, 17, 20)
"""Tasks that only read what the first ones made, and take a moment."""


@pytest.fixture
def do(physalis, tmp_path, monkeypatch):
    """``do(task)``, in the folder that is worked in: what its commands and its Python printed."""
    shell = tmp_path / "bin" / "physalis"
    shell.parent.mkdir()
    shell.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m physalis "$@"\n')
    shell.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shell.parent}{os.pathsep}{os.environ['PATH']}")

    def run(line: str) -> str:
        if line.startswith("physalis "):
            code, out, err = physalis(*shlex.split(line)[1:])
        else:
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
            code, out, err = done.returncode, done.stdout, done.stderr
        assert code == 0, f"{line}\n{out}{err}"
        return out

    def of(task: Task, capsys: pytest.CaptureFixture) -> str:
        said = ""
        for language, text in task.blocks:
            if language == "python":
                exec(compile(text, task.title, "exec"), {})
                said += capsys.readouterr().out
            else:
                said += "".join(map(run, text.strip().splitlines()))
        return said

    return of


def test_there_are_twenty():
    found = tasks()
    assert [int(task.title.split(".")[0]) for task in found] == [*range(1, 21)]
    assert all(task.blocks and {language for language, _ in task.blocks} <= {"sh", "python"} for task in found)
    python = [text for task in found for language, text in task.blocks if language == "python"]
    assert max(sum(map(bool, text.splitlines())) for text in python) <= 5


@pytest.fixture(scope="module")
def folder(tiny_activations, tiny_dictionary, tiny_evaluation, tiny_atlas, tmp_path_factory) -> Path:
    """What the first tasks leave: of the tiny model, made once a session."""
    here = tmp_path_factory.mktemp("tasks")
    made = {
        "acts": tiny_activations.folder,
        "sae": tiny_dictionary,
        "eval": tiny_evaluation,
        "atlas": tiny_atlas.folder,
    }
    for name, source in made.items():
        shutil.copytree(source, here / name)
    return here


SHOWS = {
    7: "features are dead", 10: "#", 11: "4 texts in A and 4 in B", 12: "level text", 13: "with the edits",
    14: "target", 16: "1 record", 17: "index.html", 20: "",
}  # fmt: skip
"""Some of what each prints."""


@pytest.mark.parametrize("number", READING)
def test_what_only_reads(do, folder, tiny, number, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(package, "load_model", lambda name, **_: tiny, raising=False)
    said = do(tasks()[number - 1], capsys)
    assert SHOWS.get(number, "") in " ".join(said.split()), said


@pytest.mark.slow
def test_all_of_them_from_an_empty_folder(do, tiny_smollm2, tmp_path, monkeypatch, capsys):
    import uvicorn

    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    for task in tasks():
        do(task, capsys)
    left = {each.name for each in Path().iterdir()}
    assert left >= {"acts", "sae", "sae-longer", "eval", "sweep", "atlas", "both", "site", "transcoder"}, left

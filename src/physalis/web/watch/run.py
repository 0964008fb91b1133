"""Watched: what there is to say of a run in training, read off its folder by another process than the trainer.

| state | |
| --- | --- |
| waiting | nothing is there yet, or the first step is not done |
| training | some process holds the folder and has done steps |
| stopped | steps were done and no process holds the folder: it would go on from its checkpoint |
| finished | the dictionary is written |
"""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from physalis import artifact
from physalis.atlas.build.preview import Preview
from physalis.atlas.records import Record
from physalis.errors import BadInput
from physalis.training import history

POINTS = 500
"""Rows sent at most, spread evenly: a curve has no more pixels."""

NOT_TERMS = ("step", "tokens", "l0", "dead", "lr", "pieces")
"""What a row holds beside the terms of the loss."""


class Curves(Record):
    """Rows of the history as columns, thinned where there are many."""

    tokens: list[int]
    loss: list[float]
    """What is minimised: all terms."""
    fvu: list[float]
    l0: list[float]
    dead: list[int]


class Watched(Record):
    """A run."""

    name: str
    state: Literal["waiting", "training", "stopped", "finished"]
    architecture: str
    """Empty, and the numbers 0, until there is a run."""
    n_features: int
    k: int
    d_in: int
    step: int
    """Steps done, as far as the history tells."""
    steps: int
    tokens: int
    n_tokens: int
    """Tokens that all steps see, each pass counted."""
    rate: float | None
    """Tokens a second, while it trains."""
    left: float | None
    """Seconds until the last step at that rate."""
    since: float | None
    """When the last row was written, in seconds since 1970; None where nobody knows."""
    curves: Curves
    readable: str
    """Names what features can be read from now; empty where there is nothing yet. It changes when they do."""
    note: str
    """What whoever started it says of it, in sentences; empty where nobody did."""


class First(Record):
    """The first features of a run."""

    readable: str
    """As in Watched, when they were read."""
    step: int
    """Steps that were done when they were."""
    n_tokens: int
    """Tokens they were read on."""
    held_out: bool
    """Whether training never sees these tokens."""
    text: str
    """Where they are from."""
    features: list[Preview]
    lack: str
    """Why there are none, as a sentence; empty where there are some."""


class Folder:
    """The folder of a run, whether or not it is there yet."""

    def __init__(self, path: Path | str, *, note: str = "") -> None:
        """``note`` is told with the run. Raises BadInput if there is something there that is no run of ``train``."""
        self.path, self.note = Path(path), note
        self._rows = history.Tail(self.path / history.METRICS, _point)
        self._marks = history.Tail(self.path / history.PACE, history.recent)
        self.job()

    def job(self) -> dict[str, Any] | None:
        """What the run was asked to do; None if it has not begun. Raises BadInput if it is no training of ours."""
        try:
            said = json.loads((self.path / artifact.JOB).read_text())
        except (FileNotFoundError, NotADirectoryError):
            others = self.path.is_file() or (self.path.is_dir() and _strangers(self.path))
            if others:
                raise BadInput(
                    f"{self.path} is no run of `physalis train`: it holds something else. Give the folder that was "
                    "named with --out, or one that is not there yet."
                ) from None
            return None
        if said.get("kind") != "dictionary" or "training" not in said.get("job", {}):
            found = "a fine-tuning" if "finetuning" in said.get("job", {}) else artifact.in_words(said.get("kind"))
            raise BadInput(
                f"{self.path} holds {found}. Only runs of `physalis train` are watched: give the folder of one."
            )
        return said["job"]

    @property
    def finished(self) -> bool:
        return (self.path / artifact.MANIFEST).exists()

    def checkpoint(self) -> tuple[Path, int] | None:
        """The file of the latest checkpoint, and which of its dictionaries this run's is."""
        marks = [mark for mark in self._marks.rows() if "checkpoint" in mark]
        if not marks:
            return None
        file = (self.path / marks[-1]["checkpoint"]).resolve()
        return (file, marks[-1]["index"]) if file.exists() else None

    def readable(self) -> str:
        """What ``Watched.readable`` says."""
        if self.finished:
            return "finished"
        found = self.checkpoint()
        try:
            return f"checkpoint {found[0].stat().st_mtime_ns}" if found else ""
        except FileNotFoundError:  # finished just now
            return ""

    def watch(self) -> Watched:
        """The run as it stands."""
        job = self.job()
        name = self.path.resolve().name
        if job is None:
            return _nothing(name, self.note)
        shape, training = job["dictionary"], job["training"]
        rows, marks = self._rows.rows(), self._marks.rows()
        # In this order: a run that finishes between two looks counts as finished, not as stopped.
        claimed = artifact.is_claimed(self.path)
        done = self.finished
        state = "finished" if done else "waiting" if not rows else "training" if claimed else "stopped"
        rate = history.rate(marks) if state == "training" else None
        tokens = rows[-1].tokens if rows else 0
        total = training["steps"] * training["batch_size"]
        return Watched(
            name=name, state=state, architecture=job["architecture"], n_features=shape["n_features"], k=shape["k"],
            d_in=shape["d_in"], step=rows[-1].step + 1 if rows else 0, steps=training["steps"], tokens=tokens,
            n_tokens=total, rate=rate, left=(total - tokens) / rate if rate else None,
            since=marks[-1]["at"] if marks else None, curves=_curves(rows), readable=self.readable(),
            note=self.note,
        )  # fmt: skip


class _Point(NamedTuple):
    """A row of metrics, as far as it is drawn."""

    step: int
    tokens: int
    loss: float
    fvu: float
    l0: float
    dead: int


def _point(before: list[_Point], row: dict[str, Any]) -> list[_Point]:
    """With one more; without it, where a row is none of ours."""
    try:
        loss = sum(value for name, value in row.items() if name not in NOT_TERMS)
        before.append(_Point(row["step"], row["tokens"], loss, row["fvu"], row["l0"], row["dead"]))
    except (KeyError, TypeError):
        pass
    return before


def _strangers(folder: Path) -> bool:
    """Whether a folder without a job holds what ``train`` would refuse to write beside."""
    return any(p.name != artifact.LOCK and not p.name.endswith(".tmp") for p in folder.iterdir())


def _nothing(name: str, note: str) -> Watched:
    return Watched(
        name=name, state="waiting", architecture="", n_features=0, k=0, d_in=0, step=0, steps=0, tokens=0, n_tokens=0,
        rate=None, left=None, since=None, curves=_curves([]), readable="", note=note,
    )  # fmt: skip


def _curves(rows: list[_Point]) -> Curves:
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), POINTS)).round().astype(int)) if rows else []
    shown = [rows[i] for i in places]
    return Curves(
        tokens=[row.tokens for row in shown],
        loss=[_rounded(row.loss) for row in shown],
        fvu=[_rounded(row.fvu) for row in shown],
        l0=[_rounded(row.l0) for row in shown],
        dead=[row.dead for row in shown],
    )


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")

"""checkpoints: what a run in progress keeps so that a kill costs little: tensors and a step, and its log of metrics."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from physalis.artifact import write_atomic

CHECKPOINT, METRICS = "checkpoint.safetensors", "metrics.jsonl"


class Kept(NamedTuple):
    """A checkpoint: everything that is needed to go on exactly."""

    step: int
    """Steps that are done."""
    tensors: dict[str, Tensor]


def save(folder: Path, kept: Kept, *, job: str) -> None:
    """Write the checkpoint of a run whose job has this digest; it replaces the one before it at once or not at all."""
    tensors = {name: value.contiguous() for name, value in kept.tensors.items()}
    about = {"step": str(kept.step), "job": job}
    write_atomic(folder / CHECKPOINT, lambda temporary: save_file(tensors, temporary, metadata=about))


def load(folder: Path, *, job: str) -> Kept | None:
    """The checkpoint of exactly this job, if there is one."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    with safe_open(path, "pt") as f:
        about = f.metadata()
        if about["job"] != job:
            return None
        return Kept(int(about["step"]), {name: f.get_tensor(name) for name in f.keys()})


def drop(folder: Path) -> None:
    """Forget the checkpoint: the run is finished."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


class Log:
    """metrics.jsonl, one row a line, cut back to where the run goes on."""

    def __init__(self, folder: Path, start: int) -> None:
        path = folder / METRICS
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < start]
        write_atomic(path, lambda temporary: temporary.write_text("".join(kept)))
        self._file = open(path, "a", buffering=1)  # a line is on disk, and seen by whoever watches, as soon as written

    def write(self, row: dict[str, Any]) -> None:
        """Add a row, which has a "step"."""
        self._file.write(json.dumps(row) + "\n")

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

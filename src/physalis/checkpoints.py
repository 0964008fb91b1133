"""checkpoints: what a run in progress keeps so that a kill costs little: tensors, a step and a few facts."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from physalis.artifact import digest, write_atomic

CHECKPOINT = "checkpoint.safetensors"
EVERY_S = 20.0
FIRST_S = 3.0  # then twice as long each time: whoever watches reads features early, and sees them sharpen


class Kept(NamedTuple):
    """A checkpoint: everything that is needed to go on exactly."""

    step: int
    """Steps that are done."""
    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    """What else the run knows, as JSON."""


class Checkpoint:
    """The one that a run keeps in ``folder``. Only exactly the same ``job`` goes on from it."""

    def __init__(self, folder: Path, job: Any) -> None:
        self.path, self._job = folder / CHECKPOINT, digest(job)
        self._saved, self._wait = time.monotonic(), min(FIRST_S, EVERY_S)

    def load(self) -> Kept | None:
        """What was kept of this job, on the CPU; that of another is deleted, so that nobody takes it for this one's."""
        if not self.path.exists():
            return None
        with safe_open(self.path, "pt") as f:
            about = f.metadata()
            if about["job"] == self._job:
                tensors = {name: f.get_tensor(name) for name in f.keys()}
                return Kept(int(about["step"]), tensors, json.loads(about["facts"]))
        self.drop()
        return None

    def keep(self, state: Callable[[], Kept]) -> None:
        """Write the state if it is time to; it replaces the one before it at once or not at all."""
        if time.monotonic() - self._saved <= self._wait:
            return
        kept = state()
        # copied: a dictionary that reads and writes with one matrix has it twice, and the format refuses shared memory
        tensors = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in kept.tensors.items()}
        about = {"step": str(kept.step), "facts": json.dumps(kept.facts), "job": self._job}
        write_atomic(self.path, lambda temporary: save_file(tensors, temporary, metadata=about))
        self._saved, self._wait = time.monotonic(), min(2 * self._wait, EVERY_S)

    def drop(self) -> None:
        """Forget it: the run is finished."""
        self.path.unlink(missing_ok=True)

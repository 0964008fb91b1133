"""checkpoints: what a run in progress keeps so that a kill costs little: tensors, a step and a few facts."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from physalis.artifact import digest, plain, remove, write_atomic

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

    def misfit(self, wanted: Mapping[str, Tensor]) -> str | None:
        """The name of a tensor that a run in that state does not have, or that is of another shape or dtype, or not
        finite; None where all fit."""
        for name in sorted({*wanted, *self.tensors}):
            here, like = self.tensors.get(name), wanted.get(name)
            if here is None or like is None or here.shape != like.shape or here.dtype != like.dtype:
                return name
            if here.is_floating_point() and not bool(here.isfinite().all()):
                return name
        return None


class Checkpoint:
    """The one that a run keeps in ``folder``. Only exactly the same ``job`` goes on from it."""

    def __init__(self, folder: Path, job: Any) -> None:
        self.path, self._job = folder / CHECKPOINT, digest(job)
        self._saved, self._wait = time.monotonic(), min(FIRST_S, EVERY_S)

    def load(self) -> Kept | None:
        """What was kept of this job, on the CPU. That of another is deleted, so that nobody takes it for this one's,
        and a damaged one, which is said: the run starts afresh."""
        if not os.path.lexists(self.path):
            return None
        try:
            plain(self.path)
            with safe_open(self.path, "pt") as f:
                about = f.metadata() or {}
                if about.get("job") == self._job:
                    tensors = {name: f.get_tensor(name) for name in f.keys()}
                    return Kept(int(about["step"]), tensors, json.loads(about["facts"]))
        except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
            self.afresh(str(error))
            return None
        self.drop()
        return None

    def afresh(self, why: str) -> None:
        """Say that what was kept is of no use, and forget it."""
        print(f"{self.path} is damaged ({why.splitlines()[0][:160]}): the run starts afresh.", file=sys.stderr)
        self.drop()

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
        if os.path.lexists(self.path):  # where nothing can be written, deleting nothing fails too
            remove(self.path)

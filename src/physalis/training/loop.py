"""loop(): the one loop that trains. Whoever trains says what a step is, and what its state is made of.

1. The state goes on from the checkpoint that a run before this one kept, if it is whole, of this very job, and the
   metrics beside it reach as far.
2. Batches come from there on; each step gives a row of metrics for each folder, where one is due.
3. Rows are logged, progress is told, and every few seconds a checkpoint is kept.
A run that was killed does the steps that no checkpoint holds again, and ends with the same bytes. What is made of the
last state, and that the checkpoint is dropped then, is for whoever trains.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from physalis.runtime.progress import progress
from physalis.training import history
from physalis.training.checkpoints import Checkpoint, Kept

LOG_EVERY = 10  # steps

B = TypeVar("B")
Row = dict[str, Any]
"""Metrics of a step, "step" and "tokens" among them."""


@runtime_checkable
class State(Protocol):
    """What is trained, with everything that is needed to go on exactly."""

    @property
    def note(self) -> str | None:
        """How it stands, in a few words."""
        ...

    def kept(self, step: int) -> Kept:
        """What a checkpoint holds of it after ``step`` steps."""
        ...

    def load(self, kept: Kept) -> None:
        """Be as it was when that was kept."""
        ...


def is_logged(step: int, steps: int) -> bool:
    """Whether a row is due of a step: of each LOG_EVERY, and of the last of ``steps``."""
    return step % LOG_EVERY == 0 or step + 1 == steps


def loop(
    step: Callable[[int, B], Iterable[Row | None]],
    state: State,
    folders: Sequence[Path],
    checkpoint: Checkpoint,
    *,
    batches: Callable[[int], Iterable[B]],
    steps: int,
    size: int,
    title: str,
) -> None:
    """Take what is left of ``steps`` steps of ``size`` tokens each.

    ``step(number, batch)`` takes one and gives, one after the other, the row of each of ``folders``, or None where none
    is due (``is_logged``). ``batches(start)`` are those of the steps from ``start`` on. Raises what these raise.
    """
    start = _resumed(state, folders, checkpoint, steps)
    with ExitStack() as stack:
        about = {"tokens": start * size, "checkpoint": checkpoint.path}
        logs = [stack.enter_context(history.Log(f, start, **about, index=i)) for i, f in enumerate(folders)]
        advance = stack.enter_context(progress(title, steps * size, "tokens", done=start * size))
        for number, batch in zip(range(start, steps), batches(start), strict=False):
            for log, row in zip(logs, step(number, batch), strict=True):
                if row is not None:
                    log.write(row)
            advance(size, note=state.note)
            checkpoint.keep(lambda done=number + 1: state.kept(done))


def _resumed(state: State, folders: Sequence[Path], checkpoint: Checkpoint, steps: int) -> int:
    """The step to go on with. Of a checkpoint that is not whole, or that the metrics do not reach, nothing is loaded:
    that is said, and the run starts afresh."""
    kept = checkpoint.load()
    if kept is None:
        return 0
    wanted = state.kept(0)
    if kept.misfit(wanted.tensors) or not 0 < kept.step <= steps or not _is_like(kept.facts, wanted.facts):
        checkpoint.afresh("it is of no such run")
        return 0
    if not all(history.reaches(folder, kept.step, steps=steps, every=LOG_EVERY) for folder in folders):
        checkpoint.afresh(f"it goes on at step {kept.step}, and {history.METRICS} does not reach that")
        return 0
    state.load(kept)
    return kept.step


def _is_like(found: Any, wanted: Any) -> bool:
    """Whether what was kept beside the tensors is of the same make as what would be; an empty table is like any."""
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, dict) and wanted:
        return found.keys() == wanted.keys() and all(_is_like(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_is_like, found, wanted))
    return True

"""runs: a dictionary in training, alone or together with others: its optimiser, its steps, and what is kept of it."""

from collections.abc import Sequence
from typing import Any

import torch

from physalis.dictionaries.base import Dictionary, Tick
from physalis.errors import BadInput
from physalis.runtime.device import is_out_of_memory
from physalis.training.adam import Adam
from physalis.training.checkpoints import Kept
from physalis.training.loop import is_logged
from physalis.training.starting import Before
from physalis.types import Batch


class Schedule:
    """The learning rate of each step: a linear rise, a plateau, a linear fall to 0."""

    def __init__(self, *, lr: float, warmup: int, decay: float, steps: int) -> None:
        self.lr, self.warmup, self.decay, self.steps = lr, warmup, decay, steps

    def __call__(self, step: int) -> float:
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        fall = min(1.0, (self.steps - step) / (self.decay * self.steps)) if self.decay else 1.0
        return self.lr * rise * fall


class Run:
    """One dictionary in training: its optimiser and when each feature last fired."""

    def __init__(self, dictionary: Dictionary, *, seed: int = 0, before: Before | None = None) -> None:
        self.dictionary, self.seed = dictionary, seed
        self.before = before or Before()
        self.adam = Adam((n, p) for n, p in dictionary.named_parameters() if p.requires_grad)
        self.seen = self.before.tokens
        self.last_fired = self.before.last_fired(dictionary)
        self.row: dict[str, Any] = {}
        self.pieces = 1
        """In how many pieces a batch goes through the dictionary."""

    def descend(self, batch: Batch, step: int, schedule: Schedule, dead_after: int) -> dict[str, Any] | None:
        """One step on one batch. Returns its row of metrics if that is due."""
        done, steps = self.before.steps + step, self.before.steps + schedule.steps
        tick = Tick(done, done / steps, self.seen - self.last_fired >= dead_after)
        replaced = self.dictionary.replace(batch, tick, seed=self.seed)
        if replaced is not None:
            self.adam.forget(("enc", "dec", "b_enc"), replaced)
            self.last_fired[replaced] = self.seen
        self.seen += len(batch.x)
        terms, fired = self._gradients(batch, tick)
        rate = schedule(step)
        self.adam.step(rate)
        self.dictionary.constrain()
        if not is_logged(step, schedule.steps):
            return None
        values = {name: float(value) for name, value in terms.items()}
        if not all(value == value and abs(value) < 1e6 for value in values.values()):
            raise BadInput(
                f"Training diverged at step {step}: {values}. Lower --lr (now {schedule.lr:g}) and use a new --out."
            )
        l0 = fired / len(batch.x)
        seen = self.seen - self.before.tokens
        self.row = {"step": step, "tokens": seen, **values, "l0": l0, "dead": int(tick.dead.sum()), "lr": rate}
        if self.pieces > 1:
            self.row["pieces"] = self.pieces
        return self.row

    def _gradients(self, batch: Batch, tick: Tick) -> tuple[dict[str, torch.Tensor], int]:
        """Gradients of the batch's loss, in as many pieces as memory asks for: (terms, codes that fired)."""
        while True:
            before = {name: value.clone() for name, value in self.dictionary.named_buffers()}
            try:
                return self._accumulate(batch, tick)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or 2 * self.pieces > len(batch.x):
                    raise
            # outside the handler, whose traceback holds the tensors that did not fit
            self.adam.drop_gradients()
            for name, value in self.dictionary.named_buffers():
                value.copy_(before[name])
            self.pieces *= 2

    def _accumulate(self, batch: Batch, tick: Tick) -> tuple[dict[str, torch.Tensor], int]:
        total: dict[str, torch.Tensor] = {}
        fired = 0
        for x, y in zip(batch.x.chunk(self.pieces), batch.y.chunk(self.pieces), strict=True):
            share = len(x) / len(batch.x)
            loss = self.dictionary.loss(Batch(x, x if batch.y is batch.x else y), tick)
            (share * torch.stack(list(loss.terms.values())).sum()).backward()
            fires = loss.codes.values.detach() > 0
            ids = loss.codes.ids[fires].long()
            self.last_fired[ids] = self.seen
            fired += len(ids)
            for name, value in loss.terms.items():
                total[name] = total.get(name, 0) + share * value.detach()
        return total, fired

    @property
    def note(self) -> str | None:
        """The last row, in a few words."""
        return f"fvu {self.row['fvu']:.3f}, {self.row['dead']} dead" if self.row else None

    def state(self) -> dict[str, torch.Tensor]:
        weights = {f"w.{name}": value for name, value in self.dictionary.state_dict().items()}
        return weights | self.adam.state() | {"last_fired": self.last_fired}

    def facts(self) -> dict[str, Any]:
        """What else is needed to go on exactly."""
        return {"seen": self.seen, "row": self.row, "pieces": self.pieces}

    def load(self, state: dict[str, torch.Tensor], step: int, facts: dict[str, Any]) -> None:
        """Go on from ``state()`` and ``facts()`` after ``step`` steps."""
        self.dictionary.load_state_dict({name[2:]: value for name, value in state.items() if name.startswith("w.")})
        self.adam.load(state, step)
        self.last_fired.copy_(state["last_fired"])
        self.seen, self.row, self.pieces = facts["seen"], facts["row"], facts["pieces"]


class Together:
    """Runs on the same batches, as a ``loop`` sees them."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs

    @property
    def note(self) -> str | None:
        return self.runs[0].note

    def kept(self, step: int) -> Kept:
        tensors = {f"{i}.{name}": value for i, run in enumerate(self.runs) for name, value in run.state().items()}
        return Kept(step, tensors, {"runs": [run.facts() for run in self.runs]})

    def load(self, kept: Kept) -> None:
        for i, run in enumerate(self.runs):
            prefix = f"{i}."
            state = {name[len(prefix) :]: value for name, value in kept.tensors.items() if name.startswith(prefix)}
            run.load(state, kept.step, kept.facts["runs"][i])

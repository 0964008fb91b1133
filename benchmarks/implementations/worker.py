"""One implementation in a process of its own: makes it, steps it, times it, judges it. Runs in either environment, so
it knows torch and numpy and nothing of physalis or its peers.

``train_step.py`` starts ``python -m implementations.NAME SETTING PIPE``, writes a line to standard input and reads one
from the pipe, both JSON: ``{"train": 22}`` takes 22 steps and answers with their seconds, ``{"finish": true}`` judges
the dictionary and answers with its FVU.
"""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

TARGET = 0.20  # the FVU that s_to_fvu_020 waits for
WATCHED = 4096  # held-out rows that decide when TARGET is reached; the final FVU is that of all of them
WATCH_EVERY = 4  # steps


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every implementation is asked to do."""

    rows: str
    """Folder with the exported activations."""
    n_features: int
    k: int
    batch: int
    steps: int
    """Of the whole run: learning rate schedules are laid out over these."""
    seed: int = 0
    lr: float | None = None
    """Instead of a peer's own learning rate."""
    centred: bool = False
    """Peers read activations centred and scaled as physalis centres and scales them."""
    device: str = "cpu"


class Rows:
    """The exported activations, read with plain reads: a mapped file would count as memory of the process. Rows come
    to ``device``; a run longer than they are begins again."""

    def __init__(self, folder: str, device: str = "cpu") -> None:
        self.folder, self.device = Path(folder), device
        about = json.loads((self.folder / "rows.json").read_text())
        self.d, self.n_train, self.n_held_out = about["d"], about["n_train"], about["n_held_out"]
        self.mean, self.scale = torch.tensor(about["mean"], device=device), about["scale"]

    def train(self, start: int, n: int) -> Tensor:
        """Raw float32 rows ``start`` to ``start + n``, in the order that everyone trains in."""
        return self._read("train.bf16", start % (self.n_train - n + 1), n)

    def held_out(self, start: int, n: int) -> Tensor:
        return self._read("held_out.bf16", start, min(n, self.n_held_out - start))

    def _read(self, name: str, start: int, n: int) -> Tensor:
        bits = np.fromfile(self.folder / name, np.int16, count=n * self.d, offset=2 * start * self.d)
        return torch.from_numpy(bits).view(torch.bfloat16).to(self.device).float().view(n, self.d)


class Implementation(Protocol):
    """A dictionary in training. Made by its module's ``make(setting, rows)``, data-driven initialisation included."""

    about: str
    """Learning rate, schedule and input normalisation, in words."""
    packages: tuple[str, ...]

    def step(self, x: Tensor) -> None:
        """One training step on raw float32 rows."""
        ...

    def reconstruct(self, x: Tensor) -> Tensor | None:
        """Raw float32 rows as the dictionary returns them; None if it is not one."""
        ...


class Centred:
    """A peer given centred and scaled rows. Not timed: whoever keeps activations can keep them so."""

    def __init__(self, peer: Implementation, rows: Rows) -> None:
        self.peer, self.mean, self.scale = peer, rows.mean, rows.scale
        self.about, self.packages = peer.about + "; rows centred and scaled beforehand", peer.packages

    def step(self, x: Tensor) -> None:
        self.peer.step(x)

    def reconstruct(self, x: Tensor) -> Tensor | None:
        found = self.peer.reconstruct((x - self.mean) * self.scale)
        return None if found is None else found / self.scale + self.mean


def serve(make: Callable[[Setting, Rows], Implementation], *, peer: bool = True) -> None:
    """Answer ``train_step.py`` until it closes the pipe."""
    channel = os.fdopen(int(sys.argv[2]), "w")
    setting = Setting(**json.loads(sys.argv[1]))
    centred = setting.centred and peer
    stored = Rows(setting.rows, setting.device)
    rows = _CentredRows(setting.rows, setting.device) if centred else stored

    def build() -> Implementation:
        one = make(setting, rows)
        return Centred(one, stored) if centred else one

    bare = _memory_mb("VmRSS", setting.device)
    _warm_up(build(), rows, setting)
    gc.collect()
    if setting.device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    one = build()
    _wait(setting.device)
    run = Training(one, rows, stored, setting, seconds=time.perf_counter() - started)

    def say(**what: object) -> None:
        channel.write(json.dumps(what) + "\n")
        channel.flush()

    versions = {name: version(name) for name in ("torch", *one.packages)}
    say(about=one.about, threads=torch.get_num_threads(), versions=versions, python=sys.version.split()[0])
    for line in sys.stdin:
        asked = json.loads(line)
        if "train" in asked:
            say(seconds=run.train(asked["train"]))
        else:
            say(
                fvu=run.fvu(stored.n_held_out),
                s_to_target=run.s_to_target,
                peak_mb=_memory_mb("VmHWM", setting.device),
                bare_mb=bare,
            )


class Training:
    """Steps, their times, and when the held-out FVU first reached TARGET."""

    def __init__(self, one: Implementation, rows: Rows, stored: Rows, setting: Setting, *, seconds: float) -> None:
        self.one, self.rows, self.stored, self.setting = one, rows, stored, setting
        self.seconds = seconds
        """Of training so far, making the dictionary included, judging it not."""
        self.step = 0
        self.s_to_target: float | None = None

    def train(self, n: int) -> list[float]:
        """Take ``n`` more steps; the seconds of each."""
        batch, taken = self.setting.batch, []
        for _ in range(n):
            x = self.rows.train(self.step * batch, batch)
            _wait(self.setting.device)
            started = time.perf_counter()
            self.one.step(x)
            _wait(self.setting.device)
            taken.append(time.perf_counter() - started)
            self.seconds += taken[-1]
            self.step += 1
            if self.s_to_target is None and self.step % WATCH_EVERY == 0:
                fvu = self.fvu(WATCHED)
                if fvu is not None and fvu <= TARGET:
                    self.s_to_target = self.seconds
        return taken

    @torch.no_grad()
    def fvu(self, n: int) -> float | None:
        """``sum (x - x_hat)^2 / sum (x - mean)^2`` over the first ``n`` held-out rows, as recorded; ``mean`` is that of
        the training rows."""
        missed = total = 0.0
        for x in self._held_out(min(n, self.stored.n_held_out)):
            found = self.one.reconstruct(x)
            if found is None:
                return None
            missed += float((x - found).double().square().sum())
            total += float((x - self.stored.mean).double().square().sum())
        return missed / total

    def _held_out(self, n: int) -> Iterator[Tensor]:
        for start in range(0, n, self.setting.batch):
            yield self.stored.held_out(start, min(self.setting.batch, n - start))


class _CentredRows(Rows):
    def _read(self, name: str, start: int, n: int) -> Tensor:
        return (super()._read(name, start, n) - self.mean) * self.scale


def _warm_up(one: Implementation, rows: Rows, setting: Setting) -> None:
    """Two steps on a dictionary that is thrown away: compilation and first allocations are nobody's training time."""
    for i in range(2):
        one.step(rows.train(i * setting.batch, setting.batch))
    with torch.no_grad():
        one.reconstruct(rows.held_out(0, setting.batch))


def _wait(device: str) -> None:
    """Until a card has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def _memory_mb(field: str, device: str) -> float:
    """Resident memory of this process in MB, shared libraries included: VmRSS now, VmHWM at its peak. On a card that
    which torch holds there."""
    if device != "cpu":
        return (torch.cuda.memory_allocated() if field == "VmRSS" else torch.cuda.max_memory_allocated()) / 1e6
    try:
        with open("/proc/self/status") as f:  # ru_maxrss begins at the parent's size on Linux
            return next(int(line.split()[1]) * 1024 / 1e6 for line in f if line.startswith(field))
    except OSError:  # elsewhere only the peak so far is known
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

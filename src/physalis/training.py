"""train(): the only training loop in the package. One read of the activations feeds every dictionary in the list.

1. Batches come shuffled over the whole training part, centred and scaled by the constants the activations keep.
2. Each dictionary computes its loss on the batch, Adam takes a step, the dictionary's constraint is applied.
3. Features that have not fired for ``dead_after`` tokens are named dead to the loss, which may revive them.
4. A checkpoint holds weights, moments, counters and the position in the data: a run that was killed goes on from there
   and ends with the same bytes.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.adam import Adam
from physalis.artifact import Manifest
from physalis.device import compute_dtype
from physalis.dictionaries.base import Linear, Shape, Tick
from physalis.errors import BadInput
from physalis.progress import progress
from physalis.types import Batch

CHECKPOINT, METRICS = "checkpoint.safetensors", "metrics.jsonl"
CHECKPOINT_EVERY_S = 20.0
LOG_EVERY = 10  # steps


def train(
    activations: Activations,
    configs: Sequence[Shape],
    outs: Sequence[str | Path],
    *,
    epochs: int = 3,
    batch_size: int = 2048,
    lr: float = 6e-3,
    warmup: int = 20,
    decay: float = 0.6,
    dead_after: int | None = None,
    frozen_decoder: bool = False,
    seed: int = 0,
) -> list[Linear]:
    """Train one dictionary for each config, all on the same batches, and write each to its folder in ``outs``.

    ``lr`` rises over ``warmup`` steps and falls linearly to 0 over the last ``decay`` of the run. ``dead_after`` tokens
    without firing make a feature dead; None means one pass over the training part, at most 10M: a feature that
    fires anywhere in the text is rare, not dead, and reviving it costs time and gains nothing (FVU .1260 with a
    twentieth of a pass, .1264 with a whole one, at 9,216 features and 270k tokens).
    ``frozen_decoder`` keeps random directions and trains only the encoder: the baseline that says how much learning the
    directions was worth (arXiv 2602.14111). The dictionaries returned, like the stored ones, read raw activations.

    Run again after a kill, it goes on from the last checkpoint and gives the same bytes. Raises BadInput if there are
    fewer tokens than a batch, if widths do not fit, or if a folder holds something else.
    """
    folders = [Path(out) for out in outs]
    names = [dictionaries.architecture_of(config).__name__ for config in configs]
    n_tokens = activations.train.n_tokens
    steps = activations.train.n_batches(batch_size, epochs=epochs)
    if n_tokens < batch_size or steps < 1:
        raise BadInput(
            f"There are {n_tokens:,} training tokens, fewer than one batch of {batch_size:,}. "
            "Record more text, or lower --batch-size."
        )
    dead_after = dead_after or min(10_000_000, n_tokens)
    training = {
        "epochs": epochs, "batch_size": batch_size, "steps": steps, "lr": lr, "warmup": warmup, "decay": decay,
        "dead_after": dead_after, "frozen_decoder": frozen_decoder,
    }  # fmt: skip
    with ExitStack() as stack:
        jobs, done = [], []
        for folder, name, config in zip(folders, names, configs, strict=True):
            if (config.d_in, config.d_out) != (activations.d, activations.d):
                raise BadInput(
                    f"The activations have width {activations.d}; the dictionary wants {config.d_in} in and "
                    f"{config.d_out} out. Make the config with d_in = d_out = {activations.d}."
                )
            job = {
                "architecture": name, "dictionary": asdict(config), "training": training,
                "activations": activations.manifest.hash, "seed": seed,
            }  # fmt: skip
            jobs.append(job)
            done.append(stack.enter_context(artifact.claim(folder, "dictionary", job)))
        if all(done):
            return [dictionaries.load(folder) for folder in folders]
        made = [dictionaries.make(name, asdict(config)) for name, config in zip(names, configs, strict=True)]
        sample = _first(_centred(activations, batch_size, seed, 1, 0), max(c.n_features for c in configs))
        for dictionary in made:
            dictionary.compute_in(compute_dtype(sample.x.device))
            if frozen_decoder:
                dictionary.start_frozen(sample, seed=seed)
            else:
                dictionary.start(sample, seed=seed)
        runs = [Run(dictionary) for dictionary in made]
        start = _resume(folders, runs, artifact.digest(jobs))
        batches = _centred(activations, batch_size, seed, epochs, start)
        logs = [stack.enter_context(_Log(folder / METRICS, start)) for folder in folders]
        saved = time.monotonic()
        schedule = Schedule(lr=lr, warmup=warmup, decay=decay, steps=steps)
        with progress("train", steps * batch_size, "tokens", done=start * batch_size) as advance:
            for step, batch in zip(range(start, steps), batches, strict=False):
                for run, log in zip(runs, logs, strict=True):
                    row = run.descend(batch, step, schedule, dead_after)
                    if row is not None:
                        log.write(row)
                advance(len(batch.x), note=runs[0].note)
                if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                    _checkpoint(folders[0] / CHECKPOINT, runs, step + 1, artifact.digest(jobs))
                    saved = time.monotonic()
        for folder, run, job in zip(folders, runs, jobs, strict=True):
            _finish(folder, run, job, activations)
        (folders[0] / CHECKPOINT).unlink(missing_ok=True)
    return [dictionaries.load(folder) for folder in folders]


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

    def __init__(self, dictionary: Linear) -> None:
        self.dictionary = dictionary
        self.adam = Adam((n, p) for n, p in dictionary.named_parameters() if p.requires_grad)
        self.seen = 0
        self.last_fired = torch.zeros(len(dictionary.b_enc), dtype=torch.int64, device=dictionary.b_enc.device)
        self.row: dict[str, Any] = {}

    def descend(self, batch: Batch, step: int, schedule: Schedule, dead_after: int) -> dict[str, Any] | None:
        """One step on one batch. Returns a row of metrics every LOG_EVERY steps."""
        dead = self.seen - self.last_fired >= dead_after
        loss = self.dictionary.loss(batch, Tick(step, step / schedule.steps, dead))
        torch.stack(list(loss.terms.values())).sum().backward()
        rate = schedule(step)
        self.adam.step(rate)
        self.dictionary.constrain()
        self.seen += len(batch.x)
        fires = loss.codes.values.detach() > 0
        self.last_fired[loss.codes.ids[fires].long()] = self.seen
        if step % LOG_EVERY and step + 1 != schedule.steps:
            return None
        terms = {name: float(value.detach()) for name, value in loss.terms.items()}
        if not all(value == value and abs(value) < 1e6 for value in terms.values()):
            raise BadInput(
                f"Training diverged at step {step}: {terms}. Lower --lr (now {schedule.lr:g}) and use a new --out."
            )
        l0 = float(fires.sum()) / len(batch.x)
        self.row = {"step": step, "tokens": self.seen, **terms, "l0": l0, "dead": int(dead.sum()), "lr": rate}
        return self.row

    @property
    def note(self) -> str | None:
        """The last row, in a few words."""
        return f"fvu {self.row['fvu']:.3f}, {self.row['dead']} dead" if self.row else None

    def state(self) -> dict[str, torch.Tensor]:
        weights = {f"w.{name}": value for name, value in self.dictionary.state_dict().items()}
        return weights | self.adam.state() | {"last_fired": self.last_fired}

    def load(self, state: dict[str, torch.Tensor], step: int, seen: int) -> None:
        self.dictionary.load_state_dict({name[2:]: value for name, value in state.items() if name.startswith("w.")})
        self.adam.load(state, step)
        self.last_fired.copy_(state["last_fired"])
        self.seen = seen


class _Log:
    """metrics.jsonl, cut back to where the run goes on."""

    def __init__(self, path: Path, start: int) -> None:
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < start]
        artifact.write_atomic(path, lambda temporary: temporary.write_text("".join(kept)))
        self._file = open(path, "a", buffering=1)  # a line is on disk, and seen by whoever watches, as soon as written

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _centred(activations: Activations, size: int, seed: int, epochs: int, start: int) -> Iterator[Batch]:
    mean, scale = activations.mean, activations.scale
    for batch in activations.train.batches(size, seed=seed, epochs=epochs, start=start):
        x = (batch.x.float() - mean).mul_(scale)
        y = x if batch.y is batch.x else (batch.y.float() - mean).mul_(scale)
        yield Batch(x, y)


def _first(batches: Iterable[Batch], rows: int) -> Batch:
    held: list[Batch] = []
    for batch in batches:
        held.append(batch)
        if sum(len(b.x) for b in held) >= rows:
            break
    x = torch.cat([b.x for b in held])
    return Batch(x, x if held[0].y is held[0].x else torch.cat([b.y for b in held]))


def _checkpoint(path: Path, runs: Sequence[Run], step: int, job: str) -> None:
    tensors = {f"{i}.{name}": value.contiguous() for i, run in enumerate(runs) for name, value in run.state().items()}
    about = {"step": str(step), "seen": str(runs[0].seen), "job": job}
    artifact.write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata=about))


def _resume(folders: Sequence[Path], runs: Sequence[Run], job: str) -> int:
    """Load the checkpoint of exactly this list of dictionaries, if there is one; returns the step to go on with."""
    path = folders[0] / CHECKPOINT
    if not path.exists():
        return 0
    with safe_open(path, "pt") as f:
        about = f.metadata()
        if about["job"] != job:
            return 0
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    for i, run in enumerate(runs):
        prefix = f"{i}."
        state = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        run.load(state, int(about["step"]), int(about["seen"]))
    return int(about["step"])


def _finish(folder: Path, run: Run, job: dict[str, Any], activations: Activations) -> None:
    manifest = activations.manifest
    run.dictionary.fold(activations.mean, activations.scale, activations.mean, activations.scale)
    name = dictionaries.save(run.dictionary, folder)
    about = {key: job[key] for key in ("architecture", "dictionary", "training")}
    about |= {
        "site": str(activations.site),
        "model": manifest.config["model"],
        "hygiene": activations.hygiene.to_dict(),
    }
    artifact.finish(
        folder,
        Manifest(
            kind="dictionary",
            config=about,
            seed=job["seed"],
            inputs={**manifest.inputs, "activations": manifest.hash},
            facts={"n_tokens": run.seen, "last": run.row},
        ),
        [name, METRICS],
    )

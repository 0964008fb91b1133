"""train(): dictionaries from activations. One read of the activations feeds every dictionary in the list, of all of the
sites that are read or each of some (``View``).

1. Batches come shuffled over the whole training part, centred and scaled by the constants the source keeps.
2. Each dictionary computes its loss on the batch, Adam takes a step, the dictionary's constraint is applied. Where
   memory does not hold a batch it goes through in pieces, and the step is still one of the whole batch.
3. Features that have not fired for ``dead_after`` tokens are named dead to the loss, which may revive them.
4. A checkpoint holds weights, moments, counters and the position in the data: a run that was killed goes on from there
   and ends with the same bytes.

Dictionaries, moments and batches are on one device, to which the next batch is copied while a card computes. The job
does not name the device: what is asked for is the same anywhere, and numbers differ by rounding alone, as between two
kinds of processor. So a folder opens anywhere, and a run may go on elsewhere; bytes are the same where the device is.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, Unpack, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from physalis import artifact, dictionaries
from physalis.activations import View
from physalis.artifact import Manifest
from physalis.dictionaries.base import Dictionary, Shape
from physalis.errors import BadInput
from physalis.runtime.device import chosen, moved, ranking_dtype, repeatable
from physalis.training import history
from physalis.training.checkpoints import Checkpoint
from physalis.training.loop import loop
from physalis.training.options import Training, TrainingOptions
from physalis.training.runs import Run, Schedule, Together
from physalis.training.starting import LAST_FIRED, Before, begin, first_rows
from physalis.types import Batch, Frame

METRICS = history.METRICS
FINISH_ROWS = 8192  # L0 over so many rows is known to a per cent


@runtime_checkable
class Part(Protocol):
    """The rows to train on."""

    @property
    def n_tokens(self) -> int: ...

    def n_batches(self, size: int, *, epochs: int = 1) -> int: ...

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]: ...


@runtime_checkable
class Judged(Protocol):
    """A source that holds text out."""

    @property
    def held_out(self) -> Part: ...


@runtime_checkable
class Source(Protocol):
    """What ``train`` reads: Activations, several of them as Pairs, a Stream, or the Samples of a world."""

    @property
    def train(self) -> Part: ...

    @property
    def frame(self) -> Frame: ...

    @property
    def d_in(self) -> int: ...

    @property
    def d_out(self) -> int: ...

    @property
    def origin(self) -> dict[str, Any]:
        """What the dictionary's manifest says about where it reads: site, model, hygiene; or the world."""
        ...

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes of what was read, by role."""
        ...


def train(
    source: Source | Sequence[View],
    configs: Sequence[Shape],
    outs: Sequence[str | Path],
    training: Training = Training(),  # noqa: B008 (frozen)
    *,
    seeds: Sequence[int] | None = None,
    continue_from: Sequence[str | Path] | None = None,
    device: torch.device | str | None = None,
    **options: Unpack[TrainingOptions],
) -> list[Dictionary]:
    """Train one dictionary for each config, all on the same batches, and write each to its folder in ``outs``.

    Where they are of different sites, ``source`` is a view for each of them, all of one source: one pass over it feeds
    them all, and each is what it would be trained alone (as long as a buffer of all its columns holds as many rows).
    Options are keywords, as in ``epochs=1``, or one ``Training``; the manifest says the same, with what was left open
    settled. The source is gone through ``epochs`` times, ``batch_size`` rows a step. ``lr`` is ``learning_rate(d_out)``
    times the architecture's ``pace`` unless given; it rises over ``warmup`` steps (a twentieth of the run, at most 100)
    and falls linearly to 0 over the last ``decay`` of the run. ``dead_after`` tokens without firing make a feature
    dead; a twentieth of the run, at most 10M, unless given.
    ``frozen`` keeps random directions in that part and trains only the other: the baseline that says how much learning
    the directions was worth (arXiv 2602.14111). ``seed`` decides the order of the batches, ``seeds`` what each
    dictionary starts from (``seed`` unless given). ``continue_from`` names for each config a folder of a dictionary of
    that very config, with whose weights and counters it goes on (``starting.Before``). It happens on ``device``, the
    best that there is unless given, and what is returned is there too; like what is stored, it reads raw activations.

    Run again after a kill, it goes on from the last checkpoint and gives the same bytes. Raises BadInput if there are
    fewer tokens than a batch, if widths do not fit, if views are of several sources, for a config with layer norm, if a
    folder holds something else, or if what is gone on with is another dictionary, of other sites or another model, or
    was trained by another tool.
    """
    device, training = chosen(device), replace(training, **options)
    if not configs or len(configs) != len(outs):
        raise BadInput(f"Each dictionary has a config and a folder; received {len(configs)} and {len(outs)}.")
    views = list(source) if isinstance(source, Sequence) else [source] * len(configs)
    source = _whole(views, len(configs))
    frozen, seed, batch_size = training.frozen, training.seed, training.batch_size
    folders = [Path(out) for out in outs]
    seeds = [seed] * len(configs) if seeds is None else seeds
    names = [dictionaries.architecture_of(config).__name__ for config in configs]
    befores = [None] * len(configs) if continue_from is None else [Before.read(Path(f)) for f in continue_from]
    steps = source.train.n_batches(batch_size, epochs=training.epochs)
    if (n := source.train.n_tokens) < batch_size or steps < 1:
        few = f"There are {n:,} training tokens, fewer than one batch of {batch_size:,}."
        raise BadInput(f"{few} Record more text, or lower --batch-size.")
    dead_after = training.dead_after or min(10_000_000, steps * batch_size // 20)
    warmup = min(100, steps // 20) if training.warmup is None else training.warmup
    rates = [
        learning_rate(view.d_out) * dictionaries.architecture_of(config).pace if training.lr is None else training.lr
        for view, config in zip(views, configs, strict=True)
    ]
    settled = [replace(training, lr=rate, warmup=warmup, dead_after=dead_after) for rate in rates]
    with ExitStack() as stack:
        jobs, done = [], []
        each = zip(folders, names, configs, views, settled, seeds, befores, strict=True)
        for folder, name, config, view, known, own, before in each:
            _check(config, view)
            job = {
                "architecture": name, "dictionary": asdict(config), "training": known.said(steps),
                "inputs": view.inputs, "seed": own,
            }  # fmt: skip
            if before is not None:
                job = before.check(job, view.origin, frozen)
            jobs.append(job)
            done.append(stack.enter_context(artifact.claim(folder, "dictionary", job)))
        checkpoint = Checkpoint(folders[0], jobs)
        if all(done):
            checkpoint.drop()  # a kill may have come just before
            return [dictionaries.load(folder, device=device) for folder in folders]
        stack.enter_context(repeatable(device))
        frame = source.frame.to(device)

        def framed(batches: Iterable[Batch]) -> Iterator[Batch]:
            return map(frame.apply, moved(batches, device))

        made = [dictionaries.make(name, asdict(config)).to(device) for name, config in zip(names, configs, strict=True)]
        rows = max((c.n_features for c, before in zip(configs, befores, strict=True) if before is None), default=0)
        sample = first(framed(source.train.batches(batch_size, seed=seed)), rows) if rows else None
        for dictionary, view, own, before in zip(made, views, seeds, befores, strict=True):
            dictionary.compute_in(ranking_dtype(device))
            if before is not None:
                before.go_on(dictionary, view.frame.to(device))
            elif sample is not None:
                rows = first_rows(_seen(view, sample), dictionary.config.n_features, batch_size)
                begin(dictionary, rows, frozen=frozen, seed=own)
        del sample
        runs = [Run(d, seed=own, before=before) for d, own, before in zip(made, seeds, befores, strict=True)]
        schedules = [Schedule(lr=rate, warmup=warmup, decay=training.decay, steps=steps) for rate in rates]

        def step(number: int, batch: Batch) -> Iterator[dict[str, Any] | None]:
            for run, view, schedule in zip(runs, views, schedules, strict=True):
                yield run.descend(_seen(view, batch), number, schedule, dead_after)

        loop(
            step, Together(runs), folders, checkpoint,
            batches=lambda start: framed(
                source.train.batches(batch_size, seed=seed, epochs=training.epochs, start=start)
            ),
            steps=steps, size=batch_size, title="train" if frozen is None else f"baseline: random {frozen}oder",
        )  # fmt: skip
        last = first(framed(unseen(source, batch_size).batches(batch_size, seed=seed)), FINISH_ROWS)
        for folder, run, view, job in zip(folders, runs, views, jobs, strict=True):
            run.dictionary.finish(_seen(view, last))
            _finish(folder, run, job, view, view.frame.to(device))
        checkpoint.drop()
    return [dictionaries.load(folder, device=device) for folder in folders]


def _whole(views: Sequence[Source], n: int) -> Source:
    """What is read: the one source of all, or that which all views are of."""
    if len(views) != n:
        raise BadInput(f"{n} dictionaries are trained on a view each; received {len(views)} views.")
    whole = [view.source if isinstance(view, View) else view for view in views]
    if any(each is not whole[0] for each in whole):
        raise BadInput("One pass feeds views of one source; received views of several. Open it once, and view that.")
    return whole[0]


def _seen(view: Source, batch: Batch) -> Batch:
    """What a dictionary is given of a batch."""
    return view.of(batch) if isinstance(view, View) else batch


def unseen(source: Source, batch_size: int) -> Part:
    """The rows that thresholds are set on after the last step: held-out text where there is enough. On rows that were
    read several times fewer features fire than on any others, by a tenth after three passes, and L0 would be off by
    that much. One number is set, for all features alike."""
    if isinstance(source, Judged) and source.held_out.n_batches(batch_size) * batch_size >= FINISH_ROWS:
        return source.held_out
    return source.train


def learning_rate(d_out: int) -> float:
    """The rate to rise to where directions have ``d_out`` elements: .12 / sqrt(d_out).

    Adam moves every element by about the rate, so a step turns a direction of length 1 by about rate * sqrt(d_out): the
    rule says by which angle, whatever the width. It is .005 at 576, where 6e-3 was best of four on SmolLM2 (docs/
    training.md), and .012 at 96, where worlds whose truth is known show what a rate recovers.
    """
    return 0.12 / d_out**0.5


def _check(config: Shape, source: Source) -> None:
    if config.layer_norm:
        raise BadInput(
            "layer_norm is for dictionaries converted from tools that train with it; here centring and scale are "
            "folded into the weights instead. Leave layer_norm out."
        )
    if (config.d_in, config.d_out) != (source.d_in, source.d_out):
        raise BadInput(
            f"The activations have width {source.d_in} in and {source.d_out} out; the dictionary wants {config.d_in} "
            f"in and {config.d_out} out. Make the config with d_in = {source.d_in} and d_out = {source.d_out}."
        )


def first(batches: Iterable[Batch], rows: int) -> Batch:
    """So many rows, in whole batches, or all that there are. Raises BadInput if there are none."""
    held: list[Batch] = []
    for batch in batches:
        held.append(batch)
        if sum(len(b.x) for b in held) >= rows:
            break
    if not held:
        raise BadInput("The source has no training rows.")
    x = torch.cat([b.x for b in held])
    return Batch(x, x if held[0].y is held[0].x else torch.cat([b.y for b in held]))


def peek(checkpoint: Path, index: int, job: dict[str, Any]) -> tuple[int, Dictionary]:
    """The steps done and the dictionary of a run in progress, ``index`` among those of its checkpoint. It reads
    rows inside the frame of the run's source. ``job`` is the run's own. Raises FileNotFoundError where there is no
    checkpoint yet, BadInput where it is damaged.
    """
    dictionary = dictionaries.make(job["architecture"], job["dictionary"])
    try:
        with safe_open(checkpoint, "pt") as f:
            state = {name: f.get_tensor(f"{index}.w.{name}") for name in dictionary.state_dict()}
            step = int(f.metadata()["step"])
        dictionary.load_state_dict(state)
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"{checkpoint.name} is damaged: what it holds cannot be shown ({type(error).__name__})."
        ) from error
    dictionary.requires_grad_(False)
    dictionary.compute_in(ranking_dtype(torch.device("cpu")))
    return step, dictionary


def _finish(folder: Path, run: Run, job: dict[str, Any], source: Source, frame: Frame) -> None:
    (folder / history.PACE).unlink(missing_ok=True)
    run.dictionary.fold(frame)
    name = dictionaries.save(run.dictionary, folder)
    fired = {"last_fired": run.last_fired.cpu()}  # tokens that were seen by then; 0: never
    artifact.write_atomic(folder / LAST_FIRED, lambda temporary: save_file(fired, temporary))
    artifact.finish(
        folder,
        Manifest(
            kind="dictionary",
            config={key: job[key] for key in ("architecture", "dictionary", "training")} | source.origin,
            seed=job["seed"],
            inputs=job["inputs"],
            facts={"n_tokens": run.seen, "last": run.row},
        ),
        [name, METRICS, LAST_FIRED],
    )

"""finetune(): train a dictionary a little further against what the model makes of its reconstruction.

1. The model runs on contexts of the training text, once as it is and once with the reconstruction written at the site.
   Positions that hygiene left out of the activations keep what the model computed.
2. What is minimised is an objective on the two outputs (``kl``, ``ce``, or one's own) together with the FVU, so that
   the dictionary goes on explaining the activations and does not merely find another way to the same output.
   Objective and FVU are each divided by their value on the batch: their scales differ by orders of magnitude and change
   as training goes on, their relative changes do not (Karvonen 2025, arXiv 2503.17272, balances them likewise).
3. Gradients flow through the frozen rest of the model into the dictionary alone, which keeps its L0: thresholds are
   moved back to the k that it was made for, or it would buy its objective with more features.
End-to-end training from the start is Braun et al. 2024 (arXiv 2405.12241); a short run at the end gets most of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.dictionaries import Dictionary
from physalis.dictionaries.kernels.rows import Rows
from physalis.errors import BadInput
from physalis.models import Model
from physalis.runtime.device import moved, repeatable
from physalis.site import Site
from physalis.training import history
from physalis.training.adam import Adam
from physalis.training.checkpoints import Checkpoint, Kept
from physalis.training.loop import is_logged, loop
from physalis.training.objectives import Objective, Outcome, ce, identity, kl, name_of
from physalis.training.options import Finetuning, FinetuningOptions
from physalis.training.runs import Schedule
from physalis.training.training import FINISH_ROWS, first, unseen
from physalis.types import Batch, Codes, Frame

__all__ = ["Objective", "Outcome", "ce", "finetune", "kl"]

RESTORE_EVERY = 10  # steps between which L0 drifts
ROWS = 2048  # read at a time at the end
LOGITS = Site("logits")


def finetune(
    dictionary: str | Path,
    source: Stored,
    model: Model,
    finetuning: Finetuning = Finetuning(),  # noqa: B008 (frozen)
    *,
    out: str | Path,
    objective: Objective = kl,
    **options: Unpack[FinetuningOptions],
) -> Dictionary:
    """Train the dictionary in one folder further, end to end, and write it to the folder ``out``.

    Options are keywords, as in ``tokens=50_000``, or one ``Finetuning``: what the manifest says.
    ``source`` is activations of the site that it reads, or Pairs ending in the one site that it writes; only their
    tokens, positions and constants are used. ``tokens`` positions of the training text go through the model, ``batch``
    contexts a step. ``fvu_weight`` is how much a per cent of the FVU counts against a per cent of the objective; with 0
    nothing holds the FVU. ``lr`` falls linearly to 0.

    Run again after a kill, it goes on from the last checkpoint and gives the same bytes. Raises BadInput if model,
    source and dictionary do not belong together, if more than one site would have to be written, or if there are fewer
    tokens than a step needs.
    """
    told, folder = artifact.read(Path(dictionary), "dictionary"), Path(out)
    _check(told, source, model)
    finetuning = replace(finetuning, **options)
    batch, lr, seed = finetuning.batch, finetuning.lr, finetuning.seed
    contexts = source.train.contexts
    size = batch * source.context
    steps = finetuning.tokens // size
    if steps < 1 or len(contexts) < batch:
        raise BadInput(
            f"A step needs {batch} contexts of {source.context} tokens; received tokens={finetuning.tokens:,} and "
            f"{len(contexts):,} contexts to train on. Ask for more tokens, or a smaller batch."
        )
    settings = {**asdict(finetuning), "objective": name_of(objective), "steps": steps}
    inputs = {**source.inputs, "dictionary": told.hash}
    dtype = str(model.dtype).removeprefix("torch.")  # its hash is the same in any that bfloat16 values survive
    job = {"finetuning": settings, "objective": identity(objective), "dtype": dtype, "inputs": inputs}
    with artifact.claim(folder, "dictionary", job) as done:
        if done is not None:
            return dictionaries.load(folder, device=model.device)
        checkpoint = Checkpoint(folder, job)
        run = Run(dictionaries.load(dictionary, device=model.device), source, model, objective, finetuning.fvu_weight)
        schedule = Schedule(lr=lr, warmup=min(20, steps), decay=1.0, steps=steps)

        def step(number: int, ids: Int64[np.ndarray, " contexts"]) -> Iterator[dict[str, Any] | None]:
            found = run.descend(ids, schedule(number))
            if (number + 1) % RESTORE_EVERY == 0:
                run.restore()
            if not is_logged(number, steps):
                yield None
                return
            run.row = {"step": number, "tokens": (number + 1) * size, **found(), "lr": schedule(number)}
            if not all(np.isfinite(run.row[name]) for name in run.names):
                raise BadInput(f"Fine-tuning diverged at step {number}: {run.row}. Lower lr and use a new folder.")
            yield run.row

        with repeatable(model.device):
            loop(
                step, run, [folder], checkpoint, batches=lambda start: _batches(contexts, batch, seed, start),
                steps=steps, size=size, title="finetune",
            )  # fmt: skip
            name = dictionaries.save(run.finished(seed), folder)
        config = {**told.config, **source.origin, "finetuning": settings}
        manifest = Manifest(
            kind="dictionary", config=config, seed=seed, inputs=inputs, facts={**told.facts, "finetuned": run.row}
        )
        (folder / history.PACE).unlink(missing_ok=True)
        artifact.finish(folder, manifest, [name, history.METRICS])
        checkpoint.drop()
    return dictionaries.load(folder, device=model.device)


class Run:
    """A dictionary in the frame in which it is trained, the model round it, and its optimiser."""

    def __init__(
        self, dictionary: Dictionary, source: Stored, model: Model, objective: Objective, fvu_weight: float
    ) -> None:
        self.dictionary, self.source, self.model = dictionary, source, model
        self.objective, self.fvu_weight = objective, fvu_weight
        self.names = (name_of(objective), "fvu")
        self.row: dict[str, Any] = {}
        """The metrics that were logged last."""
        self.reads, self.write = _sites(source)
        self.frame = _frame(dictionary, source)
        dictionary.unfold(self.frame)
        dictionary.requires_grad_(True)
        for p in dictionary.parameters():
            if isinstance(p, Rows) and p.on_sphere:  # rows of another tool need not have length 1
                p.on_sphere = bool(((p.norm(dim=1) - 1).abs() < 1e-3).all())
        self.adam = Adam(dictionary.named_parameters())

    def kept(self, step: int) -> Kept:
        """Everything that is needed to go on exactly."""
        weights = {f"w.{name}": value for name, value in self.dictionary.state_dict().items()}
        return Kept(step, weights | self.adam.state(), {"row": self.row})

    def load(self, kept: Kept) -> None:
        """Go on from what was kept."""
        weights = {name[2:]: value for name, value in kept.tensors.items() if name.startswith("w.")}
        self.dictionary.load_state_dict(weights)
        self.adam.load(kept.tensors, kept.step)
        self.row = kept.facts["row"]

    @property
    def note(self) -> str | None:
        """The last row, in a few words."""
        return ", ".join(f"{name} {self.row[name]:.3f}" for name in self.names) if self.row else None

    def descend(self, ids: Int64[np.ndarray, " contexts"], rate: float) -> Callable[[], dict[str, float]]:
        """One step on the contexts ``ids``; returns what gives the step's metrics."""
        tokens = torch.from_numpy(self.source.tokens[ids].astype("int64")).to(self.model.device)
        documents = self.source.documents[ids]
        splice = Splice(self.dictionary, self.frame, self.source.kept(ids).to(self.model.device), self.reads)
        spliced = self.model.run_with_gradients(tokens, read=[LOGITS], write=splice.writes(self.write))[LOGITS]
        counts = torch.from_numpy(documents[:, 1:] == documents[:, :-1]).to(self.model.device)
        outcome = Outcome(lambda: self.model.run(tokens, read=[LOGITS])[LOGITS], spliced, tokens, counts)
        goal, fvu = self.objective(outcome), splice.fvu
        loss = goal / goal.detach().clamp_min(1e-12)
        if self.fvu_weight:
            loss = loss + self.fvu_weight * fvu / fvu.detach().clamp_min(1e-12)
        loss.backward()
        self.adam.step(rate)
        self.dictionary.constrain()

        self._rows = splice.rows

        def found() -> dict[str, float]:
            l0 = float((splice.codes.values > 0).sum()) / len(splice.codes.values)
            return {**dict(zip(self.names, (float(goal.detach()), float(fvu.detach())), strict=True)), "l0": l0}

        return found

    def restore(self) -> None:
        """Bring L0 back to what it was, by the rows of the step just taken."""
        self.dictionary.finish(self._rows)

    def finished(self, seed: int) -> Dictionary:
        """The dictionary as it is stored: with its L0, and reading raw activations."""
        rows = unseen(self.source, ROWS).batches(min(ROWS, self.source.train.n_tokens), seed=seed)
        self.dictionary.finish(first(map(self.frame.apply, moved(rows, self.model.device)), FINISH_ROWS))
        self.dictionary.requires_grad_(False)
        self.dictionary.fold(self.frame)
        return self.dictionary


class Splice:
    """What writes the reconstruction into one forward pass, and keeps what the loss needs of it."""

    rows: Batch
    """What the dictionary read and had to predict, inside its frame."""
    codes: Codes
    fvu: Float[Tensor, ""]

    def __init__(
        self, dictionary: Dictionary, frame: Frame, keep: Bool[Tensor, "contexts context"], reads: list[Site]
    ) -> None:
        """``reads`` are the sites read before the one that is written; none where that one is read itself."""
        self.dictionary, self.frame, self.keep, self.reads = dictionary, frame, keep, reads
        self._seen: dict[Site, Tensor] = {}

    def writes(self, site: Site) -> dict[Site, Callable[[Tensor], Tensor]]:
        """For ``Model.run_with_gradients(write=...)``: the reconstruction goes to ``site``."""
        return {read: lambda x, read=read: self._seen.setdefault(read, x) for read in self.reads} | {site: self._put}

    def _put(self, y: Float[Tensor, "contexts context d"]) -> Float[Tensor, "contexts context d"]:
        target = y[self.keep]
        if self.reads:
            late = [str(site) for site in self.reads if site not in self._seen]
            if late:
                raise BadInput(f"The model computes {', '.join(late)} only after the site that is to be written.")
            x = torch.cat([self._seen[site][self.keep].to(target.device) for site in self.reads], dim=1)
            self.rows = self.frame.apply(Batch(x, target))
        else:
            self.rows = self.frame.apply(Batch(target, target))
        self.codes = self.dictionary.encode(self.rows.x)
        guess = self.dictionary.rebuild(self.rows.x, self.codes)
        self.fvu = (guess - self.rows.y).square().mean()
        new = y.clone()
        new[self.keep] = (guess / self.frame.scale_out + self.frame.mean_out).to(y.dtype)
        return new


def _batches(
    contexts: Int64[np.ndarray, " n"], size: int, seed: int, start: int
) -> Iterator[Int64[np.ndarray, " size"]]:
    # Whole epochs in an order of their own each; contexts that do not fill an epoch's last batch are left out of it.
    each = len(contexts) // size
    step = start
    while True:
        order = np.random.default_rng([seed, step // each]).permutation(contexts)
        for i in range(step % each, each):
            yield order[i * size : (i + 1) * size]
            step += 1


def _frame(dictionary: Dictionary, source: Stored) -> Frame:
    """Where learning rates mean what they meant in training: inputs are centred where the dictionary centres them, and
    have mean square 1. A dictionary that normalises each token itself is there already."""
    centre = dictionary.state_dict()["centre"].clone()
    frame = source.frame.to(centre.device)
    if dictionary.config.layer_norm:
        return Frame(*(torch.full_like(part, value) for part, value in zip(frame, (0.0, 1.0, 0.0, 1.0), strict=True)))
    return frame._replace(mean_in=centre, mean_out=frame.mean_out if source.writes else centre)


def _sites(source: Stored) -> tuple[list[Site], Site]:
    """The sites that are read beside the one that is written, and that one."""
    match source.reads, source.writes:
        case [one], []:
            return [], one.site
        case _, [one]:
            return [each.site for each in source.reads], one.site
    raise BadInput(
        "Only one site can be written while a dictionary is fine-tuned, so that all it reads is known before: this "
        f"source writes {source.origin.get('writes', source.origin['site'])}. Give activations of one site, or Pairs "
        "with one to write."
    )


def _check(told: Manifest, source: Stored, model: Model) -> None:
    source.require(model)
    _sites(source)
    for key in ("site", "writes"):
        if told.config.get(key) != source.origin.get(key):
            raise BadInput(
                f"The dictionary's {key} is {told.config.get(key)}, that of these activations is "
                f"{source.origin.get(key)}. Give the activations of where it was trained."
            )

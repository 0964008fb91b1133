"""subjects: dictionaries that are compared: opened, checked, and their codes read over the same tokens."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

from physalis import artifact, dictionaries, metrics
from physalis.activations import Activations
from physalis.artifact import Manifest
from physalis.comparing.fired import Fired
from physalis.comparing.records import Estimate
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.metrics import Reconstruction, Sums
from physalis.progress import progress
from physalis.types import Codes

MEASURED = (metrics.l0, metrics.fvu)
CHUNK = 4_096
"""Rows encoded at a time."""


class Subject(NamedTuple):
    """A dictionary and what its files say."""

    about: Manifest
    dictionary: Dictionary
    directions: Float[Tensor, "features d_out"]
    """What one unit of each feature writes."""

    @property
    def name(self) -> str:
        """Such as "TopK 4,608, k 32, seed 0"."""
        config, seed = self.dictionary.config, self.about.seed
        said = f"{self.architecture} {config.n_features:,}, k {config.k:g}"
        return said if seed is None else f"{said}, seed {seed}"

    @property
    def architecture(self) -> str:
        return str(self.about.config["architecture"])

    @property
    def site(self) -> Any:
        """A name, a list of them, or None where the files do not say."""
        return self.about.config.get("site")

    @property
    def target(self) -> Any:
        """Where it writes, in the same words."""
        return self.about.config.get("writes") or self.site

    @property
    def predicts_what_it_reads(self) -> bool:
        """Whether it is an autoencoder: the activations it reads are then what it has to rebuild."""
        return self.about.config.get("writes") is None and self.dictionary.config.d_in == self.dictionary.config.d_out


def open_subject(folder: str | Path) -> Subject:
    """Raises BadInput if the folder is no finished dictionary, or a damaged one."""
    about = artifact.read(Path(folder), "dictionary")
    dictionary = dictionaries.load(folder)
    every = torch.arange(dictionary.config.n_features)
    directions = dictionary.writes(every)  # pyright: ignore[reportCallIssue]
    return Subject(about, dictionary, directions.detach().float().cpu())


def told(subjects: Sequence[Subject], name: str) -> str | None:
    """What the first of them that says anything says of its "model" or "site"; names of joined ones in a row."""
    said = next((value for each in subjects if (value := each.about.config.get(name))), None)
    return ", ".join(said) if isinstance(said, list) else said


def check_comparable(subjects: Sequence[Subject]) -> None:
    """Raise BadInput unless all read and write the same site of the same model, as far as their files say."""
    first = subjects[0]
    for other in subjects[1:]:
        names = first.about.config.get("model"), other.about.config.get("model")
        for what, one, two, shown in (
            ("model", first.about.inputs.get("model"), other.about.inputs.get("model"), names),
            ("site", first.site, other.site, (first.site, other.site)),
            ("target", first.target, other.target, (first.target, other.target)),
        ):
            if None not in (one, two) and one != two:
                raise BadInput(
                    f"The dictionaries are of another {what} each: {shown[0]!r} and {shown[1]!r}. Features can be "
                    "matched only where both read and write the same place of the same model."
                )
        if first.directions.shape[1] != other.directions.shape[1]:
            raise BadInput(
                f"The dictionaries write widths {first.directions.shape[1]} and {other.directions.shape[1]}: they "
                "cannot be of the same site. Compare two of one site."
            )


def check_reads(subject: Subject, activations: Activations) -> None:
    """Raise BadInput unless the dictionary reads what these activations are. What a converted one does not say is
    taken on trust, aloud."""
    about, manifest = subject.about, activations.manifest
    unsaid = []
    for role in ("model", "tokenizer"):
        if role not in about.inputs:
            unsaid.append(role)
        elif about.inputs[role] != manifest.inputs[role]:
            raise BadInput(
                f"{subject.name} was trained on another {role} ({about.config.get('model')!r}) than these activations "
                f"({manifest.config['model']!r}). Use activations of its own model."
            )
    if subject.site is None:
        unsaid.append("site")
    elif subject.site != str(activations.site):
        raise BadInput(
            f"{subject.name} reads {subject.site}, these activations are of {activations.site}. Record {subject.site}."
        )
    if subject.dictionary.config.d_in != activations.d:
        raise BadInput(
            f"{subject.name} reads width {subject.dictionary.config.d_in}, these activations have {activations.d}. "
            "Record the site that it reads."
        )
    if unsaid:
        print(
            f"{subject.name} does not say its {' and '.join(unsaid)}: that it belongs to these activations is taken on "
            "trust.",
            file=sys.stderr,
        )


class Read(NamedTuple):
    """What a dictionary made of the tokens."""

    fired: Fired
    l0: Estimate | None
    """On the held-out tokens among them; None where there are none."""
    fvu: Estimate | None
    """The same; None too where it does not rebuild what it reads."""


@torch.no_grad()
def read(subjects: Sequence[Subject], activations: Activations, *, tokens: int, seed: int) -> list[Read]:
    """Codes of every subject over the same ``tokens`` (or a chunk more): held-out ones first, then training ones.

    Raises BadInput if that is none.
    """
    if min(tokens, activations.n_tokens) < 1:
        raise BadInput(f"Codes are compared over at least 1 token; received {tokens} of {activations.n_tokens:,}.")
    documents, mean = activations.documents.reshape(-1), activations.mean
    sums = [(Sums(), Sums()) for _ in subjects]
    found: list[list[csr_array]] = [[] for _ in subjects]
    places: list[np.ndarray] = []
    seen = 0
    with progress("read", min(tokens, activations.n_tokens), "tokens") as advance:
        for part, is_held_out in ((activations.held_out, True), (activations.train, False)):
            for piece in part.ordered(CHUNK):
                if seen >= tokens:
                    break
                x = piece.x.float()
                for i, subject in enumerate(subjects):
                    codes = subject.dictionary.encode(x)
                    found[i].append(_sparse(codes, subject.dictionary.config.n_features))
                    if is_held_out:
                        rebuilds = subject.predicts_what_it_reads
                        r = Reconstruction(x, subject.dictionary.rebuild(x, codes) if rebuilds else x, codes, mean)
                        for metric, total in zip(MEASURED if rebuilds else MEASURED[:1], sums[i], strict=False):
                            total.add(metric(r), documents[piece.at.numpy()])
                places.append(piece.at.numpy())
                seen += len(x)
                advance(len(x))
    order = np.argsort(np.concatenate(places), kind="stable")
    return [
        Read(Fired(_in_order(each, order)), *(_estimate(total) for total in sums[i])) for i, each in enumerate(found)
    ]


def _sparse(codes: Codes, n_features: int) -> csr_array:
    values, ids = codes.values.cpu().numpy(), codes.ids.cpu().numpy()
    fires = values > 0
    starts = np.concatenate([[0], np.cumsum(fires.sum(1))])
    return csr_array(
        (values[fires].astype(np.float32), ids[fires].astype(np.int32), starts.astype(np.int32)),
        shape=(len(values), n_features),
    )


def _in_order(pieces: list[csr_array], order: np.ndarray) -> csr_array:
    """The pieces one below the other, rows in that order; ``pieces`` is emptied, or both would be in memory."""
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(p.indptr) for p in pieces]).astype(np.int64))])
    ids, values = np.concatenate([p.indices for p in pieces]), np.concatenate([p.data for p in pieces])
    shape = (len(order), pieces[0].shape[1])  # pyright: ignore[reportOptionalSubscript]
    pieces.clear()
    return csr_array(csr_array((values, ids, indptr), shape=shape)[order])


def _estimate(sums: Sums) -> Estimate | None:
    return Estimate(**sums.estimate()) if sums else None

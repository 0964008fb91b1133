"""compared: dictionaries that are compared: opened, checked, and their codes read over the same tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

from physalis import artifact, dictionaries, metrics
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.codes import StoredCodes
from physalis.comparing.records import Estimate
from physalis.comparing.similarity.codes import SparseCodes
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.metrics import Interval, Reconstruction, Sums
from physalis.placement.encoding import encoded
from physalis.placement.origin import Recordings, recorded
from physalis.runtime.device import chosen
from physalis.runtime.progress import progress
from physalis.types import Codes

MEASURED = (metrics.l0, metrics.fvu)


class ComparedDictionary(NamedTuple):
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


def open_compared_dictionary(folder: str | Path, device: torch.device | str | None = None) -> ComparedDictionary:
    """The dictionary in a folder, on ``device`` or the default one. Raises BadInput if the folder is no finished
    dictionary, or a damaged one, and for a device that is not there."""
    about = artifact.read(Path(folder), "dictionary")
    where = chosen(device)
    dictionary = dictionaries.load(folder, device=where)
    directions = dictionary.writes(torch.arange(dictionary.config.n_features, device=where))
    return ComparedDictionary(about, dictionary, directions.detach().float().cpu())


def told(subjects: Sequence[ComparedDictionary], name: str) -> str | None:
    """What the first of them that says anything says of its "model" or "site"; names of joined ones in a row, and of a
    transcoder what it reads and what it predicts."""
    said = next((each.about.config for each in subjects if each.about.config.get(name)), {})
    names = [_row(said.get(name))] + ([_row(said.get("writes"))] if name == "site" else [])
    return " → ".join(filter(None, names)) or None


def _row(said: str | list[str] | None) -> str:
    return ", ".join(said) if isinstance(said, list) else said or ""


def check_comparable(subjects: Sequence[ComparedDictionary]) -> None:
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


def recordings(
    subjects: Sequence[ComparedDictionary], activations: Recordings, writes: Recordings | None = None
) -> Stored:
    """The recordings of what all of them read and predict. Raises BadInput unless they are of that for each."""
    found = [recorded(subject.about, activations, writes) for subject in subjects]
    return found[0]


def stored(
    subjects: Sequence[ComparedDictionary], source: Stored, folders: Sequence[str | Path]
) -> list[StoredCodes | None]:
    """For each of them the codes that one of these folders holds of it, if one does. Raises BadInput for codes of
    another dictionary than these, or of another recording."""
    found: list[StoredCodes | None] = [None] * len(subjects)
    for codes in map(StoredCodes.open, folders):
        its = [i for i, each in enumerate(subjects) if each.about.hash == codes.manifest.inputs.get("dictionary")]
        for i in its or [0]:  # the first refuses what is of none
            codes.require(subjects[i].about, source)
            found[i] = codes
    return found


class Read(NamedTuple):
    """What a dictionary made of the tokens."""

    fired: SparseCodes
    l0: Sums
    """On the held-out tokens among them, by document; empty where there are none."""
    fvu: Sums
    """The same: of what it predicts."""


@torch.no_grad()
def read(
    subjects: Sequence[ComparedDictionary], source: Stored, *, tokens: int, codes: Sequence[str | Path] = ()
) -> list[Read]:
    """Codes of every subject over the same ``tokens`` (or a chunk more): held-out ones first, then training ones. Those
    that the folders ``codes`` hold of some of them are not computed again.

    Raises BadInput if that is none, or for codes of something else.
    """
    if min(tokens, source.n_tokens) < 1:
        raise BadInput(f"Codes are compared over at least 1 token; received {tokens} of {source.n_tokens:,}.")
    with progress("read", min(tokens, source.n_tokens) * len(subjects), "tokens") as advance:
        had = stored(subjects, source, codes)
        return [_read(each, kept, source, tokens, advance) for each, kept in zip(subjects, had, strict=True)]


def _read(subject: ComparedDictionary, kept: StoredCodes | None, source: Stored, tokens: int, advance: Any) -> Read:
    documents = np.asarray(source.documents).reshape(-1)
    dictionary = subject.dictionary
    device = next(dictionary.parameters()).device
    mean = source.frame.mean_out.to(device)
    sums = Sums(), Sums()
    found: list[csr_array] = []
    places: list[np.ndarray] = []
    seen = 0
    for part, is_held_out in ((source.held_out, True), (source.train, False)):
        given = encoded(dictionary, part) if kept is None else kept.encoded(part, device=device)
        for x, y, at, codes in given if seen < tokens else ():
            found.append(_sparse(codes, dictionary.config.n_features))
            if is_held_out:
                r = Reconstruction(y, dictionary.rebuild(x, codes), codes, mean)
                for metric, total in zip(MEASURED, sums, strict=True):
                    total.add(metric(r), documents[at.numpy()])
            places.append(at.numpy())
            seen += len(x)
            advance(len(x))
            if seen >= tokens:
                break
    order = np.argsort(np.concatenate(places), kind="stable")
    return Read(SparseCodes(_in_order(found, order)), *sums)


def difference(one: Sums, other: Sums) -> Estimate | None:
    """``one`` less ``other`` on the same documents; None where nothing was held out."""
    return _estimate(metrics.difference(one, other)) if one and other else None


def estimate(sums: Sums) -> Estimate | None:
    """None where nothing was held out."""
    return _estimate(sums.estimate()) if sums else None


def _estimate(found: Interval) -> Estimate:
    return Estimate(**found)


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

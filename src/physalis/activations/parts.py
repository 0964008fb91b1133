"""parts: what a set of joined activations knows of each of its parts, and what follows for a dictionary that reads some
and writes others."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float32
from torch import Tensor

from physalis.activations.hygiene import Hygiene
from physalis.artifact import digest
from physalis.site import Site
from physalis.types import Frame


class Part(NamedTuple):
    """Activations of one site of one model."""

    site: Site
    model: str
    model_hash: str
    tokenizer_hash: str
    activations_hash: str
    hygiene: Hygiene
    mean: Float32[Tensor, " d"]
    scale: float
    """Makes the mean squared norm of centred rows d: the mean square of an element is 1, whatever the site's width."""


def frame_of(reads: Sequence[Part], writes: Sequence[Part]) -> Frame:
    """The constants of rows side by side. Each part keeps its own scale, so that no site drowns another."""
    mean_in, scale_in = _side_by_side(reads)
    mean_out, scale_out = _side_by_side(writes) if writes else (mean_in, scale_in)
    return Frame(mean_in, scale_in, mean_out, scale_out)


def offset_of(parts: Sequence[Part]) -> Float32[Tensor, " d"] | None:
    """What stored rows of these parts, side by side, lack of their values; None where that is nothing."""
    each = [part.hygiene.offset(len(part.mean)) for part in parts]
    if all(offset is None for offset in each):
        return None
    zeros = (torch.zeros_like(part.mean) for part in parts)
    return torch.cat([zero if offset is None else offset for zero, offset in zip(zeros, each, strict=True)])


def origin_of(reads: Sequence[Part], writes: Sequence[Part]) -> dict[str, Any]:
    """For a dictionary's manifest: "site" is one name or, joined, the list of those it reads; "writes" is there where
    it predicts others; "model" is a list, in the order of reads and then writes, where there are several."""
    parts = [*reads, *writes]
    models = [part.model for part in parts]
    one = len({part.model_hash for part in parts}) == 1
    said: dict[str, Any] = {"site": _one_or_all(str(part.site) for part in reads)}
    if writes:
        said["writes"] = _one_or_all(str(part.site) for part in writes)
    said["model"] = models[0] if one else models
    said["hygiene"] = parts[0].hygiene.to_dict()
    if len(parts) > 1:
        names = [str(part.site) if one else f"{part.model} {part.site}" for part in parts]
        said["hygiene"] = {name: part.hygiene.to_dict() for name, part in zip(names, parts, strict=True)}
    return said


def inputs_of(reads: Sequence[Part], writes: Sequence[Part]) -> dict[str, str]:
    """For a dictionary's manifest: the hash of the model, the tokenizer and the activations; where these are several,
    the hash of the list of their hashes, in the order of reads and then writes."""
    parts = [*reads, *writes]
    return {
        "model": _hash_of(part.model_hash for part in parts),
        "tokenizer": _hash_of(part.tokenizer_hash for part in parts),
        "activations": parts[0].activations_hash
        if len(parts) == 1
        else digest([[part.activations_hash for part in side] for side in (reads, writes)]),
    }


def _side_by_side(parts: Sequence[Part]) -> tuple[Float32[Tensor, " d"], Float32[Tensor, " d"]]:
    mean = torch.cat([part.mean for part in parts])
    return mean, torch.cat([torch.full_like(part.mean, part.scale) for part in parts])


def _one_or_all(names: Iterable[str]) -> str | list[str]:
    every = list(names)
    return every[0] if len(every) == 1 else every


def _hash_of(hashes: Iterable[str]) -> str:
    every = list(hashes)
    return every[0] if len(set(every)) == 1 else digest(every)

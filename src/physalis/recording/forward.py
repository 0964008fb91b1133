"""forward: the model's passes over a span of contexts, with hygiene applied: what the shards of each site hold before
they are shuffled."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from physalis.activations import Hygiene, MemoryShard, Span
from physalis.errors import BadInput
from physalis.models import Model
from physalis.runtime.progress import Advance
from physalis.site import Site

PILOT = 8
"""Contexts that decide the hygiene: a thousand tokens say where the median norm is to a percent."""

BROKEN, FEW = 0.001, 8
"""Share, or number, of positions whose activations may be no finite numbers. A few overflow in some models; more means
that the model does not work in this dtype, and a dictionary would learn what is left."""


class Collected(NamedTuple):
    """One site's share of a span: its kept rows in the order of the text, and how many positions were dropped why."""

    shard: MemoryShard
    dropped: dict[str, int]


def pilot(
    model: Model, sites: Sequence[Site], ids: Int32[np.ndarray, "contexts context"], *, bos: bool
) -> dict[Site, Hygiene]:
    """The hygiene that a few contexts from all over the corpus call for at each site. Raises BadInput if activations
    are not finite numbers."""
    chosen = np.unique(np.linspace(0, len(ids) - 1, num=PILOT).astype(int))
    found = run(model, sites, ids[chosen])
    hygienes = {site: Hygiene.measured(x, skip_first=bos) for site, x in found.items()}
    for site, hygiene in hygienes.items():
        _check_finite(model, site, hygiene.dropped(found[site])["not_finite"], chosen.size * ids.shape[1])
        if not 0 < hygiene.max_norm < float("inf"):
            raise BadInput(
                f"The activations of {model.name} at {site} are not usable: their median norm is {hygiene.max_norm}. "
                "Load the model with another dtype, or choose another site."
            )
    return hygienes


def _check_finite(model: Model, site: Site, broken: int, positions: int) -> None:
    if broken > max(FEW, BROKEN * positions):
        dtype = str(model.dtype).removeprefix("torch.")
        cure = (
            "the weights themselves may be damaged: load them anew"
            if model.dtype == torch.float32
            else "what overflows there has room in bfloat16 or float32: load_model(..., dtype=torch.float32)"
        )
        raise BadInput(
            f"At {broken:,} of {positions:,} positions the activations of {model.name} at {site} are not finite "
            f"numbers (NaN or infinite), more than {BROKEN:.1%}. The model computes in {dtype}; {cure}."
        )


def run(
    model: Model, sites: Sequence[Site], ids: Int32[np.ndarray, "n context"]
) -> dict[Site, Float[Tensor, "n context _"]]:
    """What the model computes at each of ``sites``, in their order, in one pass."""
    found = model.run(torch.from_numpy(np.asarray(ids, dtype=np.int64)), read=sites)
    return {site: found[site] for site in sites}


def kept(
    hygienes: Mapping[Site, Hygiene], found: Mapping[Site, Float[Tensor, "n context _"]]
) -> tuple[Bool[Tensor, "n context"], list[dict[str, int]]]:
    """The positions that the rule of every site keeps, and for each site how many it leaves out for which reason.

    What another site's rule alone leaves out is counted as "elsewhere" where there are several sites.
    """
    each = [hygiene.keep(found[site]) for site, hygiene in hygienes.items()]
    keep = torch.stack(each).all(0)
    dropped = [hygiene.dropped(found[site]) for site, hygiene in hygienes.items()]
    if len(each) > 1:
        for own, reasons in zip(each, dropped, strict=True):
            reasons["elsewhere"] = int((own & ~keep).sum())
    return keep, dropped


def collect(
    model: Model, hygienes: Mapping[Site, Hygiene], ids: Int32[np.ndarray, "contexts context"], span: Span, *,
    batch: int, advance: Advance,
) -> list[Collected]:  # fmt: skip
    """What each site of ``hygienes`` holds of a span, all from the same passes and at the same positions: those that
    the rule of every site keeps.

    Batches start at the span's start, so a shard's bits never depend on what was recorded before it. Raises BadInput if
    more than a few activations are no finite numbers.
    """
    context = ids.shape[1]
    positions = (span.stop - span.start) * context
    x = {site: np.empty((positions, model.width(site)), np.uint16) for site in hygienes}
    at = np.empty(positions, np.int64)
    totals: list[dict[str, int]] = [{} for _ in hygienes]
    done = 0
    for start in range(span.start, span.stop, batch):
        stop = min(start + batch, span.stop)
        found = run(model, list(hygienes), ids[start:stop])
        keep, dropped = kept(hygienes, found)
        places = np.flatnonzero(keep.cpu().numpy()) + start * context
        for site, rows in x.items():
            bits = hygienes[site].stored(found[site][keep]).cpu().view(torch.uint16)
            rows[done : done + len(places)] = bits.numpy()
        at[done : done + len(places)] = places
        done += len(places)
        for total, reasons in zip(totals, dropped, strict=True):
            for reason, n in reasons.items():
                total[reason] = total.get(reason, 0) + n
        advance(keep.numel())
    for site, total in zip(hygienes, totals, strict=True):
        _check_finite(model, site, total.get("not_finite", 0), positions)
    return [
        Collected(MemoryShard(rows[:done], at[:done]), total) for rows, total in zip(x.values(), totals, strict=True)
    ]

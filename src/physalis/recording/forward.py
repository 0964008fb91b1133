"""forward: the model's passes over a span of contexts, with hygiene applied: what a shard holds before it is
shuffled."""

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

from physalis.activations import Hygiene, MemoryShard, Span
from physalis.errors import BadInput
from physalis.models import Model
from physalis.progress import Advance
from physalis.site import Site

PILOT = 8
"""Contexts that decide the hygiene: a thousand tokens say where the median norm is to a percent."""


def pilot(model: Model, site: Site, ids: Int32[np.ndarray, "contexts context"], *, bos: bool) -> Hygiene:
    """The hygiene that a few contexts from all over the corpus call for. Raises BadInput if the
    activations are not finite numbers."""
    chosen = np.unique(np.linspace(0, len(ids) - 1, num=PILOT).astype(int))
    hygiene = Hygiene.measured(run(model, site, ids[chosen]), skip_first=bos)
    if not 0 < hygiene.max_norm < float("inf"):
        raise BadInput(
            f"The activations of {model.name} at {site} are not usable: their median norm is {hygiene.max_norm}. "
            "Load the model with another dtype, or choose another site."
        )
    return hygiene


def run(model: Model, site: Site, ids: Int32[np.ndarray, "n context"]) -> Float[Tensor, "n context d"]:
    """What the model computes at ``site``."""
    return model.run(torch.from_numpy(np.asarray(ids, dtype=np.int64)), read=[site])[site]


def collect(
    model: Model, site: Site, ids: Int32[np.ndarray, "contexts context"], span: Span, hygiene: Hygiene, *,
    batch: int, advance: Advance,
) -> tuple[MemoryShard, dict[str, int]]:  # fmt: skip
    """The kept rows of a span in the order of the text, and how many positions were dropped for which reason.

    Batches start at the span's start, so a shard's bits never depend on what was recorded before it.
    """
    context = ids.shape[1]
    x = np.empty(((span.stop - span.start) * context, model.width(site)), np.uint16)
    at = np.empty(len(x), np.int64)
    dropped: dict[str, int] = {}
    done = 0
    for start in range(span.start, span.stop, batch):
        stop = min(start + batch, span.stop)
        found = run(model, site, ids[start:stop])
        keep = hygiene.keep(found)
        rows = found[keep].to("cpu", torch.bfloat16)
        x[done : done + len(rows)] = rows.view(torch.uint16).numpy()
        at[done : done + len(rows)] = np.flatnonzero(keep.cpu().numpy()) + start * context
        done += len(rows)
        for reason, n in hygiene.dropped(keep).items():
            dropped[reason] = dropped.get(reason, 0) + n
        advance(keep.numel())
    return MemoryShard(x[:done], at[:done]), dropped

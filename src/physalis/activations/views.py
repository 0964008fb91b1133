"""views: View, some of the sites of what several dictionaries are trained on at once.

A layer's transcoder reads one site and writes another; one pass over the rows of all layers feeds thirty of them. What
a dictionary is trained on is its view: its columns of every batch, its own frame, and for its manifest its own sites,
so that nothing in it tells that others were trained beside it.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.activations.parts import Part
from physalis.activations.recorded import Recorded
from physalis.errors import BadInput
from physalis.site import Site
from physalis.types import Batch


class View(Recorded):
    """What one dictionary reads and predicts of a source; itself a source to train on, alone or beside other views."""

    def __init__(
        self, source: Recorded, reads: Sequence[Site | str] | Site | str, writes: Sequence[Site | str] | Site | str = ()
    ) -> None:
        """``x`` is the columns of ``reads`` side by side, ``y`` those of ``writes``, or ``x`` where there are none.
        Raises BadInput for a site that the source does not hold, or holds of several models, and for one that is named
        twice or both read and written."""
        self.source = source
        self._columns = _columns(source)
        named = [[sites] if isinstance(sites, Site | str) else sites for sites in (reads, writes)]
        self.reads, self.writes = (tuple(map(self._known, sites)) for sites in named)
        if not self.reads:
            raise BadInput("A view reads at least one site; received none.")
        for sites in (self.reads, self.writes):
            if len(set(sites)) < len(sites):
                raise BadInput(f"A view names each site once; received {', '.join(map(str, sites))}.")
        if self.reads == self.writes:
            raise BadInput(f"What reads and writes {self.reads[0]} is an autoencoder. Leave writes out.")

    def __repr__(self) -> str:
        writes = f" to {', '.join(map(str, self.writes))}" if self.writes else ""
        return f"View({', '.join(map(str, self.reads))}{writes} of {self.source!r})"

    @property
    def parts(self) -> tuple[list[Part], list[Part]]:
        """What is known of each site that is read, and of each that is predicted."""
        return [self._columns[s][0] for s in self.reads], [self._columns[s][0] for s in self.writes]

    @property
    def n_tokens(self) -> int:
        return self.source.n_tokens

    @property
    def train(self) -> "View":
        """The part to train on."""
        return View(self.source.train, self.reads, self.writes)

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        """Its columns of the source's batches."""
        return map(self.of, self.source.batches(size, seed=seed, epochs=epochs, start=start))

    def of(self, batch: Batch) -> Batch:
        """Its columns of a batch of the source, raw or inside the source's frame."""
        x = self._gathered(batch, self.reads)
        return Batch(x, self._gathered(batch, self.writes) if self.writes else x)

    def _known(self, site: Site | str) -> Site:
        found = Site.parse(site) if isinstance(site, str) else site
        if found not in self._columns:
            raise BadInput(
                f"The source holds {', '.join(map(str, self._columns))}; received {found}. Record that site too, in "
                "the same call."
            )
        return found

    def _gathered(self, batch: Batch, sites: Sequence[Site]) -> Float[Tensor, "tokens d"]:
        each = [batch[side][:, columns] for _, side, columns in map(self._columns.__getitem__, sites)]
        return each[0].contiguous() if len(each) == 1 else torch.cat(each, dim=1)


def _columns(source: Recorded) -> dict[Site, tuple[Part, int, slice]]:
    """For each site what is known of it, on which side of a batch it stands, and in which columns there."""
    found: dict[Site, tuple[Part, int, slice]] = {}
    for side, parts in enumerate(source.parts):
        start = 0
        for part in parts:
            stop = start + len(part.mean)
            if part.site in found and found[part.site][0].model_hash != part.model_hash:
                raise BadInput(
                    f"{part.site} is there of several models, and a view names it by its site alone. Train on each "
                    "model's activations by themselves."
                )
            found.setdefault(part.site, (part, side, slice(start, stop)))
            start = stop
    return found

"""place: where a dictionary's features are read and written inside a model, and by which rule positions are left out.

An autoencoder writes where it reads; a transcoder reads one site and writes another; a crosscoder of one model reads
and writes several, side by side; a cross-layer transcoder's features read one site and write several. Whoever edits the
model, or says what a feature does to it, asks here which part of a direction belongs to which site.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physalis.activations import Hygiene, Part
from physalis.activations.hygiene import TIMES_MEDIAN
from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.text.prompting import first_id
from physalis.site import Site


@dataclass(frozen=True, slots=True, init=False)
class Place:
    """The sites of a dictionary in one model."""

    reads: tuple[Site, ...]
    """In the order of its input's columns."""
    writes: tuple[Site, ...]
    """In the order of its output's columns."""
    hygienes: Mapping[Site, Hygiene]
    """The rule of each of them that has one: a position is kept where all rules keep it."""
    widths: Mapping[Site, int]
    """Of each site; not needed where one is read and one is written."""
    begins: int | None
    """The token that is no text where a context begins with it: BOS, or the separator where contexts were recorded with
    it for want of BOS. None where that is not known: then the first position is left out if the rules say so."""

    def __init__(
        self,
        reads: Site | Iterable[Site],
        writes: Site | Iterable[Site],
        hygiene: Hygiene | Mapping[Site, Hygiene],
        widths: Mapping[Site, int] = {},
        begins: int | None = None,
    ) -> None:
        """One site may stand for a row of them, and one rule for that of the first site that is read."""
        first, *others = [reads] if isinstance(reads, Site) else reads
        reads, writes = (first, *others), (writes,) if isinstance(writes, Site) else tuple(writes)
        rules = {first: hygiene} if isinstance(hygiene, Hygiene) else dict(hygiene)
        said = {"reads": reads, "writes": writes, "hygienes": rules, "widths": dict(widths), "begins": begins}
        for name, value in said.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, parts: tuple[Sequence[Part], Sequence[Part]], model: Model) -> "Place":
        """Where the recordings of what a dictionary reads, and of what else it writes, were made."""
        reads, writes = ([part.site for part in side] for side in parts)
        rules = {part.site: part.hygiene for side in parts for part in side}
        return cls.inside(model, reads, writes or reads, rules)

    @classmethod
    def inside(
        cls, model: Model, reads: Sequence[Site], writes: Sequence[Site], hygienes: Mapping[Site, Hygiene]
    ) -> "Place":
        """Sites of a model, with their widths there. Raises BadInput for one that it does not have."""
        has_bos = any(rule.skip_first for rule in hygienes.values())
        first = first_id(model) if has_bos else model.bos_id
        return cls(reads, writes, hygienes, {site: model.width(site) for site in {*reads, *writes}}, first)

    def __str__(self) -> str:
        """Such as "L9.resid_post", or "L9.mlp_in → L9.mlp_out" where other sites are written than are read."""
        reads, writes = (", ".join(map(str, sites)) for sites in (self.reads, self.writes))
        return reads if self.reads == self.writes else f"{reads} → {writes}"

    @property
    def unit(self) -> float:
        """The median norm of what is written, by the rules: what strengths are to be compared with. Infinite where the
        rule of a site that is written is not known."""
        rules = [self.hygienes.get(site) for site in self.writes]
        norms = [float("inf") if rule is None else rule.max_norm / TIMES_MEDIAN for rule in rules]
        return sum(norm * norm for norm in norms) ** 0.5

    @property
    def skip_first(self) -> bool:
        """Whether the contexts that these rules are of begin with a BOS token, which is left out."""
        return any(rule.skip_first for rule in self.hygienes.values())

    def joined(self, got: Mapping[Site, Float[Tensor, "*rows _"]]) -> Float[Tensor, "*rows d_in"]:
        """What the dictionary reads, of what was read at each site."""
        parts = [got[site] for site in self.reads]
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def split(self, rows: Float[Tensor, "*rows d_out"]) -> dict[Site, Float[Tensor, "*rows _"]]:
        """The part of each row that belongs to each site that is written."""
        return _split(rows, self.writes, self.widths)

    def split_reads(self, rows: Float[Tensor, "*rows d_in"]) -> dict[Site, Float[Tensor, "*rows _"]]:
        """The part of each row that belongs to each site that is read."""
        return _split(rows, self.reads, self.widths)

    def keep(self, got: Mapping[Site, Float[Tensor, "contexts context _"]]) -> Bool[Tensor, "contexts context"]:
        """Which positions the rules keep, of what was read at every site that has one, or at the first."""
        some = next(iter(got.values()))
        keep = torch.ones(some.shape[:2], dtype=torch.bool, device=some.device)
        for site, rule in self.hygienes.items():
            keep &= rule.keep(got[site])
        return keep


def _split(rows: Tensor, sites: Sequence[Site], widths: Mapping[Site, int]) -> dict[Site, Tensor]:
    if len(sites) == 1:
        return {sites[0]: rows}
    sizes = [widths[site] for site in sites]
    if sum(sizes) != rows.shape[-1]:
        raise BadInput(
            f"{', '.join(map(str, sites))} have width {sum(sizes)} together; the dictionary has {rows.shape[-1]}. "
            "Give the model that it was trained on."
        )
    return dict(zip(sites, rows.split(sizes, -1), strict=True))

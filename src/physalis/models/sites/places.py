"""places: the sites of one model: in which module of its block each is, what it feeds, and how it is listed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from physalis.errors import BadInput
from physalis.models.families import PARTS, PLACES, Family
from physalis.models.hooks import has_module
from physalis.models.sites.attention import ATTENTION, shows_attention
from physalis.models.sites.norms import is_norm
from physalis.site import Site

SCALES = {
    "attn_norm_scale": "attn_norm",
    "attn_post_norm_scale": "attn_out",
    "mlp_norm_scale": "mlp_norm",
    "mlp_post_norm_scale": "mlp_out",
}
"""Scales of norms, and the path of a Family that leads to the norm, if it is one."""

AT_A_MODULE = (*PLACES, *SCALES, *ATTENTION, "mlp_gate", "mlp_neurons")
"""Sites that a block has where it has the module: all but those of the stream."""
assert {*PLACES, *PARTS} >= {*SCALES.values()}


@dataclass(frozen=True, slots=True)
class ModelSite:
    """A site as a model has it."""

    site: Site
    width: int | None
    """The size of its last axis, of "contexts context width"; None for attention patterns, which are "contexts heads
    query key"."""
    order: int
    """Its turn in a forward pass, from 0."""
    feeds: tuple[Site, ...]
    """The sites that are computed from it with none between."""
    module: str | None
    """The module of its block where it is; None for the stream itself."""


def module_of(root: nn.Module, path: str, family: Family) -> Any:
    """The module at a path that a family names. Raises BadInput where there is none."""
    try:
        return root.get_submodule(path)
    except AttributeError as error:
        raise BadInput(
            f"The family for {'/'.join(family.model_types)} names a module {path!r} that {type(root).__name__} "
            f"does not have ({error}). print(model) shows the real names; give load_model a Family with them."
        ) from error


def path_of(family: Family, block: nn.Module, name: str) -> str | None:
    """The path in a block of the module at which a site is, one of ``AT_A_MODULE``; None if the block has none."""
    if name in ATTENTION:
        return _attention(block, path_of(family, block, "z"))
    given = SCALES.get(name, name)
    path = next((path for path in family.paths(given) if has_module(block, path)), None)
    if path is None or name not in SCALES:
        return path
    return path if is_norm(block.get_submodule(path)) else None


def _attention(block: nn.Module, path: str | None) -> str | None:
    """The module above a projection in which the kernel of attention is called."""
    while path and "." in path:
        path = path.rpartition(".")[0]
        if shows_attention(block.get_submodule(path)):
            return path
    return None


STREAM: Mapping[str, Sequence[str]] = {
    "resid_pre": ("attn_norm_scale", "q", "k", "v", "resid_mid"),
    "attn_norm_scale": ("q", "k", "v"),
    "q": ("attn_pattern",),
    "k": ("attn_pattern",),
    "v": ("z",),
    "attn_pattern": ("z",),
    "z": ("attn_post_norm_scale", "attn_out"),
    "attn_post_norm_scale": ("attn_out",),
    "attn_out": ("resid_mid",),
    "resid_mid": ("mlp_norm_scale", "mlp_in", "resid_post"),
    "mlp_norm_scale": ("mlp_in",),
    "mlp_in": ("mlp_gate", "mlp_neurons"),
    "mlp_gate": ("mlp_neurons",),
    "mlp_neurons": ("mlp_post_norm_scale", "mlp_out"),
    "mlp_post_norm_scale": ("mlp_out",),
    "mlp_out": ("resid_post",),
    "resid_post": (),
}
"""What each place of a block feeds in the same block."""

SIDE_BY_SIDE = {
    **STREAM,
    "resid_pre": ("attn_norm_scale", "q", "k", "v", "mlp_norm_scale", "mlp_in", "resid_post"),
    "attn_out": ("resid_post",),
}
"""Likewise where attention and MLP read the same stream, after a norm each, and "attn_norm_scale" of one norm for both
feeds ``mlp_in`` too."""


def feeds(names: Sequence[str], name: str, *, parallel: bool) -> list[str]:
    """The places among ``names`` that ``name`` feeds: what a block lacks is passed over to what it would feed."""
    edges = SIDE_BY_SIDE if parallel else STREAM
    after = list(edges.get(name, ()))
    if parallel and name == "attn_norm_scale" and "mlp_norm_scale" not in names:
        after.append("mlp_in")
    found: list[str] = []
    for other in after:
        found += [other] if other in names else feeds(names, other, parallel=parallel)
    return list(dict.fromkeys(found))


def listed(
    sites: Sequence[Site], widths: Mapping[Site, int], modules: Mapping[Site, str | None], *, parallel: bool
) -> Iterator[ModelSite]:
    """The record of each of a model's sites, which come in the order in which a pass reaches them."""
    in_layer: dict[int, list[str]] = {}
    for site in sites:
        if site.layer is not None:
            in_layer.setdefault(site.layer, []).append(site.name)
    last = [site for site in sites if site.layer is None and site.name != "embed"]
    for order, site in enumerate(sites):
        if site.name == "embed":
            after = [Site("resid_pre", 0)]
        elif site.layer is None:
            after = last[last.index(site) + 1 :]
        elif site.name == "resid_post":
            after = [Site("resid_pre", site.layer + 1)] if site.layer + 1 in in_layer else last
        else:
            names = feeds(in_layer[site.layer], site.name, parallel=parallel)
            after = [Site(name, site.layer) for name in names]
        yield ModelSite(site, widths.get(site), order, tuple(after), modules.get(site))

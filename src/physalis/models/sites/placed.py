"""placed: the sites of one loaded model: which it has, at which modules, and the hooks that a pass puts there."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from physalis.errors import BadInput
from physalis.models.families import Family
from physalis.models.hooks import ORDER, Pass, depth
from physalis.models.sites.attention import ATTENTION, Tap
from physalis.models.sites.norms import Norm
from physalis.models.sites.places import AT_A_MODULE, path_of
from physalis.models.sources.depth import check_layer
from physalis.site import Site, slip

Handle = RemovableHandle | Tap
"""Something that was put into a model for one pass, and is removed after it."""


class Placed:
    """Where each site of a model is, as its Family says. To go through it gives the sites there are, in the order in
    which a pass reaches them."""

    def __init__(
        self, hf: nn.Module, blocks: Sequence[nn.Module], unembed: Any, family: Family, *, name: str, d_model: int
    ) -> None:
        self.hf, self.blocks, self.unembed, self.family = hf, blocks, unembed, family
        self.name, self.d_model = name, d_model
        self._config: Any = hf.config
        self._norms: dict[Site, Norm | None] = {}

    def __iter__(self) -> Iterator[Site]:
        return filter(self.has, self.modules)

    @cached_property
    def modules(self) -> dict[Site, str | None]:
        """Where in its block each site is, in the order in which a pass reaches them; None for those of the stream."""
        found: dict[Site, str | None] = {Site("embed"): None}
        for layer, block in enumerate(self.blocks):
            for name in ORDER:
                path = path_of(self.family, block, name) if name in AT_A_MODULE else None
                if name not in AT_A_MODULE or path is not None and not (name == "resid_mid" and self.parallel):
                    found[Site(name, layer)] = path
        if self.family.final_norm is not None:
            found[Site("final_norm_scale")] = self.family.final_norm
        return found | {Site("logits"): None}

    def has(self, site: Site) -> bool:
        if site not in self.modules:
            return False
        untried = not site.name.endswith("norm_scale") or self.unembed.weight.device.type == "meta"
        return untried or self._norm(site) is not None

    def at(self, site: Site) -> nn.Module:
        """The module at which a site of ``AT_A_MODULE``, or the last norm, is."""
        root = self.hf if site.layer is None else self.blocks[site.layer]
        return root.get_submodule(self.modules[site] or "")

    def _norm(self, site: Site) -> Norm | None:
        """What the norm computes whose scale a site is; None if that is no norm's. Tried when it is first asked."""
        if site not in self._norms:
            self._norms[site] = Norm.of(self.at(site), self.d_model, self.unembed.weight.device)
        return self._norms[site]

    @property
    def parallel(self) -> bool:
        flag = self.family.parallel_if
        if flag is not None and getattr(self._config, flag):
            return True
        return self.family.resid_mid is None and None not in (self.family.attn_out, self.family.mlp_out)

    def check(self, site: Site) -> None:
        """Raise BadInput if this model has no such site."""
        check_layer(self.name, len(self.blocks), site)
        if self.has(site):
            return
        if site.name == "resid_mid" and self.parallel and site.layer is not None:
            raise BadInput(
                f"{self.name} has no resid_mid: in this architecture attention and MLP read the same stream side by "
                f"side. Received {site}; use resid_pre (what both read), attn_out, mlp_out or resid_post."
            )
        has = [str(other) for other in self.modules if other.layer == site.layer and self.has(other)]
        why = slip(site)
        if why is None and site.layer is not None and site.name in ORDER:
            why = (
                f"{self.name} has no {site}: in this architecture no module of that layer is known to compute it alone."
            )
        raise BadInput(f"{why or f'{self.name} has no site named {site}.'} Choose one of {', '.join(has)}.")

    def hooks(self, passing: Pass, sites: Iterable[Site]) -> Iterator[Handle]:
        """Puts ``passing`` where sites are, one by one. Raises BadInput for one that this model does not have."""
        sites = sorted(sites, key=depth)
        for site in sites:
            self.check(site)
        tapped = {site.layer for site in sites if site.name in ATTENTION}
        for site in sites:
            if site.name in ATTENTION:
                if site.layer in tapped:  # one for all of a layer
                    tapped.discard(site.layer)
                    of = [each for each in sites if each.name in ATTENTION and each.layer == site.layer]
                    yield Tap(self.at(site), passing, of)
            elif site.name != "logits":
                yield self._hook(passing, site)

    def _hook(self, passing: Pass, site: Site) -> Handle:
        block = self.blocks[site.layer or 0]
        if site.name in ("embed", "resid_pre"):
            return block.register_forward_pre_hook(partial(passing.entering, site), with_kwargs=True)
        if site.name == "resid_post":
            return block.register_forward_hook(partial(passing.leaving, site))
        module = self.at(site)
        if site.name in ("z", "mlp_in", "mlp_neurons"):
            return module.register_forward_pre_hook(partial(passing.entering, site), with_kwargs=True)
        if site.name == "resid_mid":
            return module.register_forward_pre_hook(partial(passing.entering_mid, site), with_kwargs=True)
        if (norm := self._norms.get(site)) is not None:
            return module.register_forward_hook(partial(passing.dividing, site, norm), with_kwargs=True)
        scale = {"attn_out": self.family.attn_scale, "mlp_out": self.family.mlp_scale}.get(site.name, 1.0)
        return module.register_forward_hook(partial(passing.leaving, site, scale=scale))

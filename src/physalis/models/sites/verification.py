"""verification: tries on a few tokens that a model's sites are what they are called, whoever named its modules.

All is read through ``Model.run``, the way everything is read: what attention and MLP add makes up the difference of
the stream; writing back what was read changes no logit; what is written at ``z``, ``mlp_in`` or ``resid_mid`` alone
decides what follows from it; no token changes what was predicted before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from physalis.errors import BadInput
from physalis.models.families import Family, how_to_name
from physalis.models.model import Model, Write
from physalis.models.sites.structure import find_family, probe
from physalis.models.text.tokens import Tokenizer
from physalis.site import LAYERED, Site

LOGITS = Site("logits")


STREAM = {"embed", "resid_pre", "resid_post", "logits"}
"""Sites that every model has; one without them is refused."""


def open_model(hf: nn.Module, tokenizer: Tokenizer, *, name: str, family: Family | None = None) -> Model:
    """The Model of a loaded module whose sites are tried. Without a ``family`` they are found by ``structure``, and
    those that fail are left out.

    Raises BadInput if a site of a given family fails, or if the residual stream cannot be read and written."""
    unembed: Any = hf.get_output_embeddings() if hasattr(hf, "get_output_embeddings") else None  # pyright: ignore
    weight = getattr(unembed, "weight", None)
    if weight is None:
        raise BadInput(f"{name} has no unembedding that transformers names, so its logits cannot be explained.")
    tokens = probe(tokenizer, weight.shape[0]).to(weight.device)
    if family is not None:
        model = Model(hf, tokenizer, name=name, family=family)
        verify(model, tokens)
        return model
    family = find_family(hf.eval().requires_grad_(False), tokens)
    while True:
        model = Model(hf, tokenizer, name=name, family=family)
        wrong = {site.name for site in faults(model, tokens)}
        if not wrong or wrong & STREAM:
            verify(model, tokens)
            return model
        family = without(family, wrong)


def without(family: Family, names: Iterable[str]) -> Family:
    """A family that does not have the sites of these names, nor those that cannot be tried without them."""
    leaves = set(names)
    leaves |= {"z"} if "attn_out" in leaves else set()
    leaves |= {"mlp_in"} if "mlp_out" in leaves else set()
    return replace(family, **dict.fromkeys(leaves, None))


@torch.no_grad()
def faults(model: Model, tokens: Tensor) -> dict[Site, str]:
    """The sites that are not what they are called, with what is wrong with each. Empty if all are right."""
    sites = _tried(model)
    plain = model.hf(tokens.to(model.device), use_cache=False).logits
    got = model.run(tokens, read=sites, write={site: lambda x: x for site in sites})
    found: dict[Site, str] = {}
    for site, x in got.items():
        if x.shape != (*tokens.shape, model.width(site)):
            found[site] = f"its shape is {tuple(x.shape)}, not contexts x context x {model.width(site)}"
    half = tokens.shape[1] // 2
    if plain.shape[:2] != tokens.shape or not _near(plain[:1, :half], plain[1:, :half]):
        found[LOGITS] = "a token changes what was predicted before it: the model reads in both directions"
    if found:
        return found
    if not torch.equal(got[LOGITS], plain):
        for site in sites:
            alone = model.run(tokens, read=[LOGITS], write={site: lambda x: x})
            if not torch.equal(alone[LOGITS], plain):
                found[site] = "writing back what was read changes the logits"
    found |= _sums(model, got)
    for written, decided in DECIDES:
        changed = _written(model, tokens, got, [site for site in sites if site.name in written])
        found |= _sums(model, changed, written)
        for name, follows in decided.items():
            found |= _decides(changed, name, follows)
    last = Site("resid_post", model.n_layers - 1)
    end = _written(model, tokens, got, [last])[LOGITS]
    if not _near(end[:1], end[1:]):
        found[last] = "the logits depend on more than what is written here"
    return found


def _tried(model: Model) -> list[Site]:
    """Those on the way of the stream. What lies inside attention, MLP and norms is where the modules say so."""
    return [each for each in model._placed.modules if each.name in (*LAYERED, "embed", "logits")]


DECIDES: tuple[tuple[tuple[str, ...], dict[str, tuple[str, ...]]], ...] = (
    (("z", "mlp_in"), {"z": ("attn_out",), "mlp_in": ("mlp_out",)}),
    (("attn_out", "mlp_out"), {}),
    (("resid_mid",), {"resid_mid": ("mlp_in", "mlp_out", "resid_post")}),
    (("resid_pre",), {}),
)
"""What is written in one pass, and what each of it decides alone in the same layer."""


def verify(model: Model, tokens: Tensor) -> None:
    """Raise BadInput, naming the site and what is wrong with it, if a site is not what it is called."""
    config: Any = model.hf.config
    for site, why in faults(model, tokens).items():
        raise BadInput(
            f"What the modules named for {config.model_type!r} compute is not what its Family says: at "
            f"{site}, {why}. {how_to_name()}"
        )


def _written(model: Model, tokens: Tensor, got: dict[Site, Tensor], at: Sequence[Site]) -> dict[Site, Tensor]:
    """All sites, with noise as large as what was there, the same in both texts, at some of them."""
    draw = torch.Generator().manual_seed(0)
    writes: dict[Site, Write] = {}
    for site in at:
        x = got[site]
        new = torch.randn(x.shape[1:], generator=draw).to(x.device) * x.float().std()
        writes[site] = lambda x, new=new: new.to(x.dtype).expand(x.shape)
    # The logits are a large part of a pass, and are looked at only where the last of the stream is written.
    last = Site("resid_post", model.n_layers - 1)
    read = [site for site in _tried(model) if site != LOGITS or last in writes]
    return model.run(tokens, read=read, write=writes) if writes else {}


def _sums(model: Model, got: dict[Site, Tensor], written: Sequence[str] = ()) -> dict[Site, str]:
    """Where the stream is not what was added to it."""
    found: dict[Site, str] = {}
    for layer in range(model.n_layers) if got else ():
        at = {site.name: x for site, x in got.items() if site.layer == layer}
        between = "resid_mid" in at
        sums = [("resid_mid", ("resid_pre", "attn_out")), ("resid_post", ("resid_mid", "mlp_out"))]
        if not between:
            parts = [name for name in ("attn_out", "mlp_out") if name in at]
            sums = [("resid_post", ("resid_pre", *parts))] if parts else []
        for name, terms in sums:
            if name not in written and all(term in at for term in terms) and not _adds_up(at, name, terms):
                found[Site(terms[-1], layer)] = f"{' + '.join(terms)} is not {name}"
        before = got.get(Site("resid_post", layer - 1)) if layer else None
        if before is not None and "resid_pre" not in written and not torch.equal(before, at["resid_pre"]):
            found[Site("resid_pre", layer)] = "it is not what left the block before"
    return found


def _adds_up(at: dict[str, Tensor], name: str, terms: Sequence[str]) -> bool:
    parts = [at[term].float() for term in terms]
    total = torch.stack(parts).sum(0)
    slack = 8 * torch.finfo(at[name].dtype).eps * torch.stack([part.abs() for part in parts]).sum(0)
    return bool(((at[name].float() - total).abs() <= slack + 1e-30).all())


def _decides(got: dict[Site, Tensor], name: str, follows: Sequence[str]) -> dict[Site, str]:
    """Where two texts differ although the same was written at ``name``."""
    found: dict[Site, str] = {}
    for site in got:
        for other in follows if site.name == name else ():
            x = got.get(Site(other, site.layer))
            if x is not None and not _near(x[:1], x[1:]):
                found[site] = f"{other} depends on more than what is written here"
    return found


def _near(x: Tensor, y: Tensor) -> bool:
    # The same computation in another row of a batch: equal but for the order of sums.
    slack = 1e-4 if x.dtype == torch.float32 else 0.05
    return bool((x - y).abs().max() <= slack * x.float().pow(2).mean().sqrt() + 1e-30)

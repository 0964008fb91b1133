"""inspection: what a model is made of and where its sites are, from its config alone where that suffices."""

from typing import Any

import torch
from pydantic import BaseModel
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM

from physalis.models.families import family_of
from physalis.models.model import Model
from physalis.models.sources.loading import (
    MADE,
    check_kind,
    has_model_code,
    load_model,
    locate,
    quiet,
    reading,
    sentences,
)
from physalis.models.sources.screening import screen_size
from physalis.models.tiny import ByteTokenizer
from physalis.site import Site


class SitesOfAName(BaseModel):
    """The sites that share a name."""

    width: int | None
    """The size of their last axis; None for attention patterns, a weight for each head, query and key."""
    layers: list[int] | None
    """The layers that have it; None for a site that a model has once."""
    module: str | None
    """Where it is, as a path within a block (of the last norm, from the root); None for sites of the stream itself."""
    feeds: list[str]
    """What is computed from it with no site between."""


class Inspection(BaseModel):
    """What a model is made of."""

    name: str
    architecture: str
    layers: int
    width: int
    """Of the residual stream."""
    heads: int | None
    vocabulary: int
    """Rows of the unembedding."""
    parameters: int
    blocks: str
    final_norm: str | None
    parallel: bool
    """Whether attention and MLP read the same stream side by side."""
    multipliers: dict[str, float]
    """What is multiplied into what attention and the MLP add, and into the logits, where it is not 1."""
    found: str
    """``table``: a row of ``families`` describes the architecture; ``numbers``: its sites were found by trying."""
    sites: dict[str, SitesOfAName]


def inspect_model(name: str, *, trust_code: bool = False) -> Inspection:
    """What ``load_model(name)`` would load. An architecture with a row in ``families`` is told by its config, without
    its weights; another is loaded, for its sites are found by numbers. ``trust_code`` is as for ``load_model``, which
    says what BadInput is raised for."""
    if name in MADE:
        return _inspection(load_model(name), found="table")
    found = locate(name)
    options = reading(found, trust_code)
    with quiet(), sentences(found):
        config = AutoConfig.from_pretrained(found.source, **options)
        own_code = has_model_code(config, trust_code)
        family = None if own_code else family_of(config.model_type)
        if not own_code:
            check_kind(config)
            screen_size(config, name, None)
        if family is not None:
            with torch.device("meta"):
                hf: Any = AutoModelForCausalLM.from_config(
                    config, trust_remote_code=False, attn_implementation=None, experts_implementation=None
                )
    if family is None:
        return _inspection(load_model(name, trust_code=trust_code), found="numbers")
    with FakeTensorMode(allow_non_fake_inputs=True):  # shapes of a pass, without numbers
        return _inspection(Model(hf, ByteTokenizer(), name=name, family=family), found="table")


def _inspection(model: Model, *, found: str) -> Inspection:
    family, config = model.family, model.hf.config
    text: Any = getattr(config, "get_text_config", lambda: config)()
    scales = {"attn_out": family.attn_scale, "mlp_out": family.mlp_scale, "logits": family.logit_scale}
    sites: dict[str, SitesOfAName] = {}
    for each in model.sites():
        name, layer = each.site.name, each.site.layer
        feeds = list(dict.fromkeys(_fed(each.site, other) for other in each.feeds))
        at = sites.setdefault(
            name, SitesOfAName(width=each.width, layers=None if layer is None else [], module=each.module, feeds=feeds)
        )
        at.feeds += [other for other in feeds if other not in at.feeds]
        if each.module is not None and each.module not in (at.module or "").split(" or "):
            at.module = f"{at.module} or {each.module}"
        if at.layers is not None and layer is not None:
            at.layers.append(layer)
    return Inspection(
        name=model.name,
        architecture=str(text.model_type),
        layers=model.n_layers,
        width=model.d_model,
        heads=getattr(text, "num_attention_heads", getattr(text, "n_heads", None)),
        vocabulary=model.vocab_size,
        parameters=sum(p.numel() for p in model.hf.parameters()),
        blocks=family.blocks,
        final_norm=family.final_norm,
        parallel="resid_mid" not in sites and {"attn_out", "mlp_out"} <= sites.keys(),
        multipliers={name: scale for name, scale in scales.items() if scale != 1.0},
        found=found,
        sites=sites,
    )


def _fed(site: Site, other: Site) -> str:
    """The name of a site that another feeds, as it is said for all layers at once."""
    return f"the next {other.name}" if site.layer is not None and other.layer == site.layer + 1 else other.name

"""Imported: a dictionary out of another tool's files, with what the files claim and what had to be assumed."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from physalis import dictionaries
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.site import Site

PLACEHOLDER_K = 32
"""Stands in for an L0 that no file states; said among the assumptions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What the files say of the dictionary. None, or nothing, where they are silent."""

    model: str | None = None
    hooks: tuple[str, ...] = ()
    """Where it reads, in the other tool's words."""
    hooks_out: tuple[str, ...] = ()
    """Where it writes; where it reads, unless given."""
    transcoder: bool = False
    """Whether it predicts something else than it reads."""
    bos: bool | None = None
    """Whether each training context began with a BOS token."""
    l0: float | None = None
    fvu: float | None = None
    unit_decoder: bool | None = None
    """Whether rows of the decoder have length 1."""
    input_norm: str | None = None
    """How inputs were scaled while training, and whether that is in the weights."""
    input_scale: float | None = None
    """By how much, where the weights were stored without it; it is in them now."""
    details: tuple[tuple[str, Any], ...] = ()
    """Anything else worth keeping, by name."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Where it reads as sites of ours; empty if any has no such name."""
        return _sites(self.hooks)

    @property
    def sites_out(self) -> tuple[str, ...]:
        return _sites(self.hooks_out) if self.hooks_out else self.sites

    def to_dict(self) -> dict[str, Any]:
        """As it is stored in manifests: what is silent is left out."""
        value = {name: each for name, each in asdict(self).items() if each not in (None, (), False)}
        if "details" in value:
            value["details"] = dict(self.details)
        return value | {name: found for name in ("sites", "sites_out") if (found := list(getattr(self, name)))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A dictionary that reads and writes raw activations, and where its numbers come from."""

    dictionary: Dictionary
    format: str
    claims: Claims
    assumptions: tuple[str, ...] = ()
    """Sentences: what the files do not say and the reader chose, and what could not be kept."""

    def __post_init__(self) -> None:
        self.dictionary.requires_grad_(False)

    def check(self) -> None:
        """Raise BadInput, or whatever reading a damaged file raises, for a dictionary of no width and for claims that
        no manifest can hold."""
        c = self.dictionary.config
        if min(c.d_in, c.d_out, c.n_features) < 1:
            raise BadInput(f"Its weights have width {c.d_in} and {c.d_out} and {c.n_features} features: none is there.")
        json.dumps(self.claims.to_dict(), allow_nan=False)


HOOKS = {
    "hook_resid_pre": "resid_pre", "hook_resid_mid": "resid_mid", "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out", "attn.hook_z": "z", "hook_mlp_out": "mlp_out", "mlp.hook_in": "mlp_in",
    "mlp.hook_out": "mlp_out",
}  # fmt: skip
"""TransformerLens's names, after ``blocks.L.``, that are exactly a site of ours. ``hook_mlp_in`` is not ``mlp_in``: it
stands before the norm. ``ln2.hook_normalized`` has no gain, which no module's input or output is."""

MODULES = {
    r"(?:model\.layers|layers|h|transformer\.h|gpt_neox\.layers)\.([0-9]{1,4})(?:\.output)?": "resid_post",
    r"(?:model\.layers|layers|h|transformer\.h|gpt_neox\.layers)\.([0-9]{1,4})\.mlp(?:\.output)?": "mlp_out",
    r"(?:model\.layers|layers|h|transformer\.h|gpt_neox\.layers)\.([0-9]{1,4})\.(?:self_attn|attn|attention)(?:\.output)?":
        "attn_out",
    r"model\.layers\.([0-9]{1,4})\.self_attn\.o_proj\.input": "z",
    r"model\.layers\.([0-9]{1,4})\.pre_feedforward_layernorm\.output": "mlp_in",
    r"model\.layers\.([0-9]{1,4})\.post_feedforward_layernorm\.output": "mlp_out",
}  # fmt: skip
"""Module paths whose output (or named side) is a site of ours."""


def site_of(hook: str) -> str | None:
    """Another tool's name for a place in a model as a site of ours, ``L9.resid_post``; None where there is none."""
    if re.fullmatch(r"L[0-9]{1,4}\.\w+|embed|logits", hook):
        return hook
    if hook == "hook_embed":
        return "embed"
    found = re.fullmatch(r"blocks\.([0-9]{1,4})\.(.+)", hook)
    if found:
        return f"L{found[1]}.{HOOKS[found[2]]}" if found[2] in HOOKS else None
    for pattern, name in MODULES.items():
        if found := re.fullmatch(pattern, hook):
            return f"L{found[1]}.{name}"
    return None


def hook_of(site: str) -> str:
    """A site of ours in TransformerLens's words. Raises BadInput for one it has no name for."""
    where = Site.parse(site)
    if where.layer is None:
        if where.name == "embed":
            return "hook_embed"
        raise BadInput(f"{site} has no hook name in TransformerLens, which this format names places by.")
    names = {ours: theirs for theirs, ours in reversed(HOOKS.items())}
    return f"blocks.{where.layer}.{names[where.name]}"


def _sites(hooks: tuple[str, ...]) -> tuple[str, ...]:
    found = [site_of(hook) for hook in hooks]
    return tuple(site for site in found if site) if all(found) else ()


def asked_k(l0: float | None, n_features: int) -> tuple[int, list[str]]:
    """The config's k where the architecture has none of its own, and what to say of it."""
    if l0 is not None and l0 >= 0.5:
        return min(max(1, round(l0)), n_features - 1), []
    k = min(PLACEHOLDER_K, n_features - 1)
    return k, [f"The files do not say how many features fire on a token; the config's k = {k} is a placeholder."]


def linear(
    architecture: str,
    *,
    enc: Tensor,
    dec: Tensor,
    k: int,
    b_enc: Tensor | None = None,
    b_dec: Tensor | None = None,
    centre: Tensor | None = None,
    skip: Tensor | None = None,
    layer_norm: bool = False,
    config: dict[str, Any] | None = None,
    **parts: Tensor,
) -> Dictionary:
    """A dictionary of ours with these weights: ``enc`` [features, d_in], ``dec`` [features, d_out], the rest as Linear
    has them; ``skip`` [d_out, d_in] multiplies the input as it comes. Raises BadInput for widths that do not fit."""
    features, d_in = enc.shape
    if dec.shape[0] != features:
        raise BadInput(
            f"The encoder has {features} features and the decoder {dec.shape[0]} (shapes {tuple(enc.shape)} and "
            f"{tuple(dec.shape)}, features first). One of them is stored the other way round: check the files."
        )
    d_out = dec.shape[1]
    b_enc = torch.zeros(features) if b_enc is None else b_enc
    b_dec = torch.zeros(d_out) if b_dec is None else b_dec
    centre = torch.zeros(d_in) if centre is None else centre
    if skip is not None:  # ours multiplies what is left after centring
        if layer_norm:
            raise BadInput(
                "A skip path beside per-token normalisation has no counterpart here. Keep it in its own tool."
            )
        b_dec = (b_dec.double() + skip.double() @ centre.double()).float()
    shape = {"d_in": d_in, "d_out": d_out, "n_features": features, "k": k, "layer_norm": layer_norm}
    made = dictionaries.make(architecture, shape | {"skip": skip is not None} | (config or {}))
    given = {"enc": enc, "dec": dec, "b_enc": b_enc, "b_dec": b_dec, "centre": centre, **parts}
    return filled(made, given if skip is None else given | {"skip": skip})


def filled(made: Dictionary, given: dict[str, Tensor]) -> Dictionary:
    """``made`` with these parameters and buffers, float32; those not given keep what they start with."""
    state = made.state_dict()
    for name, value in given.items():
        wanted = state[name]
        if tuple(value.shape) != tuple(wanted.shape):
            raise BadInput(
                f"{name} has shape {tuple(value.shape)}; with these widths it should be {tuple(wanted.shape)}. The "
                "files are of another dictionary, or stored in another layout: check them."
            )
        state[name] = value.float().contiguous()
    made.load_state_dict(state)
    made.compute_in(torch.float32)
    return made


def constant(value: Tensor | float, n: int) -> Tensor:
    """A threshold for each of n features from one for all, or as it is; a negative one lets every code above 0 pass."""
    threshold = torch.as_tensor(value).float().reshape(-1)
    return (threshold.expand(n) if threshold.numel() == 1 else threshold).clamp_min(0).clone()

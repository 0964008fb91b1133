"""crosscoders: those of the forks of dictionary_learning that compare models, science-of-finetuning's among them.

``codes = relu(sum over l of x_l @ encoder.weight[l] + encoder.bias)``, ``y_l = codes @ decoder.weight[l] +
decoder.bias[l]``, encoder.weight [layers, d, features], decoder.weight [layers, features, d]; a layer is a site, of one
model or of one each. A BatchTopKCrossCoder keeps a code where ``code * length > threshold``, with a length that
code_normalization_id names. Where activation_mean is stored, ``x_l`` is ``(x_l - mean_l) * scale_l``, undone in
``y_l``.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.exchange import files
from physalis.exchange.imported import asked_k, constant, linear

CLASSES = ("CrossCoder", "BatchTopKCrossCoder")
PREFIX = "_orig_mod."
"""Before every name where the class had been compiled."""
NORMALIZATIONS = {1: "CROSSCODER", 2: "SAE", 3: "MIXED", 4: "NONE", 5: "DECOUPLED"}
EPSILON = 1e-8  # the tool's own, where it divides
ALPHAS = {"sae": 1.0, "cc": 0.1}  # of MIXED, where the config states none


def recognises(found: dict[str, Tensor]) -> bool:
    """Whether these are the tensors of a crosscoder, in which the encoder has a matrix for each layer."""
    return found.get("encoder.weight", torch.zeros(())).ndim == 3


def build(
    weights: Path, found: dict[str, Tensor], trainer: dict[str, Any]
) -> tuple[Dictionary, float | None, list[str]]:
    """The dictionary, the L0 that its files state, and notes. Raises BadInput for what has no counterpart here."""
    enc, b_enc, dec, b_dec = files.take(
        found, weights, "encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", layered=True
    )
    if enc.ndim != 3 or dec.ndim != 3:
        raise BadInput(
            f"{weights} is said to be a crosscoder; its encoder.weight has shape {tuple(enc.shape)}, not [layers, d, "
            "features]."
        )
    layers, d, features = enc.shape
    if tuple(dec.shape) != (layers, features, d):
        raise BadInput(
            f"{weights} reads {layers} layers and writes {len(dec)} (decoder.weight has shape {tuple(dec.shape)}): it "
            "predicts others than it reads, which no crosscoder here does."
        )
    ranked = "threshold" in found
    lengths, notes = _lengths(found, dec, trainer, ranked)
    threshold = constant(0.0, features)
    l0 = None
    if ranked:
        threshold = constant(found["threshold"], features)
        threshold = torch.where(lengths > 0, threshold / lengths, torch.finfo(torch.float32).max * (threshold > 0))
        l0 = float(files.take(found, weights, "k")[0]) if "k" in found else None
    k, more = asked_k(l0, features)
    mean, scale, undone = _normaliser(found, layers, d)
    made = linear(
        "Crosscoder",
        enc=(enc * scale[:, None, None]).permute(2, 0, 1).reshape(features, -1),
        b_enc=b_enc,
        dec=(dec / undone[:, None, None]).permute(1, 0, 2).reshape(features, -1),
        b_dec=(b_dec / undone[:, None] + mean).flatten(),
        centre=mean.flatten(),
        threshold=threshold,
        k=k,
        config={"sites": (d,) * layers},
    )
    return made, l0, [*notes, *more]


def _lengths(found: dict[str, Tensor], dec: Tensor, trainer: dict[str, Any], ranked: bool) -> tuple[Tensor, list[str]]:
    """What codes are multiplied by before they are compared with the threshold [features], and notes."""
    notes = []
    if "code_normalization_id" in found:
        name = NORMALIZATIONS.get(int(found["code_normalization_id"]), "?")
    else:
        name = str(trainer.get("code_normalization") or "CROSSCODER").upper()
        if ranked and not trainer.get("code_normalization"):
            notes.append("The files do not say by which length codes are compared: the sum over layers, as its loader.")
    by_layer = dec.norm(dim=2)
    whole, summed = by_layer.square().sum(0).sqrt(), by_layer.sum(0)
    if name == "MIXED":
        sae, cc = (float(trainer.get(f"code_normalization_alpha_{end}") or ALPHAS[end]) for end in ("sae", "cc"))
        return sae * whole + cc * summed, notes
    if name in ("CROSSCODER", "SAE", "NONE"):
        return {"CROSSCODER": summed, "SAE": whole, "NONE": torch.ones_like(summed)}[name], notes
    if not ranked:  # it decides the penalty alone
        return summed, notes
    raise BadInput(
        f"Its code_normalization is {name}: a feature has a code for each layer there, and one for all of them here. "
        "Keep it in its own tool."
    )


def _normaliser(found: dict[str, Tensor], layers: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """(what is subtracted [layers, d], what that is multiplied by [layers], what outputs are divided by [layers]); NaN
    stands for none."""
    mean = found.get("activation_mean", torch.full((layers, d), torch.nan)).float()
    if bool(mean.isnan().any()):
        return torch.zeros(layers, d), torch.ones(layers), torch.ones(layers)
    scale = found.get("activation_global_scale", torch.ones(layers)).float()
    if tuple(mean.shape) != (layers, d) or tuple(scale.shape) != (layers,):
        raise BadInput(
            f"Its activation_mean has shape {tuple(mean.shape)} and its scale {tuple(scale.shape)}; with these weights "
            f"they should be {(layers, d)} and {(layers,)}."
        )
    return mean, scale, scale + EPSILON

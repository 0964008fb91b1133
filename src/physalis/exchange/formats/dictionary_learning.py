"""dictionary_learning: ae.pt, with the trainer's config.json beside it.

The decoder is stored [d, features] where it is an nn.Linear and [features, d] where it is a W_dec; each class says for
itself whether its output bias is subtracted from the input (see ``_build``). An ae.pt that an interrupted run left
holds the weights under "ae", and their biases are still those of the scaled activations. Crosscoders of its forks come
as ae.pt too, or as the hub has them: model.safetensors, with what the class was made with in config.json.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.exchange import files, pickles
from physalis.exchange.formats import crosscoders
from physalis.exchange.imported import Claims, Imported, asked_k, constant, linear

NAME = "dictionary_learning"
WEIGHTS, HUB_WEIGHTS, CONFIG = "ae.pt", "model.safetensors", "config.json"
KINDS: dict[str, files.Kind] = {
    "dict_class": str, "lm_name": str, "submodule_name": str, "k": int, "norm_factor": float, "target_l0": float,
    "code_normalization": str, "code_normalization_alpha_sae": float, "code_normalization_alpha_cc": float,
}  # fmt: skip
BIASES = (
    "bias",
    "encoder.bias",
    "decoder.bias",
    "b_dec",
    "b_enc",
    "decoder_bias",
    "gate_bias",
    "mag_bias",
    "threshold",
)
"""What has the activations' unit, in any of the classes."""
UNIT = ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE")
"""Classes whose trainers bring the decoder's columns back to length 1 after every step."""


def recognises(path: Path) -> bool:
    if path.is_dir():
        if (path / WEIGHTS).exists() or not ((path / HUB_WEIGHTS).is_file() and (path / CONFIG).is_file()):
            return (path / WEIGHTS).exists()
        with open(path / CONFIG, "rb") as file:
            return b'"dict_size"' in file.read(files.MOST_SETTINGS)
    return path.suffix == ".pt" and bool(re.fullmatch(r"ae(_\d+)?", path.stem))


def read(path: Path, *, scale: float | None = None) -> Imported:
    """``scale`` is one over the norm_factor, for an interrupted run's file that does not hold it.

    Raises BadInput for classes that have no counterpart here, and where class or k cannot be told.
    """
    weights = path
    if path.is_dir():
        weights = path / (WEIGHTS if (path / WEIGHTS).exists() else HUB_WEIGHTS)
    held: Any = files.tensors(weights) if weights.suffix == ".safetensors" else pickles.load(weights)
    if not isinstance(held, dict):
        raise BadInput(f"{weights} holds a {type(held).__name__}, not weights by name. Check the path.")
    notes: list[str] = []
    trainer, buffer = _config(weights, held)
    norm_factor, norm = None, "none"
    if isinstance(held.get("ae"), dict):
        norm_factor = files.checked(held, weights, norm_factor=float).get("norm_factor") or (
            1 / scale if scale else None
        )
        notes.append(
            "An interrupted run left this file: "
            + (f"its biases were multiplied by norm_factor = {norm_factor:g}, as a finished run does." if norm_factor
               else "it names no norm_factor, so its inputs were taken not to have been scaled.")
        )  # fmt: skip
        norm = f"divided by {norm_factor:g}, folded into the weights" if norm_factor else "none"
    elif scale is not None:
        raise BadInput(
            f"A finished run's {weights.name} has its scale folded in; received --scale {scale:g}. Leave it out."
        )
    elif trainer.get("norm_factor"):
        norm = f"divided by {trainer['norm_factor']:g}, which the run folded into the weights"
    inside = held["ae"] if isinstance(held.get("ae"), dict) else held
    prefix = crosscoders.PREFIX
    found = {str(n).removeprefix(prefix): value for n, value in inside.items() if isinstance(value, Tensor)}
    if norm_factor:
        for name in BIASES:
            if name in found and not (name == "threshold" and found[name].ndim == 0 and found[name] < 0):
                found[name] = found[name] * norm_factor
    kind = trainer.get("dict_class") or _guess(weights, found)
    dictionary, l0, more = _build(weights, kind, found, trainer)
    made_of = trainer.get("submodule_name")
    claims = Claims(
        model=trainer.get("lm_name"),
        hooks=_hook(trainer, buffer),
        l0=l0,
        unit_decoder=True if kind in UNIT else None,
        input_norm=norm,
        input_scale=1 / norm_factor if norm_factor else None,
        details=(("dict_class", kind), *((name, buffer[name]) for name in ("ctx_len",) if name in buffer)),
    )
    if not claims.hooks:
        said = f" in a known way where it reads (submodule {made_of!r})." if made_of else " where it reads."
        notes.append(f"The files do not say{said}")
    notes.append("The files do not say whether contexts began with a BOS token.")
    return Imported(dictionary=dictionary, format=NAME, claims=claims, assumptions=(*notes, *more))


def _config(weights: Path, held: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    for folder in (weights.parent, weights.parent.parent):  # a checkpoint stands one folder deeper
        if (folder / CONFIG).exists():
            said = files.settings(folder / CONFIG, trainer=dict, buffer=dict)
            trainer = said.get("trainer", said if "dict_size" in said else {}) or {}
            return files.checked(trainer, folder / CONFIG, **KINDS), said.get("buffer") or {}
    inside = held.get("config")
    return (files.checked(inside, weights, **KINDS) if isinstance(inside, dict) else {}), {}


def _guess(weights: Path, found: dict[str, Tensor]) -> str:
    """The class, where only one has these tensors."""
    if crosscoders.recognises(found):
        return "BatchTopKCrossCoder" if "threshold" in found else "CrossCoder"
    if "group_sizes" in found:
        return "MatryoshkaBatchTopKSAE"
    if {"W_enc", "threshold"} <= set(found):
        return "JumpReluAutoEncoder"
    if "r_mag" in found:
        return "GatedAutoEncoder"
    if "bias" in found:
        return "AutoEncoder"
    if "decoder.bias" in found:
        return "AutoEncoderNew"
    if "b_dec" in found:
        raise BadInput(
            f"{weights} may be an AutoEncoderTopK or a BatchTopKSAE: they store the same tensors and choose features "
            f"differently. Put the run's {CONFIG} beside it; its dict_class says which."
        )
    raise BadInput(f"{weights} holds no dictionary that this reader knows. It holds: {', '.join(sorted(found)[:12])}.")


def _build(
    weights: Path, kind: str, found: dict[str, Tensor], trainer: dict[str, Any]
) -> tuple[Dictionary, float | None, list[str]]:
    """The dictionary, the L0 that its files state, and notes."""

    def get(name: str) -> Tensor:
        return files.take(found, weights, name)[0]

    if kind in crosscoders.CLASSES:
        return crosscoders.build(weights, found, trainer)
    if kind in UNIT:
        k = int(found["k"]) if "k" in found else trainer.get("k")
        if k is None:
            raise BadInput(f"{weights} does not state its k. Put the run's {CONFIG} beside it.")
        if kind == "MatryoshkaBatchTopKSAE":
            widths = tuple(get("group_sizes").long().cumsum(0).tolist())
            parts = {"enc": get("W_enc").T, "dec": get("W_dec"), "b_enc": get("b_enc")}
            more: dict[str, Any] = {"config": {"widths": widths}}
        else:
            parts = {"enc": get("encoder.weight"), "dec": get("decoder.weight").T, "b_enc": get("encoder.bias")}
            more = {}
        b_dec, n = get("b_dec"), len(parts["enc"])
        ours = {"AutoEncoderTopK": "TopK", "BatchTopKSAE": "BatchTopK"}.get(kind, "Matryoshka")
        if ours != "TopK":
            # without a threshold it would fire on everything positive: that is what the tool does with such a file
            more["threshold"] = constant(found.get("threshold", torch.tensor(-1.0)), n)
        return linear(ours, k=k, b_dec=b_dec, centre=b_dec, **parts, **more), float(k), []
    if kind == "JumpReluAutoEncoder":
        n = get("W_enc").shape[1]
        target = trainer.get("target_l0")
        k, notes = asked_k(target, n)
        notes.append(
            "Its class may subtract b_dec from the input, by a flag that is not stored; the default, not to, holds."
        )
        parts = {"enc": get("W_enc").T, "dec": get("W_dec"), "b_enc": get("b_enc"), "b_dec": get("b_dec")}
        return linear("JumpReLU", threshold=constant(get("threshold"), n), k=k, **parts), target, notes
    if kind not in ("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder"):
        raise BadInput(
            f"dictionary_learning's {kind} has no counterpart here. This reader knows AutoEncoder, AutoEncoderNew, "
            f"GatedAutoEncoder, JumpReluAutoEncoder, {', '.join((*UNIT, *crosscoders.CLASSES))}."
        )
    parts: dict[str, Any] = {"enc": get("encoder.weight"), "dec": get("decoder.weight").T}
    k, notes = asked_k(None, len(parts["enc"]))
    if kind == "GatedAutoEncoder":
        bias = get("decoder_bias")
        more = {"r_mag": get("r_mag"), "b_mag": get("mag_bias")}
        return linear("Gated", k=k, b_enc=get("gate_bias"), b_dec=bias, centre=bias, **parts, **more), None, notes
    b_enc = get("encoder.bias")
    if kind == "AutoEncoderNew":
        return linear("L1", k=k, b_enc=b_enc, b_dec=get("decoder.bias"), **parts), None, notes
    lengths = parts["dec"].norm(dim=1)
    if not bool(((lengths - 1).abs() < 1e-5).all()):
        by = torch.where(lengths > 0, lengths, 1)
        parts |= {"enc": parts["enc"] * by[:, None], "dec": parts["dec"] / by[:, None]}
        b_enc = b_enc * by
        notes.append(
            f"Directions were stored with lengths {float(lengths.min()):.3g} to {float(lengths.max()):.3g}; they were "
            "brought to 1 and codes multiplied by them, as dictionary_learning's from_pretrained does."
        )
    return linear("L1", k=k, b_enc=b_enc, b_dec=get("bias"), centre=get("bias"), **parts), None, notes


def _hook(trainer: dict[str, Any], buffer: dict[str, Any]) -> tuple[str, ...]:
    name = trainer.get("submodule_name") or ""
    found = re.fullmatch(r"resid_(?:post|out)_layer_(\d+)", name)
    return (f"L{found[1]}.resid_post",) if found and buffer.get("io", "out") == "out" else ()

"""Llama Scope (hyperparams.json, checkpoints/final.safetensors) and its tool Llamascopium today (config.json,
sae_weights.safetensors): autoencoders, transcoders, crosscoders and cross-layer transcoders.

``codes = act((f_in x @ W_E + b_E) * |W_D|) / |W_D|``, ``y = (codes @ W_D + b_D) / f_out``, W_E [d, features], W_D
[features, d]; ``f = sqrt(d) / mean norm`` of a hook's activations, or 1 where norm_activation is "inference". Both
factors are folded here. ``|W_D|``, the length of a feature's direction, takes part where
sparsity_include_decoder_norm is true.

Llama Scope's scalar threshold counts in the output's own unit: times f_out it lies between 1.6 and 2.1 for the layers
whose hyperparams were seen (8, 15, 24 and the transcoder of 8, whose f_in is 1 and f_out 18.9); as it stands, from .1
to .75. SAELens multiplies by f_in, which is the same number for an autoencoder.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physalis import dictionaries
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.exchange import files
from physalis.exchange.imported import Claims, Imported, asked_k, constant, filled, linear

NAME = "llamascope"
OLD, OLD_WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
NEW, NEW_WEIGHTS = "config.json", "sae_weights.safetensors"
NORM = "dataset_average_activation_norm."
KINDS: dict[str, files.Kind] = {
    "d_model": int, "sae_type": str, "act_fn": str, "norm_activation": str, "model_name": str, "top_k": int,
    "hook_point_in": str, "hook_point_out": str, "hook_points": list, "hook_points_in": list, "hook_points_out": list,
    "dataset_average_activation_norm": dict, "jump_relu_threshold": float,
}  # fmt: skip
RENAMED = {"encoder.weight": "W_E", "encoder.bias": "b_E", "decoder.weight": "W_D", "decoder.bias": "b_D"}


def recognises(path: Path) -> bool:
    if not path.is_dir():
        return False
    if (path / OLD).exists():
        return True
    if not ((path / NEW).is_file() and any(path.glob("sae_weights.*"))):
        return False
    with open(path / NEW, "rb") as file:
        return b"sae_type" in file.read(files.MOST_SETTINGS)


def read(path: Path, *, scale: float | None = None) -> Imported:
    """Raises BadInput for lorsa and molt, for GLU encoders, for normalisation by token or batch, and for choices of
    features that depend on other tokens."""
    if scale is not None:
        raise BadInput(f"Its scales stand in its own files; received --scale {scale:g}. Leave it out.")
    old = (path / OLD).exists()
    config = path / (OLD if old else NEW)
    cfg = files.settings(config, **KINDS)
    files.needed(cfg, config, "d_model")
    if any(path.glob("sae_weights.dcp")):
        raise BadInput(f"{path} holds a distributed checkpoint (.dcp). Save it as safetensors with its own tool first.")
    weights = path / (OLD_WEIGHTS if old else NEW_WEIGHTS)
    found = {name: value.float() for name, value in files.tensors(weights).items()}
    for theirs, ours in RENAMED.items():  # the first form, and the R1 distillates'
        if theirs in found:
            found[ours] = found.pop(theirs).T if theirs.endswith("weight") else found.pop(theirs)
    kind = cfg.get("sae_type", "sae")
    _refuse(cfg, kind)
    factors = _factors(cfg, found, path)
    if kind == "crosscoder":
        return _crosscoder(cfg, found, factors, weights)
    if kind == "clt":
        return _cross_layer(cfg, found, factors, weights)
    return _sae(cfg, found, factors, weights, old)


def _refuse(cfg: dict[str, Any], kind: str) -> None:
    if kind not in ("sae", "crosscoder", "clt"):
        raise BadInput(
            f"Its type is {kind!r}, which has no counterpart here: this reader knows sae, crosscoder and clt."
        )
    if cfg.get("use_glu_encoder"):
        raise BadInput("Its encoder is gated by a second one (use_glu_encoder), which no architecture here is.")
    if cfg.get("apply_decoder_bias_to_pre_encoder"):
        raise BadInput("apply_decoder_bias_to_pre_encoder is set; whether before or after scaling is not documented.")
    act = cfg.get("act_fn", "relu").lower()
    if act in ("batchtopk", "batchlayertopk", "layertopk") or (act == "topk" and kind == "clt"):
        raise BadInput(
            f"act_fn = {act!r} chooses among other tokens or layers and stores no threshold. Turn it into jumprelu "
            "with its own tool (topk_to_jumprelu_conversion) first."
        )
    if kind == "crosscoder" and act != "relu":
        raise BadInput(
            f"Its act_fn is {act!r}: features are chosen for each hook on its own, by the length of their direction "
            "there. Here a feature has one code for all; only relu gives the same."
        )


def _factors(cfg: dict[str, Any], found: dict[str, Tensor], path: Path) -> Any:
    """A function from a hook (and, in the first form, "in" or "out") to what its activations are multiplied by."""
    norm, root = cfg.get("norm_activation", "dataset-wise"), cfg["d_model"] ** 0.5
    if norm not in ("inference", "dataset-wise"):
        raise BadInput(f"norm_activation = {norm!r} scales each token or batch by its own norm, which is not linear.")
    said = cfg.get("dataset_average_activation_norm") or {}

    def factor(hook: str, side: str) -> float:
        if norm == "inference":
            return 1.0
        mean = float(found[NORM + hook]) if NORM + hook in found else said.get(hook, said.get(side))
        if mean is None or not 0 < mean < float("inf"):
            raise BadInput(
                f"{path} does not state the mean norm of {hook} ({mean}), which its inputs were divided by. Save it "
                "with fold_activation_scale=True in its own tool."
            )
        return root / mean

    return factor


def _sae(cfg: dict[str, Any], found: dict[str, Tensor], factor: Any, weights: Path, old: bool) -> Imported:
    enc, b_enc, dec = files.take(found, weights, "W_E", "b_E", "W_D")
    b_dec = found.get("b_D", torch.zeros(dec.shape[1]))
    read, write = cfg["hook_point_in"], cfg.get("hook_point_out", cfg["hook_point_in"])
    f_in, f_out = factor(read, "in"), factor(write, "out")
    lengths = dec.norm(dim=1) if cfg.get("sparsity_include_decoder_norm", True) else torch.ones(len(dec))
    parts: dict[str, Any] = {"enc": enc.T * f_in, "b_enc": b_enc, "dec": dec / f_out, "b_dec": b_dec / f_out}
    act = cfg.get("act_fn", "relu").lower()
    l0 = float(cfg["top_k"]) if cfg.get("top_k") and (old or act == "topk") else None
    k, notes = asked_k(l0, len(dec))
    if act == "topk":
        parts |= {
            "enc": parts["enc"] * lengths[:, None],
            "b_enc": b_enc * lengths,
            "dec": parts["dec"] / lengths[:, None],
        }
        if not bool(((lengths - 1).abs() < 1e-4).all()):
            notes.append("Codes are the tool's own times the length of their direction, for it chooses by that.")
        made = linear("TopK", k=k, **parts)
    elif act == "jumprelu":
        if "log_jumprelu_threshold" in found:
            threshold = found["log_jumprelu_threshold"].exp()
        elif "activation_function.log_jumprelu_threshold" in found:
            threshold = found["activation_function.log_jumprelu_threshold"].exp()
        elif "jump_relu_threshold" in cfg:
            threshold = torch.tensor(cfg["jump_relu_threshold"] * f_out)
            notes.append("The scalar threshold is taken to count in the output's own unit.")
        else:
            raise BadInput(f"{weights} is a jumprelu dictionary without a threshold. Nothing can be said of its codes.")
        made = linear("JumpReLU", threshold=constant(threshold, len(dec)) / lengths, k=k, **parts)
    else:
        made = linear("L1", k=k, **parts)
    claims = Claims(
        model=cfg.get("model_name"),
        hooks=(read,),
        hooks_out=() if write == read else (write,),
        transcoder=write != read,
        l0=l0,
        input_norm=_norm(f_in),
        input_scale=f_in if f_in != 1 else None,
    )
    notes.append("The files do not say whether contexts began with a BOS token.")
    return Imported(dictionary=made, format=NAME, claims=claims, assumptions=tuple(notes))


def _norm(f: float) -> str:
    return "none" if f == 1 else f"multiplied by {f:g}, folded into the weights"


def _crosscoder(cfg: dict[str, Any], found: dict[str, Tensor], factor: Any, weights: Path) -> Imported:
    enc, b_enc, dec, b_dec = files.take(found, weights, "W_E", "b_E", "W_D", "b_D", layered=True)
    hooks = cfg["hook_points"]
    f = [factor(hook, "in") for hook in hooks]
    k, notes = asked_k(None, dec.shape[1])
    made = linear(
        "Crosscoder",
        enc=torch.cat([e.T * s for e, s in zip(enc, f, strict=True)], dim=1),
        b_enc=b_enc.sum(0),
        dec=torch.cat([d / s for d, s in zip(dec, f, strict=True)], dim=1),
        b_dec=torch.cat([b / s for b, s in zip(b_dec, f, strict=True)]),
        k=k,
        config={"sites": (cfg["d_model"],) * len(hooks)},
    )
    notes.append("The files do not say whether contexts began with a BOS token.")
    claims = Claims(hooks=tuple(hooks), input_norm="multiplied by a factor for each hook, folded into the weights")
    return Imported(dictionary=made, format=NAME, claims=claims, assumptions=tuple(notes))


def _cross_layer(cfg: dict[str, Any], found: dict[str, Tensor], factor: Any, weights: Path) -> Imported:
    enc, b_enc = files.take(found, weights, "W_E", "b_E", layered=True)
    reads, writes = cfg["hook_points_in"], cfg["hook_points_out"]
    layers, d, features = enc.shape
    dec = [files.take(found, weights, f"W_D.{to}", layered=True)[0] for to in range(layers)]
    out = [factor(hook, "out") for hook in writes]
    given: dict[str, Tensor] = {}
    lengths = torch.ones(layers, features)
    for i in range(layers):
        given[f"enc.{i}"] = enc[i].T * factor(reads[i], "in")
        own = torch.stack([dec[to][i] for to in range(i, layers)], dim=1)
        if cfg.get("sparsity_include_decoder_norm", True):
            lengths[i] = own.square().sum((1, 2)).sqrt()
        given[f"dec.{i}"] = (own / torch.tensor(out[i:])[:, None]).reshape(features, -1)
    given["b_enc"] = b_enc.flatten()
    given["b_dec"] = torch.cat([files.take(found, weights, f"b_D.{i}")[0] / out[i] for i in range(layers)])
    if cfg.get("act_fn", "relu").lower() == "jumprelu":
        (threshold,) = files.take(found, weights, "activation_function.log_jumprelu_threshold")
        given["threshold"] = (threshold.exp() / lengths).flatten()
    k, notes = asked_k(None, features)
    made: Dictionary = dictionaries.make(
        "CrossLayer",
        {"d_in": layers * d, "d_out": layers * d, "n_features": layers * features, "k": k, "layers": layers},
    )
    claims = Claims(
        hooks=tuple(reads),
        hooks_out=tuple(writes),
        transcoder=True,
        input_norm="multiplied by a factor for each hook, folded into the weights",
    )
    notes.append("The files do not say whether contexts began with a BOS token.")
    return Imported(dictionary=filled(made, given), format=NAME, claims=claims, assumptions=tuple(notes))

"""Gemma Scope 1 (params.npz) and 2 (params.safetensors), with the transcoders and cross-layer transcoders of 2.

``pre = x @ W_enc + b_enc``, ``codes = pre * (pre > threshold)``, ``y = codes @ W_dec + b_dec (+ x @ affine_skip)``,
W_enc [d, features], W_dec [features, d]. The skip path is applied as it is stored, not transposed. Where a dictionary
reads is in the folder's name (1) or the config.json beside it (2).
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physalis import dictionaries
from physalis.errors import BadInput
from physalis.exchange import files
from physalis.exchange.imported import Claims, Imported, asked_k, constant, filled, linear

NAME = "gemma"
NPZ, SAFE, CONFIG = "params.npz", "params.safetensors", "config.json"
LAYERED = "params_layer_*.safetensors"
KINDS = {"res": "resid_post", "mlp": "mlp_out", "att": "z"}
"""The last word of a Gemma Scope 1 repository's name."""


def recognises(path: Path) -> bool:
    if path.is_dir():
        return (path / NPZ).exists() or (path / SAFE).exists() or any(path.glob(LAYERED))
    return path.suffix == ".npz" or (path.suffix == ".safetensors" and path.stem.startswith("params"))


def read(path: Path, *, scale: float | None = None) -> Imported:
    """Raises BadInput for a cross-layer transcoder whose skip path is not 0, which has no counterpart here."""
    if scale is not None:
        raise BadInput(f"Gemma Scope's weights read raw activations; received --scale {scale:g}. Leave it out.")
    if path.is_dir() and any(path.glob(LAYERED)):
        return _cross_layer(path)
    weights = path if path.is_file() else path / (NPZ if (path / NPZ).exists() else SAFE)
    found = {name.lower(): value for name, value in files.tensors(weights).items()}
    enc, dec, b_enc, b_dec, threshold = files.take(found, weights, "w_enc", "w_dec", "b_enc", "b_dec", "threshold")
    d, features = enc.shape
    notes: list[str] = []
    where = str(weights.resolve().parent)
    cfg = files.settings_if_there(weights.parent / CONFIG, model_name=str, hf_hook_point_in=str, hf_hook_point_out=str)
    hooks, hooks_out, more = _places(where, cfg)
    notes += more
    if "scaling_factor" in found and not bool((found["scaling_factor"] == 1).all()):
        raise BadInput(
            f"{weights} holds a scaling_factor other than 1, whose meaning no document states. Not converted."
        )
    if hooks == ("embed",):
        # trained before the model multiplies its embeddings by the root of the width; the site is after
        root = d**0.5
        enc, dec, b_dec = enc / root, dec * root, b_dec * root
        notes.append(f"Trained on embeddings before the model multiplies them by {root:g}; that is folded in.")
    skip = found.get("affine_skip_connection")
    found_l0 = re.search(r"average_l0_(\d+)", where)
    l0 = float(found_l0[1]) if found_l0 else None
    k, more = asked_k(l0, features)
    dictionary = linear(
        "JumpReLU",
        enc=enc.T,
        dec=dec,
        b_enc=b_enc,
        b_dec=b_dec,
        threshold=constant(threshold, features),
        skip=None if skip is None else skip.float().T,
        k=k,
    )
    claims = Claims(
        model=cfg.get("model_name") or _model(where),
        hooks=hooks,
        hooks_out=hooks_out,
        transcoder=bool(hooks_out) or "transcoder" in where,
        l0=l0,
        input_norm="none",
    )
    notes.append(
        "Gemma Scope was trained on contexts that begin with BOS, its position left out; the files do not say so."
    )
    return Imported(dictionary=dictionary, format=NAME, claims=claims, assumptions=(*notes, *more))


def _places(where: str, cfg: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    if "hf_hook_point_in" in cfg:
        out = cfg.get("hf_hook_point_out")
        return (cfg["hf_hook_point_in"],), (out,) if out else (), []
    if "embedding" in where:
        return ("embed",), (), []
    layer = re.search(r"layer_(\d+)", where)
    kind = re.search(r"gemma-scope-\w+-(?:pt|it)-(\w+)", where)
    if layer and kind and kind[1] in KINDS:
        return (f"L{layer[1]}.{KINDS[kind[1]]}",), (), []
    if layer and "transcoder" in where:
        return (), (), [
            "It reads the MLP's normalised input; whether with the norm's gain is not stated, so the site is not "
            "named. Compare FVU on mlp_in."
        ]  # fmt: skip
    return (), (), ["Neither the folder's name nor a config.json says where it reads."]


def _model(where: str) -> str | None:
    found = re.search(r"gemma-scope-(2b|9b|27b)-(pt|it)", where)
    return None if found is None else f"google/gemma-2-{found[1]}" + ("-it" if found[2] == "it" else "")


def _cross_layer(path: Path) -> Imported:
    paths = sorted(path.glob(LAYERED), key=lambda p: int(p.stem.rsplit("_", 1)[1]))
    numbers = [int(p.stem.rsplit("_", 1)[1]) for p in paths]
    if numbers != list(range(len(paths))):
        raise BadInput(f"{path} holds layers {numbers}; a cross-layer transcoder needs all of them from 0 on.")
    layers = len(paths)
    given: dict[str, Tensor] = {}
    biases, b_decs, thresholds = [], [], []
    d = features = 0
    for i, each in enumerate(paths):
        found = files.tensors(each)
        enc, dec, b_enc, b_dec, threshold = files.take(
            found, each, "w_enc", "w_dec", "b_enc", "b_dec", "threshold", layered=True
        )
        d, features = enc.shape
        if dec.ndim != 3 or dec.shape[1] != layers:
            raise BadInput(
                f"{each}: w_dec has shape {tuple(dec.shape)}; with {layers} layers it should be (., {layers}, .)."
            )
        if bool(found.get("affine_skip_connection", torch.zeros(())).any()):
            raise BadInput(
                "A cross-layer transcoder here has no skip path; this one's is not 0. Keep it in its own tool."
            )
        given |= {f"enc.{i}": enc.T, f"dec.{i}": dec[:, i:].reshape(features, -1)}
        biases.append(b_enc)
        b_decs.append(b_dec)
        thresholds.append(constant(threshold, features))
    k, notes = asked_k(None, features)
    shape = {"d_in": layers * d, "d_out": layers * len(b_decs[0]), "n_features": layers * features, "k": k}
    made = dictionaries.make("CrossLayer", shape | {"layers": layers})
    given |= {"b_enc": torch.cat(biases), "b_dec": torch.cat(b_decs), "threshold": torch.cat(thresholds)}
    claims = Claims(
        hooks=tuple(f"L{i}.mlp_in" for i in range(layers)),
        hooks_out=tuple(f"L{i}.mlp_out" for i in range(layers)),
        transcoder=True,
        input_norm="none",
    )
    notes.append(
        "Where it reads and writes is not in the files: mlp_in (with the norm's gain) and mlp_out are assumed."
    )
    return Imported(dictionary=filled(made, given), format=NAME, claims=claims, assumptions=tuple(notes))

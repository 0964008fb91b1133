"""sparsify: a folder with cfg.json and sae.safetensors.

``x' = x - b_dec`` (``x`` for a transcoder), ``codes = top_k(relu(x' @ encoder.weight.T + encoder.bias))``,
``y = codes @ W_dec + b_dec (+ x @ W_skip.T)``. Both matrices are [features, d]: W_dec is not transposed.
"""

import re
from pathlib import Path
from typing import Any

import torch

from physalis.dictionaries import TopK
from physalis.errors import BadInput
from physalis.exchange import files, writing
from physalis.exchange.imported import Claims, Imported, linear, site_of

NAME = "sparsify"
CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
KINDS: dict[str, files.Kind] = {
    "activation": str, "signed": bool, "num_latents": int, "d_in": int, "expansion_factor": int, "k": int,
    "transcode": bool, "normalize_decoder": bool, "multi_topk": bool, "model": str,
}  # fmt: skip


def recognises(path: Path) -> bool:
    return (path / CONFIG).exists() and (path / WEIGHTS).exists()


def read(path: Path, *, scale: float | None = None) -> Imported:
    """Raises BadInput for groupmax and signed dictionaries, whose choice of features has no counterpart here."""
    if scale is not None:
        raise BadInput(f"sparsify does not scale its inputs; received --scale {scale:g}. Leave it out.")
    cfg = files.settings(path / CONFIG, **KINDS)
    d_in, k = files.needed(cfg, path / CONFIG, "d_in", "k")
    if (cfg.get("activation") or "topk") != "topk":
        raise BadInput(
            f"Its activation is {cfg['activation']!r}, which keeps the best feature of each of k groups; no "
            "architecture here does. Keep it in sparsify."
        )
    if cfg.get("signed"):
        raise BadInput("It is signed: codes may be negative, which no architecture here allows. Keep it in sparsify.")
    found = files.tensors(path / WEIGHTS)
    enc, b_dec = files.take(found, path / WEIGHTS, "encoder.weight", "b_dec")
    if "W_dec" not in found and "decoder.weight" in found:
        (dec,) = files.take(found, path / WEIGHTS, "decoder.weight")
        dec = dec.T
    else:
        (dec,) = files.take(found, path / WEIGHTS, "W_dec")
    wanted = cfg.get("num_latents") or d_in * (cfg.get("expansion_factor") or 0)
    if (wanted, d_in) != tuple(enc.shape):
        raise BadInput(
            f"{path / CONFIG} says {wanted} features of width {d_in}; encoder.weight has shape "
            f"{tuple(enc.shape)}. The two files are not of one dictionary."
        )
    transcode = bool(cfg.get("transcode"))
    dictionary = linear(
        "TopK",
        enc=enc,
        dec=dec,
        b_enc=files.take(found, path / WEIGHTS, "encoder.bias")[0],
        b_dec=b_dec,
        centre=None if transcode else b_dec,
        skip=files.take(found, path / WEIGHTS, "W_skip")[0] if "W_skip" in found else None,
        k=int(k),
    )
    run = files.settings_if_there(_run(path) / "config.json")
    named = run.get("model")
    hooks, hooks_out, notes = _places(_hookpoint(path), transcode)
    claims = Claims(
        model=named if isinstance(named, str) else cfg.get("model"),
        hooks=hooks,
        hooks_out=hooks_out,
        transcoder=transcode,
        l0=float(k),
        unit_decoder=bool(cfg.get("normalize_decoder")) or None,
        input_norm="none",
        details=tuple((name, run[name]) for name in ("dataset", "ctx_len") if name in run),
    )
    if cfg.get("multi_topk"):
        notes.append(
            f"It was trained with multi_topk: sparsify's forward() rebuilds from {4 * int(k)} features, without a skip "
            f"path, for that loss. Codes here are those of its encode(), {k:g}, and are rebuilt from alone."
        )
    notes.append("The files do not say whether contexts began with a BOS token.")
    return Imported(dictionary=dictionary, format=NAME, claims=claims, assumptions=tuple(notes))


def _run(path: Path) -> Path:
    """The run's folder, above the hook point and the seed."""
    return path.parent.parent if re.fullmatch(r"seed\d+", path.name) else path.parent


def _hookpoint(path: Path) -> str:
    return path.parent.name if re.fullmatch(r"seed\d+", path.name) else path.name


def _places(hookpoint: str, transcode: bool) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """What the folder's name says: sparsify reads the output of the module it names, or its input for a transcoder."""
    layer = re.fullmatch(r"layers\.(\d+)\.mlp", hookpoint)
    if transcode and layer:
        return (f"L{layer[1]}.mlp_in",), (f"L{layer[1]}.mlp_out",), []
    if not transcode and site_of(hookpoint):
        return (hookpoint,), (), []
    return (), (), [f"The folder's name, {hookpoint!r}, does not say where it reads."]


def write(sources: list[Path], out: Path) -> writing.Written:
    """One TopK dictionary as sparsify stores it; ``out`` is the hook point's folder.

    Raises BadInput for what the format cannot say.
    """
    if len(sources) != 1:
        raise BadInput(f"A sparsify folder holds one dictionary; received {len(sources)}. Convert them one by one.")
    loaded, manifest = writing.load(sources[0])
    d = writing.linear(loaded, "sparsify")
    if not isinstance(d, TopK):
        raise writing.refuse(d, "sparsify", "its only choice of features is TopK's")
    if d.config.layer_norm:
        raise writing.refuse(d, "sparsify", "it does not normalise tokens")
    if d.config.d_in != d.config.d_out:
        raise writing.refuse(d, "sparsify", f"it writes as wide as it reads, not {d.config.d_in} to {d.config.d_out}")
    transcode = writing.is_transcoder(d, manifest)
    b_dec = writing.raw_bias(d)
    tensors = {
        "encoder.weight": d.enc.data,
        "encoder.bias": writing.bias_around(d, torch.zeros_like(b_dec) if transcode else b_dec),
        "W_dec": d.dec.data,
        "b_dec": b_dec,
    }
    if d.skip is not None:
        tensors["W_skip"] = d.skip.data
    unit = bool(((d.dec.data.norm(dim=1) - 1).abs() < 1e-3).all())
    cfg: dict[str, Any] = {
        "activation": "topk", "expansion_factor": max(1, d.config.n_features // d.config.d_in),
        "normalize_decoder": unit, "num_latents": d.config.n_features, "k": d.config.k, "multi_topk": False,
        "skip_connection": d.skip is not None, "transcode": transcode, "d_in": d.config.d_in,
        "model": writing.model(manifest),
    }  # fmt: skip
    return writing.Written({WEIGHTS: tensors}, {CONFIG: cfg})

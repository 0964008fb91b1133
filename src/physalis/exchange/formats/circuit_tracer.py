"""circuit-tracer: a folder with one transcoder a layer (layer_i.safetensors) or a cross-layer one (W_enc_i, W_dec_i).

``codes = act(x @ W_enc.T + b_enc)``, W_enc [features, d], ReLU or, with a threshold, ``pre * (pre > threshold)``;
``y = codes @ W_dec + b_dec (+ x @ W_skip.T)``. In a cross-layer one, W_dec_i [features, layers - i, d] writes to layer
i and all later ones. The same files are those of the transcoders by mwhanna.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physalis import dictionaries
from physalis.dictionaries import L1, CrossLayer, Dictionary, L1Resampled, Linear, ListaMatryoshka
from physalis.dictionaries.thresholded import Thresholded
from physalis.errors import BadInput
from physalis.exchange import files, writing
from physalis.exchange.imported import Claims, Imported, asked_k, constant, filled, linear

NAME = "circuit-tracer"
CONFIG = "config.yaml"
THRESHOLD = "activation_function.threshold"
KINDS: dict[str, files.Kind] = {
    "model_name": str, "feature_input_hook": str, "feature_output_hook": str, "activation": str,
}  # fmt: skip


def recognises(path: Path) -> bool:
    if path.is_dir():
        return (path / "W_enc_0.safetensors").exists() or bool(layers(path))
    return re.fullmatch(r"layer_\d+", path.stem) is not None and path.suffix == ".safetensors"


def layers(path: Path) -> list[Path]:
    """The files of a set with a transcoder a layer, in order."""
    found = [each for each in path.glob("layer_*.safetensors") if re.fullmatch(r"layer_\d+", each.stem)]
    return sorted(found, key=lambda each: int(each.stem[6:]))


def read(path: Path, *, scale: float | None = None) -> Imported:
    """A cross-layer transcoder's folder, or one layer's file. Raises BadInput for the folder of a set: it holds
    several."""
    if scale is not None:
        raise BadInput(f"circuit-tracer's weights read raw activations; received --scale {scale:g}. Leave it out.")
    if path.is_dir() and not (path / "W_enc_0.safetensors").exists():
        names = [each.name for each in layers(path)]
        raise BadInput(
            f"{path} holds {len(names)} transcoders, one a layer. Give one of its files: {', '.join(names[:4])}."
        )
    cfg = files.settings_if_there((path if path.is_dir() else path.parent) / CONFIG, **KINDS)
    if cfg.get("activation") == "topk" or "k" in cfg:
        raise BadInput("Its config.yaml asks for topk over these files; how ties and signs go is not documented.")
    return _cross_layer(path, cfg) if path.is_dir() else _layer(path, cfg)


def _layer(path: Path, cfg: dict[str, Any]) -> Imported:
    found = files.tensors(path)
    enc, dec, b_enc, b_dec = files.take(found, path, "W_enc", "W_dec", "b_enc", "b_dec")
    k, notes = asked_k(None, len(enc))
    skip = files.take(found, path, "W_skip")[0] if "W_skip" in found else None
    parts = {"enc": enc, "dec": dec, "b_enc": b_enc, "b_dec": b_dec, "skip": skip, "k": k}
    if THRESHOLD in found:
        made = linear("JumpReLU", threshold=constant(found[THRESHOLD], len(enc)), **parts)
    else:
        made = linear("L1", **parts)
    return Imported(
        dictionary=made, format=NAME, claims=_claims(cfg, [int(path.stem[6:])]), assumptions=_notes(cfg, notes)
    )


def _cross_layer(path: Path, cfg: dict[str, Any]) -> Imported:
    n = len(list(path.glob("W_enc_*.safetensors")))
    given: dict[str, Tensor] = {}
    parts: dict[str, list[Tensor]] = {"b_enc": [], "b_dec": [], "threshold": []}
    d = features = 0
    for i in range(n):
        own, other = path / f"W_enc_{i}.safetensors", path / f"W_dec_{i}.safetensors"
        found = files.tensors(own)
        enc, b_enc, b_dec = files.take(found, own, f"W_enc_{i}", f"b_enc_{i}", f"b_dec_{i}")
        (dec,) = files.take(files.tensors(other), other, f"W_dec_{i}", layered=True)
        features, d = enc.shape
        if tuple(dec.shape) != (features, n - i, len(b_dec)):
            raise BadInput(
                f"{other}: W_dec_{i} has shape {tuple(dec.shape)}; with {n} layers it should be "
                f"{(features, n - i, len(b_dec))}. Is a layer's file missing?"
            )
        given |= {f"enc.{i}": enc, f"dec.{i}": dec.reshape(features, -1)}
        threshold = constant(found.get(f"threshold_{i}", torch.zeros(1)), features)
        for name, value in (("b_enc", b_enc), ("b_dec", b_dec), ("threshold", threshold)):
            parts[name].append(value)
    k, notes = asked_k(None, features)
    shape = {"d_in": n * d, "d_out": n * len(parts["b_dec"][0]), "n_features": n * features, "k": k, "layers": n}
    made = filled(dictionaries.make("CrossLayer", shape), given | {name: torch.cat(p) for name, p in parts.items()})
    return Imported(dictionary=made, format=NAME, claims=_claims(cfg, list(range(n))), assumptions=_notes(cfg, notes))


def _claims(cfg: dict[str, Any], numbers: list[int]) -> Claims:
    read, write = cfg.get("feature_input_hook"), cfg.get("feature_output_hook")
    return Claims(
        model=cfg.get("model_name"),
        hooks=tuple(f"blocks.{i}.{read}" for i in numbers) if read else (),
        hooks_out=tuple(f"blocks.{i}.{write}" for i in numbers) if write else (),
        transcoder=True,
        input_norm="none",
    )


def _notes(cfg: dict[str, Any], notes: list[str]) -> tuple[str, ...]:
    if "feature_input_hook" not in cfg:
        notes = [*notes, f"There is no {CONFIG} beside it that says where it reads and writes."]
    return (
        *notes,
        "circuit-tracer sets the codes of the first position to 0; whether it saw a BOS token is not stated.",
    )


def write(sources: list[Path], out: Path) -> writing.Written:
    """A cross-layer transcoder, or one transcoder for each layer from 0 on, in the order given; ``out`` names the set.

    Raises BadInput for what the format cannot say.
    """
    loaded = [writing.load(source) for source in sources]
    if any(isinstance(d, CrossLayer) for d, _ in loaded):
        if len(loaded) != 1:
            raise BadInput(
                f"A cross-layer transcoder is a set of its own; received it among {len(loaded)} dictionaries."
            )
        stored = _stored_cross_layer(loaded[0][0])
        kind = "cross_layer_transcoder"
    else:
        stored = {f"layer_{i}": _stored_layer(d) for i, (d, _) in enumerate(loaded)}
        kind = "transcoder_set"
        if len({len(tensors["b_enc"]) for tensors in stored.values()}) > 1:
            raise BadInput("circuit-tracer wants as many features in every layer's transcoder; these differ.")
    config = _hooks([manifest for _, manifest in loaded], kind)
    files = {f"{name}.safetensors": tensors for name, tensors in stored.items()}
    return writing.Written(files, {CONFIG: {"model_kind": kind, "scan": out.name, **config}})


def _stored_layer(loaded: Dictionary) -> dict[str, Tensor]:
    d = writing.linear(loaded, "circuit-tracer")
    if d.config.d_in != d.config.d_out:
        raise writing.refuse(
            d, "circuit-tracer", f"it writes as wide as it reads, not {d.config.d_in} to {d.config.d_out}"
        )
    if d.config.layer_norm:
        raise writing.refuse(d, "circuit-tracer", "it does not normalise tokens")
    tensors = {
        "W_enc": d.enc.data,
        "W_dec": d.dec.data,
        "b_enc": writing.bias_around(d, torch.zeros_like(d.centre)),
        "b_dec": writing.raw_bias(d),
    }
    if d.skip is not None:
        tensors["W_skip"] = d.skip.data
    return tensors | _threshold(d)


def _threshold(d: Linear) -> dict[str, Tensor]:
    if isinstance(d, Thresholded) and not isinstance(d, ListaMatryoshka):
        return {THRESHOLD: d.threshold.data}
    if isinstance(d, L1 | L1Resampled):
        return {}
    raise writing.refuse(
        d, "circuit-tracer", "a feature fires there above 0 or above a threshold of its own, and nothing else"
    )


def _stored_cross_layer(d: Dictionary) -> dict[str, dict[str, Tensor]]:
    assert isinstance(d, CrossLayer)
    stored: dict[str, dict[str, Tensor]] = {}
    n, centre = d.config.layers, d.centre.double()
    for i in range(n):
        mine = slice(i * d.each, (i + 1) * d.each)
        enc = d.enc[i].data
        bias = d.b_enc.data[mine].double() - enc.double() @ centre[i * d.d_in : (i + 1) * d.d_in]
        stored[f"W_enc_{i}"] = {
            f"W_enc_{i}": enc,
            f"b_enc_{i}": bias.float(),
            f"b_dec_{i}": d.b_dec.data[i * d.d_out : (i + 1) * d.d_out],
            f"threshold_{i}": d.threshold[mine],
        }
        stored[f"W_dec_{i}"] = {f"W_dec_{i}": d.dec[i].data.reshape(d.each, n - i, d.d_out)}
    return stored


def _hooks(manifests: list[Any], kind: str) -> dict[str, Any]:
    """model_name and the two hooks, where all dictionaries agree on them and start at layer 0."""
    config: dict[str, Any] = {"model_name": writing.model(manifests[0])}
    each = [writing.sites(manifest) for manifest in manifests]
    reads, writes = [[site for pair in each for site in pair[side]] for side in (0, 1)]
    for name, found in (("feature_input_hook", reads), ("feature_output_hook", writes)):
        places = [re.fullmatch(r"L(\d+)\.(\w+)", site) for site in found]
        if not found or not all(places):
            continue
        numbers, names = [int(p[1]) for p in places if p], {p[2] for p in places if p}
        if numbers != list(range(len(numbers))) or len(names) != 1:
            raise BadInput(
                f"circuit-tracer wants one {kind.replace('_', ' ')} for every layer from 0 on, at one place; these are "
                f"{', '.join(found)}. Give one dictionary for each layer, in order."
            )
        config[name] = writing.hook_of(f"L0.{names.pop()}").removeprefix("blocks.0.")
    return {name: value for name, value in config.items() if value is not None}

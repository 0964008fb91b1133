"""SAELens, from before version 6 and since: a folder with cfg.json and sae_weights.safetensors.

``codes = act((x - b_dec * apply_b_dec_to_input) @ W_enc + b_enc)``, ``y = codes @ W_dec + b_dec``, W_enc [d, features],
W_dec [features, d]. Read: standard, gated, topk, jumprelu, their transcoders and skip transcoders, matching pursuit,
and training checkpoints of all of these, of batchtopk and of Matryoshka. Activations scaled while training are folded.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physalis import __version__
from physalis.dictionaries import (
    L1,
    BatchTopK,
    Gated,
    L1Resampled,
    Linear,
    ListaMatryoshka,
    MatchingPursuit,
    Matryoshka,
    TopK,
)
from physalis.dictionaries.thresholded import Thresholded
from physalis.errors import BadInput
from physalis.exchange import files, writing
from physalis.exchange.imported import Claims, Imported, asked_k, constant, linear
from physalis.training.training import Source

NAME = "saelens"
CONFIG, WEIGHTS, SPARSITY = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
SCALER = "activation_scaler.json"
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
BY_BATCH = {"batchtopk": "BatchTopK", "matryoshka_batchtopk": "Matryoshka"}
"""Trained by rank over a batch, stored with a threshold."""
REFUSED = {
    "temporal": "its codes depend on earlier tokens through attention",
    "abstopk": "its codes may be negative",
}
KINDS: dict[str, files.Kind] = {
    "architecture": str, "activation_fn_str": str, "activation_fn": str, "activation_fn_kwargs": dict, "k": float,
    "d_in": int, "normalize_activations": (str, bool), "apply_b_dec_to_input": bool, "reshape_activations": str,
    "rescale_acts_by_decoder_norm": bool, "finetuning_scaling_factor": bool, "residual_threshold": float,
    "max_iterations": int, "stop_on_duplicate_support": bool, "metadata": dict,
}  # fmt: skip
ABOUT: dict[str, files.Kind] = {
    "model_name": str, "hook_name": str, "hook_point": str, "hook_name_out": str, "prepend_bos": bool,
    "training_architecture": str, "training_architecture_details": dict,
}  # fmt: skip
DETAILS: dict[str, files.Kind] = {
    "k": float, "target_l0": float, "matryoshka_widths": list, "rescale_acts_by_decoder_norm": bool,
}  # fmt: skip
READS = "standard, gated, topk, jumprelu, transcoder, skip_transcoder, jumprelu_transcoder, jumprelu_skip_transcoder, \
matching_pursuit, batchtopk, matryoshka_batchtopk"


def recognises(path: Path) -> bool:
    return (path / CONFIG).exists() and (path / WEIGHTS).exists()


def read(path: Path, *, scale: float | None = None) -> Imported:
    """``scale`` is what inputs were multiplied by while training, for files that say that they were, but not by what.

    Raises BadInput for architectures and normalisations that have no counterpart here.
    """
    cfg = files.settings(path / CONFIG, **KINDS)
    about = files.checked(cfg.get("metadata") or cfg, path / CONFIG, **ABOUT)
    details = files.checked(about.get("training_architecture_details") or {}, path / CONFIG, **DETAILS)
    found = {name: value.float() for name, value in files.tensors(path / WEIGHTS).items()}
    files.take(found, path / WEIGHTS, "W_dec", "b_dec", *(["W_enc"] if "W_enc" in found else []))
    architecture, k = _architecture(cfg)
    notes: list[str] = []
    transcoder = architecture in TRANSCODERS
    norm = _normalisation(cfg)
    if norm == "expected_average_only_in":
        scale = _scale(path, scale)
        _multiply_inputs(found, scale, by_length=bool(cfg.get("rescale_acts_by_decoder_norm")))
        norm = f"expected_average_only_in, by {scale:g}, folded into the weights"
    elif scale is not None:
        raise BadInput(
            f"{path / CONFIG} says normalize_activations = {norm!r}, so there is no scale to fold; received {scale:g}. "
            "Leave --scale out."
        )
    else:
        scale = None
    if norm == "layer_norm" and transcoder:
        raise BadInput(
            "A SAELens transcoder with layer_norm normalises what it reads and not what it writes, which no "
            "architecture here does. Keep it in SAELens."
        )
    if cfg.get("rescale_acts_by_decoder_norm"):
        _fold_norms(found)
    if cfg.get("finetuning_scaling_factor") is True:  # before version 6; codes are as they were, what they write is not
        name = "finetuning_scaling_factor" if "finetuning_scaling_factor" in found else "scaling_factor"
        found["W_dec"] = found["W_dec"] * files.take(found, path / WEIGHTS, name)[0][:, None]
    apply = cfg.get("apply_b_dec_to_input", True) and not transcoder
    trained_as = about.get("training_architecture") or architecture
    l0 = _l0(path)
    # cfg's own k is what SAELens goes by; the details are what stays of a training in a file that has no k
    own_k = k or cfg.get("k") or details.get("k") or details.get("target_l0")
    if own_k is None:
        own_k, more = asked_k(l0, found["W_dec"].shape[0])
        notes += more
    dictionary = _build(path, architecture, trained_as, found, cfg | details, apply, norm == "layer_norm", round(own_k))
    head = about.get("hook_head_index", about.get("hook_point_head_index"))
    if head is not None:
        notes.append(f"It reads head {head} alone of its hook; here no site is a single head.")
    if cfg.get("reshape_activations") == "hook_z":
        notes.append("It reads the heads' outputs side by side, as the site z holds them.")
    if "prepend_bos" not in about:
        notes.append("The files do not say whether contexts began with a BOS token.")
    hook = about.get("hook_name") or about.get("hook_point")
    out = about.get("hook_name_out")
    claims = Claims(
        model=about.get("model_name"),
        hooks=(hook,) if hook and head is None else (),
        hooks_out=(out,) if out else (),
        transcoder=transcoder,
        bos=about.get("prepend_bos"),
        l0=_claimed_l0(l0, trained_as, own_k, details),
        unit_decoder=_unit(architecture, trained_as, cfg, details),
        input_norm=norm,
        input_scale=scale,
        details=tuple(
            (name, about[name])
            for name in ("sae_lens_version", "dataset_path", "context_size", "training_architecture")
            if about.get(name) is not None
        ),
    )
    return Imported(dictionary=dictionary, format=NAME, claims=claims, assumptions=tuple(notes))


def _architecture(cfg: dict[str, Any]) -> tuple[str, float | None]:
    """The architecture's word, and k where the config states it in the words used before version 6."""
    architecture = cfg.get("architecture") or "standard"
    activation = cfg.get("activation_fn_str", cfg.get("activation_fn", "relu"))
    if "metadata" not in cfg and activation == "topk":
        return "topk", (cfg.get("activation_fn_kwargs") or {}).get("k", cfg.get("k"))
    if activation not in ("relu", "topk", None):
        raise BadInput(f"Its activation function is {activation!r}; only relu and topk have a counterpart here.")
    if architecture in REFUSED:
        raise BadInput(
            f"SAELens's {architecture} has no counterpart here: {REFUSED[architecture]}. Keep it in SAELens."
        )
    return architecture, None


def _normalisation(cfg: dict[str, Any]) -> str:
    norm = cfg.get("normalize_activations")
    if norm is None or norm is False or norm == "none":
        return "none"
    if norm is True or norm == "expected_average_only_in":
        return "expected_average_only_in"
    if norm == "layer_norm":
        return "layer_norm"
    why = {
        "constant_norm_rescale": "each token is divided by its own norm",
        "covariance_whitening": "its whitening is not in these weights; save the inference model with SAELens, which "
        "folds it, and convert that",
    }.get(norm, "this reader does not know it")
    raise BadInput(f"normalize_activations = {norm!r} has no counterpart here: {why}.")


def _scale(path: Path, given: float | None) -> float:
    stored = files.settings_if_there(path / SCALER, scaling_factor=float).get("scaling_factor")
    if stored is not None and given is not None and abs(stored / given - 1) > 1e-3:
        raise BadInput(f"{path / SCALER} says the inputs were multiplied by {stored:g}; --scale says {given:g}.")
    scale = stored if stored is not None else given
    if scale is None:
        raise BadInput(
            f"{path / CONFIG} says normalize_activations = 'expected_average_only_in': inputs were multiplied by a "
            "constant while training, which is neither in the weights nor in the files. Give --scale (the square root "
            "of the width over the mean norm of the activations), or --activations of its site to measure it."
        )
    if not scale > 0:
        raise BadInput(f"Inputs cannot have been multiplied by {scale:g}. Give the scale that training used.")
    return float(scale)


def wants_scale(path: Path) -> bool:
    """Whether the files say that inputs were scaled, and not by what."""
    norm = files.settings(path / CONFIG).get("normalize_activations")
    return norm in (True, "expected_average_only_in") and not (path / SCALER).exists()


def scale_of(source: Source) -> float:
    """What SAELens multiplies such activations by: the square root of the width over their mean norm."""
    part = source.train
    batch = next(iter(part.batches(min(4096, part.n_tokens), seed=0)))
    return source.d_in**0.5 / float(batch.x.float().norm(dim=1).mean())


def _multiply_inputs(found: dict[str, Tensor], s: float, *, by_length: bool) -> None:
    """Weights for ``s * x`` become weights for x. ``by_length``: whether codes are chosen by their directions'
    lengths."""
    found["b_dec"] = found["b_dec"] / s
    if "W_enc" not in found:  # matching pursuit: its directions stay of length 1, and codes get the input's scale
        return
    found["W_enc"], found["W_dec"] = found["W_enc"] * s, found["W_dec"] / s
    if "topk_threshold" in found and by_length:
        # it is compared with codes times the decoder's lengths, which have just become that much smaller; codes alone
        # are what they were
        found["topk_threshold"] = found["topk_threshold"] / s


def _fold_norms(found: dict[str, Tensor]) -> None:
    """Codes were chosen by, and count as, multiples of a direction of length 1: make the directions so."""
    norms = found["W_dec"].norm(dim=1)
    found["W_dec"] = found["W_dec"] / norms[:, None]
    found["W_enc"] = found["W_enc"] * norms
    found["b_enc"] = found["b_enc"] * norms


def _l0(path: Path) -> float | None:
    """Mean number of features that fire, from the stored firing frequencies."""
    if not (path / SPARSITY).exists():
        return None
    (log10,) = files.take(files.tensors(path / SPARSITY), path / SPARSITY, "sparsity")
    if not bool((log10 < 0.01).all()):
        raise BadInput(
            f"{path / SPARSITY} holds {float(log10.max()):g} where the logarithm of a share should stand, and that is "
            "never above 0. The file is damaged: fetch it again, or leave it out."
        )
    return float((10.0 ** log10.double()).sum())


def _claimed_l0(counted: float | None, trained_as: str, k: float, details: dict[str, Any]) -> float | None:
    if counted is not None:
        return counted
    return float(k) if trained_as in ("topk", *BY_BATCH) else details.get("target_l0")


def _unit(architecture: str, trained_as: str, cfg: dict[str, Any], details: dict[str, Any]) -> bool | None:
    folded = details.get("rescale_acts_by_decoder_norm") or cfg.get("rescale_acts_by_decoder_norm")
    return True if architecture == "matching_pursuit" or (folded and "topk" in trained_as) else None


def _build(
    path: Path,
    architecture: str,
    trained_as: str,
    found: dict[str, Tensor],
    cfg: dict[str, Any],
    apply: bool,
    layer_norm: bool,
    k: int,
) -> Any:
    def get(name: str) -> Tensor:
        return files.take(found, path / WEIGHTS, name)[0]

    b_dec = get("b_dec")
    rest: dict[str, Any] = {"b_dec": b_dec, "centre": b_dec if apply else None, "layer_norm": layer_norm, "k": k}
    if architecture == "matching_pursuit":
        return _matching_pursuit(get("W_dec"), b_dec if apply else torch.zeros_like(b_dec), cfg, layer_norm)
    rest |= {"enc": get("W_enc").T, "dec": get("W_dec")}
    if "skip" in architecture:
        rest["skip"] = get("W_skip")
    if architecture == "gated":
        return linear("Gated", b_enc=get("b_gate"), r_mag=get("r_mag"), b_mag=get("b_mag"), **rest)
    rest["b_enc"] = get("b_enc")
    if architecture == "topk":
        return linear("TopK", **rest)
    if architecture in ("standard", "transcoder", "skip_transcoder"):
        return linear("L1", **rest)
    if architecture.startswith("jumprelu") or architecture in BY_BATCH:
        if architecture in BY_BATCH:
            threshold = get("topk_threshold" if "topk_threshold" in found else "threshold")
        else:
            threshold = get("log_threshold").exp() if "log_threshold" in found else get("threshold")
        kind = BY_BATCH.get(trained_as, "JumpReLU")
        widths = cfg.get("matryoshka_widths") if kind == "Matryoshka" else None
        config = {"widths": tuple(sorted({*widths, len(rest["dec"])}))} if widths else {}
        return linear(kind, threshold=constant(threshold, len(rest["dec"])), config=config, **rest)
    raise BadInput(f"This reader does not know SAELens's architecture {architecture!r}. It reads: {READS}.")


def _matching_pursuit(dec: Tensor, b_dec: Tensor, cfg: dict[str, Any], layer_norm: bool) -> Any:
    threshold, rounds = cfg.get("residual_threshold", 1e-2), cfg.get("max_iterations") or dec.shape[1]
    if threshold > 0 or cfg.get("stop_on_duplicate_support", True):
        raise BadInput(
            f"Its pursuit ends early (residual_threshold = {threshold:g}, stop_on_duplicate_support = "
            f"{cfg.get('stop_on_duplicate_support', True)}); ours takes a fixed number of rounds, so its codes would "
            "not be the same. Only residual_threshold 0 without stop_on_duplicate_support can be converted."
        )
    return linear("MatchingPursuit", enc=dec, dec=dec, b_dec=b_dec, k=rounds, layer_norm=layer_norm)


def write(sources: list[Path], out: Path) -> writing.Written:
    """One dictionary as SAELens v6 stores it. Codes and reconstructions stay what they are.

    Raises BadInput for what the format cannot say.
    """
    if len(sources) != 1:
        raise BadInput(f"A SAELens folder holds one dictionary; received {len(sources)}. Convert them one by one.")
    loaded, manifest = writing.load(sources[0])
    d = writing.linear(loaded, "SAELens")
    transcoder = writing.is_transcoder(d, manifest) or d.skip is not None
    word, extra, more = _words(d, transcoder)
    centred = not transcoder
    # b_dec is the centre that the format knows; what is left of ours goes into the bias, in double precision
    bias = writing.bias_around(d, d.b_dec.data if centred else torch.zeros_like(d.centre))
    tensors = {"W_enc": d.enc.data.T, "W_dec": d.dec.data, "b_dec": writing.raw_bias(d)} | more
    if word == "matching_pursuit":
        tensors = {"W_dec": d.dec.data, "b_dec": d.b_dec.data}
    elif word == "gated":
        # the magnitude path reads the same product, so it moves by exp(r_mag) times as much
        moved = bias - d.b_enc.data
        tensors |= {"b_gate": bias, "b_mag": (tensors["b_mag"] + tensors["r_mag"].exp() * moved)}
    else:
        tensors["b_enc"] = bias
    if transcoder:
        extra["d_out"] = d.config.d_out
    hook, hook_out = writing.hooks(manifest)
    trained_as, details = _trained_as(d)
    metadata = {
        "sae_lens_version": "6.0.0", "converted_by": f"physalis {__version__}",
        "model_name": writing.model(manifest), "hook_name": hook, "prepend_bos": writing.bos(manifest),
        "hook_name_out": hook_out if transcoder else None, "training_architecture": trained_as,
        "training_architecture_details": details,
    }  # fmt: skip
    cfg = {
        "architecture": word, "d_in": d.config.d_in, "d_sae": d.config.n_features, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": centred, "normalize_activations": "layer_norm" if d.config.layer_norm else "none",
        "reshape_activations": "none", **extra,
        "metadata": {name: value for name, value in metadata.items() if value is not None},
    }  # fmt: skip
    return writing.Written({WEIGHTS: tensors}, {CONFIG: cfg})


def _trained_as(d: Linear) -> tuple[str | None, dict[str, Any]]:
    """What stays true of a dictionary that is stored as something simpler."""
    unit = {"rescale_acts_by_decoder_norm": bool(((d.dec.data.norm(dim=1) - 1).abs() < 1e-3).all())}
    if isinstance(d, Matryoshka):
        return "matryoshka_batchtopk", {"k": d.config.k, "matryoshka_widths": list(d.widths)} | unit
    if isinstance(d, BatchTopK):
        return "batchtopk", {"k": d.config.k} | unit
    if isinstance(d, TopK):
        return "topk", {"k": d.config.k} | unit
    return None, {"target_l0": d.config.k}


def _words(d: Linear, transcoder: bool) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """SAELens's word for an architecture, with the settings and the tensors that it adds."""
    kind = "_skip_transcoder" if d.skip is not None else "_transcoder"
    if transcoder and d.config.layer_norm:
        raise writing.refuse(d, "SAELens", "its transcoders do not undo layer_norm in what they write")
    more = {} if d.skip is None else {"W_skip": d.skip.data}
    if isinstance(d, L1 | L1Resampled):
        return (kind[1:] if transcoder else "standard"), {}, more
    if isinstance(d, Thresholded) and not isinstance(d, ListaMatryoshka):
        more |= {"threshold": d.threshold.data}
        return ("jumprelu" + kind if transcoder else "jumprelu"), {}, more
    if transcoder:
        raise writing.refuse(d, "SAELens", "its transcoders are ReLU or JumpReLU, with or without a skip path")
    if isinstance(d, TopK):
        return "topk", {"k": d.config.k, "rescale_acts_by_decoder_norm": False}, more
    if isinstance(d, Gated):
        return "gated", {}, {"r_mag": d.r_mag.data, "b_mag": d.b_mag.data}
    if isinstance(d, MatchingPursuit):
        extra = {"residual_threshold": 0.0, "max_iterations": d.config.k, "stop_on_duplicate_support": False}
        return "matching_pursuit", extra, {}
    raise writing.refuse(d, "SAELens", "it has no such architecture")

"""How each tool loads what physalis wrote, and loads of the tools' own that are known to be wrong. Runs in the tools'
environment."""

import json
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor


def saelens(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    from sae_lens.saes import SAE

    sae = SAE.load_from_disk(folder)
    codes = sae.encode(x)
    return codes, sae(x) if "Skip" in type(sae).__name__ else sae.decode(codes)


def sparsify(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(folder)
    out = coder(x)
    return torch.zeros(len(x), coder.num_latents).scatter_(1, out.latent_indices, out.latent_acts), out.sae_out


def circuit_tracer(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    from circuit_tracer.transcoder.cross_layer_transcoder import load_clt
    from circuit_tracer.transcoder.single_layer_transcoder import load_transcoder_set

    if (folder / "W_enc_0.safetensors").exists():
        made = load_clt(str(folder), dtype=torch.float32, lazy_decoder=False)
        parts = x.view(len(x), made.n_layers, -1).transpose(0, 1)
        codes = made.encode(parts)
        return codes.transpose(0, 1).flatten(1), made.decode(codes).transpose(0, 1).flatten(1)
    n = len(list(folder.glob("layer_*.safetensors")))
    paths = {i: str(folder / f"layer_{i}.safetensors") for i in range(n)}
    layers = load_transcoder_set(paths, "scan", "mlp.hook_in", "hook_mlp_out", dtype=torch.float32)
    one: Any = layers[n - 1]
    return one.encode(x), one(x)


LOADERS = {"SAELens": saelens, "sparsify": sparsify, "circuit-tracer": circuit_tracer}


def wrong(folder: Path) -> list[dict[str, str]]:
    """Loads that reading the tools' sources says are wrong, tried: what each gave."""
    return [
        {"load": name, "gave": _tried(case, folder / str(i))}
        for i, (name, case) in enumerate(
            (
                ("SAELens reads sparsify, 48 wide, 160 features", lambda at: _sparsify(at, 48, 160)),
                ("SAELens reads sparsify, 48 wide, 48 features", lambda at: _sparsify(at, 48, 48)),
                ("SAELens reads dictionary_learning's AutoEncoderNew", _auto_encoder_new),
                ("circuit-tracer reads a Gemma Scope 2 cross-layer transcoder, layers from 0", _gemma_cross_layer),
            )
        )
    ]


def _tried(case: Any, folder: Path) -> str:
    folder.mkdir(parents=True)
    try:
        with torch.no_grad():
            return case(folder)
    except Exception:
        return "an error: " + traceback.format_exc(limit=2).strip().splitlines()[-1][:160]


def _difference(a: Tensor, b: Tensor) -> str:
    return f"codes differ by up to {float((a - b).abs().max()):.3g} (they reach {float(b.abs().max()):.3g})"


def _sparsify(folder: Path, d: int, features: int) -> str:
    from sae_lens.loading.pretrained_sae_loaders import sparsify_disk_loader
    from sae_lens.saes import SAE
    from sparsify import SparseCoder, SparseCoderConfig

    torch.manual_seed(0)
    coder = SparseCoder(d, SparseCoderConfig(num_latents=features, k=6))
    for value in coder.parameters():
        value.copy_(torch.randn_like(value))
    own = folder / "layers.3"
    coder.save_to_disk(own)
    sae = SAE.load_from_disk(own, converter=sparsify_disk_loader, dtype="float32")
    x = torch.randn(64, d)
    out = coder(x)
    codes = torch.zeros(64, features).scatter_(1, out.latent_indices, out.latent_acts)
    y = float((sae.decode(codes) - out.sae_out).abs().max())
    return f"{_difference(sae.encode(x), codes)}, reconstructions of the same codes by up to {y:.3g}"


def _auto_encoder_new(folder: Path) -> str:
    from dictionary_learning.dictionary import AutoEncoderNew
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.saes import StandardSAE, StandardSAEConfig

    ae = AutoEncoderNew(48, 160)
    torch.save(ae.state_dict(), folder / "ae.pt")
    trainer = {"dict_class": "AutoEncoderNew", "layer": 3, "lm_name": "gpt2", "activation_dim": 48, "dict_size": 160}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    with mock.patch.object(loaders, "hf_hub_download", lambda filename="", **_: str(folder / Path(filename).name)):
        cfg, state, _ = loaders.dictionary_learning_sae_huggingface_loader_1("org/repo", "files")
    if state["b_dec"] is None:
        return f"no b_dec at all, and apply_b_dec_to_input = {cfg['apply_b_dec_to_input']}, which this class does not"
    sae = StandardSAE(StandardSAEConfig(d_in=48, d_sae=160, apply_b_dec_to_input=cfg["apply_b_dec_to_input"]))
    sae.load_state_dict(state)
    x = torch.randn(64, 48)
    return _difference(sae.encode(x), ae.encode(x))


def _gemma_cross_layer(folder: Path) -> str:
    from circuit_tracer.transcoder.cross_layer_transcoder import load_gemma_scope_2_clt

    for i in range(3):
        tensors = {"w_enc": torch.randn(48, 160), "b_enc": torch.randn(160), "threshold": torch.rand(160),
                   "w_dec": torch.randn(160, 3, 48), "b_dec": torch.randn(48)}  # fmt: skip
        save_file(tensors, folder / f"params_layer_{i}.safetensors")
    made = load_gemma_scope_2_clt({i: str(folder / f"params_layer_{i}.safetensors") for i in range(3)})
    return f"a transcoder of {made.n_layers} layers out of files for 3"

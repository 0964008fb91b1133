"""The real tools, in their own environment: they write files with known codes and read ours. Knows nothing of physalis.

``exchange.py`` starts ``python -m implementations.exchange_peers make|load|wrong FOLDER``. A case is a folder of files
with known.safetensors beside it: inputs, codes (dense) and reconstructions, by the tool itself.
"""

import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

D, F, K, N, L = 48, 160, 6, 256, 3
KNOWN = "known.safetensors"
Case = Callable[[Path], tuple[Tensor, Tensor, Tensor]]
"""Writes files into a folder; returns (x, codes, y)."""


def random(*shape: int, seed: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(width: int = D) -> Tensor:
    return 2 + 1.5 * random(N, width, seed=1000)


@torch.no_grad()
def fill(module: torch.nn.Module) -> None:
    """Weights that hide nothing: no length 1, no bias or threshold 0."""
    for i, (name, value) in enumerate([*module.named_parameters(), *module.named_buffers()]):
        own = name.rsplit(".", 1)[-1]
        if own in ("k", "group_sizes"):
            continue
        if "threshold" in own:
            value.copy_(0.5 + random(*value.shape, seed=i, size=0.2).abs())
        elif own in ("r_mag", "W_skip"):
            value.copy_(random(*value.shape, seed=i, size=0.2))
        elif value.ndim >= 2:
            value.copy_(random(*value.shape, seed=i, size=0.3))
        else:
            value.copy_(random(*value.shape, seed=i, size=0.5))


# SAELens


def saelens_cases() -> Iterator[tuple[str, Case]]:
    from sae_lens import saes

    usual = {"d_in": D, "d_sae": F}
    across = {"d_out": 40, "apply_b_dec_to_input": False}
    plain: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("standard", saes.StandardSAE, saes.StandardSAEConfig, {"apply_b_dec_to_input": True}),
        ("standard, b_dec not subtracted", saes.StandardSAE, saes.StandardSAEConfig, {"apply_b_dec_to_input": False}),
        ("standard, layer_norm", saes.StandardSAE, saes.StandardSAEConfig, {"normalize_activations": "layer_norm"}),
        ("gated", saes.GatedSAE, saes.GatedSAEConfig, {}),
        ("topk", saes.TopKSAE, saes.TopKSAEConfig, {"k": K}),
        ("topk, by decoder length", saes.TopKSAE, saes.TopKSAEConfig, {"k": K, "rescale_acts_by_decoder_norm": True}),
        ("topk, layer_norm", saes.TopKSAE, saes.TopKSAEConfig, {"k": K, "normalize_activations": "layer_norm"}),
        ("jumprelu", saes.JumpReLUSAE, saes.JumpReLUSAEConfig, {}),
        ("transcoder", saes.Transcoder, saes.TranscoderConfig, across),
        ("skip_transcoder", saes.SkipTranscoder, saes.SkipTranscoderConfig, across),
        ("jumprelu_transcoder", saes.JumpReLUTranscoder, saes.JumpReLUTranscoderConfig, across),
        ("jumprelu_skip_transcoder", saes.JumpReLUSkipTranscoder, saes.JumpReLUSkipTranscoderConfig, across),
        ("matching_pursuit", saes.MatchingPursuitSAE, saes.MatchingPursuitSAEConfig,
         {"residual_threshold": 0.0, "max_iterations": K, "stop_on_duplicate_support": False}),
    ]  # fmt: skip
    for name, kind, config, more in plain:

        def case(folder: Path, kind: Any = kind, config: Any = config, more: dict[str, Any] = more) -> Any:
            sae = kind(config(**usual, **more))
            fill(sae)
            if kind is saes.MatchingPursuitSAE:
                sae.W_dec.data = torch.nn.functional.normalize(sae.W_dec.data, dim=1)
            sae.save_model(folder)
            x = inputs()
            codes = sae.encode(x)
            y = sae(x) if "Skip" in kind.__name__ else sae.decode(codes)
            return x, codes, y

        yield name, case
    trained: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("topk, trained", saes.TopKTrainingSAE, saes.TopKTrainingSAEConfig, {"k": K}),
        ("batchtopk", saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig, {"k": K}),
        ("matryoshka_batchtopk", saes.MatryoshkaBatchTopKTrainingSAE, saes.MatryoshkaBatchTopKTrainingSAEConfig,
         {"k": K, "matryoshka_widths": [32, F]}),
        ("jumprelu, trained", saes.JumpReLUTrainingSAE, saes.JumpReLUTrainingSAEConfig, {}),
    ]  # fmt: skip
    for name, kind, config, more in trained:
        for form in ("inference", "checkpoint"):

            def case(folder: Path, kind: Any = kind, config: Any = config, more: Any = more, form: str = form) -> Any:
                sae = kind(config(**usual, **more))
                fill(sae)
                sae.save_inference_model(folder / "inference")
                (sae.save_model if form == "checkpoint" else sae.save_inference_model)(folder)
                sae = saes.SAE.load_from_disk(folder / "inference")
                for each in (folder / "inference").iterdir():
                    each.unlink()
                (folder / "inference").rmdir()
                x = inputs()
                return x, sae.encode(x), sae.decode(sae.encode(x))

            yield f"{name}, {form}", case

    def scaled(folder: Path) -> Any:
        config = saes.StandardTrainingSAEConfig(**usual, normalize_activations="expected_average_only_in")
        sae = saes.StandardTrainingSAE(config)
        fill(sae)
        sae.save_model(folder)
        (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.35}')
        x = inputs()
        codes = sae.encode(0.35 * x)
        return x, codes, sae.decode(codes) / 0.35

    yield "standard, scaled inputs, checkpoint", scaled


# sparsify, dictionary_learning, circuit-tracer


def sparsify_cases() -> Iterator[tuple[str, Case]]:
    from sparsify import SparseCoder, SparseCoderConfig

    for transcode in (False, True):
        for skip in (False, True):

            def case(folder: Path, transcode: bool = transcode, skip: bool = skip) -> Any:
                coder = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K, transcode=transcode, skip_connection=skip))
                fill(coder)
                coder.save_to_disk(folder)
                x = inputs()
                out = coder(x)
                codes = torch.zeros(N, F).scatter_(1, out.latent_indices, out.latent_acts)
                return x, codes, out.sae_out

            yield ("transcoder" if transcode else "topk") + (", skip" if skip else ""), case


def dictionary_learning_cases() -> Iterator[tuple[str, Case]]:
    from dictionary_learning import dictionary
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    kinds: list[tuple[Any, tuple[Any, ...]]] = [
        (dictionary.AutoEncoder, ()), (dictionary.AutoEncoderNew, ()), (dictionary.GatedAutoEncoder, ()),
        (dictionary.JumpReluAutoEncoder, ()), (AutoEncoderTopK, (K,)), (BatchTopKSAE, (K,)),
        (MatryoshkaBatchTopKSAE, (K, [32, F - 32])),
    ]  # fmt: skip
    for kind, more in kinds:
        for form in ("finished", "interrupted"):

            def case(folder: Path, kind: Any = kind, more: Any = more, form: str = form) -> Any:
                if kind is dictionary.AutoEncoderNew and form == "interrupted":
                    raise NotImplementedError("it has no scale_biases, so the tool cannot train it on scaled inputs")
                ae = kind(D, F, *more)
                fill(ae)
                trainer = {
                    "dict_class": kind.__name__,
                    "k": K,
                    "lm_name": "gpt2",
                    "submodule_name": "resid_post_layer_3",
                }
                (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"io": "out"}}))
                state = {name: value.clone() for name, value in ae.state_dict().items()}
                if form == "interrupted":
                    held = {"step": 5, "ae": state, "optimizer": {}, "config": trainer, "norm_factor": 3.0}
                    torch.save(held, folder / "ae.pt")
                    ae.scale_biases(3.0)
                else:
                    torch.save(state, folder / "ae.pt")
                x = inputs()
                return x, ae.encode(x), ae.decode(ae.encode(x))

            yield f"{kind.__name__}, {form}", case


def circuit_tracer_cases() -> Iterator[tuple[str, Case]]:
    from circuit_tracer.transcoder.activation_functions import JumpReLU
    from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder

    for act in ("relu", "jump_relu"):
        for skip in (False, True):

            def layer(folder: Path, act: str = act, skip: bool = skip) -> Any:
                function = torch.relu if act == "relu" else JumpReLU(torch.zeros(F))
                made = SingleLayerTranscoder(D, F, function, 0, skip_connection=skip, dtype=torch.float32)
                fill(made)
                made.to_safetensors(str(folder / "layer_0.safetensors"))
                x = inputs()
                return x, made.encode(x), made(x)

            yield f"a layer's, {act}" + (", skip" if skip else ""), layer

        def cross(folder: Path, act: str = act) -> Any:
            made = CrossLayerTranscoder(L, F, D, activation_function=act, lazy_decoder=False, dtype=torch.float32)
            fill(made)
            made.to_safetensors(str(folder))
            x = inputs(L * D)
            codes = made.encode(x.view(N, L, D).transpose(0, 1))
            y = made.decode(codes)
            return x, codes.transpose(0, 1).reshape(N, -1), y.transpose(0, 1).reshape(N, -1)

        yield f"cross-layer, {act}", cross


# files whose own tools cannot be had, written by their documents and read by another tool's loader


def gemma(folder: Path) -> dict[str, Tensor]:
    tensors = {"w_enc": random(D, F, seed=1, size=0.3), "b_enc": random(F, seed=2), "w_dec": random(F, D, seed=3),
               "b_dec": random(D, seed=4), "threshold": 1 + random(F, seed=5).abs(),
               "affine_skip_connection": random(D, D, seed=6, size=0.3)}  # fmt: skip
    save_file(tensors, folder / "params.safetensors")
    said = {"architecture": "jump_relu", "model_name": "gemma-3-270m", "affine_connection": True}
    (folder / "config.json").write_text(json.dumps(said))
    return tensors


def elsewhere_cases() -> Iterator[tuple[str, Case]]:
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.saes import SAE

    def saelens_reads(loader: Any, folder: Path, name: str, repo: str = "org/repo") -> Any:
        def local(repo_id: str = "", filename: str = "", subfolder: str = "", **_: Any) -> str:
            return str(folder / Path(subfolder.removeprefix(name).strip("/")) / Path(filename).name)

        shapes = {n: list(t.shape) for n, t in load_file(folder / "params.safetensors").items()} if (
            folder / "params.safetensors"
        ).exists() else {}  # fmt: skip
        with mock.patch.object(loaders, "hf_hub_download", local), mock.patch.object(
            loaders, "get_safetensors_tensor_shapes", lambda *_: shapes
        ):  # fmt: skip
            cfg, state, _ = loader(repo, name, device="cpu", cfg_overrides={"dtype": "float32", "d_sae": F, "d_in": D})
        cfg = loaders.handle_config_defaulting(cfg)
        kind = SAE.get_sae_class_for_architecture(cfg["architecture"])
        sae = kind(SAE.get_sae_config_class_for_architecture(cfg["architecture"]).from_dict(cfg))
        sae.load_state_dict(state)
        return sae

    def gemma_1(folder: Path) -> Any:
        names = {"w_enc": "W_enc", "w_dec": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec", "threshold": "threshold"}
        arrays = {new: gemma(folder)[old].numpy() for old, new in names.items()}
        (folder / "params.safetensors").unlink()
        (folder / "config.json").unlink()
        np.savez(folder / "params.npz", **arrays)
        name, repo = "layer_5/width_16k/average_l0_7", "google/gemma-scope-2b-pt-res"
        sae, x = saelens_reads(loaders.gemma_2_sae_huggingface_loader, folder, name, repo), inputs()
        return x, sae.encode(x), sae.decode(sae.encode(x))

    def gemma_2_saelens(folder: Path) -> Any:
        gemma(folder)
        sae, x = saelens_reads(loaders.gemma_3_sae_huggingface_loader, folder, "transcoder/layer_5_affine"), inputs()
        return x, sae.encode(x), sae(x)

    def gemma_2_circuit_tracer(folder: Path) -> Any:
        from circuit_tracer.transcoder.single_layer_transcoder import load_gemma_scope_2_transcoder

        gemma(folder)
        made, x = load_gemma_scope_2_transcoder(str(folder / "params.safetensors"), 5), inputs()
        return x, made.encode(x), made(x)

    def llama(folder: Path) -> Any:
        dec = torch.nn.functional.normalize(random(F, D, seed=3), dim=1)  # as released: length 1
        tensors = {"encoder.weight": random(F, D, seed=1, size=0.3), "encoder.bias": random(F, seed=2),
                   "decoder.weight": dec.T.contiguous(), "decoder.bias": random(D, seed=4)}  # fmt: skip
        (folder / "checkpoints").mkdir()
        save_file(tensors, folder / "checkpoints" / "final.safetensors")
        hook = "blocks.5.hook_resid_post"
        said = {"d_model": D, "d_sae": F, "hook_point_in": hook, "hook_point_out": hook, "act_fn": "jumprelu",
                "jump_relu_threshold": 0.4, "norm_activation": "dataset-wise", "top_k": 50,
                "dataset_average_activation_norm": {"in": 9.0, "out": 9.0}}  # fmt: skip
        (folder / "hyperparams.json").write_text(json.dumps(said))
        sae, x = saelens_reads(loaders.llama_scope_sae_huggingface_loader, folder, "name"), inputs()
        sae.fold_activation_norm_scaling_factor(D**0.5 / 9.0)
        return x, sae.encode(x), sae.decode(sae.encode(x))

    yield "Gemma Scope 1, as SAELens reads it", gemma_1
    yield "Gemma Scope 2 transcoder, as SAELens reads it", gemma_2_saelens
    yield "Gemma Scope 2 transcoder, as circuit-tracer reads it", gemma_2_circuit_tracer
    yield "Llama Scope, as SAELens reads it", llama


LIBRARIES: dict[str, Callable[[], Iterator[tuple[str, Case]]]] = {
    "SAELens": saelens_cases, "sparsify": sparsify_cases, "dictionary_learning": dictionary_learning_cases,
    "circuit-tracer": circuit_tracer_cases, "another's loader": elsewhere_cases,
}  # fmt: skip


def make(folder: Path) -> list[dict[str, str]]:
    """Every case's files and what is known of them; cases that the tool itself cannot do are said."""
    made = []
    for library, cases in LIBRARIES.items():
        for i, (name, case) in enumerate(cases()):
            own = folder / library.replace(" ", "_") / str(i) / ("layers.3" if library == "sparsify" else "files")
            own.mkdir(parents=True)
            row = {"library": library, "case": name, "folder": str(own), "failed": ""}
            try:
                with torch.no_grad():
                    x, codes, y = case(own)
                known = {"x": x, "codes": codes.to_dense() if codes.is_sparse else codes, "y": y}
                save_file({n: v.detach().float().contiguous().clone() for n, v in known.items()}, own.parent / KNOWN)
            except NotImplementedError as error:
                row["failed"] = str(error)
            except Exception:
                row["failed"] = traceback.format_exc(limit=3).splitlines()[-1]
            made.append(row)
    return made


def load(folder: Path) -> list[dict[str, str]]:
    """Load what another tool wrote, as named by job.json, and store this tool's codes and reconstructions."""
    from implementations.exchange_loads import LOADERS

    rows = json.loads((folder / "job.json").read_text())
    for row in rows:
        own = Path(row["folder"])
        try:
            with torch.no_grad():
                codes, y = LOADERS[row["library"]](own, load_file(own.parent / KNOWN)["x"])
            found = {"codes": codes.to_dense() if codes.is_sparse else codes, "y": y}
            save_file(
                {n: v.detach().float().contiguous().clone() for n, v in found.items()}, own.parent / "found.safetensors"
            )
        except Exception:
            row["failed"] = traceback.format_exc(limit=3).splitlines()[-1]
    return rows


def main() -> None:
    warnings.simplefilter("ignore")
    what, folder = sys.argv[1], Path(sys.argv[2])
    torch.manual_seed(0)
    if what == "wrong":
        from implementations.exchange_loads import wrong

        rows = wrong(folder)
    else:
        rows = make(folder) if what == "make" else load(folder)
    (folder / f"{what}.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()

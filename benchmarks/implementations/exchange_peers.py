"""The real tools, in their own environment: they write files with known codes and read ours. Knows nothing of physalis.

``exchange.py`` starts ``python -m implementations.exchange_peers make|load|wrong|keep FOLDER``. A case is a folder of
files with known.safetensors beside it: inputs, codes (dense) and reconstructions, by the tool itself. ``keep`` packs
the cases of each tool into one archive, with an index that names the tools' versions: tests/peers, which tests read
without the tools.
"""

import json
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from implementations.exchange_cases import (
    Case,
    D,
    F,
    L,
    N,
    dictionary_learning_cases,
    fill,
    inputs,
    random,
    saelens_cases,
    sparsify_cases,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

KNOWN = "known.safetensors"


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


PACKAGES = ("sae-lens", "eai-sparsify", "dictionary-learning", "circuit-tracer", "torch")
INDEX = "cases.json"


def keep(folder: Path) -> dict[str, Any]:
    """The same cases, for tests: an archive for each tool, the same bytes from the same numbers, and the index."""
    with tempfile.TemporaryDirectory() as temporary:
        made = make(Path(temporary))
        rows = []
        for library in LIBRARIES:
            archive = f"{library.replace(' ', '_').replace(chr(39), '')}.zip"
            own = [row for row in made if row["library"] == library and not row["failed"]]
            with zipfile.ZipFile(folder / archive, "w", zipfile.ZIP_DEFLATED) as out:
                for i, row in enumerate(own):
                    files = Path(row["folder"])
                    for path in sorted(each for each in files.parent.rglob("*") if each.is_file()):
                        name = f"{i}/{path.relative_to(files.parent)}"
                        out.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
                    rows.append({"library": library, "case": row["case"], "archive": archive,
                                 "folder": f"{i}/{files.name}"})  # fmt: skip
    failed = [{name: row[name] for name in ("library", "case", "failed")} for row in made if row["failed"]]
    return {"versions": {name: version(name) for name in PACKAGES}, "cases": rows, "failed": failed}


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
    if what == "keep":
        (folder / INDEX).write_text(json.dumps(keep(folder), indent=1) + "\n")
        return
    if what == "wrong":
        from implementations.exchange_loads import wrong

        rows = wrong(folder)
    else:
        rows = make(folder) if what == "make" else load(folder)
    (folder / f"{what}.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()

"""The tools' own dictionaries, small and by the grid of what changes numbers, with the tools' own codes of them.

Runs in the tools' environment and knows nothing of physalis. A case writes a tool's files into a folder and returns
(inputs, codes, reconstructions) by the tool itself. Weights hide nothing: no direction of length 1 but where a tool
makes them so, no bias or threshold 0.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

D, F, K, N, L = 16, 48, 4, 16, 2
OUT = 12  # width of what a transcoder of another width writes
SCALE = 0.35  # of inputs, where they are scaled while training
STEPS = 150  # of the tools' own trainers
Case = Callable[[Path], tuple[Tensor, Tensor, Tensor]]


def random(*shape: int, seed: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(width: int = D) -> Tensor:
    return 2 + 1.5 * random(N, width, seed=1000)


@torch.no_grad()
def fill(module: torch.nn.Module) -> None:
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


def _said(more: dict[str, Any]) -> str:
    words = {"apply_b_dec_to_input": {True: "b_dec subtracted", False: "b_dec kept"},
             "rescale_acts_by_decoder_norm": {True: "by length", False: "not by length"}}  # fmt: skip
    return ", ".join(words.get(name, {}).get(value, str(value)) for name, value in more.items() if value != "none")


# SAELens


def saelens_cases() -> Iterator[tuple[str, Case]]:
    yield from _saelens_inference()
    yield from _saelens_transcoders()
    yield from _saelens_training()


def _saelens_inference() -> Iterator[tuple[str, Case]]:
    from sae_lens import saes

    pursuit = {"residual_threshold": 0.0, "max_iterations": K, "stop_on_duplicate_support": False}
    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "standard": (saes.StandardSAE, saes.StandardSAEConfig, {}),
        "gated": (saes.GatedSAE, saes.GatedSAEConfig, {}),
        "topk": (saes.TopKSAE, saes.TopKSAEConfig, {"k": K}),
        "jumprelu": (saes.JumpReLUSAE, saes.JumpReLUSAEConfig, {}),
        "matching_pursuit": (saes.MatchingPursuitSAE, saes.MatchingPursuitSAEConfig, pursuit),
    }

    def case(folder: Path, name: str, **more: Any) -> tuple[Tensor, Tensor, Tensor]:
        kind, config, own = kinds[name]
        dtype = more.pop("dtype", "float32")
        sae = kind(config(d_in=D, d_sae=F, dtype=dtype, **own, **more))
        fill(sae)
        if name == "matching_pursuit":
            sae.W_dec.data = torch.nn.functional.normalize(sae.W_dec.data, dim=1)
        if more.get("reshape_activations") == "hook_z":
            sae.cfg.metadata.hook_name = "blocks.1.attn.hook_z"
        sae.save_model(folder)
        if more.get("normalize_activations") == "expected_average_only_in":
            (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": SCALE}))
        sae = saes.SAE.load_from_disk(folder, dtype="float32")
        if more.get("normalize_activations") == "expected_average_only_in":
            sae.fold_activation_norm_scaling_factor(SCALE)
        x = inputs()
        if more.get("reshape_activations") == "hook_z":
            heads = x.view(N, 4, D // 4)
            return x, sae.encode(heads), sae.decode(sae.encode(heads)).flatten(1)
        return x, sae.encode(x), sae.decode(sae.encode(x))

    def cases() -> Iterator[tuple[str, dict[str, Any]]]:
        for name in kinds:
            lengths: list[dict[str, Any]] = [{"rescale_acts_by_decoder_norm": v} for v in (False, True)]
            for length in lengths if name == "topk" else [{}]:
                for apply, norm in product((True, False), ("none", "layer_norm")):
                    yield name, {"apply_b_dec_to_input": apply, "normalize_activations": norm} | length
                yield name, {"normalize_activations": "expected_average_only_in"} | length
        for name in ("standard", "topk"):
            yield name, {"reshape_activations": "hook_z"}
        for name, dtype in (("standard", "bfloat16"), ("topk", "float16"), ("jumprelu", "bfloat16")):
            yield name, {"dtype": dtype}

    for name, more in cases():
        yield f"{name}, {_said(more)}", lambda folder, name=name, more=more: case(folder, name, **more)


def _saelens_transcoders() -> Iterator[tuple[str, Case]]:
    from sae_lens import saes

    kinds = {
        "transcoder": (saes.Transcoder, saes.TranscoderConfig),
        "skip_transcoder": (saes.SkipTranscoder, saes.SkipTranscoderConfig),
        "jumprelu_transcoder": (saes.JumpReLUTranscoder, saes.JumpReLUTranscoderConfig),
        "jumprelu_skip_transcoder": (saes.JumpReLUSkipTranscoder, saes.JumpReLUSkipTranscoderConfig),
    }
    for (name, (kind, config)), out in product(kinds.items(), (D, OUT)):

        def case(folder: Path, kind: Any = kind, config: Any = config, out: int = out) -> Any:
            made = kind(config(d_in=D, d_sae=F, d_out=out, apply_b_dec_to_input=False))
            fill(made)
            made.save_model(folder)
            x = inputs()
            codes = made.encode(x)
            return x, codes, made(x) if "Skip" in kind.__name__ else made.decode(codes)

        yield f"{name}, {D} to {out}", case


def _saelens_training() -> Iterator[tuple[str, Case]]:
    from sae_lens import saes

    ranked = ({"rescale_acts_by_decoder_norm": True}, {"rescale_acts_by_decoder_norm": False})
    nested = {"k": K, "matryoshka_widths": [16, F]}
    kinds: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("standard", saes.StandardTrainingSAE, saes.StandardTrainingSAEConfig, {}),
        ("gated", saes.GatedTrainingSAE, saes.GatedTrainingSAEConfig, {}),
        ("jumprelu", saes.JumpReLUTrainingSAE, saes.JumpReLUTrainingSAEConfig, {}),
    ]
    for more in ranked:
        kinds += [
            ("topk", saes.TopKTrainingSAE, saes.TopKTrainingSAEConfig, {"k": K, **more}),
            ("batchtopk", saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig, {"k": K, **more}),
            ("matryoshka_batchtopk", saes.MatryoshkaBatchTopKTrainingSAE, saes.MatryoshkaBatchTopKTrainingSAEConfig,
             {**nested, **more}),
        ]  # fmt: skip
    for (name, kind, config, more), norm, form in product(
        kinds, ("none", "expected_average_only_in", "layer_norm"), ("inference", "checkpoint")
    ):

        def case(
            folder: Path, kind: Any = kind, config: Any = config, more: Any = more, norm: str = norm, form: str = form
        ) -> Any:
            sae = kind(config(d_in=D, d_sae=F, normalize_activations=norm, **more))
            fill(sae)
            folded = deepcopy(sae)  # as the tool's trainer does once it is done
            if norm == "expected_average_only_in":
                folded.fold_activation_norm_scaling_factor(SCALE)
            folded.save_inference_model(folder / "inference")
            if form == "checkpoint":
                sae.save_model(folder)
                if norm == "expected_average_only_in":
                    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": SCALE}))
            made = saes.SAE.load_from_disk(folder / "inference")
            for each in (folder / "inference").iterdir():
                if form == "inference":
                    each.rename(folder / each.name)
                else:
                    each.unlink()
            (folder / "inference").rmdir()
            x = inputs()
            return x, made.encode(x), made.decode(made.encode(x))

        length = {key: value for key, value in more.items() if key == "rescale_acts_by_decoder_norm"}
        yield ", ".join(filter(None, (name, _said(length), norm, f"{form} file"))), case


# sparsify


def sparsify_cases() -> Iterator[tuple[str, Case]]:
    from sparsify import SparseCoder, SparseCoderConfig

    def case(folder: Path, *, dtype: torch.dtype = torch.float32, **more: Any) -> Any:
        coder = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K, **more))
        fill(coder)
        if more["normalize_decoder"]:
            coder.set_decoder_norm_to_unit_norm()
        coder.to(dtype).save_to_disk(folder)
        coder = SparseCoder.load_from_disk(folder).float()
        x = inputs()
        found = coder.encode(x)
        codes = torch.zeros(N, F).scatter_(1, found.top_indices, found.top_acts)
        y = coder.decode(found.top_acts, found.top_indices)
        return x, codes, y if coder.W_skip is None else y + x @ coder.W_skip.mT

    for transcode, skip, unit, multi in product((False, True), repeat=4):
        more = {"transcode": transcode, "skip_connection": skip, "normalize_decoder": unit, "multi_topk": multi}
        said = ["transcoder" if transcode else "topk", *(name for name in more if more[name] and name != "transcode")]
        yield ", ".join(said), lambda folder, more=more: case(folder, **more)
    for dtype in (torch.bfloat16, torch.float16):
        more = {"transcode": False, "skip_connection": False, "normalize_decoder": True, "multi_topk": False}
        yield f"topk, {dtype}", lambda folder, more=more, dtype=dtype: case(folder, dtype=dtype, **more)


# dictionary_learning


def dictionary_learning_cases() -> Iterator[tuple[str, Case]]:
    yield from _classes()
    yield from _trained()


def _classes() -> Iterator[tuple[str, Case]]:
    """Every class, as a finished run stores it and as an interrupted one does; read by its own loader."""
    from dictionary_learning import dictionary, utils
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    kinds: list[tuple[Any, tuple[Any, ...]]] = [
        (dictionary.AutoEncoder, ()), (dictionary.AutoEncoderNew, ()), (dictionary.GatedAutoEncoder, ()),
        (dictionary.JumpReluAutoEncoder, ()), (AutoEncoderTopK, (K,)), (BatchTopKSAE, (K,)),
        (MatryoshkaBatchTopKSAE, (K, [16, F - 16])),
    ]  # fmt: skip
    for (kind, more), form in product(kinds, ("finished", "interrupted")):

        def case(folder: Path, kind: Any = kind, more: tuple[Any, ...] = more, form: str = form) -> Any:
            if kind is dictionary.AutoEncoderNew and form == "interrupted":
                raise NotImplementedError("it has no scale_biases, so the tool cannot train it on scaled inputs")
            ae = kind(D, F, *more)
            fill(ae)
            if kind is not dictionary.AutoEncoder:
                _shorten(ae)
            trainer = {"dict_class": kind.__name__, "k": K, "lm_name": "gpt2", "submodule_name": "resid_post_layer_3"}
            (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"io": "out"}}))
            interrupted = {name: value.clone() for name, value in ae.state_dict().items()}
            if form == "interrupted":
                ae.scale_biases(3.0)
            torch.save({name: value.clone() for name, value in ae.state_dict().items()}, folder / "ae.pt")
            loaded, _ = utils.load_dictionary(str(folder), "cpu")
            if form == "interrupted":
                held = {"step": 5, "ae": interrupted, "optimizer": {}, "config": trainer, "norm_factor": 3.0}
                torch.save(held, folder / "ae.pt")
            x = inputs()
            return x, loaded.encode(x), loaded.decode(loaded.encode(x))

        yield f"{kind.__name__}, {form}", case


def _shorten(ae: torch.nn.Module) -> None:
    """Classes whose loader takes directions as they are get some that are not of length 1, and no length 0."""
    for name, value in ae.state_dict().items():
        if name in ("decoder.weight", "W_dec"):
            value.mul_(0.7)


def _mixed(n: int, *, seed: int) -> Tensor:
    """Sums of a few of 24 directions, about a mean, [n, D]: there is something to learn."""
    directions = torch.nn.functional.normalize(random(24, D, seed=1), dim=1)
    generator = torch.Generator().manual_seed(seed)
    fires = torch.rand(n, 24, generator=generator) < 0.15
    return 1 + (5 * fires * (0.5 + torch.rand(n, 24, generator=generator))) @ directions


def _trained() -> Iterator[tuple[str, Case]]:
    """What each of the tool's trainers leaves after a few steps, with its inputs scaled and not; read by its loader."""
    from dictionary_learning import training, utils
    from dictionary_learning.trainers import batch_top_k as ranked
    from dictionary_learning.trainers import gated_anneal, gdm, jumprelu, p_anneal, standard, top_k
    from dictionary_learning.trainers import matryoshka_batch_top_k as nested

    quick = {"warmup_steps": 5, "sparsity_warmup_steps": 5}
    trainers: list[tuple[Any, dict[str, Any]]] = [
        (standard.StandardTrainer, quick), (standard.StandardTrainerAprilUpdate, quick), (gdm.GatedSAETrainer, quick),
        (p_anneal.PAnnealTrainer, quick | {"anneal_start": 10, "p_end": 0.5}),
        (gated_anneal.GatedAnnealTrainer, quick | {"anneal_start": 10}),
        (jumprelu.JumpReluTrainer, quick | {"target_l0": float(K)}), (top_k.TopKTrainer, {"k": K, "warmup_steps": 5}),
        (ranked.BatchTopKTrainer, {"k": K, "warmup_steps": 5, "threshold_start_step": 5}),
        (nested.MatryoshkaBatchTopKTrainer,
         {"k": K, "warmup_steps": 5, "group_fractions": [0.5, 0.5], "threshold_start_step": 5}),
    ]  # fmt: skip
    for (trainer, more), scaled in product(trainers, (False, True)):

        def case(folder: Path, trainer: Any = trainer, more: dict[str, Any] = more, scaled: bool = scaled) -> Any:
            class Data:
                config = {"io": "out", "ctx_len": 128}

                def __iter__(self) -> Iterator[Tensor]:
                    return (_mixed(64, seed=2000 + step) for step in range(STEPS + 110))

            torch.manual_seed(0)
            config = {"trainer": trainer, "steps": STEPS, "activation_dim": D, "dict_size": F, "layer": 3,
                      "lm_name": "gpt2", "device": "cpu", "submodule_name": "resid_post_layer_3", "seed": 0,
                      **more}  # fmt: skip
            if trainer is gated_anneal.GatedAnnealTrainer:
                del config["submodule_name"]
            torch.set_grad_enabled(True)
            training.trainSAE(Data(), [config], STEPS, save_dir=str(folder), normalize_activations=scaled, device="cpu")
            torch.set_grad_enabled(False)
            for each in (folder / "trainer_0").iterdir():
                each.rename(folder / each.name)
            (folder / "trainer_0").rmdir()
            loaded, _ = utils.load_dictionary(str(folder), "cpu")
            x = _mixed(N, seed=1000)
            return x, loaded.encode(x), loaded.decode(loaded.encode(x))

        yield f"{trainer.__name__}, inputs {'scaled' if scaled else 'as they are'}", case

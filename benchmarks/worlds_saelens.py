"""SAELens on the scaled world: its own synthetic model and runner; run by the peers' environment.

    PEERS/bin/python benchmarks/worlds_saelens.py OUT --seed 0 --architectures topk matryoshka --settings tuned

needs nothing of physalis and writes into OUT
    world.safetensors               the world's arrays, named as ``World.from_arrays`` takes them
    SETTINGS-ARCHITECTURE/sae/      what SAELens saves for inference: cfg.json, sae_weights.safetensors
    SETTINGS-ARCHITECTURE/run.json  {architecture, settings, seed, samples, seconds, sampling, about, versions}
so that both libraries are judged on the same held-out samples of the same world.

SAELens samples as it trains, and that is most of its time. Here its own iterator draws the samples once for all runs of
a seed; each run's ``seconds`` are those of the drawing plus those of its ``SyntheticSAERunner.run`` on what was drawn.

Settings. "defaults": every default of ``SyntheticSAERunnerConfig`` (Adam, 3e-4, constant) and of the architecture's
config, but for what has none: k, width, Matryoshka's inner widths. "tuned": learning rate 3e-3, 100 steps up, the last
third linearly down; nothing else. Matryoshka: inner widths 1/32, 1/8 and 1/2 of the dictionary, as its authors take
128, 512 and 2,048 of 4,096. JumpReLU: the recipe of SAELens's page "Training SAEs" for an asked L0 (quadratic loss,
target_l0 = k, l0_coefficient 5, bandwidth and first threshold .01, activations normalised by their average length).
"""

import argparse
import importlib.metadata
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens import (
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAEConfig,
    LoggingConfig,
    MatryoshkaBatchTopKTrainingSAEConfig,
    TopKTrainingSAEConfig,
)
from sae_lens.synthetic import (
    FoldedNormalMagnitudeConfig,
    HierarchyConfig,
    LinearMagnitudeConfig,
    LowRankCorrelationConfig,
    OrthogonalizationConfig,
    SyntheticActivationIterator,
    SyntheticModel,
    SyntheticModelConfig,
    SyntheticSAERunner,
    SyntheticSAERunnerConfig,
    ZipfianFiringProbabilityConfig,
    synthetic_sae_runner,
)
from safetensors.torch import save_file

FEATURES, D, WIDTH, K = 1_024, 96, 256, 6
SAMPLES, BATCH = 5_000_000, 1_024
ARCHITECTURES = ("topk", "batchtopk", "matryoshka", "jumprelu")
SETTINGS = ("defaults", "tuned")


def world(seed: int) -> SyntheticModel:
    """SynthSAEBench's recipe at 1,024 features in 96 dimensions, 8 roots; children not scaled by parents."""
    return SyntheticModel(
        SyntheticModelConfig(
            num_features=FEATURES,
            hidden_dim=D,
            firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=5e-4),
            hierarchy=HierarchyConfig(
                total_root_nodes=8, branching_factor=4, max_depth=3, mutually_exclusive_portion=1.0,
                compensate_probabilities=True, scale_children_by_parent=False,
            ),
            orthogonalization=OrthogonalizationConfig(num_steps=100, lr=3e-4),
            correlation=LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
            mean_firing_magnitudes=LinearMagnitudeConfig(start=5.0, end=4.0),
            std_firing_magnitudes=FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
            bias=0.5,
            seed=seed,
        )
    )  # fmt: skip


def arrays(model: SyntheticModel) -> dict[str, torch.Tensor]:
    """The world in plain arrays."""
    generator = model.activation_generator
    parent = torch.full((FEATURES,), -1, dtype=torch.int64)
    exclusive = torch.zeros(FEATURES, dtype=torch.bool)
    scaled = torch.zeros(FEATURES, dtype=torch.bool)
    todo = list(model.hierarchy.roots) if model.hierarchy else []
    while todo:
        node = todo.pop()
        exclusive[node.feature_index] = node.mutually_exclusive_children
        scaled[node.feature_index] = node.scale_children_by_parent and len(node.children) > 0
        for child in node.children:
            parent[child.feature_index] = node.feature_index
        todo += node.children
    found = {
        "directions": model.feature_dict.feature_vectors,
        "bias": model.feature_dict.bias,
        "probabilities": generator.firing_probabilities,
        "mean": generator.mean_firing_magnitudes,
        "std": generator.std_firing_magnitudes,
        "factor": model.correlation_matrix.correlation_factor if model.correlation_matrix else torch.zeros(FEATURES, 0),
        "parent": parent,
        "exclusive": exclusive,
        "scaled": scaled,
    }
    return {name: value.detach().contiguous() for name, value in found.items()}


def dictionary(architecture: str) -> Any:
    """The architecture's training config."""
    shape = {"d_in": D, "d_sae": WIDTH}
    if architecture == "topk":
        return TopKTrainingSAEConfig(**shape, k=K)
    if architecture == "batchtopk":
        return BatchTopKTrainingSAEConfig(**shape, k=K)
    if architecture == "matryoshka":
        return MatryoshkaBatchTopKTrainingSAEConfig(
            **shape, k=K, matryoshka_widths=[WIDTH // 32, WIDTH // 8, WIDTH // 2]
        )
    return JumpReLUTrainingSAEConfig(
        **shape, jumprelu_sparsity_loss_mode="quadratic", target_l0=K, l0_coefficient=5.0, jumprelu_bandwidth=0.01,
        jumprelu_init_threshold=0.01, normalize_activations="expected_average_only_in",
    )  # fmt: skip


def schedule(settings: str, steps: int) -> dict[str, Any]:
    if settings == "defaults":
        return {}
    return {"lr": 3e-3, "lr_warm_up_steps": min(100, steps // 3), "lr_decay_steps": steps // 3}


class Drawn:
    """Stands in for SAELens's iterator: what that drew before, from the beginning, and around."""

    rows: np.ndarray

    def __init__(self, *_: Any, **__: Any) -> None:
        self.at = 0

    def __iter__(self) -> "Drawn":
        return self

    def __next__(self) -> torch.Tensor:
        batch = torch.from_numpy(self.rows[self.at : self.at + BATCH].copy())
        self.at = (self.at + BATCH) % len(self.rows)
        return batch


def draw(model: SyntheticModel, path: Path, samples: int) -> float:
    """Draw ``samples``, in whole batches, with SAELens's iterator; seconds that it took."""
    source = SyntheticActivationIterator(
        feature_dict=model.feature_dict, activations_generator=model.activation_generator, batch_size=BATCH
    )
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (samples // BATCH * BATCH, D))
    seconds = 0.0
    for at in range(0, len(rows), BATCH):
        began = time.perf_counter()
        batch = next(source)
        seconds += time.perf_counter() - began
        rows[at : at + BATCH] = batch.detach().numpy()
    Drawn.rows = rows
    return seconds


def run(model: SyntheticModel, architecture: str, settings: str, seed: int, samples: int, sampling: float) -> Any:
    torch.manual_seed(1_000 + seed)  # not the world's own: what starts at random would start at its directions
    rate = schedule(settings, samples // BATCH)
    config = dictionary(architecture)
    runner = SyntheticSAERunner(
        SyntheticSAERunnerConfig(
            synthetic_model=model.cfg, sae=config, training_samples=samples, batch_size=BATCH, device="cpu",
            n_batches_for_norm_estimate=min(1_000, samples // BATCH), run_final_eval=False, output_path=None,
            checkpoint_path=None, logger=LoggingConfig(log_to_wandb=False), **rate,
        ),
        override_synthetic_model=model,
    )  # fmt: skip
    began = time.perf_counter()
    found = runner.run()
    seconds = time.perf_counter() - began
    about = {key: value for key, value in config.to_dict().items() if isinstance(value, int | float | str | list)}
    return found.sae, {
        "architecture": architecture, "settings": settings, "seed": seed, "samples": samples,
        "seconds": round(sampling + seconds, 2), "sampling": round(sampling, 2), "about": about | {"runner": rate},
        "versions": {name: importlib.metadata.version(name) for name in ("sae-lens", "torch")},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    args = parser.parse_args()
    model = world(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(arrays(model), args.out / "world.safetensors")
    wanted = [(a, s) for a in args.architectures for s in args.settings]
    todo = [(a, s) for a, s in wanted if not (args.out / f"{s}-{a}" / "run.json").exists()]
    if todo:
        path = args.out / "drawn.npy"
        torch.manual_seed(args.seed)
        sampling = draw(model, path, args.samples)
        print(f"sampling: {sampling:.1f} s", flush=True)
        synthetic_sae_runner.SyntheticActivationIterator = Drawn
        for architecture, settings in todo:
            sae, about = run(model, architecture, settings, args.seed, args.samples, sampling)
            folder = args.out / f"{settings}-{architecture}"
            sae.save_inference_model(folder / "sae")
            (folder / "run.json").write_text(json.dumps(about, indent=1) + "\n")
            print(json.dumps(about), flush=True)
        path.unlink()
    os._exit(0)  # its libraries leave threads behind that can keep the process alive


if __name__ == "__main__":
    main()

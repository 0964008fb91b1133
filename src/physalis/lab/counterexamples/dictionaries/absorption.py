"""Dictionaries whose error is small and whose features are not the true ones, in worlds with parents and children:
CX-03 (absorption) and CX-04 (hedging). The same two, in larger worlds, for every architecture: ``lab.absorption``."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from physalis.lab.absorption import Absorption, absorbing_world, hedged, measure_absorption
from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.truth import Reading, shares
from physalis.lab.worlds import Sample, World
from physalis.types import Codes

D, SAMPLES, JUDGED = 50, 200_000, 50_000
P, Q = 0.25, 0.5
AWAKE = 0.3
"""The bias that latents start with: at 0, some never fire and stay as they are."""


class Plain(NamedTuple):
    """``codes = relu(x W_enc + b_enc)``, ``y_hat = codes W_dec + b_dec``: nothing but what the claim is about."""

    w_enc: Float32[Tensor, "d features"]
    b_enc: Float32[Tensor, " features"]
    w_dec: Float32[Tensor, "features d"]
    b_dec: Float32[Tensor, " d"]

    @property
    def directions(self) -> Float32[Tensor, "features d"]:
        return self.w_dec

    def read(self, sample: Sample) -> Reading:
        values = torch.relu(sample.x @ self.w_enc + self.b_enc)
        ids = torch.arange(values.shape[1], dtype=torch.int32).expand(values.shape)
        return Reading(Codes(values, ids), values @ self.w_dec + self.b_dec)


def train_plain(
    world: World,
    n_features: int,
    *,
    penalty: float,
    steps: int = 10_000,
    batch: int = 512,
    lr: float = 3e-3,
    seed: int = 0,
) -> Plain:
    """Least squared error and an L1 penalty of a fixed weight, decoder rows of length 1, by Adam at a falling rate."""
    rng = np.random.default_rng([seed, 7])
    x_all = world.sample(SAMPLES, seed=seed).x.numpy()
    dec = rng.normal(size=(n_features, world.d)).astype(np.float32)
    dec /= np.linalg.norm(dec, axis=1, keepdims=True)
    awake = np.full(n_features, AWAKE, np.float32)
    parts = [dec.T.copy(), awake, dec, np.zeros(world.d, np.float32)]
    first, second = ([np.zeros_like(p) for p in parts] for _ in range(2))
    for step in range(1, steps + 1):
        at = int(rng.integers(SAMPLES - batch))
        x = x_all[at : at + batch]
        enc, b_enc, dec, b_dec = parts
        f = np.maximum(x @ enc + b_enc, 0)
        rest = 2 / batch * (f @ dec + b_dec - x)
        back = (rest @ dec.T + penalty / batch) * (f > 0)
        rate = lr * (1 - step / (steps + 1)) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        for p, g, m, s in zip(parts, (x.T @ back, back.sum(0), f.T @ rest, rest.sum(0)), first, second, strict=True):
            m += 0.1 * (g - m)
            s += 0.001 * (g * g - s)
            p -= (rate * m / (np.sqrt(s) + 1e-8)).astype(np.float32)
        dec /= np.maximum(np.linalg.norm(dec, axis=1, keepdims=True), 1e-8)
    return Plain(*(torch.from_numpy(p) for p in parts))


def _absorption(seed: int, *, implied: bool) -> Absorption:
    """Judged where children do have parents, whatever the dictionary was trained on."""
    trained = train_plain(absorbing_world(groups=1, d=D, implied=implied, seed=seed), 4, penalty=0.01, seed=seed)
    return measure_absorption(trained, absorbing_world(groups=1, d=D, seed=seed), samples=JUDGED)


def absorption(seed: int) -> Gap:
    found, control = _absorption(seed, implied=True), _absorption(seed, implied=False)
    return Gap(
        naive=found.recall_without,
        truth=found.recall_with,
        control_naive=control.recall_without,
        control_truth=control.recall_with,
        beside={
            "the parent's share in what the child's feature writes": found.child_writes[0],
            "features that fire, less the true number": found.l0 - found.true_l0,
        },
    )


CX_03 = Counterexample(
    id="CX-03",
    belief="A sparse dictionary with room for every feature recovers the true ones.",
    model="Four orthogonal features in R^50, of which one never fires without another, its parent; four latents and an "
    "L1 penalty.",
    naive="Nearly all variance is explained, and the parent's latent fires wherever the parent does alone.",
    truth="Where the child is there too, the parent's latent is silent: the child's writes both directions. One fewer "
    "fires, which is what the penalty pays for.",
    scale="recall of the parent's latent: without the child (naive), with it (truth)",
    control="the same features, independent of each other",
    source="Chanin et al. 2024, A is for Absorption, arXiv 2409.14507",
    warns="lab.measure_absorption, and absorption in lab.score, on worlds; of a real model nothing can know.",
    run=absorption,
    least=0.9,
    spared=0.1,
    beside={
        "the parent's share in what the child's feature writes": (0.6, 0.8),
        "features that fire, less the true number": (-0.1, -0.02),
    },
    fast=False,
)


def pair(q: float, *, implied: bool, seed: int) -> World:
    """A parent, and a child that fires beside it with probability ``q``, or as often but independently."""
    random = torch.Generator().manual_seed(seed)
    return World.from_arrays(
        torch.linalg.qr(torch.randn(D, 2, generator=random)).Q.T.contiguous(),
        torch.tensor([P, q if implied else P * q], dtype=torch.float64),
        mean=torch.ones(2),
        std=torch.zeros(2),
        parent=torch.tensor([-1, 0 if implied else -1]),
        about={"world": "pair", "q": q, "implied": implied, "seed": seed},
    )


def childs_share(seed: int, *, q: float, implied: bool) -> float:
    """Of what a single latent writes."""
    world = pair(q, implied=implied, seed=seed)
    w = train_plain(world, 1, penalty=1e-3, steps=4_000, seed=seed).w_dec.double()
    return abs(float(shares(w, *world.directions.double()[:, None])[0, 1]))


def hedging(seed: int) -> Gap:
    share, control, rare = (childs_share(seed, q=q, implied=on) for q, on in ((Q, True), (Q, False), (0.2, True)))
    return Gap(
        naive=0.0,
        truth=share,
        control_naive=0.0,
        control_truth=control,
        beside={
            "off what least error asks for, q = .5": abs(share - hedged(Q, p=P)[1]),
            "off what least error asks for, q = .2": abs(rare - hedged(0.2, p=P)[1]),
        },
    )


CX_04 = Counterexample(
    id="CX-04",
    belief="A dictionary that is too narrow finds some of the features, and those are right.",
    model="A parent, a child that fires beside it half of the time, and one latent.",
    naive="The latent is most like the parent, so it is the parent: nothing of the child is in it.",
    truth="It writes part of the child as well, because that lowers the error where there is no latent for the child.",
    scale="the child's share in what the parent's latent writes",
    control="a child as frequent, but independent of the parent",
    source="Chanin et al. 2025, Feature Hedging, arXiv 2505.11756",
    warns="lab.measure_hedging, and hedging in lab.score, on worlds; widths compared by `physalis sweep`.",
    run=hedging,
    least=0.4,
    spared=0.1,
    beside={
        "off what least error asks for, q = .5": (0, 0.05),
        "off what least error asks for, q = .2": (0, 0.05),
    },
    fast=False,
)

"""Traps for what finds features: CX-03, CX-04, CX-06, CX-13 by their directions, CX-03 and CX-22 by their codes."""

import numpy as np
import torch
from jaxtyping import Float

from physalis.lab.absorption import absorbing_world, hedging_world
from physalis.lab.counterexamples.dictionaries.circle import SAMPLES, circle, cross, distinct
from physalis.lab.counterexamples.dictionaries.reconstruction import LATENTS, TRUE, K, crowded, roomy
from physalis.lab.traps.base import Coder, FeatureFinder, Outcome, Trap, answered, correlation
from physalis.lab.truth import shares
from physalis.lab.worlds import World

N = 50_000
LIKE = 0.5
"""The |cosine| below which a feature resembles nothing."""


def _find(method: FeatureFinder, x: np.ndarray, n_features: int, k: int) -> Float[np.ndarray, "features d"]:
    found = answered(method.find_features(x, n_features, k), (None, x.shape[1]), method, "find_features")
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def _code(method: Coder, x: np.ndarray, n_features: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    codes, directions = method.find_codes(x, n_features, k)
    codes = answered(codes, (len(x), None), method, "find_codes")
    return codes, answered(directions, (codes.shape[1], x.shape[1]), method, "find_codes")


def _stray(found: np.ndarray, world: World, of: np.ndarray, other: np.ndarray) -> float:
    """Mean share of ``other`` in the directions that most resemble ``of``, over those that one resembles; 1 where
    these are fewer than half."""
    truth = world.directions.double()
    cosine = np.abs(found @ truth[of].numpy().T)
    best = torch.from_numpy(found[cosine.argmax(0)]).double()
    share = shares(best, truth[of], truth[other])[:, 1].abs().numpy()
    there = cosine.max(0) > LIKE
    return float(share[there].mean()) if there.mean() >= 0.5 else 1.0


def _absorbed(method: FeatureFinder, seed: int) -> Outcome:
    child, parent = np.arange(1, 20, 4), np.arange(0, 20, 4)
    stray = []
    for implied in (True, False):
        world = absorbing_world(implied=implied, seed=seed)
        found = _find(method, world.sample(N, seed=seed).x.numpy(), 20, 2)
        stray.append(_stray(found, world, child, parent))
    return Outcome(*stray)


def _silent(method: Coder, seed: int) -> Outcome:
    """In the control false alarms count too: what always fires misses nothing."""
    lost, codes, there, of = [], np.empty(0), np.empty(0), np.empty(0)
    for implied in (True, False):
        world = absorbing_world(implied=implied, seed=seed)
        x = world.sample(N, seed=seed).x.numpy()
        codes, directions = _code(method, x, 20, 2)
        unit = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
        there, of = x @ world.directions.numpy().T > 0.5, np.abs(unit @ world.directions.numpy().T).argmax(0)
        each = []
        for parent in range(0, 20, 4):
            fires, child = codes[there[:, parent], of[parent]] > 0, there[there[:, parent], parent + 1]
            each.append(float(fires[~child].mean() - fires[child].mean()))
        lost.append(abs(float(np.mean(each))))
    alarms = [float((codes[~there[:, parent], of[parent]] > 0).mean()) for parent in range(0, 20, 4)]
    return Outcome(lost[0], max(lost[1], float(np.mean(alarms))))


def _hedged(method: FeatureFinder, seed: int) -> Outcome:
    stray = []
    for implied in (True, False):
        world = hedging_world(0.5, implied=implied, seed=seed)
        found = _find(method, world.sample(N, seed=seed).x.numpy(), 4, 1)
        stray.append(_stray(found, world, np.arange(4), np.arange(4, 8)))
    return Outcome(*stray)


def _missed(method: FeatureFinder, seed: int) -> Outcome:
    missed = []
    for world, n_features, k in ((crowded(seed=seed), LATENTS, K), (roomy(seed=seed), 20, 3)):
        found = _find(method, world.sample(N, seed=seed).x.numpy(), n_features, k)
        own = found[found.any(1)]
        right = np.abs(own @ world.directions.numpy().T).max(1, initial=0.0) > TRUE
        missed.append(1 - float(right.mean()) if len(own) else 1.0)
    return Outcome(*missed)


def _tiled(method: FeatureFinder, seed: int) -> Outcome:
    counts = []
    for x in (circle(SAMPLES, seed=seed), cross(SAMPLES, seed=seed)):
        found, plane = _find(method, x, 16, 1), np.linalg.eigh(np.cov(x.T))[1][:, -2:]
        inside = np.linalg.norm(found @ plane, axis=1) > 0.9
        n = distinct(found[inside])
        counts.append(float(n if n > 1 else len(found)))  # a plane that is not found is no plane of few
    return Outcome(*counts)


def _shrunk(method: Coder, seed: int) -> Outcome:
    """One of 32 features at a time, of several strengths. With fewer, codes might count from the mean, which is then
    far from 0, and that is not what is asked."""
    rng = np.random.default_rng(seed)
    which, strength = rng.integers(32, size=N), rng.uniform(0.5, 2.0, N)
    ways = np.linalg.qr(rng.normal(size=(40, 32)))[0].T
    codes, directions = _code(method, (strength[:, None] * ways[which]).astype(np.float32), 32, 1)
    length = np.linalg.norm(directions, axis=1)
    cosine = np.abs(directions @ ways.T) / np.maximum(length[:, None], 1e-12)
    ratio, order = [], []
    for feature in np.flatnonzero(cosine.max(0) > LIKE):
        by = int(cosine[:, feature].argmax())
        both = (which == feature) & (codes[:, by] > 0)
        if both.sum() > 100:
            said = codes[both, by] * length[by]
            ratio.append(said.mean() / strength[both].mean())
            order.append(correlation(said, strength[both]))
    return Outcome(abs(1 - float(np.mean(ratio))), 1 - float(np.mean(order))) if len(ratio) >= 16 else Outcome(1.0, 1.0)


FEATURE_TRAPS = (
    Trap(
        id="CX-03",
        name="absorption",
        protocol=FeatureFinder,
        measures="share of the parent in the child's direction (absorbed: .71)",
        most=0.15,
        run=_absorbed,
    ),
    Trap(
        id="CX-04",
        name="hedging",
        protocol=FeatureFinder,
        measures="share of the child in the parent's direction (least error: .55)",
        most=0.2,
        run=_hedged,
    ),
    Trap(
        id="CX-06",
        name="too many features",
        protocol=FeatureFinder,
        measures="share of the directions found that are not true ones",
        most=0.5,
        run=_missed,
    ),
    Trap(
        id="CX-13",
        name="a circle",
        protocol=FeatureFinder,
        measures="directions laid into a plane that needs four",
        most=5,
        run=_tiled,
    ),
    Trap(
        id="CX-03",
        name="absorption, by codes",
        protocol=Coder,
        measures="recall that the parent's feature loses where its child is there (control: or false alarms)",
        most=0.2,
        run=_silent,
    ),
    Trap(
        id="CX-22",
        name="shrinkage",
        protocol=Coder,
        measures="mean code against the true strength, 0 if equal (control: 1 - correlation)",
        most=0.05,
        run=_shrunk,
    ),
)

"""What may have killed features, each with the numbers that raise the suspicion and the change that would put it right.

A suspicion is no verdict: the change is made, alone, in a repeat of the training, and whoever then lives was killed by
what it put right.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from physalis.artifact import Manifest
from physalis.dead_features.evidence import Counts, Spread, alignment
from physalis.dead_features.records import CENTRING, INITIAL_SCALE, LEARNING_RATE, OUTLIERS, PENALTY
from physalis.dead_features.replay import Change
from physalis.dictionaries import Dictionary, Linear
from physalis.dictionaries.kernels import rows
from physalis.training.training import learning_rate
from physalis.types import Batch

UNCENTRED = 0.5
"""Of ``Spread.offset``. Where arXiv 2605.31518 found no deaths, it was below 1."""
FAST = 2.0  # times the learning rate that ``train`` would choose
SPIKE = 2.0  # times the lowest FVU before
OFF = 3.0  # times the length that fits the first rows; or the share of the others' length, or the reverse
SLOWER = 3.0


class Suspicion(NamedTuple):
    """A possible cause."""

    name: str
    because: str
    """What was measured, in a sentence."""
    change: Change
    """What would put it right."""
    fix: str
    """How a user makes the change, in a sentence."""


class Scene(NamedTuple):
    """All that suspicions are raised from."""

    about: Manifest
    young: Dictionary
    """As training started."""
    sample: list[Batch]
    """Of the training's batches, centred and scaled."""
    spread: Spread
    """Of their x."""
    at_start: Counts
    dead: Tensor
    """[features], bool; on the CPU."""
    log: list[dict[str, Any]]


def suspicions(scene: Scene) -> Iterator[Suspicion]:
    """Every possible cause that the numbers do not rule out."""
    for suspect in (_initial_scale, _centring, _outliers, _learning_rate, _penalty):
        found = suspect(scene)
        if found is not None:
            yield found


def _initial_scale(scene: Scene) -> Suspicion | None:
    young, first = scene.young, scene.sample[0]
    if not isinstance(young, Linear) or young.enc is young.dec:
        return None
    fired = scene.at_start.fired > 0
    silent = scene.dead & ~fired
    length, bias = young.enc.data.norm(dim=1).cpu(), young.b_enc.data.cpu()
    usual, usual_bias = (_middle(each, fired) for each in (length, bias))
    deviation = (first.x @ young.enc.data.T).std(0).cpu()
    odd = silent & (
        (length > OFF * usual) | (length * OFF < usual) | ((bias - usual_bias).abs() > OFF * deviation.clamp_min(1e-30))
    )
    fit = _fit(young, first)
    if int(odd.sum()) * 10 < int(scene.dead.sum()) and 1 / OFF < fit < OFF:
        return None
    because = (
        f"{int(odd.sum()):,} did not fire at the start: their encoder rows had length {_middle(length, odd):.3g} "
        f"and bias {_middle(bias, odd):.3g}, those that fired {usual:.3g} and {usual_bias:.3g}"
        if odd.any()
        else f"the encoder started {1 / fit:.3g} times as long as the length that rebuilds the first rows best"
    )

    def settle(dictionary: Dictionary) -> None:
        assert isinstance(dictionary, Linear)
        own = dictionary.enc.data.norm(dim=1, keepdim=True).clamp_min(1e-30)
        dictionary.enc.data.mul_(usual / own)
        dictionary.b_enc.data.fill_(usual_bias if fired.any() else 0.0)
        dictionary.enc.refresh()
        dictionary.fit(rows.top(first.x, dictionary.enc, dictionary.b_enc, dictionary.config.k), first.y)

    fix = f"Start all encoder rows at one length, about {usual * _fit(young, first):.2g}, with bias {usual_bias:.2g}."
    return Suspicion(INITIAL_SCALE, because, Change(start=settle), fix)


@torch.no_grad()
def _fit(dictionary: Linear, batch: Batch) -> float:
    """What the encoder would have to be multiplied by to rebuild the batch best."""
    codes = rows.top(batch.x, dictionary.enc, dictionary.b_enc, dictionary.config.k)
    guess = rows.add_rows(codes, dictionary.dec, torch.zeros_like(batch.y))
    return float((guess * batch.y).sum() / guess.square().sum().clamp_min(1e-12))


def _middle(values: Tensor, of: Tensor) -> float:
    return float((values[of] if of.any() else values).median())


def _centring(scene: Scene) -> Suspicion | None:
    spread = scene.spread
    if spread.offset < UNCENTRED:
        return None
    along = alignment(scene.young.reads(torch.arange(len(scene.dead), device=spread.mean.device)), spread.mean)
    mean_y = torch.cat([batch.y for batch in scene.sample]).mean(0)
    change = _of_batches(lambda x: x - spread.mean, lambda y: y - mean_y)
    dead, living = _middle(along, scene.dead), _middle(along, ~scene.dead)
    because = (
        f"the mean that training did not subtract is {spread.offset:.2f} times as long as the deviation; what they read"
        f" at the start has cosine {dead:.2f} with it, what the living read {living:.2f}"
    )
    fix = "Subtract the mean before training (arXiv 2605.31518): Activations recorded with `physalis record` keep it."
    return Suspicion(CENTRING, because, change, fix)


def _outliers(scene: Scene) -> Suspicion | None:
    spread = scene.spread
    ids = spread.outliers.nonzero().flatten().tolist()
    if not ids:
        return None
    usual = spread.deviation[~spread.outliers].median()
    shrink = torch.where(spread.outliers, usual / spread.deviation, 1.0)
    x = torch.cat([batch.x for batch in scene.sample])
    level = float((x * shrink).square().mean().rsqrt())
    same = scene.sample[0].y is scene.sample[0].x
    change = _of_batches(lambda x: x * shrink * level, (lambda y: y * shrink * level) if same else (lambda y: y))
    named = ", ".join(str(i) for i in ids[:5]) + (", …" if len(ids) > 5 else "")
    times = float((spread.deviation[spread.outliers] / usual).median())
    because = (
        f"{len(ids)} of {len(spread.deviation)} dimensions ({named}) hold {spread.share:.0%} of the variance: their "
        f"deviation is {times:.0f} times the usual one"
    )
    fix = (
        f"Divide dimension{'s' * (len(ids) > 1)} {named} by about {times:.0f} before training, leave out the positions "
        "where they are large, or choose a site without them."
    )
    return Suspicion(OUTLIERS, because, change, fix)


def _of_batches(of_x: Callable[[Tensor], Tensor], of_y: Callable[[Tensor], Tensor]) -> Change:
    def change(batch: Batch) -> Batch:
        x = of_x(batch.x)
        return Batch(x, x if batch.y is batch.x else of_y(batch.y))

    return Change(batch=change)


def _learning_rate(scene: Scene) -> Suspicion | None:
    t = scene.about.config["training"]
    lr, usual = t["lr"], learning_rate(scene.young.config.d_out)
    fvu = [row["fvu"] for row in scene.log]
    spike = max((b / max(min(fvu[: i + 1]), 1e-12) for i, b in enumerate(fvu[1:])), default=1.0)
    if lr <= FAST * usual and spike < SPIKE:
        return None
    slower = usual if lr > FAST * usual else lr / SLOWER
    step = lr * scene.young.config.d_out**0.5
    because = (
        f"the learning rate rose to {lr:.3g}, where {usual:.3g} is usual: a step may move a direction by {step:.2g} "
        f"times its length, and the FVU rose to {spike:.1f} times its lowest before"
    )
    return Suspicion(LEARNING_RATE, because, Change(lr=slower), f"Train with --lr {slower:.2g}, not {lr:.2g}.")


def _penalty(scene: Scene) -> Suspicion | None:
    if not hasattr(scene.young, "asked"):
        return None

    def without(dictionary: Dictionary) -> None:
        dictionary.asked.register_forward_hook(lambda module, args, weight: 0 * weight)  # pyright: ignore

    k, l0 = scene.young.config.k, scene.log[-1]["l0"] if scene.log else float("nan")
    because = f"a sparsity penalty holds L0 at {l0:.1f} where {k} were asked for"
    fix = f"Ask for more than --k {k}, or train topk, which has no penalty."
    return Suspicion(PENALTY, because, Change(start=without), fix)

"""judging: whether an imported dictionary is what its files say, in numbers, check by check.

1. The weights alone (``weights``): finite, layout, lengths, gain.
2. On activations of its site (``readings``): what it explains as read, against other scales, layouts, centrings and
   thresholds; then L0, FVU and the site against what the files claim.
3. On the model: which site it fits best, and what it does at the BOS position.
What neither could tell is said to be unverified.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.activations import Hygiene
from physalis.dictionaries import Crosscoder, Dictionary, MatchingPursuit, TopK
from physalis.exchange import names, readings, weights
from physalis.exchange.checks import Check, ok, unverifiable, wrong
from physalis.exchange.imported import Claims, Imported
from physalis.exchange.readings import HOPELESS, Measured
from physalis.models import Model
from physalis.placement.origin import listed, place
from physalis.recording.contexts import blocks
from physalis.site import LAYERED, Site
from physalis.training.training import Source
from physalis.types import Batch

NEEDS = ("scale", "centring", "L0", "FVU", "site", "BOS", "dead features")
"""What cannot be told without activations."""
CONTEXTS, CONTEXT = 8, 128  # that go through the model
EXPLAINS = 0.5  # share of variance left unexplained below which a site is worth a try
AT_A_SITE = 128  # rows that each of its sites is tried on


@dataclass(frozen=True, slots=True)
class Verdict:
    """The checks, in order."""

    checks: tuple[Check, ...]

    @property
    def wrong(self) -> tuple[Check, ...]:
        """What contradicts the files, or cannot be right."""
        return tuple(check for check in self.checks if check.outcome == "wrong")

    @property
    def unverified(self) -> tuple[Check, ...]:
        """What was neither confirmed nor contradicted."""
        return tuple(check for check in self.checks if check.outcome == "unverifiable")

    def __getitem__(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)

    def to_dict(self) -> list[dict[str, Any]]:
        """As it is stored in manifests."""
        return [check.to_dict() for check in self.checks]


def verdict(imported: Imported, source: Source | None = None, model: Model | None = None) -> Verdict:
    """Judge an imported dictionary by its weights, on ``source`` (activations of its site, as ``train`` reads them) and
    on ``model``, as far as they are given. Nothing is changed.

    Raises nothing for a dictionary that is wrong: the checks say so.
    """
    found = weights.judge(imported)
    if found[0].outcome == "wrong":
        return Verdict(tuple(found))
    found.append(names.judge(imported, source, model))
    d = imported.dictionary
    if source is None:
        site = f" ({' and '.join(imported.claims.sites)})" if imported.claims.sites else ""
        found += [unverifiable(name, f"Not looked at: give activations of its site{site}.") for name in NEEDS]
        if model is not None and not imported.claims.sites:
            found = [*found[: -len(NEEDS)], *_unnamed(imported, model, found[-len(NEEDS) :])]
        return Verdict(tuple(found))
    if (source.d_in, source.d_out) != (d.config.d_in, d.config.d_out):
        found.append(
            wrong(
                "site",
                f"It reads width {d.config.d_in} and writes {d.config.d_out}; these activations have {source.d_in} and "
                f"{source.d_out}. They are of another site or another model.",
            )
        )
        return Verdict(tuple(found))
    rows = readings.rows_of(source, d)
    measured, more = readings.judge(imported, rows, source.frame.mean_out.to(rows.x.device))
    by_model = None if model is None else _Passes(imported, source, model)
    found += [
        *more,
        _l0(imported, measured),
        _fvu(imported.claims, measured, len(rows.x)),
        _site(imported, source, by_model),
    ]
    found += [_bos(imported.claims, source, by_model), _dead(measured, len(rows.x))]
    return Verdict(tuple(found))


def _l0(imported: Imported, m: Measured) -> Check:
    claimed, measured = imported.claims.l0, round(m.l0, 2)
    if claimed is None:
        return unverifiable("L0", f"{m.l0:.1f} features fire on a token; the files claim nothing.", l0=measured)
    numbers = {"l0": measured, "claimed": claimed}
    exact = isinstance(imported.dictionary, TopK | MatchingPursuit)
    if not (0.5 if exact else 1 / 3) * claimed < m.l0 < (1.01 if exact else 3) * claimed:
        return wrong(
            "L0",
            f"{m.l0:.1f} features fire on a token; the files say {claimed:g}. Thresholds, biases or the scale of the "
            "inputs are not those it was trained with.",
            **numbers,
        )
    return ok("L0", f"{m.l0:.1f} features fire on a token; the files say {claimed:g}.", **numbers)


def _fvu(claims: Claims, m: Measured, n: int) -> Check:
    numbers = {"fvu": m.fvu} | ({} if claims.fvu is None else {"claimed": claims.fvu})
    said = f"{m.fvu:.3f} of the variance stays unexplained on {n:,} rows of the recording that are not held out"
    if m.fvu > HOPELESS:
        return wrong(
            "FVU",
            f"{said}; predicting the mean leaves 1. It is of another site or model than these activations, or its "
            "files mean something that this reading does not.",
            **numbers,
        )
    if claims.fvu is None:
        return unverifiable("FVU", f"{said}; the files claim nothing.", **numbers)
    if m.fvu > 2 * claims.fvu + 0.05:
        return wrong("FVU", f"{said}; the files say {claims.fvu:.3f}.", **numbers)
    return ok("FVU", f"{said}; the files say {claims.fvu:.3f}.", **numbers)


def _dead(m: Measured, n: int) -> Check:
    said = f"{m.dead:.0%} of the features fire on none of {n:,} tokens"
    if m.dead > 0.995:
        return wrong("dead features", f"{said}: hardly anything is alive as read.", dead=m.dead)
    if m.dead > 0.5:
        return unverifiable("dead features", f"{said}; rare ones need more text to show.", dead=m.dead)
    return ok("dead features", f"{said}.", dead=m.dead)


def _site(imported: Imported, source: Source, passes: "_Passes | None") -> Check:
    claimed, here = list(imported.claims.sites), listed(source.origin.get("site"))
    fits = None if passes is None else passes.judge(here)
    if fits is not None and fits.outcome == "wrong":
        return fits
    if claimed and here and not same_places(claimed, here):
        return wrong("site", f"The files say {_and(claimed)}; these activations are of {_and(here)}.")
    if fits is not None:
        return fits
    if not claimed:
        return unverifiable(
            "site", f"The files name no site that has a name here; these activations are of {_and(here)}."
        )
    return ok("site", f"The activations are of the site that the files name, {_and(claimed)}.")


def same_places(a: list[str], b: list[str]) -> bool:
    """Whether two lists of sites name the same tensors: L10.resid_pre is L9.resid_post."""
    return [place(Site.parse(site)) for site in a] == [place(Site.parse(site)) for site in b]


def _unnamed(imported: Imported, model: Model, needs: list[Check]) -> list[Check]:
    """What the model alone tells of a dictionary whose files name no site: which one it fits best."""
    best = _Passes(imported, None, model).best()
    if best is None:
        return needs
    site, fvu, n = best
    tells = f"give --site {site} if it was trained there." if fvu < EXPLAINS else "too much to tell."
    said = (
        f"The files name none that has a name here. Of the model's {n} sites of this width it fits {site} best, where "
        f"{fvu:.2f} of the variance stays unexplained; {tells}"
    )
    return [unverifiable("site", said, fvu=fvu) if check.name == "site" else check for check in needs]


def _bos(claims: Claims, source: Source, passes: "_Passes | None") -> Check:
    hygiene = source.origin.get("hygiene") or {}
    recorded = hygiene.get("skip_first", next((h["skip_first"] for h in hygiene.values() if isinstance(h, dict)), None))
    numbers, said = ({}, "") if passes is None else passes.first_position()
    has = {True: "begin", False: "do not begin", None: "may or may not begin"}[recorded]
    if claims.bos is None or recorded is None:
        return unverifiable(
            "BOS", f"These contexts {has} with a BOS token; how it was trained is not stated.{said}", **numbers
        )
    if claims.bos != recorded:
        trained = "with" if claims.bos else "without"
        return wrong(
            "BOS",
            f"It was trained {trained} a BOS token before each context; these contexts {has} with one, and every later "
            f"activation depends on it.{said}",
            **numbers,
        )
    return ok(
        "BOS", f"Contexts {has} with a BOS token, as in its training; that position is left out.{said}", **numbers
    )


class _Passes:
    """A few contexts through the model: every site as wide as what an autoencoder reads."""

    @torch.no_grad()
    def __init__(self, imported: Imported, source: Source | None, model: Model) -> None:
        d = imported.dictionary
        self.fits: dict[str, float] = {}
        self.first: tuple[float, float, float] | None = None
        said = {} if source is None else source.origin
        here = listed(said.get("site"))
        alone = len(here) == 1 or source is None
        if not alone or imported.claims.transcoder or d.config.d_in != d.config.d_out or isinstance(d, Crosscoder):
            return
        bos = (
            imported.claims.bos is not False if source is None else bool((said.get("hygiene") or {}).get("skip_first"))
        )
        own = Site.parse(here[0]) if here else None
        every = [Site(name, layer) for layer in range(model.n_layers) for name in LAYERED]
        sites = [site for site in every if _has(model, site, d.config.d_in)]
        if not sites:
            return
        found = model.run(_text(source, model, bos), read={*sites, *([own] if own else [])})
        at = next(d.parameters()).device
        for site in [*sites, *(own for own in found if own not in sites)]:
            x = found[site].float().to(at)
            keep = Hygiene.measured(x, skip_first=bos).keep(x)
            rows = x[keep]
            few = rows[:: max(1, len(rows) // AT_A_SITE)]
            self.fits[str(site)] = readings.measure(d, Batch(few, few), rows.mean(0)).fvu
            if site == own:
                self.first = _first_position(d, x, rows)

    def best(self) -> tuple[str, float, int] | None:
        """(the site it fits best, the variance that it leaves unexplained there, of how many sites); None where it
        explains nothing anywhere."""
        site = min(self.fits, key=lambda site: self.fits[site], default=None)
        return None if site is None or self.fits[site] > HOPELESS else (site, self.fits[site], len(self.fits))

    def judge(self, here: list[str]) -> Check | None:
        """Whether it fits the site it was given for, or another one better; None for what is no autoencoder."""
        if not self.fits:
            return None
        best = min(self.fits, key=lambda site: self.fits[site])
        own = self.fits[here[0]]
        numbers = {"fvu": own, "fvu_best": self.fits[best]}
        if best != here[0] and self.fits[best] < 0.5 * own and self.fits[best] < own - 0.05:
            return wrong(
                "site",
                f"At {here[0]} it leaves {own:.2f} of the variance unexplained; at {best} {self.fits[best]:.2f}: it "
                f"was trained there.",
                **numbers,
            )
        if own > HOPELESS:
            return wrong("site", f"It explains nothing at {here[0]}, nor at any other site of this model.", **numbers)
        return ok(
            "site",
            f"Of the model's {len(self.fits)} sites of this width none fits clearly better than {here[0]}.",
            **numbers,
        )

    def first_position(self) -> tuple[dict[str, float], str]:
        """Numbers of a context's first position, and a sentence."""
        if self.first is None:
            return {}, ""
        times, l0, usual = self.first
        numbers = {"first_norm": times, "first_l0": l0, "l0": usual}
        return (
            numbers,
            f" A context's first position has {times:.3g} times the median norm and {l0:.0f} features fire on it.",
        )


@torch.no_grad()
def _first_position(d: Dictionary, x: Float[Tensor, "contexts context d"], rows: Tensor) -> tuple[float, float, float]:
    times = float(x[:, 0].norm(dim=-1).mean() / rows.norm(dim=-1).median())

    def l0(some: Tensor) -> float:
        return float((d.encode(some).values > 0).sum() / max(1, len(some)))

    return times, l0(x[:, 0]), l0(rows[:256])


def _text(given: Source | None, model: Model, bos: bool) -> Int[Tensor, "contexts context"]:
    """Contexts like those that the activations came from: their own where they are kept."""
    tokens = getattr(given, "tokens", None)
    if tokens is None:
        source = model.corpus.at_hand
        tokens = next(blocks(model, source, tokens=CONTEXTS * CONTEXT, context=CONTEXT, bos=bos, field=None)).ids
    few = max(1, CONTEXTS * CONTEXT // tokens.shape[1])
    everywhere = np.unique(np.linspace(0, len(tokens) - 1, min(few, len(tokens))).astype(int))
    return torch.from_numpy(np.asarray(tokens[everywhere], dtype=np.int64))


def _has(model: Model, site: Site, width: int) -> bool:
    try:
        return model.width(site) == width
    except ValueError:
        return False


def _and(names: Any) -> str:
    return " and ".join(names) if names else "no named site"

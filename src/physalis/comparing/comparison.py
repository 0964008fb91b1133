"""compare(): two dictionaries of one site side by side: what they share, split, merge, and have alone.

1. Features are paired by direction, and by code where activations are given; what counts as found is judged by chance
   (``matching``).
2. Where activations are given, features of one that lie within a feature of the other are gathered, and a feature
   that it takes several of them to cover is split (``parents``).
3. Every feature gets one fate: split before merged, merged before shared, shared before unique. "Shared" says that the
   pair is no coincidence, not that both mean the same: the shares above fixed cosines stand beside it.
Both dictionaries read the same tokens, so every number of one can be held against the other's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from safetensors.numpy import save_file
from torch import Tensor

from physalis import artifact, metrics
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.comparing.compared import (
    ComparedDictionary,
    Read,
    check_comparable,
    difference,
    estimate,
    open_compared_dictionary,
    read,
    recordings,
    told,
)
from physalis.comparing.reader import ARRAYS, FATES, KIND, SUMMARY, Comparison
from physalis.comparing.records import Estimate, Fate, Histogram, Matched, Side, Summary
from physalis.comparing.similarity import directions
from physalis.comparing.similarity.codes import SparseCodes, pair_correlation
from physalis.comparing.similarity.counts import SCORES, histogram, matched, share
from physalis.comparing.similarity.matching import MOST, Matching, correlations_by_chance, match_codes, match_directions
from physalis.comparing.similarity.parents import Group, Parents, find_parents, groups, parents_by_chance
from physalis.errors import BadInput
from physalis.metrics import Firing
from physalis.placement.origin import Recordings

BINS = 40


def compare(
    a: str | Path,
    b: str | Path,
    activations: Recordings | None = None,
    *,
    writes: Recordings | None = None,
    codes: Sequence[str | Path] = (),
    out: str | Path,
    tokens: int = 200_000,
    rate: float = 0.05,
    most: int = MOST,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Comparison:
    """Compare the dictionaries in two folders; the finished comparison, opened.

    ``activations`` are of what both read, ``writes`` of what both predict where that is another site; those recorded
    with the activations and beside them are found. Without activations features are matched by direction alone, and
    nothing is said of splits. ``tokens`` of them are encoded on ``device``, the best that there is unless given,
    held-out ones first; ``codes`` are folders that ``encode`` wrote of either dictionary, which is then not encoded
    again, for the same result. Codes are kept, 16 bytes each. ``rate`` is the false-discovery rate of all that is
    called found. With more than ``most`` features pairs are mutual nearest neighbours instead of the Hungarian
    algorithm's, which holds 8 bytes for every pair of features.

    Raises BadInput if the dictionaries are not of one site of one model, if the activations are not what they read, or
    if codes are of something else.
    """
    if not 0 < rate < 1:
        raise BadInput(f"A false-discovery rate lies between 0 and 1; received {rate:g}. Usual is 0.05.")
    folder, one, two = Path(out), open_compared_dictionary(a, device), open_compared_dictionary(b, device)
    check_comparable([one, two])
    acts = None if activations is None else recordings([one, two], activations, writes)
    if codes and acts is None:
        raise BadInput("Codes are compared on the activations that they are of. Give these too, or leave codes out.")
    inputs = {"a": one.about.hash, "b": two.about.hash}
    if acts is not None:
        inputs["activations"] = acts.inputs["activations"]
    job = {**inputs, "tokens": tokens if acts is not None else None, "rate": rate, "most": most, "seed": seed}
    with artifact.claim(folder, KIND, job) as done:
        if done is None:
            summary, arrays = _compared(one, two, acts, inputs, codes, tokens=tokens, rate=rate, most=most, seed=seed)
            artifact.write_atomic(folder / ARRAYS, lambda path: save_file(arrays, path))
            artifact.write_json(folder / SUMMARY, summary.model_dump())
            facts = {name: getattr(summary, name).fates["shared"].model_dump() for name in ("a", "b")}
            manifest = Manifest(kind=KIND, config=job, seed=seed, inputs=inputs, facts={"shared": facts})
            artifact.finish(folder, manifest, [ARRAYS, SUMMARY])
    return Comparison.open(folder)


class _Within(NamedTuple):
    """Features of one side within which several of the other lie."""

    groups: list[Group]
    """Those that are split."""
    by_chance: int
    """How many would be with the codes elsewhere in the text."""
    parents: Parents
    """Of the other side's features, here."""


class _Codes(NamedTuple):
    """What activations tell, the side that it is seen from first."""

    reads: tuple[Read, Read]
    pairs: Matching
    within: tuple[_Within, _Within]

    def swapped(self) -> "_Codes":
        return _Codes((self.reads[1], self.reads[0]), self.pairs.swapped(), (self.within[1], self.within[0]))


def _compared(
    a: ComparedDictionary,
    b: ComparedDictionary,
    acts: Stored | None,
    inputs: dict[str, str],
    folders: Sequence[str | Path],
    *,
    tokens: int,
    rate: float,
    most: int,
    seed: int,
) -> tuple[Summary, dict[str, np.ndarray]]:
    pairs = match_directions(a.directions, b.directions, rate=rate, most=most, seed=seed)
    unrelated = _unrelated(a.directions, b.directions, seed + 1)
    codes = back = None
    groups_of_a, n_tokens, n_held_out = 0, 0, 0
    if acts is not None:
        one, two = read([a, b], acts, tokens=tokens, codes=folders)
        matching = match_codes(one.fired, two.fired, rate=rate, most=most, seed=seed)
        within = _within(a, b, one, two, rate, seed), _within(b, a, two, one, rate, seed)
        codes = _Codes((one, two), matching, within)
        back, groups_of_a = codes.swapped(), len(within[0].groups)
        n_tokens, n_held_out = one.fired.n_tokens, min(acts.held_out.n_tokens, one.fired.n_tokens)
    of_a = _columns(a, pairs, codes, (0, groups_of_a))
    of_b = _columns(b, pairs.swapped(), back, (groups_of_a, 0))
    summary = Summary(
        model=told([a, b], "model"),
        site=told([a, b], "site"),
        a=_side(a, of_a, codes),
        b=_side(b, of_b, back),
        directions=matched(pairs, n_a=len(a.directions), n_b=len(b.directions), baselines=unrelated),
        codes=None if codes is None else _matched_codes(codes, seed + 1),
        agreement=None if codes is None else _agreement(pairs, codes),
        in_place=_in_place(pairs, len(a.directions)) if len(a.directions) == len(b.directions) else None,
        fvu_difference=None if codes is None else difference(codes.reads[0].fvu, codes.reads[1].fvu),
        l0_difference=None if codes is None else difference(codes.reads[0].l0, codes.reads[1].l0),
        n_tokens=n_tokens,
        n_held_out=n_held_out,
        provenance=inputs,
    )
    arrays = {f"{name}.{key}": each for name, side in (("a", of_a), ("b", of_b)) for key, each in side.items()}
    return summary, arrays | _group_arrays(() if codes is None else codes.within)


def _unrelated(a: Tensor, b: Tensor, seed: int) -> dict[str, Float64[np.ndarray, " n"]]:
    """Best cosines of the narrower dictionary's features where nothing is shared."""
    small, large = sorted((directions.units(a), directions.units(b)), key=len)
    generator = torch.Generator().manual_seed(seed)
    chance = [directions.random(len(each), each.shape[1], generator) for each in (small, large)]
    return {
        "two random dictionaries": directions.bests(*chance)[0].cosine,
        "the other rotated": directions.bests(small, directions.rotated(large, generator))[0].cosine,
    }


def _within(
    here: ComparedDictionary, there: ComparedDictionary, own: Read, other: Read, rate: float, seed: int
) -> _Within:
    parents = find_parents(other.fired, own.fired, there.directions, here.directions, rate=rate, seed=seed)
    chance, moved = parents_by_chance(other.fired, own.fired, parents, seed=seed + 1)
    return _Within(
        [group for group in groups(own.fired, other.fired, parents) if group.is_split],
        sum(group.is_split for group in groups(moved, other.fired, chance)),
        parents,
    )


def _matched_codes(codes: _Codes, seed: int) -> Matched:
    one, two = (each.fired for each in codes.reads)
    small, large = sorted((one, two), key=lambda fired: fired.n_features)
    elsewhere = {"activations shifted along the text": correlations_by_chance(small, large, rounds=1, seed=seed)}
    return matched(codes.pairs, n_a=int(one.often.sum()), n_b=int(two.often.sum()), baselines=elsewhere)


def _agreement(pairs: Matching, codes: _Codes) -> Estimate:
    one, two = (each.fired for each in codes.reads)
    usable = pairs.found & one.often[pairs.a] & two.often[pairs.b]
    by_code = np.full(one.n_features, -1)
    by_code[codes.pairs.a[codes.pairs.found]] = codes.pairs.b[codes.pairs.found]
    return share(int((usable & (by_code[pairs.a] == pairs.b)).sum()), int(usable.sum()))


def _in_place(pairs: Matching, n: int) -> Estimate:
    return share(int((pairs.found & (pairs.a == pairs.b)).sum()), n)


def _columns(
    subject: ComparedDictionary, pairs: Matching, codes: _Codes | None, first: tuple[int, int]
) -> dict[str, np.ndarray]:
    """One entry a feature of the side that everything is seen from. ``first`` numbers its own groups and the other
    side's."""
    n = len(subject.directions)
    found = _spread(n, pairs.a, pairs.found, False)
    fate = np.where(found, FATES.index("shared"), FATES.index("unique")).astype(np.uint8)
    group, n_fired = np.full(n, -1, np.int32), np.full(n, -1)
    correlation = by_code_correlation = np.full(n, np.nan, np.float32)
    by_code, found_by_code = np.full(n, -1), np.zeros(n, bool)
    if codes is not None:
        for i, each in enumerate(codes.within[1].groups, first[1]):
            group[each.members], fate[each.members] = i, FATES.index("merged")
        for i, each in enumerate(codes.within[0].groups, first[0]):
            group[each.whole], fate[each.whole] = i, FATES.index("split")
        own, other = (each.fired for each in codes.reads)
        n_fired = own.n_fired
        fate[n_fired == 0] = FATES.index("silent")
        pairwise = pair_correlation(own, other, pairs.a, pairs.b)
        correlation = _spread(n, pairs.a, pairwise.astype(np.float32), np.nan)
        by_code = codes.pairs.partners(n)
        by_code_correlation = _spread(n, codes.pairs.a, codes.pairs.score.astype(np.float32), np.nan)
        found_by_code = _spread(n, codes.pairs.a, codes.pairs.found, False)
    return {
        "fate": fate,
        "group": group,
        "n_fired": n_fired.astype(np.int64),
        "partner": pairs.partners(n).astype(np.int32),
        "cosine": _spread(n, pairs.a, pairs.score.astype(np.float32), np.nan),
        "correlation": correlation,
        "p_value": _spread(n, pairs.a, pairs.p, np.nan),
        "found": found.astype(np.uint8),
        "by_code": by_code.astype(np.int32),
        "by_code_correlation": by_code_correlation,
        "found_by_code": found_by_code.astype(np.uint8),
    }


def _spread(n: int, at: np.ndarray, values: np.ndarray, empty: float | bool) -> np.ndarray:
    out = np.full(n, empty, values.dtype)
    out[at] = values
    return out


def _side(subject: ComparedDictionary, columns: dict[str, np.ndarray], codes: _Codes | None) -> Side:
    units = directions.units(subject.directions)
    mean = units.mean(0)
    lengths = subject.directions.norm(dim=1).numpy().astype(np.float64)
    config, fires = subject.dictionary.config, columns["n_fired"] != 0
    told_of: tuple[Fate, ...] = ("shared", "unique") if codes is None else ("shared", "split", "merged", "unique")
    fates: dict[Fate, Estimate] = {
        name: share(int((columns["fate"][fires] == FATES.index(name)).sum()), int(fires.sum())) for name in told_of
    }
    return Side(
        name=subject.name,
        architecture=subject.architecture,
        n_features=config.n_features,
        k=float(config.k),
        seed=subject.about.seed,
        n_trained=subject.about.facts.get("n_tokens"),
        hash=subject.about.hash,
        fates=fates,
        split_by_chance=None if codes is None else share(codes.within[0].by_chance, int(fires.sum())),
        split_threshold=None if codes is None else codes.within[0].parents.chance,
        n_silent=None if codes is None else int((~fires).sum()),
        fvu=None if codes is None else estimate(codes.reads[0].fvu),
        l0=None if codes is None else estimate(codes.reads[0].l0),
        density=None if codes is None else _density(codes.reads[0].fired),
        lengths=histogram(lengths, np.linspace(0, max(float(lengths.max()), 1e-12), BINS + 1)),
        to_mean=histogram((units @ directions.units(mean[None])[0]).numpy().astype(np.float64), SCORES),
        mean_length=float(mean.norm()),
    )


def _density(fired: SparseCodes) -> Histogram:
    edges, counts = metrics.log_density_histogram(Firing(torch.from_numpy(fired.n_fired), fired.n_tokens), BINS)
    return Histogram(edges=edges, counts=counts)


def _group_arrays(within: tuple[_Within, ...]) -> dict[str, np.ndarray]:
    """The groups of both sides, one after another, their members in one row."""
    rows = [(side, each.parents, group) for side, each in enumerate(within) for group in each.groups]
    sizes = np.array([len(group.members) for _, _, group in rows], np.int64)

    def joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
        return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)

    return {
        "group.side": np.array([side for side, _, _ in rows], np.uint8),
        "group.feature": np.array([group.whole for _, _, group in rows], np.int32),
        "group.coverage": np.array([group.coverage for _, _, group in rows], np.float64),
        "group.purity": np.array([group.purity for _, _, group in rows], np.float64),
        "group.offsets": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        "member.feature": joined([group.members for _, _, group in rows], np.int32),
        "member.purity": joined([parents.fires[group.members] for _, parents, group in rows], np.float64),
        "member.coverage": joined([group.member_coverage for _, _, group in rows], np.float64),
        "member.cosine": joined([parents.cosine[group.members] for _, parents, group in rows], np.float64),
    }

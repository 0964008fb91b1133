"""reproduce(): what of a prompt's graph is found again with other transcoders, and on other prompts that mean the same.

A graph is made of one dictionary on one text. Of another seed, size or corpus the features are others, and circuits
change with paraphrases and resampled prompts too (Méloux et al. 2026, arXiv 2510.00845). So the same attribution is run
again under each of them, and what is found again is told beside what the same comparison finds by chance.

1. With other transcoders of the same prompt, features are paired layer by layer, one partner at most, by the mean of
   two cosines: of what they read, and of what they write (as Paulo & Belrose 2025, arXiv 2501.16615, pair those of
   whole dictionaries). A node is found again at the same position.
2. On other prompts features keep their numbers, and positions mean nothing: a feature is found again anywhere, and what
   it adds at several positions is summed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from physalis.circuits.graph import Graph
from physalis.circuits.pruning import prune
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.circuits.supernodes.likeness import kept_features
from physalis.circuits.targets import Targets, TopLogits
from physalis.circuits.tracing import trace
from physalis.comparing.similarity.directions import units
from physalis.errors import BadInput
from physalis.models import Model

What = Literal["transcoders", "prompt", "unrelated prompt"]
Feature = tuple[int, int]
"""A layer, and a feature of its transcoder."""
Key = tuple[int, int, int]
"""A layer, a position and a feature; the position is -1 where positions mean nothing."""


class Found(NamedTuple):
    """How much of the reference is found in another graph."""

    influence: float
    """The share of its features' influence that goes through those that are found again."""
    jaccard: float
    """Features that both graphs have, of those that either has."""
    edge_r: float | None
    """Pearson's correlation of edges between features that are found again, and from them to the ends, each as a share
    of all that enters its target. None where fewer than three are to be compared, or all are the same."""


class Run(NamedTuple):
    """One graph beside the reference."""

    name: str
    """Of the transcoders, or the prompt."""
    what: What
    features: int
    """That its graph has kept, counted as the comparison counts them."""
    found: Found
    by_chance: Found
    """The same where each feature has the partner of another one of its layer."""


class Survivor(NamedTuple):
    """A feature of the reference, and in how many of the other graphs it is found again."""

    node: str
    influence: float
    transcoders: int
    prompts: int


class Spread(NamedTuple):
    """The mean over runs, the lowest and the highest."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What came of an attribution run again and again."""

    prompt: str
    transcoders: str
    features: int
    """That the reference kept."""
    runs: tuple[Run, ...]
    survivors: tuple[Survivor, ...]
    """Every feature that the reference kept, those of most influence first."""

    def __repr__(self) -> str:
        said = [f"{what} {spread.mean:.2f}" for what in _WHATS if (spread := self.spread(what, "influence"))]
        return f"Reproduction({self.prompt!r}, {self.features:,} features, influence found again: {', '.join(said)})"

    def of(self, what: What) -> tuple[Run, ...]:
        """The runs of a kind."""
        return tuple(run for run in self.runs if run.what == what)

    def spread(self, what: What, measure: str, *, of: Literal["found", "by_chance"] = "found") -> Spread | None:
        """Of one of the measures of ``Found`` over the runs of a kind, or of what they find by chance; None where no
        run has it. Raises BadInput for a measure that is none."""
        if measure not in Found._fields:
            raise BadInput(f"A run is measured by {', '.join(Found._fields)}; received {measure!r}.")
        every = [getattr(getattr(run, of), measure) for run in self.of(what)]
        values = [value for value in every if value is not None]
        return Spread(float(np.mean(values)), min(values), max(values)) if values else None

    def record(self) -> dict[str, Any]:
        """As plain data, with the spreads."""
        runs = [
            run._asdict() | {"found": run.found._asdict(), "by_chance": run.by_chance._asdict()} for run in self.runs
        ]
        spreads = {
            what: {
                measure: {
                    name: None if spread is None else spread._asdict()
                    for name in ("found", "by_chance")
                    for spread in (self.spread(what, measure, of=name),)
                }
                for measure in Found._fields
            }
            for what in _WHATS
            if self.of(what)
        }  # fmt: skip
        survivors = [each._asdict() for each in self.survivors]
        return asdict(self) | {"runs": runs, "survivors": survivors, "spreads": spreads}


_WHATS: tuple[What, ...] = ("transcoders", "prompt", "unrelated prompt")


def reproduce(
    model: Model,
    sets: Mapping[str, TranscoderSet],
    prompts: Sequence[str | Sequence[int]],
    *,
    unrelated: Sequence[str | Sequence[int]] = (),
    targets: Targets = TopLogits(),  # noqa: B008 (frozen)
    features: int = 2_000,
    nodes: float = 0.8,
    least: float = 0.7,
    seed: int = 0,
) -> Reproduction:
    """Trace the first of ``prompts`` with the first of ``sets``, by their names: that is the reference. Then trace it
    with each other set (another seed, k or corpus), and with the first set each other prompt (a paraphrase, a resampled
    one) and the ``unrelated`` ones, which share no more with it than any two texts. Each graph keeps the ``nodes``
    share of its influence, as ``prune`` does. Features of two sets are the same where the mean cosine is at least
    ``least``; ``seed`` draws the pairs of ``Run.by_chance``.

    As many passes as ``trace`` takes for each. Raises BadInput where there is nothing to compare, for a reference
    without a feature, and as ``trace`` does.
    """
    if not sets or not prompts or len(sets) + len(prompts) + len(unrelated) < 3:
        raise BadInput(
            "A graph is held against others: give two sets of transcoders or more, or two prompts or more; received "
            f"{len(sets)} sets and {len(prompts)} prompts."
        )
    (first, transcoders), *other_sets = sets.items()

    def traced(which: TranscoderSet, prompt: str | Sequence[int]) -> tuple[Graph, Graph]:
        graph = trace(model, which, prompt, targets=targets, features=features)
        return graph, prune(graph, nodes=nodes)

    reference = traced(transcoders, prompts[0])
    kept_features(reference[1])  # there are some
    here, anywhere = _Folded.of(*reference, places=True), _Folded.of(*reference, places=False)
    rng, runs, hits = np.random.default_rng(seed), [], {"transcoders": [], "prompt": [], "unrelated prompt": []}
    for name, which in other_sets:
        other = traced(which, prompts[0])
        partners = _partners(reference[0], transcoders, other[0], which, least)
        runs.append(_run(name, "transcoders", here, _Folded.of(*other, places=True), partners, rng, hits))
    own = {(layer, feature): (layer, feature) for layer, _, feature in anywhere.influence}

    def elsewhere(what: What, prompt: str | Sequence[int]) -> Run:
        graph, kept = traced(transcoders, prompt)
        return _run(graph.prompt, what, anywhere, _Folded.of(graph, kept, places=False), own, rng, hits)

    runs += [elsewhere("prompt", prompt) for prompt in prompts[1:]]
    runs += [elsewhere("unrelated prompt", prompt) for prompt in unrelated]
    survivors = _survivors(reference[1], hits)
    return Reproduction(
        prompt=reference[0].prompt, transcoders=first, features=len(survivors), runs=tuple(runs),
        survivors=survivors,
    )  # fmt: skip


class _Folded(NamedTuple):
    """A graph's kept features, at their positions or summed over them, as they are compared."""

    influence: dict[Key, float]
    shares: Float64[Tensor, "features_1 features"]
    """Edges between them, then those to the ends, as shares of all that enters."""

    @classmethod
    def of(cls, graph: Graph, kept: Graph, *, places: bool) -> "_Folded":
        """Of a graph before and after it was pruned: edges are those of before. It may have kept none."""
        n = graph.n_features
        columns = kept.kept[:n].nonzero()[:, 0]
        through = graph.influence()[:n].double()
        keys = [_key(graph, i, places=places) for i in columns.tolist()]
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        entering = (graph.edges.abs().sum(1) + graph.left_out_size).clamp_min(1e-10)
        shares = (graph.edges[:, columns] / entering[:, None]).double()
        sums = torch.zeros(len(number), len(columns), dtype=torch.float64)
        sums[[number[key] for key in keys], torch.arange(len(keys))] = 1.0
        influence = sums @ through[columns]
        means = sums * through[columns] / influence.clamp_min(1e-10)[:, None]
        ends = graph.weights[n:].double() @ shares[n:]
        return cls(
            dict(zip(number, influence.tolist(), strict=True)),
            torch.cat([means @ shares[columns], ends[None]]) @ sums.T,
        )


def _key(graph: Graph, column: int, *, places: bool) -> Key:
    return int(graph.layer[column]), int(graph.position[column]) if places else -1, int(graph.feature[column])


def _partners(a: Graph, of_a: TranscoderSet, b: Graph, of_b: TranscoderSet, least: float) -> dict[Feature, Feature]:
    """Which feature of ``b`` each of ``a`` is, of those that both graphs read."""
    found: dict[Feature, Feature] = {}
    for layer in sorted({*a.layer.tolist()} & {*b.layer.tolist()}):
        ids, reads, writes = zip(
            *(_directions(graph, which, layer) for graph, which in ((a, of_a), (b, of_b))), strict=True
        )
        score = ((units(reads[0]) @ units(reads[1]).T + units(writes[0]) @ units(writes[1]).T) / 2).numpy()
        for i, j in zip(*linear_sum_assignment(score, maximize=True), strict=True):
            if score[i, j] >= least:
                found[layer, int(ids[0][i])] = layer, int(ids[1][j])
    return found


def _directions(
    graph: Graph, transcoders: TranscoderSet, layer: int
) -> tuple[Int64[Tensor, " n"], Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]:
    """The features of a layer that a graph has, each once, and what they read and write."""
    ids = graph.feature[graph.layer == layer].unique()
    dictionary, there = transcoders[layer], ids.to(transcoders.device)
    return ids, dictionary.reads(there).detach().float().cpu(), dictionary.writes(there).detach().float().cpu()


def _run(
    name: str, what: What, reference: _Folded, other: _Folded, partners: Mapping[Feature, Feature],
    rng: np.random.Generator, hits: Mapping[str, list[set[Key]]],
) -> Run:  # fmt: skip
    """One comparison and its chance; what is found again goes to ``hits``."""
    pairs = _pairs(reference, other, partners)
    hits[what].append({*pairs})
    chance = _found(reference, other, _pairs(reference, other, _shuffled(partners, rng)))
    return Run(name, what, len(other.influence), _found(reference, other, pairs), chance)


def _survivors(kept: Graph, hits: Mapping[str, list[set[Key]]]) -> tuple[Survivor, ...]:
    through = (kept.influence() * kept.kept)[: kept.n_features].tolist()
    every = [
        Survivor(
            kept.node(i), through[i], sum(_key(kept, i, places=True) in hit for hit in hits["transcoders"]),
            sum(_key(kept, i, places=False) in hit for hit in hits["prompt"]),
        )
        for i in kept_features(kept).tolist()
    ]  # fmt: skip
    return tuple(sorted(every, key=lambda each: -each.influence))


def _pairs(reference: _Folded, other: _Folded, partners: Mapping[Feature, Feature]) -> dict[Key, Key]:
    """The node of the other graph that each of the reference's is, of those that are found again."""
    pairs = {}
    for layer, at, feature in reference.influence:
        if (layer, feature) in partners:
            there, number = partners[layer, feature]
            if (there, at, number) in other.influence:
                pairs[layer, at, feature] = there, at, number
    return pairs


def _shuffled(partners: Mapping[Feature, Feature], rng: np.random.Generator) -> dict[Feature, Feature]:
    """Each feature with the partner of one of its layer, at random."""
    out: dict[Feature, Feature] = {}
    for layer in sorted({layer for layer, _ in partners}):
        own = sorted(key for key in partners if key[0] == layer)
        order = rng.permutation(len(own))
        out |= {key: partners[own[i]] for key, i in zip(own, order, strict=True)}
    return out


def _found(reference: _Folded, other: _Folded, pairs: Mapping[Key, Key]) -> Found:
    total = sum(reference.influence.values())
    through = sum(reference.influence[key] for key in pairs)
    either = len(reference.influence) + len(other.influence) - len(pairs)
    rows, columns = ([*graph.influence].index for graph in (reference, other))
    order = [rows(key) for key in pairs], [columns(key) for key in pairs.values()]
    a, b = (
        graph.shares[[*own, len(graph.influence)]][:, own].flatten().numpy()
        for graph, own in zip((reference, other), order, strict=True)
    )
    some = (a != 0) | (b != 0)
    return Found(through / max(total, 1e-10), len(pairs) / max(either, 1), _correlation(a[some], b[some]))


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 3 or not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])

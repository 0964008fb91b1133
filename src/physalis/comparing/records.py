"""What a comparison and a tree of features tell: the records that pages and notebooks show. No torch here."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from physalis.display import tables
from physalis.display.reprs import Displayed

Fate = Literal["shared", "split", "merged", "unique", "silent"]
"""What became of a feature, seen from its own dictionary.

shared: matched with a feature there, nearer than chance brings features. split: one here, several there. merged: one of
several here that are one there. unique: none of these. silent: fired on none of the tokens that were looked at.
"""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def __str__(self) -> str:
        return repr(self)


class Estimate(Record):
    """A measured number with its 95 % interval: Wilson's for a share of features; over documents for what is summed
    over tokens, None where there are too few of them."""

    value: float
    low: float | None
    high: float | None


class Histogram(Record):
    """``counts[i]`` values in ``[edges[i], edges[i+1])``; the last interval has both its ends."""

    edges: list[float]
    counts: list[int]


class Chance(Record):
    """What chance gives, and what counts as more than that."""

    rate: float
    """The false-discovery rate that was asked for: at most this share of what is found is expected to be chance."""
    threshold: float | None
    """Scores above this are found; None if none is."""
    n_drawn: int
    """Best scores that were drawn by chance."""
    typical: float
    """Their median."""
    highest: float


class Baseline(Record):
    """The same share where nothing can be shared."""

    name: str
    share: Estimate


class Level(Record):
    """Share of the narrower dictionary's features whose match scores more than that, whatever chance says."""

    score: float
    share: Estimate
    baselines: list[Baseline]


class Matched(Record):
    """How the features of two dictionaries were paired, by direction or by code."""

    method: str
    """"Hungarian" or "mutual nearest neighbours"."""
    chance: Chance
    share_a: Estimate
    """Of A's features: found."""
    share_b: Estimate
    baselines: list[Baseline]
    """Of the narrower dictionary's features: as near to something unrelated. No matching could pair more of them."""
    levels: list[Level]
    scores: Histogram
    """Of all pairs."""
    by_chance: Histogram
    """Of the best scores drawn by chance, in the same intervals."""


class Side(Record):
    """One of the two dictionaries."""

    name: str
    architecture: str
    n_features: int
    k: float
    seed: int | None
    n_trained: int | None
    """Tokens it was trained on, counting each pass; None where the files do not say."""
    hash: str
    fates: dict[Fate, Estimate]
    """Share of the features that fire with each fate; without activations of all, and only "shared" and "unique"."""
    split_by_chance: Estimate | None
    """Share that would count as split if the other's codes stood elsewhere in the text."""
    split_threshold: Chance | None
    """For P(it fires | a feature there fires), beyond chance."""
    n_silent: int | None
    fvu: Estimate | None
    """On held-out tokens, the same for both: of what it predicts."""
    l0: Estimate | None
    density: Histogram | None
    """Of log10 of the share of tokens on which features fire, over those that do."""
    lengths: Histogram
    """Of the directions."""
    to_mean: Histogram
    """Of the directions' cosine with their mean."""
    mean_length: float
    """Of the mean of the directions at length 1. Independent random ones have about 1 / sqrt(n_features)."""


class Summary(Record, Displayed):
    """Two dictionaries side by side."""

    model: str | None
    site: str | None
    a: Side
    b: Side
    directions: Matched
    """By the cosine of what features write."""
    codes: Matched | None
    """By the correlation of their codes over the same tokens. None without activations."""
    agreement: Estimate | None
    """Of the pairs found by direction whose features fire often enough: share that is also found, with the same
    partner, by code."""
    in_place: Estimate | None
    """Of A's features: found with the partner of the same number. Checkpoints and tuned copies keep numbers; any other
    order has 1 / n_features. None where there are not as many on either side."""
    fvu_difference: Estimate | None
    """A's less B's, document by document: better known than either, for both do well and badly on the same ones. None
    where nothing was held out."""
    l0_difference: Estimate | None
    n_tokens: int
    """On which codes were compared."""
    n_held_out: int
    provenance: dict[str, str]

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called: with the beginnings of their hashes where they are called alike."""
        a, b = self.a, self.b
        return (a.name, b.name) if a.name != b.name else (f"{a.name} ({a.hash[:6]})", f"{b.name} ({b.hash[:6]})")

    def __repr__(self) -> str:
        return f"Summary({' and '.join(self.names)}, {self.a.fates['shared'].value:.0%} of A's features shared)"


class Member(Record):
    """One of several features that together do what one does in the other dictionary."""

    feature: int
    purity: float
    """P(the one fires | this fires)."""
    coverage: float
    """P(this fires | the one fires)."""
    cosine: float


class Group(Record):
    """One feature of ``side``, and the several of the other dictionary that cover its firings."""

    side: Literal["a", "b"]
    feature: int
    members: list[Member]
    coverage: float
    """Share of its firings on which at least one of them fires."""
    purity: float
    """Share of the tokens on which one of them fires on which it fires too."""
    alone: float
    """The largest coverage of a single member."""


class Compared(Record):
    """One feature of one of the dictionaries, and what the other has of it."""

    id: int
    fate: Fate
    n_fired: int | None
    partner: int | None
    """The feature it was paired with by direction, found or not; None if the other dictionary is narrower and had none
    left."""
    cosine: float | None
    correlation: float | None
    """Of its codes with the partner's; None where either fires too seldom."""
    p_value: float | None
    """Of the cosine: share of chance's best that are as large."""
    found: bool
    by_code: int | None
    """The feature it was paired with by correlation of the codes."""
    by_code_correlation: float | None
    found_by_code: bool
    group: int | None
    """Index of the group that it is split into or merged in."""


class ComparedList(Record):
    """A page of them. ``total`` counts all that match."""

    total: int
    offset: int
    rows: list[Compared]

    def __repr__(self) -> str:
        return f"ComparedList({len(self.rows):,} of {self.total:,} features, from {self.offset:,} on)"

    def table(self) -> Any:
        """A pandas DataFrame with a row a feature, named by its id. Raises BadInput without pandas."""
        return tables.table(self.rows, index="id")


class Pairs(Record):
    """Pairs that were found by direction, one entry a pair: the features of both, and how often they fire."""

    a: list[int]
    b: list[int]
    fired_a: list[int]
    """Tokens on which it fires."""
    fired_b: list[int]
    cosine: list[float]


class Node(Record):
    """A feature of one of a row of dictionaries, the narrowest first, and its parent in the one before."""

    level: int
    feature: int
    n_fired: int
    parent: int | None
    """None at level 0, and where no feature before fires on enough of its tokens."""
    fires: float | None
    """P(parent fires | it fires)."""
    share: float | None
    """Share of the parent's code that lies on its tokens."""
    cosine: float | None
    """Of the directions."""
    n_children: int
    heir: bool
    """Whether it carries on its parent: it fires on more of the parent's tokens than any sibling, on half at least, and
    writes nearly as the parent does."""
    absorbed: float | None
    """How much less often the parent's heir fires on the parent's tokens where this feature fires than where it does
    not: near 1, this feature has absorbed the parent's there (Chanin et al. 2024, arXiv 2409.14507). None for an heir
    and where there is none, or too few tokens to tell."""


class Tree(Record):
    """Everything that descends from one feature without a parent, breadth first."""

    root: Node
    nodes: list[Node]
    """With the root."""
    split_sizes: list[int]
    """Features at each level from the root's on."""


class Family(Record):
    """Where a feature sits in the tree."""

    node: Node
    ancestors: list[Node]
    """The parent first."""
    siblings: list[Node]
    descendants: list[Node]
    """Breadth first."""


class Width(Record):
    """A dictionary among those of a tree."""

    name: str
    architecture: str
    n_features: int
    hash: str
    n_firing: int
    """Features that fire often enough to be placed."""


class Step(Record):
    """From a dictionary to the next wider one."""

    chance: Chance
    """For P(parent fires | child fires), beyond chance."""
    least: float
    """The smallest such score that makes a parent, whatever chance says."""
    with_parent: Estimate
    """Share of the wider one's features that have one, of those that fire often enough."""
    by_chance: Estimate
    """The same with the narrower one's codes elsewhere in the text."""
    split_sizes: list[int]
    """``split_sizes[n]``: features of the narrower one, of those that fire often enough, with n children."""
    absorbed: Estimate | None
    """Share of features with a sibling that is the heir which have absorbed it, by half at least."""


class ForestSummary(Record, Displayed):
    """A row of dictionaries and how their features descend from each other."""

    model: str | None
    site: str | None
    widths: list[Width]
    steps: list[Step]
    n_tokens: int
    provenance: dict[str, str]

    def __repr__(self) -> str:
        return f"ForestSummary({[width.n_features for width in self.widths]} features)"

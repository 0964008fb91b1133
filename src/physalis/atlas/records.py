"""What an atlas tells: the records that pages, notebooks and the command line show. No torch here."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeVar, overload

from pydantic import BaseModel, ConfigDict

from physalis.display import tables
from physalis.display.reprs import Displayed

R = TypeVar("R", bound="Record")


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def __str__(self) -> str:
        return repr(self)

    @classmethod
    def trusted(cls: type[R], **fields: Any) -> R:
        """A record of fields that were checked when they were written, every one given. ``model_construct`` also looks
        for defaults and aliases, and a page is more than a hundred records."""
        record = cls.__new__(cls)
        for name, value in (("__dict__", fields), ("__pydantic_fields_set__", set(fields)), *_UNUSED):
            object.__setattr__(record, name, value)
        return record


_UNUSED = (("__pydantic_extra__", None), ("__pydantic_private__", None))
"""What a model of pydantic has beside its fields, where there are no more fields than the class says."""


class Estimate(Record):
    """A measured number with its 95 % interval. ``low == high == value`` where nothing was sampled; no ends where
    there were too few documents for an interval."""

    value: float
    low: float | None
    high: float | None


class Example(Record):
    """A window of text around one firing. ``codes[i]`` is the feature's code at ``tokens[i]``; 0 where it is silent."""

    document: int
    position: int
    """Index of the firing this example was kept for, within ``tokens``."""
    tokens: list[str]
    codes: list[float]


class ExampleGroup(Record):
    """Examples whose peak code lies in ``(low, high]``, with the share this interval has of the feature's firings and
    of its total code: the top of the scale is rarely most of what a feature does."""

    name: str
    """"top" or "interval 1" ... in falling order of level."""
    low: float
    high: float
    share_of_firings: float
    share_of_code: float
    examples: list[Example]


class Examples(Sequence[Example]):
    """All examples of a feature, those of the largest codes first."""

    def __init__(self, groups: Sequence[ExampleGroup]) -> None:
        self._placed = [(group, example) for group in groups for example in group.examples]

    def __repr__(self) -> str:
        return f"Examples({len(self)} of {len({group.name for group, _ in self._placed})} levels of code)"

    def __len__(self) -> int:
        return len(self._placed)

    @overload
    def __getitem__(self, i: int) -> Example: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Example]: ...
    def __getitem__(self, i: int | slice) -> Example | Sequence[Example]:
        return [example for _, example in self._placed[i]] if isinstance(i, slice) else self._placed[i][1]

    def __iter__(self) -> Iterator[Example]:
        return (example for _, example in self._placed)

    def table(self) -> Any:
        """A pandas DataFrame with a row an example: the ``level`` it was drawn from, its ``document``, the ``token``
        and ``code`` at its peak, the ``text`` before, with and after it, and all its ``tokens`` and ``codes``. Raises
        BadInput without pandas."""
        return tables.table(
            {
                "level": group.name,
                "document": each.document,
                "token": each.tokens[each.position],
                "code": each.codes[each.position],
                "text": "".join(each.tokens),
                "tokens": each.tokens,
                "codes": each.codes,
            }
            for group, each in self._placed
        )


class Histogram(Record):
    """``counts[i]`` values in ``[edges[i], edges[i+1])``."""

    edges: list[float]
    counts: list[int]


class TokenEffect(Record):
    """What writing one unit of a feature does to a token's logit (direct path through the unembedding)."""

    token: str
    id: int
    logit: float


class TokenCount(Record):
    """How often a feature fired on a token, and its share of the feature's total code."""

    token: str
    id: int
    count: int
    share_of_code: float


class Neighbour(Record):
    """Another feature: ``value`` is the cosine of the decoder directions, or the correlation of the firings."""

    id: int
    value: float
    headline: str


NamedBy = Literal["tokens", "rule", "words", "label"]
"""Whence a headline is: the tokens that carry most of its code, a description computed from data and no explanation;
its rule, where that tells better where it fires than tokens can; words of a language model; or a person's label."""


class RuleInShort(Record):
    """What a rule says of a feature, in a list."""

    rule: str
    """As ``explanations.Rule.parse`` reads it, cut where it is long."""
    f1: float
    """On held-out text."""
    size: int
    """Its leaves."""
    judged: bool
    """Whether the feature fires in the held-out text."""


class FeatureRow(Record):
    """One feature in a list."""

    id: int
    headline: str
    """What it is called."""
    named_by: NamedBy = "tokens"
    rule: RuleInShort | None = None
    density: float
    """Share of tokens on which it fires."""
    n_fired: int
    max_code: float
    mean_code: float
    """Mean over the tokens on which it fires."""
    token_entropy: float
    """Bits: 0 fires on one token only; large fires on anything."""
    logit_kurtosis: float
    """Excess kurtosis of its effect on the logits: large means it promotes few, definite tokens."""
    nearest_cosine: float
    """Cosine to the nearest other decoder direction."""
    x: float
    y: float
    """Place on the map, in [0, 1]."""
    region: int
    """Which region of the map it belongs to; -1 for dead features."""
    snippet: list[str]
    """Tokens of the top example around its peak."""
    snippet_codes: list[float]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id}, {self.headline!r}, fires on {self.density:.3%} of tokens)"


class TokenShift(Record):
    """How likely a token is to come next where the feature fires, on average over its firings."""

    token: str
    id: int
    before: float
    """Its probability as the model is."""
    after: float
    """With the feature removed."""
    random: float
    """With as much of a random direction removed instead: the baseline."""


class AblatedExample(Record):
    """The loss of one example without the feature. The example is ``groups[group].examples[example]``."""

    group: int
    example: int
    code: float
    """At its peak, as computed again for this."""
    changes: list[float]
    """Nats: ``changes[i]`` is how much worse the model predicts ``tokens[position + 1 + i]`` without the feature."""
    random: list[float]
    """The same without as much of a random direction."""


class Ablation(Record):
    """What removing the feature does: what it writes is taken away wherever it fires in an example's context, and the
    loss is taken over the tokens after the example's peak. Each level of code counts by its share of the firings, so
    that the numbers are those of a typical firing; intervals are those of such a stratified sample. The example of the
    largest codes is shown and counts for nothing."""

    change: Estimate
    """Of the loss, nats a token: above 0 the feature helped to predict."""
    random: Estimate
    """The same for removing as much of a random direction at the same places: the baseline."""
    beyond_random: Estimate
    """``change - random``, in pairs: above 0 throughout, what the feature does is more than what any edit does."""
    promoted: Estimate | None
    """By how much the logits of the tokens listed as promoted change, on average, beyond those of all tokens: below 0
    throughout, they are what the feature promotes. None where no token is listed."""
    fell: list[TokenShift]
    """Tokens whose probability falls most where the feature fires, once it is removed."""
    rose: list[TokenShift]
    examples: list[AblatedExample]
    """Those with a next token: one of the largest codes, and of every level one or more."""


class TokenOcclusion(Record):
    """The share of the code at an example's peak that goes when the token at ``position`` is another one: 1 all of it,
    below 0 the code grows. The mean of several replacements, and the least and the most that one of them did."""

    position: int
    share: float
    low: float
    high: float


class LeaveOneOut(Record):
    """Which tokens the code at the peak of ``groups[group].examples[example]`` depends on: each token of its window up
    to the peak, the peak's own too, was replaced by ordinary ones, drawn as often as the text has them."""

    group: int
    example: int
    code: float
    """At its peak, with every token as it is."""
    replacements: int
    """How many ordinary tokens stood in for each."""
    needs: list[TokenOcclusion]


class Causes(Record):
    """What was found by editing the model or its text."""

    ablation: Ablation
    leave_one_out: list[LeaveOneOut]
    """Empty where no example of the largest codes has text before its peak."""


class Evidence(Record):
    """How much a panel of the page is worth as evidence."""

    panel: str
    """"examples", "top_tokens", "promoted", "neighbours", "ablation", "leave_one_out" or "headline"."""
    level: str | None
    """"causal": the model or its text was edited and this is what changed. "tested": a claim that an edit could have
    refuted, and did not. "correlational": seen together, or read off the weights. None: there is nothing to judge."""
    why: str
    """A sentence with what was computed for this very feature."""


class Feature(FeatureRow, Displayed):
    """Everything stored about a feature."""

    tokens: str
    """The headline of its tokens, also where it is called otherwise."""
    histogram: Histogram
    """Of its codes where it fires."""
    groups: list[ExampleGroup]
    top_tokens: list[TokenCount]
    promoted: list[TokenEffect]
    suppressed: list[TokenEffect]
    logit_histogram: Histogram
    nearest: list[Neighbour]
    """By decoder direction."""
    cofiring: list[Neighbour]
    """By correlation of firing."""
    causes: Causes | None
    """What editing the model showed; None where nothing was measured, and ``unmeasured`` says why."""
    unmeasured: str
    """Why ``causes`` is None, as a sentence; empty where it is not."""
    worth: list[Evidence]
    """How much each panel is worth, one entry a panel."""

    @property
    def examples(self) -> Examples:
        """Those of all ``groups``, one after another."""
        return Examples(self.groups)


class FeatureList(Record):
    """A page of rows. ``total`` counts all that match."""

    total: int
    offset: int
    rows: list[FeatureRow]

    def __repr__(self) -> str:
        return f"FeatureList({len(self.rows):,} of {self.total:,} features, from {self.offset:,} on)"

    def table(self) -> Any:
        """A pandas DataFrame with a row a feature, named by its id. Raises BadInput without pandas."""
        return tables.table(self.rows, index="id")


class Map(Record, Displayed):
    """Every living feature's place, as columns, and the regions with a name each."""

    ids: list[int]
    x: list[float]
    y: list[float]
    region: list[int]
    density: list[float]
    headline: list[str]
    regions: list[str]
    """``regions[r]``: the tokens most typical of region r."""

    def __repr__(self) -> str:
        return f"Map({len(self.ids):,} features in {len(self.regions):,} regions)"


class Baseline(Record):
    """Something simpler measured the same way: "PCA, 32 components", "frozen random dictionary"."""

    name: str
    metrics: dict[str, Estimate]


class Summary(Record, Displayed):
    """The dictionary as a whole, and how far to trust it."""

    name: str
    model: str
    site: str
    """Such as "L9.resid_post", or "L9.mlp_in → L9.mlp_out" where others are predicted than are read."""
    architecture: str
    n_features: int
    k: float
    d_in: int
    n_tokens: int
    """Tokens the atlas was built over."""
    n_trained: int | None
    """Tokens the dictionary was trained on, counting each pass; None where another tool trained it."""
    text: str
    """Where the text came from."""
    metrics: dict[str, Estimate]
    """From the evaluation if there was one; always with l0, fvu, dead_fraction, dense_fraction."""
    held_out: bool
    """Whether fvu and l0 come from text that is known to have been held out of training."""
    counted_on: Literal["held out", "training", "all", ""] = ""
    """The part of the text on which the shares of dead and dense features were counted; empty where an older atlas does
    not say."""
    baselines: list[Baseline]
    left_out: dict[str, int]
    """Hygiene: reason to number of token positions left out everywhere ("bos", "sink", "not_finite", "elsewhere")."""
    density_histogram: Histogram
    """Of log10 density of the features that fired."""
    n_dead: int
    striking: list[int]
    """Features worth a first look: specific, frequent enough, clearly worded, each from another region."""
    provenance: dict[str, str]
    """Hashes and versions: enough to make it again."""
    document_shape: list[int] | None = None
    """Rows and columns of what an example shows, where that is a whole picture; None where it is text."""

    def __repr__(self) -> str:
        of = f"{self.n_features:,} features of {self.model} at {self.site}"
        return f"Summary({self.name!r}, {self.architecture}, {of}, {self.n_dead:,} dead)"

"""What finding tells: the records that pages, notebooks and the command line show."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contrasted(Record):
    """A feature that two sets of texts were compared by."""

    id: int
    here: float
    """What was measured, over the first set."""
    there: float
    """The same over the second set."""
    difference: float
    low: float | None
    """95 % interval of the difference: a bootstrap over the texts of each set. None where a set has a single text."""
    high: float | None
    effect: float | None
    """The difference in standard deviations between texts, those of both sets together: sets of the same size that it
    tells apart without fail have 2 at most. None where two texts are all there is."""
    p: float
    """Share of labellings under which this feature differs as much. Not corrected for how many features there are."""
    q: float
    """The false discovery rate of a list that ends with this feature."""
    baseline: float
    """The difference that 19 in 20 labellings stay below: what chance alone gives this feature."""
    texts_here: float
    """Share of the first set's texts in which it fires at all."""
    texts_there: float


class Contrast(Record):
    """Which features two sets of texts tell apart."""

    measure: str
    """What was compared, by the name of the function that measures it."""
    n_here: int
    n_there: int
    """Texts."""
    n_features: int
    """Features that fire in any of the texts: q is corrected for all of these."""
    labellings: int
    """Ways of splitting the texts into two such sets that were tried, the true one among them."""
    exhaustive: bool
    """Whether those are all there are."""
    least_q: float
    """The least q that so many texts can give. Above 0.05 there is nothing that these texts could show of others."""
    found: int
    """Features with q of at most 0.05, on either side."""
    more_here: list[Contrasted]
    """Largest effect first."""
    more_there: list[Contrasted]


class TokenFeature(Record):
    """A feature that fires on a kind of token more than on others."""

    id: int
    fires: float
    """Share of the token's occurrences on which it fires."""
    low: float | None
    """95 % interval of that share: a bootstrap over texts. None where a single text has the token."""
    high: float | None
    elsewhere: float
    """Share of all other tokens on which it fires: the baseline."""
    mean_code: float
    """Its mean code over the occurrences, those on which it is silent too."""
    share_of_code: float
    """How much of its code in these texts falls on this token."""


class OnToken(Record):
    """The features of one kind of token in some texts."""

    id: int
    """Of the token."""
    n: int
    """Occurrences that hygiene keeps."""
    n_texts: int
    """Texts that have one."""
    features: list[TokenFeature]
    """By how much more they fire here than elsewhere."""


class Meant(Record):
    """A feature that a search by meaning found."""

    id: int
    cosine: float
    """Between the query and the nearest of the feature's texts."""
    text: str
    """That text."""


class Found(Record):
    """What a search by meaning found."""

    typical: float
    """Median cosine of all features with this query: a result near it means nothing."""
    features: list[Meant]
    """Nearest first."""

"""kinds: what the manifests of each kind of artefact hold beside the usual: who reads one finds there what it reads.

Only what is read is named. Whatever else a manifest holds is kept, so that a field more breaks no reader.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Size = Annotated[int, Field(ge=1, lt=1 << 31)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Above0 = Annotated[float, Field(allow_inf_nan=False, gt=0)]
Names = str | list[str]
"""One name, or several of sites or models that are joined."""


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Hygiene(_Said):
    """The rule of a site (``activations.Hygiene``)."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    max_norm: Annotated[float, Field(gt=0)]
    skip_first: bool
    offsets: list[Annotated[tuple[Count, Finite], Field(strict=False)]] = []


class Span(_Said):
    """Which contexts a shard holds (``activations.Span``)."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    number: Annotated[int, Field(ge=0, lt=1_000_000)]
    start: Count
    stop: Count
    held_out: bool


class Sidecar(_Said):
    """What stands beside a shard."""

    rows: Count
    bytes: Count
    sha256: str
    at: str
    dropped: dict[str, Count]
    sum: list[Finite]
    sum_squares: list[Finite]


class Shard(_Said):
    """What a recording says of a shard."""

    span: Span
    rows: Count
    bytes: Count
    at: str


class Layout(_Said):
    """What layout.json fixes."""

    hygiene: Hygiene
    spans: list[Span]
    hygienes: dict[str, Hygiene] | None = None


class Text(_Said):
    """What a recording's text is called."""

    name: str
    python: str = ""


class ActivationsConfig(_Said):
    model: str
    site: str
    context: Size
    hygiene: Hygiene
    text: Text


class ActivationsFacts(_Said):
    scale: Above0
    n_train: Count
    n_held_out: Count
    n_documents: Count
    n_held_out_documents: Count
    n_shared_documents: Count
    dropped: dict[str, Count]
    shards: Annotated[list[Shard], Field(min_length=1)]


class Origins(_Said):
    model: str
    tokenizer: str


class Kind(_Said):
    """A manifest of one kind."""

    @classmethod
    def kind_of(cls) -> str:
        """The word that stands under "kind"."""
        return cls.model_fields["kind"].default


class Activations(Kind):
    kind: Literal["activations"] = "activations"
    config: ActivationsConfig
    facts: ActivationsFacts
    inputs: Origins


class Training(_Said):
    """How a dictionary was trained, as far as it is said."""

    epochs: Size = 1
    batch_size: Size = 1
    steps: Size = 1
    lr: Above0 = 1.0
    warmup: Count = 0
    decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    dead_after: Count = 0
    frozen: Literal["dec", "enc"] | None = None
    order: int = 0


class Finetuning(_Said):
    tokens: Count


class Origin(_Said):
    """What a dictionary was converted from."""

    format: str = ""
    assumptions: list[str] = []


class Shape(_Said):
    """What every dictionary's settings have (``dictionaries.Shape``); its architecture has more."""

    d_in: Size
    d_out: Size
    n_features: Annotated[int, Field(ge=1)]
    k: Annotated[int, Field(ge=1)]


class DictionaryConfig(_Said):
    architecture: str
    dictionary: Shape
    site: Names | None = None
    writes: Names | None = None
    model: Names | None = None
    hygiene: Hygiene | dict[str, Hygiene] | None = None
    training: Training | None = None
    finetuning: Finetuning | None = None
    converted_from: Origin | None = None


class Last(_Said):
    fvu: Finite
    dead: Count


class Finetuned(_Said):
    fvu: Finite


class DictionaryFacts(_Said):
    n_tokens: Count | None = None
    last: Last | None = None
    finetuned: Finetuned | None = None
    verdict: list[dict[str, Any]] = []


class Dictionary(Kind):
    kind: Literal["dictionary"] = "dictionary"
    config: DictionaryConfig
    facts: DictionaryFacts = DictionaryFacts()


class Interval(_Said):
    value: Finite
    low: Finite | None
    high: Finite | None


class Baseline(_Said):
    name: str
    metrics: dict[str, Interval]


class Documents(_Said):
    held_out: Count
    spliced: Count


class Firing(_Said):
    text: str
    tokens: Count


class EvaluationFacts(_Said):
    metrics: dict[str, Interval]
    baselines: list[Baseline]
    sites: dict[str, Interval]
    n_held_out: Count
    n_spliced: Count
    not_spliced: str | None
    documents: Documents
    firing: Firing


class Evaluation(Kind):
    kind: Literal["evaluation"] = "evaluation"
    facts: EvaluationFacts


class CodesSegment(_Said):
    """What stands in one file of codes."""

    tokens: Size
    last: Count


class CodesFacts(_Said):
    n_features: Size
    n_tokens: Size
    n_codes: Count
    segments: Annotated[list[CodesSegment], Field(min_length=1)]


class Codes(Kind):
    kind: Literal["codes"] = "codes"
    facts: CodesFacts


class AtlasFacts(_Said):
    n_features: Size
    bytes: Count


class Atlas(Kind):
    kind: Literal["atlas"] = "atlas"
    facts: AtlasFacts


KINDS: tuple[type[Kind], ...] = (Activations, Dictionary, Codes, Evaluation, Atlas)
"""Those whose manifests are read for more than their inputs."""

NAMES = {
    "activations": "a recording", "dictionary": "a dictionary", "codes": "stored codes", "evaluation": "an evaluation",
    "atlas": "an atlas", "comparison": "a comparison", "lineage": "a tree of features", "sweep": "a sweep",
    "export": "a dictionary in files of another tool", "neuronpedia": "files for Neuronpedia",
    "saedashboard": "files for SAEDashboard", "site": "a published site", "lab": "a published lab", "world": "a world",
    "explanations": "rules of features", "words": "words about features", "scores": "scores of explanations",
    "suite": "an evaluation suite", "transcoders": "a set of transcoders",
    "replacement": "a replacement model's losses", "graph": "a graph",
}  # fmt: skip
"""What a sentence calls an artefact of each kind."""


def in_words(kind: object) -> str:
    """A kind as a sentence has it: "an atlas"; of a newer version's, or of nobody's, what stands there."""
    return NAMES.get(kind) or f"something of kind {kind[:60]!r}" if isinstance(kind, str) else "something of no kind"


def noun(kind: str) -> str:
    """The same after "no"."""
    return re.sub("^an? ", "", NAMES.get(kind, kind))

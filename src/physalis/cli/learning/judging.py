"""The commands `physalis describe`, what features are about in words, and `physalis score`, what that is worth."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from physalis import artifact
from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import MOST, Count, Range, as_wholes
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import (
    Dictionary,
    Json,
    Loading,
    ModelAgain,
    Order,
    Out,
    Recordings,
    Writes,
    given,
)
from physalis.cli.shown import hints
from physalis.errors import BadInput

if TYPE_CHECKING:
    from physalis.judging import Teller

Codes = Annotated[
    Path | None,
    Parameter(help="Folder that `encode` wrote of both; else they are encoded, and not kept.", metavar="FOLDER"),
]
Features = Annotated[
    list[int] | None,
    Parameter(
        help="Feature, instead of some drawn at random. Repeatable.", converter=as_wholes, validator=Range(0, MOST),
        metavar="ID",
    ),
]  # fmt: skip


@Parameter(name="*")
@dataclass(frozen=True)
class Asking:
    """A language model that is asked."""

    reader: Annotated[
        str | None,
        Parameter(help="The language model: its name at the endpoint, or one that this machine loads.", metavar="NAME"),
    ] = None
    endpoint: Annotated[
        str | None,
        Parameter(help="Address of an API like OpenAI's; https://api.openai.com/v1 unless given.", metavar="ADDRESS"),
    ] = None
    key_from: Annotated[
        str | None,
        Parameter(help="Environment variable with its key; OPENAI_API_KEY unless given.", metavar="NAME"),
    ] = None
    kept: Annotated[
        Path | None,
        Parameter(help="Folder in which answers are kept; OUT-answers unless given.", metavar="FOLDER"),
    ] = None
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Say what would be asked, and ask nothing.")
    ] = False

    def check(self, by: str) -> None:
        """Raise BadInput for what does not fit ``by`` whom it is."""
        if by != "rule" and self.reader is None:
            raise BadInput(f"Who is asked? Name a model with --reader: {by} judges by one.")
        if by != "endpoint" and (self.endpoint or self.key_from):
            raise BadInput(f"--endpoint and --key-from are for what answers over HTTP, and {by} does not.")
        if by != "endpoint" and self.dry_run:
            raise BadInput(f"Nothing is paid for where {by} answers: leave --dry-run out.")

    def over_http(self, out: Path) -> "Teller":
        """The teller behind the address, or who counts in its place."""
        from physalis.judging import Counted, Endpoint

        kept = self.kept or hints.named_after(out, "answers")
        found = Endpoint(str(self.reader), **given(url=self.endpoint, key_from=self.key_from), kept=kept)
        return Counted.like(found) if self.dry_run else found


@verb(of="judging.describing.describe", example="physalis describe sae acts --reader gpt-5-mini --dry-run --out words")
def describe(
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    by: Annotated[
        Literal["endpoint", "local"] | None,
        Parameter(help="Who is asked: an API like OpenAI's, or a model on this machine.", show_default="endpoint"),
    ] = None,
    asking: Asking = Asking(),
    out: Annotated[Out | None, Parameter(help="Folder to write; DICTIONARY-words unless given.")] = None,
    writes: Writes = None,
    codes: Codes = None,
    side: Annotated[
        Literal["auto", "input", "output"] | None,
        Parameter(help="Describe by what it fires on, by what it promotes, or each by what tells more."),
    ] = None,
    model: ModelAgain = None,
    feature: Features = None,
    sample: Annotated[Count, Parameter(help="Features to describe, drawn at random.")] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Have a language model say in words what features are about.

    It is shown passages at every level of a feature's code, and hard ones in which it is silent. What that costs is
    said before. Answers are kept: a run that was stopped pays for nothing twice.
    """
    by = by or "endpoint"
    asking.check(by)
    early.dictionary(dictionary)
    early.recordings(activations, writes)
    from physalis.cli.shown import printing
    from physalis.cli.shown.features import judged
    from physalis.judging import LocalTeller
    from physalis.judging import describe as describe_
    from physalis.judging.language_models.telling import Unanswered

    out = out or hints.named_after(dictionary, "words")
    _check_free(out, "words", asking)
    teller = asking.over_http(out) if by == "endpoint" else _local(asking, loading, LocalTeller, out)
    subject = printing.model_of(activations[0], model, loading)
    options = given(writes=writes, codes=codes, features=feature, sample=sample, side=side, seed=seed)
    if asking.dry_run:
        with TemporaryDirectory() as folder, suppress(Unanswered):
            describe_(dictionary, activations, subject, Path(folder) / "words", teller, **options)
        return
    judged.show_words(describe_(dictionary, activations, subject, out, teller, **options), json=json)


def _check_free(out: Path, kind: str, asking: Asking) -> None:
    """Raise BadInput where what is asked in vain, or for nothing yet, could not be written."""
    early.out(out, kind)
    if asking.dry_run and artifact.is_claimed(out):
        raise BadInput(f"Another process is writing {out}. Wait for it, stop it, or choose another --out.")


def _local(asking: Asking, loading: Loading, of: Any, out: Path) -> Any:
    return of(loading.load(str(asking.reader)), kept=asking.kept or hints.named_after(out, "answers"))


@verb(of="judging.scoring.score", example="physalis score rules sae acts --out scores")
def score(
    explanations: Annotated[Path, Parameter(help="Folder of rules that `explain` wrote, or of words by `describe`.")],
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    out: Annotated[Out | None, Parameter(help="Folder to write; EXPLANATIONS-scores unless given.")] = None,
    writes: Writes = None,
    codes: Codes = None,
    also: Annotated[
        list[Path] | None,
        Parameter(help="A recording of another text, to judge on as well. Repeatable.", metavar="FOLDER"),
    ] = None,
    task: Annotated[
        list[str] | None,
        Parameter(
            help="detection, fuzzing, simulation, intruder, embedding, purity or responsiveness; all but embedding, "
            "for which an embedder of 84 MB is fetched, unless given. Repeatable.",
            metavar="TASK",
        ),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        Parameter(
            name="--beside",
            metavar="FOLDER",
            help="Scores of a model with shuffled weights, or of another dictionary, to show in a column. Repeatable.",
        ),
    ] = None,
    judge: Annotated[
        Literal["rule", "endpoint", "local"] | None,
        Parameter(
            help="Who answers: rules by themselves, or a language model that reads what is said, behind an API like "
            "OpenAI's or on this machine.",
            show_default="rule",
        ),
    ] = None,
    asking: Asking = Asking(),
    model: ModelAgain = None,
    feature: Features = None,
    sample: Annotated[Count, Parameter(help="Features to judge, drawn at random.")] = None,
    passages: Annotated[Count, Parameter(help="Passages of each draw in which a feature fires.")] = None,
    draws: Annotated[Count, Parameter(help="Draws of passages.")] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Judge what is said of features.

    Passages are drawn by decile of code, with silent and hard ones among them. Beside each score stand an oracle, the
    best single token and explanations swapped between features; each has an interval over documents and the smallest
    difference that means anything.
    """  # fmt: skip
    judge = judge or "rule"
    asking.check(judge)
    early.dictionary(dictionary)
    early.recordings(activations, writes, also)
    if artifact.kind_of(explanations) != "words":
        artifact.read(explanations, "explanations")
    from physalis.cli.shown import printing
    from physalis.cli.shown.features import judged
    from physalis.judging import LocalReader, Reader, Scores
    from physalis.judging import score as score_

    out = out or hints.named_after(explanations, "scores")
    _check_free(out, "scores", asking)
    others = [Scores.open(each) for each in beside or ()]
    options = given(
        writes=writes, codes=codes, also=also, tasks=task, features=feature, sample=sample, passages=passages,
        draws=draws, seed=seed, embedder=_embedder(task),
    )  # fmt: skip
    if judge == "endpoint":
        teller = asking.over_http(out)
        options["judge"] = lambda material, spoken: Reader(teller, spoken.words, material)
        options["judged_by"] = {"judge": judge, "settings": teller.settings}
    elif judge == "local":
        reads = loading.load(str(asking.reader))
        options["judge"] = lambda material, spoken: LocalReader(reads, spoken.words, material)
        options["judged_by"] = {"judge": judge, "settings": reads.fingerprint}
    subject = printing.model_of(activations[0], model, loading)
    if asking.dry_run:
        with TemporaryDirectory() as folder:
            score_(explanations, dictionary, activations, subject, Path(folder) / "scores", **options)
        return
    judged.show(score_(explanations, dictionary, activations, subject, out, **options), others, json=json)


def _embedder(tasks: list[str] | None) -> Any:
    if "embedding" not in (tasks or ()):
        return None
    from physalis.search import MiniLM

    return MiniLM()

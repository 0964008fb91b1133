"""`physalis evaluate --suite`: dictionaries beside each other on metrics that were tried on diagnostics."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from physalis import artifact
from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import MOST, Count, Range, as_whole
from physalis.cli.arguments.options import Loading, given
from physalis.cli.shown.hints import beside
from physalis.errors import BadInput


@Parameter(name="*")
@dataclass(frozen=True)
class Suites:
    """Whether the suite is run, and on what."""

    suite: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Compare dictionaries by the evaluation suite: several may stand before ACTIVATIONS, and those that "
            "differ in their seed alone are one.",
        ),
    ] = False
    task: Annotated[
        list[str] | None,
        Parameter(help="With --suite: a probing task, instead of the usual dozen. Repeatable.", metavar="NAME"),
    ] = None
    probes: Annotated[
        Path | None,
        Parameter(
            help="With --suite: the wheel of sae-probes that carries the tasks; fetched once (45 MB) unless given.",
            metavar="FILE",
        ),
    ] = None
    pool: Annotated[
        Literal["last", "mean", "max"] | None,
        Parameter(help="With --suite: which of a text's tokens a probe sees."),
    ] = None
    texts: Annotated[Count, Parameter(help="With --suite: texts of each task a round.")] = None
    rounds: Annotated[Count, Parameter(help="With --suite: how often all is drawn anew.")] = None
    world_samples: Annotated[
        int | None,
        Parameter(
            help="With --suite: samples to train each architecture on in a world; 0 for none.",
            converter=as_whole,
            validator=Range(0, MOST),
            metavar="N",
        ),
    ] = None

    def check(self) -> None:
        """Raise BadInput for options of the suite without it."""
        for each in fields(self):
            if not self.suite and getattr(self, each.name):
                raise BadInput(
                    f"--{each.name.replace('_', '-')} is for the suite. Say --suite as well, or leave it out."
                )

    def run(
        self, first: Path, others: Sequence[Path], out: Path | None, model: str | None, loading: Loading,
        options: dict[str, Any], *, json: bool,
    ) -> None:  # fmt: skip
        """Run it on the dictionaries among the folders, and the recordings among them."""
        folders = [first, *(each for each in others if artifact.kind_of(each) == "dictionary")]
        recordings = [each for each in others if each not in folders]
        for each in folders:
            early.dictionary(each)
        early.recordings(recordings, options.get("writes"))
        if not recordings:
            raise BadInput("On what? Name the recording that the dictionaries read, after them.")
        out = out or beside(first, "suite")
        early.out(out, "suite", seed=options.get("seed"), rounds=self.rounds, pool=self.pool, texts=self.texts)
        from physalis.cli.shown import printing, suites
        from physalis.suites import evaluate_suite

        subject = printing.model_of(recordings[0], model, loading)
        own = given(
            tasks=self.task, probes=self.probes, pool=self.pool, texts=self.texts, rounds=self.rounds,
            world_samples=self.world_samples,
        )  # fmt: skip
        suites.show(evaluate_suite(folders, recordings, subject, out, **options, **own), json=json)

"""What the command line shows of a suite: a table of scores with their noise, what differs, and what was dropped."""

import json as json_
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from physalis.cli.shown.console import make_console
from physalis.display.counts import counted
from physalis.suites import Metric, Suite, SuiteScore


def show(found: Suite, *, json: bool) -> None:
    """Print it: as JSON alone on standard output, or for a person."""
    if json:
        parts = ("scores", "differences", "dropped")
        said = {
            "folder": str(found.folder), "dictionaries": found.manifest.facts["dictionaries"],
            **{part: [each.model_dump() for each in getattr(found, part)] for part in parts},
            "unmeasured": found.unmeasured,
        }  # fmt: skip
        print(json_.dumps(said, indent=1))
        return
    console = make_console()
    for title, role in (
        ("mean [95 %] ± noise of a round", "dictionary"), ("diagnostics", "diagnostic"), ("baselines", "baseline"),
    ):  # fmt: skip
        names = list(dict.fromkeys(each.dictionary for each in found.scores if each.role == role))
        if not names:
            continue
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column(title)
        for name in names:
            table.add_column(name, justify="right")
        if role == "dictionary":
            table.add_column("what is measured")
        for metric in found.metrics:
            cells = [_cell(found.scores, metric, name) for name in names]
            if any(len(each) for each in cells):
                table.add_row(metric.name, *cells, *([_title(metric)] if role == "dictionary" else []))
        console.print(table)
        console.print()
    _differences(console, found)
    for each in found.dropped:
        console.print(f"Dropped: {each.title} ({each.metric}), for {each.why}.")
    for what, why in found.unmeasured.items():
        console.print(f"Not measured: {what}, for {why}")
    said = ", ".join(
        f"{name} {each['l0']:.1f} ({counted(each['seeds'], 'seed')})"
        for name, each in found.manifest.facts["dictionaries"].items()
    )
    console.print(f"L0: {said}. {found.manifest.config['rounds']} rounds; {found.folder} holds every number.")


def _title(metric: Metric) -> str:
    where = "in a world: " if metric.truth else ""
    return f"{where}{metric.title} ({'higher' if metric.higher_is_better else 'lower'} is better)"


def _cell(scores: Sequence[SuiteScore], metric: Metric, name: str) -> Text:
    each = next((each for each in scores if (each.metric, each.dictionary) == (metric.name, name)), None)
    if each is None:
        return Text("")
    ends = "" if each.low is None else f" [{each.low:.3f}, {each.high:.3f}]"
    noise = "" if each.noise is None else f" ± {each.noise:.3f}"
    return Text(f"{each.value:.3f}{ends}{noise}")


def _differences(console, found: Suite) -> None:
    if len(found.dictionaries) < 2:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("difference, paired by round", "", "mean [95 %]", "means something"):
        table.add_column(name)
    for each in found.differences:
        ends = "" if each.low is None else f" [{each.low:+.3f}, {each.high:+.3f}]"
        table.add_row(
            each.metric, f"{each.a} − {each.b}", f"{each.value:+.3f}{ends}", "yes" if each.means_something else "no"
        )
    console.print(table)
    console.print("yes: at a false-discovery rate of 5 % over all of these.\n")

"""What `physalis counterexample` shows: the catalogue, one entry, a run over seeds, and a method's report card."""

import json as json_
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from physalis.cli.shown.console import make_console
from physalis.cli.shown.lab.findings import line
from physalis.lab.counterexamples import Counterexample, Measured
from physalis.lab.suite import ReportCard


def _console() -> Console:
    return make_console()


def show_list(entries: Sequence[Counterexample], *, json: bool) -> None:
    """The catalogue: ids and the beliefs they refute."""
    if json:
        print(json_.dumps([entry.to_dict() for entry in entries], indent=1))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    for entry in entries:
        table.add_row(Text(entry.id, style="bold"), entry.belief)
    _console().print(table)


def show_one(entry: Counterexample, *, json: bool) -> None:
    """All that one entry says, without running it."""
    if json:
        print(json_.dumps(entry.to_dict(), indent=1))
    else:
        _told(_console(), entry)


def show_runs(runs: Iterable[Measured], *, json: bool) -> bool:
    """Print each as soon as it is measured, or all as JSON; returns whether every gap is there and goes with its
    cause."""
    console, made = _console(), []
    for measured in runs:
        made.append(measured)
        if not json:
            _measured(console, measured)
    if json:
        print(json_.dumps([measured.to_dict() for measured in made], indent=1))
    elif len(made) > 1:
        console.print(f"{sum(measured.passed for measured in made)} of {len(made)} hold")
    return all(measured.passed for measured in made)


def show_cards(cards: Iterable[ReportCard], *, json: bool) -> None:
    """Report cards, each as soon as it is done, or all as JSON."""
    console, made = _console(), []
    for card in cards:
        made.append(card)
        if not json:
            _card(console, card)
    if json:
        print(json_.dumps([card.to_dict() for card in made], indent=1))


def _told(console: Console, entry: Counterexample) -> None:
    console.print(Text.assemble((entry.id, "bold"), "  ", (f"“{entry.belief}”", "italic")))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    for title in ("model", "naive", "truth", "control", "warns", "source"):
        table.add_row(title, getattr(entry, title))
    console.print(table)


def _measured(console: Console, measured: Measured) -> None:
    _told(console, measured.counterexample)
    mark = Text("holds" if measured.passed else "DOES NOT HOLD", style="green" if measured.passed else "red")
    seeds = f"seeds {', '.join(map(str, measured.seeds))}"
    console.print(Text.assemble("  ", mark, f"  {seeds}, {measured.seconds:.0f} s. ", measured.counterexample.scale))
    for finding in measured.findings:
        console.print(line(finding, "  "), soft_wrap=True)
    for finding in measured.control_findings:
        console.print(line(finding, "  "), style="dim", soft_wrap=True)
    console.print()


def _card(console: Console, card: ReportCard) -> None:
    console.print(Text.assemble((card.method, "bold"), f"  {card.survived} of {len(card.lines)} survived"))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("", "trap", "", "wrong", "control", "up to", "why"):
        table.add_column(name, justify="right" if name in ("wrong", "control", "up to") else "left")
    for row in card.lines:
        mark = Text("survived" if row.survived else "fell", style="green" if row.survived else "red")
        wrong, control = ("–" if value != value else f"{value:.2f}" for value in (row.wrong, row.control))
        table.add_row(row.id, row.trap, mark, wrong, control, f"{row.most:g}", row.why)
    console.print(table)
    console.print()

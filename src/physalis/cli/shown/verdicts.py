"""What the command line shows of a conversion: what was assumed, and each check of the verdict with its numbers."""

import json as json_
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from physalis.cli.shown.console import make_console
from physalis.exchange import Check, Conversion

STYLES = {"ok": "green", "wrong": "bold red", "unverifiable": "dim"}
WORDS = {"ok": "ok", "wrong": "WRONG", "unverifiable": "not verified"}


def show(conversions: list[Conversion], *, json: bool) -> None:
    """Print what was made: as JSON alone on standard output, or for a person."""
    if json:
        print(json_.dumps([_plain(each) for each in conversions], indent=1))
        return
    console = make_console()
    for each in conversions:
        _conversion(console, each)


def failed(conversions: list[Conversion]) -> bool:
    """Whether any check found something wrong."""
    return any(each.verdict is not None and each.verdict.wrong for each in conversions)


def _plain(c: Conversion) -> dict[str, Any]:
    value: dict[str, Any] = {"folder": str(c.folder), "format": c.format}
    if c.manifest is not None and c.verdict is not None:
        value |= {"hash": c.manifest.hash, "config": c.manifest.config, "inputs": c.manifest.inputs}
        value |= {"verdict": c.verdict.to_dict(), "wrong": [check.name for check in c.verdict.wrong]}
    return value


def _conversion(console: Console, c: Conversion) -> None:
    if c.manifest is None or c.verdict is None:
        console.print(f"Written as {c.format} to {c.folder}. Activations of features and reconstructions are the same.")
        return
    config = c.manifest.config
    shape = config["dictionary"]
    console.print(
        Text.assemble(
            (config["architecture"], "bold"),
            f", {shape['n_features']:,} features, width {shape['d_in']} in and {shape['d_out']} out, from {c.format}, "
            f"in {c.folder}.",
        )
    )
    for note in c.assumptions:
        console.print(Text(f"  {note}"), style="yellow")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for check in c.verdict.checks:
        table.add_row(Text(WORDS[check.outcome], style=STYLES[check.outcome]), check.name, _said(check))
    console.print(table)
    n = len(c.verdict.wrong)
    last = f"{n} wrong: do not use it before that is understood." if n else "Nothing contradicts what the files say."
    if "model" not in c.manifest.inputs:
        last += " It is tied to no model: give --model, and what belongs to another is refused later."
    if "site" not in config:
        last += " It is at no named site: give --site, and it can be measured, steered and shown."
    console.print(Text(last, style="bold red" if n else "bold"))


def _said(check: Check) -> Text:
    return Text(check.sentence, style="dim" if check.outcome == "unverifiable" else "")

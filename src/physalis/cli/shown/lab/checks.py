"""What `physalis lab check` shows: each experiment's statements beside their numbers, and its control's."""

import json as json_
from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from physalis.cli.shown.console import make_console
from physalis.cli.shown.lab.findings import line
from physalis.lab.checks import Check


def show(checks: Iterable[Check], *, json: bool) -> bool:
    """Print each check as soon as it is done, or all as JSON; returns whether all passed."""
    console, made = make_console(), []
    for check in checks:
        made.append(check)
        if not json:
            _check(console, check)
    if json:
        print(json_.dumps([check.to_dict() for check in made], indent=1))
    elif made:
        console.print(f"{sum(check.passed for check in made)} of {len(made)} passed")
    return all(check.passed for check in made)


def _check(console: Console, check: Check) -> None:
    mark = Text("passed" if check.passed else "FAILED", style="green" if check.passed else "red")
    console.print(Text.assemble((check.id, "bold"), "  ", mark, f"  {check.seconds:.0f} s"))
    console.print(Padding(check.claim, (0, 0, 0, 2)))
    console.print(Padding(check.source, (0, 0, 0, 2)), style="dim")
    for finding in check.findings:
        console.print(line(finding, "  "), soft_wrap=True)
    console.print(f"  control: {check.control}", style="dim")
    for finding in check.control_findings:
        console.print(line(finding, "    "), style="dim", soft_wrap=True)
    console.print()

"""What `physalis lab check` shows: each experiment's statements beside their numbers, and its control's."""

import json as json_
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from physalis.lab.checks import Check, Finding


def show(checks: Iterable[Check], *, json: bool) -> bool:
    """Print each check as soon as it is done, or all as JSON; returns whether all passed."""
    console, made = Console(highlight=False, width=None if Console().is_terminal else 110), []
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
    console.print(f"  {check.claim}")
    console.print(f"  {check.source}", style="dim")
    for finding in check.findings:
        console.print(_line(finding, "  "))
    console.print(f"  control: {check.control}", style="dim")
    for finding in check.control_findings:
        console.print(_line(finding, "    "), style="dim")
    console.print()


def _line(finding: Finding, indent: str) -> str:
    ends = [f"at least {finding.low:.4g}"] if finding.low > float("-inf") else []
    ends += [f"at most {finding.high:.4g}"] if finding.high < float("inf") else []
    asked = f"exactly {finding.low:.4g}" if finding.low == finding.high else " and ".join(ends)
    return f"{indent}{'yes' if finding.holds else 'no ':3} {finding.what}: {finding.value:.4g} ({asked})"

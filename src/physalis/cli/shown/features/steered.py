"""What `physalis steer` and `physalis dose-response` show: texts side by side, and what each strength does."""

import json as json_
from collections.abc import Iterable

from rich.columns import Columns
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from physalis.cli.shown.console import make_console
from physalis.cli.shown.printing import ranged
from physalis.steering import DoseResponse, Step
from physalis.steering.dose_curves import Measured


def show_texts(steps: Iterable[Step], *, prompt: str, json: bool) -> None:
    """Both texts as they are written, side by side on a terminal; elsewhere when they are done."""
    plain, edited = "", ""
    console = make_console()
    if json or not console.is_terminal:
        for step in steps:
            plain, edited = plain + (step.plain or ""), edited + (step.edited or "")
        if json:
            print(json_.dumps({"prompt": prompt, "plain": plain, "edited": edited}, indent=1))
        else:
            console.print(Text.assemble(("without the edits: ", "dim"), prompt, (plain, "bold")))
            console.print(Text.assemble(("with the edits:    ", "dim"), prompt, (edited, "bold")))
        return
    with Live(console=console, refresh_per_second=12) as live:
        for step in steps:
            plain, edited = plain + (step.plain or ""), edited + (step.edited or "")
            width = console.width // 2 - 1
            sides = (("without the edits", plain), ("with the edits", edited))
            live.update(Columns([Panel(Text(prompt + text), title=name, width=width) for name, text in sides]))


def show_doses(found: DoseResponse, *, json: bool) -> None:
    """A table for each direction, its suggested strength marked."""
    if json:
        print(found.model_dump_json(indent=1))
        return
    console = make_console()
    words = " · ".join(repr(word).replace("\\\\x", "\\x") for word in found.target)
    console.print(Text.assemble(("target ", "dim"), words))
    console.print(
        f"its probability without an edit {_interval(found.unedited)}; {found.n_tokens:,} held-out tokens; "
        f"the median norm is {found.unit:.0f}"
    )
    for response in found.responses:
        console.print()
        table = Table(title=response.name, title_justify="left", title_style="bold", box=None, header_style="dim")
        for name in ("strength", "times", "probability", "KL, nats", "perplexity, times", ""):
            table.add_column(name, justify="right" if name else "left", no_wrap=True)
        for dose in response.doses:
            mark = "suggested" if dose.strength == response.suggested else ""
            mark = "cliff" if dose.strength == response.cliff else mark
            table.add_row(
                f"{dose.strength:.3g}",
                *(_interval(each, "\n") for each in (dose.times, dose.target, dose.kl, dose.perplexity)),
                mark,
            )
        console.print(table)


def _interval(measured: Measured, between: str = " ") -> str:
    return ranged(measured.value, measured.low, measured.high, ".3g").replace(" ", between, 1)

"""What the command line shows of dead features: how many, since when, and for each cause the evidence and the fix."""

import json as json_

from rich.table import Table
from rich.text import Text

from physalis.cli.shown.console import make_console
from physalis.dead_features import DeadFeatures


def show(deaths: DeadFeatures, *, json: bool) -> None:
    """Print the record: as JSON alone on standard output, or for a person."""
    if json:
        print(json_.dumps(deaths.to_dict(), indent=1))
        return
    console = make_console()
    d, low, high = (deaths.dead[name] for name in ("value", "low", "high"))
    console.print(
        Text.assemble(
            (f"{deaths.n_dead:,} of {deaths.n_features:,} features are dead", "bold"),
            f" ({d:.2%}; 95 %: {low:.2%} to {high:.2%}): they fire on none of {deaths.n_tokens:,} tokens.",
        )
    )
    console.print(_when(deaths))
    if deaths.curve and deaths.curve[-1][1] != deaths.n_dead:
        tokens, dead = deaths.curve[-1]
        console.print(
            f"Training counted {dead:,} at its end, after {tokens:,} tokens: those that had not fired for a while. "
            "Here it is those that do not fire on these tokens, with the weights as they ended."
        )
    if deaths.causes:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="dim")
        table.add_column("cause", style="bold", no_wrap=True)
        table.add_column("features", justify="right")
        table.add_column("evidence, and what to do")
        for cause in deaths.causes:
            table.add_row(cause.name, f"{cause.features:,}", Text(f"{_sentence(cause.because)}\n{cause.fix}"))
        console.print(table)
    for note in deaths.notes:
        console.print(Text(note), style="yellow")


def _when(deaths: DeadFeatures) -> str:
    if not deaths.n_dead:
        return "Nothing to explain."
    last = sorted(f.last_fired for f in deaths.features if f.last_fired)
    if deaths.never_fired is None:
        return "When they last fired was not kept."
    never = f"{deaths.never_fired:,} of them never fired in training"
    if not last:
        return f"{never}."
    return f"{never}; half of the others last fired before token {last[len(last) // 2]:,}."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."

"""What the command line shows of heads: the best by each score beside chance, and what is lost without them."""

import json as json_
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from rich.table import Table
from torch import Tensor

from physalis.circuits import (
    Composition,
    Confirmation,
    CopyingScores,
    HeadScores,
    composition,
    confirm_heads,
)
from physalis.cli.shown.console import make_console
from physalis.display.counts import counted
from physalis.metrics import Interval
from physalis.models import Model

LOOKS = {
    "previous_token": "at the token before", "induction": "at what followed the last time",
    "duplicate_token": "at the same token", "first_token": "at the first position",
}  # fmt: skip
TESTED = "previous_token", "induction"


@dataclass(frozen=True, slots=True)
class Tested:
    """The best heads by two scores taken out, and what the later ones owe the earlier; None where the earlier do not
    stand before them."""

    confirmed: Mapping[str, Confirmation]
    composed: Composition | None


def tested(
    model: Model, scores: HeadScores, tokens: Int[Tensor, "contexts context"], best: Mapping[str, int],
    options: Mapping[str, Any],
) -> Tested | None:  # fmt: skip
    """None for a model that has too few heads to draw others from."""
    found = {name: [each.head for each in scores.top(name, **best)] for name in TESTED}
    if 2 * max(map(len, found.values())) > scores["induction"].value.numel():
        return None
    confirmed = {name: confirm_heads(model, heads, tokens, **options) for name, heads in found.items()}
    before, readers = found.values()
    writers = [head for head in before if head.layer < max(reader.layer for reader in readers)]
    composed = composition(model, writers, readers, tokens, **options) if writers else None
    return Tested(confirmed, composed)


def show(
    model: str, scores: HeadScores, chance: HeadScores, copying: CopyingScores, tests: Tested | None,
    best: Mapping[str, int], *, json: bool,
) -> None:  # fmt: skip
    """Print all that was found of a model's heads."""
    shuffled = {name: chance.top(name, 1)[0].score["value"] for name in chance}
    if json:
        looks = scores.record(**best)
        told: dict[str, Any] = {
            "model": model, "contexts": scores.contexts,
            "looks": {name: {**found, "shuffled": shuffled[name]} for name, found in looks.items()},
            "copying": copying.record(**best),
        }  # fmt: skip
        if tests is not None:
            told["without"] = {name: each.record() for name, each in tests.confirmed.items()}
            told["composition"] = None if tests.composed is None else tests.composed.record()
        print(json_.dumps(told, indent=1, allow_nan=False))
        return
    console = make_console()
    console.print(
        f"Where the heads of {model} look, as shares of their weight, on {counted(scores.contexts, 'sequence')} of "
        "tokens of chance that come twice:"
    )
    table = _table("looks", "best heads", "a head that looks everywhere", "the best one of shuffled weights")
    for name in scores:
        heads = "\n".join(f"{each.head} {_in_brackets(each.score)}" for each in scores.top(name, **best))
        table.add_row(LOOKS[name], heads, f"{scores[name].uniform:.2f}", f"{shuffled[name]:.2f}")
    console.print(table)
    low, high = copying.by_chance
    above = float((copying.eigenvalues > high).float().mean())
    console.print(
        f"\nWhat their weights make of a token they look at: of {copying.tokens} tokens, the share that is among the "
        f"{copying.k} that are raised most, or lowered most, of {copying.vocabulary:,} (chance "
        f"{copying.k / copying.vocabulary:.2g}); in brackets the 95 % interval, behind it the eigenvalue score. That "
        f"is between {low:.2f} and {high:.2f} for 95 % of heads of chance; {above:.0%} of these are above."
    )
    table = _table("does", "best heads")
    for does, found in (("copies", copying.copied), ("suppresses", copying.suppressed)):
        heads = (
            f"{each.head} {_in_brackets(each.score)} {float(copying.eigenvalues[each.head]):+.2f}"
            for each in copying.top(found, **best)
        )
        table.add_row(does, "\n".join(heads))
    console.print(table)
    if tests is None:
        return
    console.print("\nLoss added without them, nats a token, where tokens come again and where they do not:")
    table = _table("heads that look", "again", "not again", "again, without as many others")
    for name, found in tests.confirmed.items():
        mean = sum(found.added_by_others) / len(found.added_by_others)
        drawn = f"{mean:.2f} ({min(found.added_by_others):.2f} to {max(found.added_by_others):.2f})"
        table.add_row(LOOKS[name], _in_brackets(found.added), _in_brackets(found.added_elsewhere), drawn)
    console.print(table)
    if (c := tests.composed) is not None:
        console.print(
            f"\nOf their weight, {', '.join(map(str, c.readers))} have {_in_brackets(c.score)} on average on what "
            f"followed the last time; without {', '.join(map(str, c.writers))} {_in_brackets(c.without)}, without as "
            f"many others of their layers {sum(c.without_others) / len(c.without_others):.2f}."
        )


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        table.add_column(title)
    return table


def _in_brackets(value: Interval) -> str:
    low, high = value["low"], value["high"]
    return f"{value['value']:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")

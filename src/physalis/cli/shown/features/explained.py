"""What the command line shows of explanations: how good the rules are, some drawn at random, and their share."""

import json as json_
from random import Random

from rich.table import Table
from rich.text import Text

from physalis.atlas.records import Estimate
from physalis.cli.shown.console import make_console
from physalis.explanations import Explanations, Reach, Share

SHOWN = 8


def show(found: Explanations, share: Share | None, reach: Reach | None, *, json: bool) -> None:
    """Print them: as JSON alone on standard output, or for a person."""
    if json:
        said = {
            "folder": str(found.folder), "mean": found.mean.model_dump(),
            "explanations": [each.model_dump() for each in found], "share": share and share.model_dump(),
            "reach": reach and reach.model_dump(),
        }  # fmt: skip
        print(json_.dumps(said, indent=1))
        return
    console = make_console()
    mean = found.mean
    dead = [f"{each.feature:,}" for each in found if not each.n_fired + each.n_held_out]
    console.print(
        Text.assemble(
            (f"{len(found):,} rules, of {mean.size:g} leaves in the median", "bold"),
            f", judged on held-out text by the {mean.features:,} features that fire there.",
        )
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("mean F1", "rules", "best single token"):
        table.add_column(name, no_wrap=True)
    table.add_row("all firings", _number(mean.f1), _number(mean.f1_token))
    table.add_row("strong firings", _number(mean.f1_strong), "")
    console.print(table)
    console.print(f"F1 of .8 or more: {mean.at_least_80:.1%} of the features.\n")
    if dead:
        some = ", ".join(dead[:SHOWN]) + (", ..." if len(dead) > SHOWN else "")
        verb = "fires" if len(dead) == 1 else "fire"
        console.print(f"Nowhere in the recording {verb} {some}: {len(dead):,} in all.\n")
    _some(console, found)
    if share is not None:
        _share(console, share)
    if reach is not None:
        _reach(console, reach)


def _some(console, found: Explanations) -> None:
    every = [each for each in found if each.n_held_out]
    if not every:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="dim", title=None)
    table.add_column("feature", justify="right")
    table.add_column("F1", justify="right")
    table.add_column("rule" if len(every) <= SHOWN else "rule, of some drawn at random")
    for each in sorted(Random(0).sample(every, min(SHOWN, len(every))), key=lambda e: e.feature):
        table.add_row(f"{each.feature:,}", f"{each.detection.f1.value:.2f}", Text(each.rule))
    console.print(table)


def _share(console, share: Share) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"in the place of {share.site}", no_wrap=True)
    table.add_column("loss added, nats a token")
    for each in share.added:
        table.add_row(each.name, _number(each.loss), style="bold" if each.name == "rules" else None)
    for each in share.smaller:
        said = f"of at most {each.leaves} leaves" if each.leaves else f"of {each.features:,} features"
        table.add_row(f"rules {said}, {each.total:,} in all", _number(each.loss))
    console.print(table)
    if share.recovered is not None:
        console.print(
            f"The rules recover {_number(share.recovered)} of what lies between the current token and the true codes; "
            f"{share.features:,} rules of {share.leaves:,} leaves, {share.n_tokens:,} predictions."
        )


def _reach(console, reach: Reach) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("the model reads", no_wrap=True)
    table.add_column("mean F1 of where features fire, against the whole context")
    for each in reach.windows:
        table.add_row(f"the last {each.tokens:,} token{'s' * (each.tokens > 1)}", _number(each.f1))
    console.print(table)
    console.print(f"Of {len(reach.needed):,} features that fire on {reach.n_tokens:,} held-out tokens.")


def _number(x: Estimate) -> str:
    return f"{x.value:.3f}" + ("" if x.low is None else f" [{x.low:.3f}, {x.high:.3f}]")

"""What `physalis compare` shows: fates beside what chance gives, and the steps of a tree of features."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from physalis.cli.shown.console import make_console
from physalis.cli.shown.printing import ranged
from physalis.comparing.records import Estimate, ForestSummary, Matched, Side, Summary


def show_pair(found: Summary, folders: tuple[Path, Path], *, json: bool) -> None:
    """Two dictionaries: what each shares with the other, and by which measure. Where both have the same name they are
    told apart by their folders."""
    if json:
        print(found.model_dump_json(indent=1))
        return
    names = [(found.a.name, found.b.name), tuple(each.name for each in folders), tuple(map(str, folders))]
    table = _table("", *next((both for both in names if len(set(both)) == 2), names[0]))
    rows = [("architecture", _architecture), ("features", _size)]
    for title, of in [*rows, *([("FVU", _fvu), ("L0", _l0)] if found.codes is not None else [])]:
        table.add_row(title, of(found.a), of(found.b))
    for fate in found.a.fates:
        table.add_row(f"{fate}, of those that fire", *(_percent(side.fates.get(fate)) for side in (found.a, found.b)))
    if found.a.split_by_chance is not None:
        table.add_row("split by chance", *(_percent(side.split_by_chance) for side in (found.a, found.b)))
    console = _console()
    console.print(table)
    if found.codes is None:
        console.print(
            "FVU, L0 and what is split are told by codes: name a recording that both read, and they are measured.",
            soft_wrap=True,
        )
    for name, each in (("FVU", found.fvu_difference), ("L0", found.l0_difference)):
        if each is not None:
            console.print(f"{name} of the first less the second, document by document: {_number(each)}")
    for title, matched in (("by direction", found.directions), ("by activations", found.codes)):
        if matched is not None:
            console.print(f"\nMatched {title}: {_matched(matched)}", soft_wrap=True)
    if found.agreement is not None:
        console.print(f"Pairs found by direction that activations find too: {_percent(found.agreement)}")


def show_tree(found: ForestSummary, *, json: bool) -> None:
    """From each dictionary to the next wider one."""
    if json:
        print(found.model_dump_json(indent=1))
        return
    table = _table("from", "to", "with a parent", "by chance", "suspected of absorption")
    for narrow, wide, step in zip(found.widths[:-1], found.widths[1:], found.steps, strict=True):
        sizes = (f"{narrow.n_features:,}", f"{wide.n_features:,}")
        table.add_row(*sizes, _percent(step.with_parent), _percent(step.by_chance), _percent(step.absorbed))
    _console().print(table)


def _matched(found: Matched) -> str:
    baselines = ", ".join(f"{each.name} {_percent(each.share)}" for each in found.baselines)
    return (
        f"{_percent(found.share_a)} of the first, {_percent(found.share_b)} of the second; {baselines or 'no baseline'}"
    )


def _architecture(side: Side) -> str:
    return side.architecture


def _size(side: Side) -> str:
    return f"{side.n_features:,}"


def _fvu(side: Side) -> str:
    return _number(side.fvu)


def _l0(side: Side) -> str:
    return _number(side.l0)


def _number(found: Estimate | None) -> str:
    return "–" if found is None else ranged(found.value, found.low, found.high, ".3g")


def _percent(found: Estimate | None) -> str:
    return "–" if found is None else ranged(found.value, found.low, found.high, ".1%")


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for head in heads:
        table.add_column(head)
    return table


def _console() -> Console:
    return make_console()

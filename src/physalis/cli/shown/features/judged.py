"""What the command line shows of scores: each judge's number with its interval and noise, beside what chance does."""

import json as json_
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from physalis.cli.shown.console import make_console
from physalis.judging import Score, Scores, Words

SHOWN = 8
OTHERS = ("oracle", "best token")


def show(found: Scores, others: Sequence[Scores], *, json: bool) -> None:
    """Print them: as JSON alone on standard output, or for a person. ``others`` stand in columns of their own."""
    if json:
        said = {
            "folder": str(found.folder), "scores": [each.model_dump() for each in found],
            "over_corpora": [each.model_dump() for each in found.over_corpora()],
        }  # fmt: skip
        print(json_.dumps(said, indent=1))
        return
    console = make_console()
    values = found.beside(others)
    for corpus in dict.fromkeys(each.corpus for each in found):
        here = [each for each in found if each.corpus == corpus]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title=None)
        names = (f"on {corpus}", "judge", "score", "differs from", "best token", "swapped", "oracle", "chance")
        for name in (*names, *(other.folder.name for other in others)):
            table.add_column(name, no_wrap=name == "score", justify="left" if name in names[:2] else "right")
        for each in here:
            if _is_main(each):
                beside = (_of(here, each, name) for name in ("best token", f"shuffled: {each.judge}", "oracle"))
                chance = "" if each.chance is None else f"{each.chance:.1f}"
                theirs = (_plain(value) for value in values[each.corpus, each.task, each.judge, each.metric])
                table.add_row(
                    f"{each.task}, {each.metric.replace('_', ' ')}", each.judge, _number(each),
                    "" if each.noise.smallest_difference is None else f"± {each.noise.smallest_difference:.3f}",
                    *beside, chance, *theirs,
                )  # fmt: skip
        console.print(table)
        _deciles(console, here)
    n = max((each.n_features for each in found), default=0)
    unread = sum(each.unanswered for each in found)
    console.print(
        f"Means of {n:,} features; intervals over documents (responsiveness: over texts). A score of one draw differs "
        "from another by less than stands after ± where nothing but the draw differs."
        + (f" {unread:,} answers could not be read, and count as a no." if unread else "")
    )
    for each in found.over_corpora():
        if each.judge not in OTHERS and not each.judge.startswith("shuffled"):
            said = ", ".join(f"{value:.3f} on {corpus}" for corpus, value in each.values.items())
            console.print(f"{each.task}, {each.metric.replace('_', ' ')}: {said}; ± {each.smallest_difference:.3f}.")


def show_words(found: Words, *, json: bool) -> None:
    """Print what was said: as JSON alone on standard output, or for a person."""
    facts = found.manifest.facts
    if json:
        said = {"folder": str(found.folder), **facts, "words": [each.model_dump() for each in found]}
        print(json_.dumps(said, indent=1))
        return
    console = make_console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("feature", "by its", f"words of {found.manifest.config['teller']}"):
        table.add_column(name)
    for each in [*found][:SHOWN]:
        table.add_row(f"{each.feature:,}", each.side, Text(each.words))
    console.print(table)
    none = f" {facts['unanswered']:,} more got no answer." if facts["unanswered"] else ""
    console.print(
        f"{len(found):,} features were described in {found.folder}: {facts['tokens_read']:,} tokens read, "
        f"{facts['tokens_written']:,} written.{none}"
    )


def _deciles(console, here: Sequence[Score]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("by decile of code, weakest first", no_wrap=True)
    for decile in range(10):
        table.add_column(str(decile + 1), justify="right")
    seen = set()
    for each in here:
        if _is_main(each) and each.task not in seen and any(value is not None for value in each.by_decile):
            seen.add(each.task)
            name = f"{each.task}, {each.metric.replace('_', ' ')}"
            table.add_row(name, *map(_plain, each.by_decile))
    console.print()
    console.print(table)
    console.print()


def _is_main(each: Score) -> bool:
    return each.judge not in OTHERS and not each.judge.startswith("shuffled")


def _of(here: Sequence[Score], like: Score, judge: str) -> str:
    wanted = (like.task, judge, like.metric)
    found = (each for each in here if (each.task, each.judge, each.metric) == wanted)
    return next((_plain(each.estimate.value) for each in found), "")


def _number(each: Score) -> Text:
    value, low, high = each.estimate.value, each.estimate.low, each.estimate.high
    return Text(f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]"), style="bold")


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"

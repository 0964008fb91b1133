"""The commands `physalis doctor`, `cache` and `completion`: this machine, what is kept on it, and its shells."""

from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from physalis.cli.arguments.amounts import Range
from physalis.cli.arguments.help import page, verb
from physalis.cli.arguments.options import Json
from physalis.cli.shown.console import make_console, spelt

if TYPE_CHECKING:
    from physalis.machine.cache import Kept
    from physalis.machine.doctor import Machine


@verb(of="machine.doctor.examine", example="physalis doctor")
def doctor(*, json: Json = False) -> None:
    """Say what this machine has, and what is in the way.

    Processor, threads, card, memory, disk, cache, optional parts and library versions. Nothing is changed, and nothing
    outside the machine is asked.
    """
    from physalis.machine.doctor import examine

    found = examine()
    print(found.model_dump_json(indent=1)) if json else _tell(found)


app = cyclopts.App(name="cache", help="Models that were fetched or unpacked, and are kept.")

Names = Annotated[str, Parameter(help="What `cache list` lists; everything unless given.")]


@app.command(name="list", **page(of="machine.cache.cached", example="physalis cache list"))
def list_(*, json: Json = False) -> None:
    """List what is kept, its size, and when it was last read."""
    from physalis.machine.cache import cache_folder, cached

    found = cached()
    if json:
        return _print_json(found)
    print(f"{spelt(str(cache_folder()))} holds {_size(sum(each.bytes for each in found))}")
    _list(found)


@app.command(name="prune", **page(of="machine.cache.prune", example="physalis cache prune --older-than 30"))
def prune(
    *names: Names,
    older_than: Annotated[
        float | None,
        Parameter(help="Days: only what was not read for so long.", validator=Range(0), metavar="DAYS"),
    ] = None,
    yes: Annotated[
        bool | None, Parameter(negative="", show_default=False, help="Delete it, and do not only list it.")
    ] = None,
    json: Json = False,
) -> None:
    """Delete what is kept, but for what is in use.

    Without --yes it is only listed. It is fetched or unpacked again when it is next needed.
    """
    from physalis.machine import cache

    options = {} if older_than is None else {"older_than": older_than}
    found = (cache.prune if yes else cache.prunable)(names, **options)
    if json:
        return _print_json(found)
    if not found:
        print("There is nothing to delete.")
    _list(found)
    if found:
        size = _size(sum(each.bytes for each in found))
        print(f"Deleted: {size}." if yes else f"Nothing was deleted. With --yes these {size} are.")


@verb(example="physalis completion bash")
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="bash, zsh or fish.")], /
) -> None:  # fmt: skip
    """Print what lets a shell complete commands and options.

    For bash, put this line into ~/.bashrc: eval "$(physalis completion bash)". For zsh, put this one into ~/.zshrc,
    after compinit: eval "$(physalis completion zsh)". For fish, run once:
    physalis completion fish > ~/.config/fish/completions/physalis.fish
    """
    from physalis.cli import app

    print(app.generate_completion(prog_name="physalis", shell=shell))


def _tell(found: "Machine") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    for name, said in (
        ("physalis", f"{found.physalis}, Python {found.python}"),
        ("system", found.system),
        ("processor", ", ".join((found.processor, *found.instructions))),
        ("threads", f"{found.threads} on {found.cores} cores"),
        ("card", "; ".join(found.cards) or "none"),
        ("computes", f"on {found.device}, models in {found.computes_in}, the ranking of features in {found.ranks_in}"),
        ("memory", f"{_size(found.memory_bytes)} free"),
        ("disk", f"{_size(found.free_bytes)} free here"),
        ("cache", f"{_size(found.cache.bytes)} in {found.cache.folder}, {_size(found.cache.free_bytes)} free there"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
        *(
            (f"[{each.name}]", f"{each.gives}: " + (f"needs {', '.join(each.missing)}" if each.missing else "there"))
            for each in found.extras
        ),
    ):
        table.add_row(Text(name, style="dim"), Text(said))
    console = make_console()
    console.print(table)
    for each in found.warnings or ("Nothing is in the way.",):
        console.print(Text(each, style="yellow" if found.warnings else ""))


def _list(found: "list[Kept]") -> None:
    from rich.table import Table

    if not found:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    for each in found:
        state = "in use" if each.in_use else "" if each.finished else "left unfinished"
        table.add_row(each.name, _size(each.bytes), f"last read {each.days:.0f} days ago", state)
    make_console().print(table)


def _print_json(found: "list[Kept]") -> None:
    from json import dumps

    print(dumps([each.model_dump() for each in found], indent=1))


def _size(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"

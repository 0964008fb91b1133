"""What `physalis model` prints: what a model is made of, and a line for each site."""

from rich.table import Table

from physalis.cli.shown.console import make_console
from physalis.models import Inspection

HOW = {
    "table": "its modules are in physalis's table",
    "numbers": "its sites were found by numbers: the sum of what is added, and what decides what",
}


def show(made: Inspection, *, json: bool) -> None:
    """Print it, as JSON alone or for a person."""
    if json:
        print(made.model_dump_json(indent=1))
        return
    console = make_console()
    heads = f", {made.heads} heads" if made.heads else ""
    console.print(f"{made.name}: {made.architecture}, {made.parameters / 1e6:,.1f} million parameters")
    console.print(f"{made.layers} layers of width {made.width:,}{heads}, {made.vocabulary:,} tokens; {HOW[made.found]}")
    for name, scale in made.multipliers.items():
        console.print(f"what makes {name} is multiplied by {scale:g}")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("site", "width", "feeds", "where"):
        table.add_column(title, justify="right" if title == "width" else "left")
    for name, each in made.sites.items():
        of_all = name == "final_norm_scale"
        where = f"{made.blocks}, {each.module}" if each.module and not of_all else made.blocks if each.layers else ""
        width = "keys" if each.width is None else f"{each.width:,}"
        table.add_row(_range(name, each.layers), width, ", ".join(each.feeds), each.module if of_all else where)
    console.print(table)
    if made.parallel:
        console.print("There is no resid_mid: attention and MLP read the same stream side by side.")


def _range(name: str, layers: list[int] | None) -> str:
    if layers is None:
        return name
    if layers == list(range(layers[0], layers[-1] + 1)):
        return f"L{layers[0]}.{name}" + (f" to L{layers[-1]}.{name}" if len(layers) > 1 else "")
    return ", ".join(f"L{layer}" for layer in layers) + f" .{name}"

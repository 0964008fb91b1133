"""The commands `physalis notes`: what people write about an atlas, as plain files, and from elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from physalis.cli.arguments.help import page
from physalis.cli.arguments.options import Atlas_, Json, Out, given, writable
from physalis.display.counts import counted

if TYPE_CHECKING:
    from physalis.atlas import Atlas
    from physalis.people.notes import Notes

app = cyclopts.App(name="notes", help="What people write about an atlas, as plain files and back.")

Folder = Annotated[Path, Parameter(help="Folder that `notes export` wrote.")]


@app.command(name="export", **page(example="physalis notes export atlas notes"))
def export_notes(
    atlas: Atlas_,
    folder: Annotated[Path, Parameter(help="Folder to write; what stands there stays.", validator=writable)],
    /,
) -> None:
    """Write the notes beside an atlas as lines that git can merge."""
    from physalis.people.notes.files import export_notes as export

    n = export(_notes(atlas)[1], folder)
    print(f"{folder} holds {counted(n, 'record')}")


@app.command(name="import", **page(example="physalis notes import atlas notes"))
def import_notes(
    atlas: Atlas_, folder: Folder, /, *,
    trust: Annotated[
        bool, Parameter(negative="", show_default=False, help="Take over edits and removals of what is here, too.")
    ] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Add exported notes to those beside an atlas: all or nothing.

    What would change or remove notes that are here, or is in the name of somebody who writes here, is left out without
    --trust.
    """
    from physalis.cli.shown import printing
    from physalis.people.notes.files import import_additions
    from physalis.people.notes.files import import_notes as import_

    printing.show_fields((import_ if trust else import_additions)(_notes(atlas)[1], folder), json=json)


@app.command(name="merge", **page(example="physalis notes merge notes notes --out merged"))
def merge_notes(*folders: Annotated[Path, Parameter(help="Folders that `notes export` wrote.")], out: Out) -> None:
    """Put several exported folders into one."""
    from physalis.people.notes.files import merge_notes as merge

    n = merge(folders, out)
    print(f"{out} holds {counted(n, 'record')}")


Source = Annotated[
    str | None,
    Parameter(help="Model and layer that the atlas is of there, such as gpt2-small/8-res-jb.", metavar="MODEL/LAYER"),
]


@app.command(name="explanations", **page(example="physalis notes explanations atlas explanations.jsonl"))
def import_explanations(
    atlas: Atlas_,
    file: Annotated[Path, Parameter(help="File exported from there, .jsonl or .jsonl.gz, or a folder of them.")],
    /,
    *,
    source: Source = None,
    json: Json = False,
) -> None:
    """Take over explanations of Neuronpedia as labels."""
    from physalis.cli.shown import printing
    from physalis.people.notes.neuronpedia import import_explanations as import_

    opened, notes = _notes(atlas)
    printing.show_fields(import_(notes, file, n_features=len(opened), **given(source=source)), json=json)


@app.command(
    name="quick-list",
    **page(
        example="physalis notes quick-list atlas "
        """'[{"modelId": "m", "layer": "1", "index": "2"}]' --source m/1 --author Ada --name Quotes"""
    ),
)
def import_list(
    atlas: Atlas_,
    text: Annotated[str, Parameter(help="Address of the list, or its JSON.")],
    /,
    *,
    author: Annotated[str, Parameter(help="In whose name it is kept.", metavar="NAME")],
    name: Annotated[str | None, Parameter(help="What it is called; as there unless given.", metavar="NAME")] = None,
    source: Source = None,
    json: Json = False,
) -> None:
    """Take over a quick list of Neuronpedia."""
    from physalis.cli.shown import printing
    from physalis.people.notes.neuronpedia import import_list as import_

    opened, notes = _notes(atlas)
    made = import_(notes, text, author=author, n_features=len(opened), **given(name=name, source=source))
    printing.show_fields(made, json=json)


@app.command(**page(example="physalis notes rebind atlas"))
def rebind(atlas: Atlas_, /) -> None:
    """Bind notes to an atlas that was built again.

    From the same dictionary: labels stay with the numbers of their features.
    """
    from physalis.atlas import Atlas
    from physalis.people.notes import beside
    from physalis.people.notes import rebind as rebind_

    now = Atlas.open(atlas).manifest.hash
    before = rebind_(beside(atlas), atlas=now)
    if before == now:
        print(f"{beside(atlas)} is bound to {atlas} already: nothing had to be done")
        return
    print(f"{beside(atlas)} was bound to {before[:12]}, and is now to {atlas}")


def _notes(folder: Path) -> "tuple[Atlas, Notes]":
    from physalis.atlas import Atlas
    from physalis.people.notes import Notes, beside

    atlas = Atlas.open(folder)
    return atlas, Notes.open(beside(folder), atlas=atlas.manifest.hash)

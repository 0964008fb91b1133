"""The commands `physalis notes`: what people write about an atlas, as plain files, and from elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from physalis.cli.options import Json, Out, given

if TYPE_CHECKING:
    from physalis.atlas import Atlas
    from physalis.notes import Notes

app = cyclopts.App(name="notes", help="Labels, notes, votes and lists of an atlas: to git and back, merged, imported.")


@app.command(name="export")
def export_notes(atlas: Path, folder: Path, /) -> None:
    """Write the notes beside ATLAS into FOLDER as lines of plain text that git can merge. What stands there already
    stays."""
    from physalis.notes.files import export_notes as export

    n = export(_notes(atlas)[1], folder)
    print(f"{folder} holds {n:,} records")


@app.command(name="import")
def import_notes(
    atlas: Path, folder: Path, /, *,
    trust: Annotated[bool, Parameter(negative="", help="Take over edits and removals of what is here, too.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Add an exported FOLDER to the notes beside ATLAS, or nothing if a line cannot be read. What would change or
    remove notes that are here, or is in the name of somebody who writes here, is left out without --trust."""
    from physalis.cli import printing
    from physalis.notes.files import import_additions
    from physalis.notes.files import import_notes as import_

    printing.show_fields((import_ if trust else import_additions)(_notes(atlas)[1], folder), json=json)


@app.command(name="merge")
def merge_notes(*folders: Path, out: Out) -> None:
    """Put several exported FOLDERS into one."""
    from physalis.notes.files import merge_notes as merge

    n = merge(folders, out)
    print(f"{out} holds {n:,} records")


@app.command(name="explanations")
def import_explanations(atlas: Path, file: Path, /, *, source: str | None = None, json: Json = False) -> None:
    """Take over explanations exported from Neuronpedia (.jsonl or .jsonl.gz, or a folder of them) as labels. SOURCE is
    the model and layer that ATLAS is of there, such as gpt2-small/8-res-jb."""
    from physalis.cli import printing
    from physalis.notes.neuronpedia import import_explanations as import_

    opened, notes = _notes(atlas)
    printing.show_fields(import_(notes, file, n_features=len(opened), **given(source=source)), json=json)


@app.command(name="quick-list")
def import_list(
    atlas: Path, text: str, /, *, author: str, name: str | None = None, source: str | None = None, json: Json = False
) -> None:
    """Take over a quick list of Neuronpedia as a list of AUTHOR's. TEXT is its address or its JSON."""
    from physalis.cli import printing
    from physalis.notes.neuronpedia import import_list as import_

    opened, notes = _notes(atlas)
    made = import_(notes, text, author=author, n_features=len(opened), **given(name=name, source=source))
    printing.show_fields(made, json=json)


@app.command
def rebind(atlas: Path, /) -> None:
    """Bind the notes beside ATLAS to it, after it was built again from the same dictionary: labels stay with the
    numbers of their features."""
    from physalis.atlas import Atlas
    from physalis.notes import beside
    from physalis.notes import rebind as rebind_

    before = rebind_(beside(atlas), atlas=Atlas.open(atlas).manifest.hash)
    print(f"{beside(atlas)} was bound to {before[:12]}, and is now to {atlas}")


def _notes(folder: Path) -> "tuple[Atlas, Notes]":
    from physalis.atlas import Atlas
    from physalis.notes import Notes, beside

    atlas = Atlas.open(folder)
    return atlas, Notes.open(beside(folder), atlas=atlas.manifest.hash)

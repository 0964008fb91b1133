"""The command `physalis contrast`: which features fire on some texts and not on others."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from physalis import artifact
from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import Count
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import Dictionary, Json, Loading, ModelAgain, Order, given
from physalis.errors import BadInput

File = Annotated[
    str | None, Parameter(help="A text a line, or parted by empty lines; a row in .jsonl, .csv and the like.")
]


@verb(
    of="search.contrast.contrast",
    example="physalis contrast sae --here 'It is not so.' --there 'It is so.'",
)
def contrast(
    dictionary: Dictionary,
    here_file: File = None,
    there_file: File = None,
    /,
    *,
    here: Annotated[
        list[str] | None, Parameter(help="A text of the first set, instead of files. Repeatable.", metavar="TEXT")
    ] = None,
    there: Annotated[
        list[str] | None, Parameter(help="A text of the set to compare it with. Repeatable.", metavar="TEXT")
    ] = None,
    field: Annotated[
        str | None, Parameter(help="Field that is the text in rows; text unless given.", metavar="NAME")
    ] = None,
    measure: Annotated[
        Literal["mean_code", "share_of_tokens", "share_of_texts"] | None,
        Parameter(help="What is compared of a feature; mean_code unless given.", metavar="MEASURE"),
    ] = None,
    atlas: Annotated[
        Path | None, Parameter(help="Atlas of the dictionary, which gives features headlines.", metavar="FOLDER")
    ] = None,
    top: Annotated[Count, Parameter(help="Features of each side to show.")] = None,
    seed: Order = None,
    model: ModelAgain = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Say which features fire on some texts and not on others.

    Two files of texts, or texts given one by one. The unit is the text: with fewer than 4 a side nothing can be told
    from chance.
    """
    about = early.dictionary(dictionary)
    if bool(here_file and there_file) == bool(here and there) or (here_file and (here or there)):
        raise BadInput("Give two files of texts, or texts with --here and with --there: one of these, both sides.")
    if atlas is not None and artifact.read(atlas, "atlas").inputs.get("dictionary") != about.hash:
        raise BadInput(f"{atlas} is of another dictionary than {dictionary}. Give the one that was built from it.")
    from physalis.search import texts_of

    sets = [texts_of(each, field=field) for each in (here_file, there_file) if each] or [here or [], there or []]
    from physalis import Atlas
    from physalis.cli.shown.features import contrasts
    from physalis.placement.origin import Origin
    from physalis.search import MEASURES, Reader, contrast

    if model is not None:
        subject = loading.load(model)
    else:
        subject = loading.load_found(Origin.of(about).model, "The dictionary")
    reader = Reader.open(dictionary, subject)
    read = reader.read([*sets[0], *sets[1]])
    by_name = {getattr(each, "__name__", ""): each for each in MEASURES}
    chosen = given(measure=measure and by_name[measure], top=top, seed=seed)
    found = contrast(read[: len(sets[0])], read[len(sets[0]) :], **chosen)
    contrasts.show(found, None if atlas is None else Atlas.open(atlas), json=json)

"""The commands `physalis publish` and `physalis export`: an atlas as plain files, for readers and for other tools."""

import re
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from physalis.artifact.untrusted import shown
from physalis.cli.arguments.amounts import Count
from physalis.cli.arguments.help import page
from physalis.cli.arguments.options import Articles, Atlas_, Json, Out, given
from physalis.errors import BadInput

if TYPE_CHECKING:
    from physalis.atlas import Atlas

export = cyclopts.App(name="export", help="An atlas as files for Neuronpedia or SAEDashboard.")
Some = Annotated[
    str | None,
    Parameter(help="Numbers and ranges, such as 3,17,40-49, or a list of the notes.", metavar="FEATURES"),
]
ModelId = Annotated[
    str | None, Parameter(help="What the model is called there; as in the atlas unless given.", metavar="NAME")
]


def publish(
    atlas: Atlas_,
    /,
    *,
    out: Out,
    features: Some = None,
    article: Articles = None,
    most: Annotated[
        Count, Parameter(help="Features to show, striking ones and their neighbours, if none are named.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a site that any file host serves, or that opens as files.

    Names that people gave features, and comments that are published, stand on their pages.
    """
    from physalis.atlas import Atlas
    from physalis.naming import Known
    from physalis.people.annotations import Annotations
    from physalis.web.publish.site import publish as publish_

    opened = Atlas.open(atlas)
    people = Annotations.beside(opened)
    comments = people.comments.published() if people.comments else None
    labels = people.notes.all_labels() if people.notes else None
    options = given(features=_chosen(features, opened), articles=article, most=most, comments=comments, labels=labels)
    made = publish_(opened.with_annex(Known(opened, people.notes).annex), out, **options)
    if json:
        from physalis.cli.shown import printing

        return printing.show(made, json=True)
    print(out / "index.html")


@export.command(
    **page(
        of="exchange.formats.neuronpedia.export_neuronpedia",
        example="physalis export neuronpedia atlas --source-set res --creator Ada --out for-neuronpedia",
    )
)
def neuronpedia(
    atlas: Atlas_,
    /,
    *,
    out: Out,
    source_set: Annotated[str, Parameter(help="What the set of sources is called there.", metavar="NAME")],
    creator: Annotated[str, Parameter(help="Whose it is.", metavar="NAME")],
    release: Annotated[str | None, Parameter(help="What the release is called there.", metavar="NAME")] = None,
    description: Annotated[str | None, Parameter(help="What is said of it there.", metavar="TEXT")] = None,
    url: Annotated[str | None, Parameter(help="Where more is said of it.", metavar="ADDRESS")] = None,
    suffix: Annotated[
        str | None, Parameter(help="What tells this source from others of its layer.", metavar="NAME")
    ] = None,
    model_id: ModelId = None,
    features: Some = None,
    json: Json = False,
) -> None:
    """Write what Neuronpedia's importer reads.

    A source set with its features, activations, and the rules and words that lie beside the atlas.
    """
    from physalis.atlas import Atlas
    from physalis.cli.shown import printing
    from physalis.exchange.formats.neuronpedia import export_neuronpedia
    from physalis.naming.beside import find_beside
    from physalis.naming.told import told

    opened = Atlas.open(atlas)
    options = given(
        release=release, description=description, url=url, suffix=suffix, model_id=model_id,
        features=_chosen(features, opened),
    )  # fmt: skip
    options["explanations"] = told(find_beside(opened))
    made = export_neuronpedia(opened, out, source_set=source_set, creator=creator, **options)
    printing.show_fields(made, json=json)


@export.command(
    **page(
        of="exchange.formats.saedashboard.export_saedashboard",
        example="physalis export saedashboard atlas --sae-set res --out for-saedashboard",
    )
)
def saedashboard(
    atlas: Atlas_,
    /,
    *,
    out: Out,
    sae_set: Annotated[str, Parameter(help="What the set it is a member of is called.", metavar="NAME")],
    model_id: ModelId = None,
    features: Some = None,
    json: Json = False,
) -> None:
    """Write SAEDashboard's batches of features."""
    from physalis.atlas import Atlas
    from physalis.cli.shown import printing
    from physalis.exchange.formats.saedashboard import export_saedashboard

    opened = Atlas.open(atlas)
    options = given(model_id=model_id, features=_chosen(features, opened))
    made = export_saedashboard(opened, out, sae_set=sae_set, **options)
    printing.show_fields(made, json=json)


def _chosen(named: str | None, atlas: "Atlas") -> list[int] | None:
    """The features that were named, as numbers or as a list of the notes beside the atlas."""
    from physalis.people.notes import find_beside

    if named is None:
        return None
    if re.fullmatch(r"[0-9]{1,12}(-[0-9]{1,12})?(,[0-9]{1,12}(-[0-9]{1,12})?)*", named):
        return [feature for part in named.split(",") for feature in _range(part, len(atlas))]
    notes = find_beside(atlas.folder, atlas=atlas.manifest.hash)  # comments that cannot be read are not in the way
    lists = {row.list.name: row.list.list for row in notes.lists()} if notes else {}
    if notes is None or named not in lists:
        known = ", ".join(lists) or "none"
        raise BadInput(
            f"{shown(named)} is neither numbers such as 3,17,40-49 nor a list in the notes (there: {known})."
        )
    found = [entry.feature for entry in notes.full_list(lists[named]).entries]
    if not found:
        raise BadInput(
            f"The list {shown(named)} in the notes holds no feature. Put some in, name numbers, or leave --features "
            "out."
        )
    return found


def _range(part: str, n_features: int) -> range:
    """The features of "7" or "4-9"; of one that leads beyond the atlas's no more than shows that. Raises BadInput for
    one that goes backwards."""
    first, last = (int(end) for end in (part.split("-") * 2)[:2])
    if last < first:
        raise BadInput(f"The range {part} ends before it begins. Write the lower number first: {last}-{first}.")
    return range(first, max(first, min(last, n_features)) + 1)

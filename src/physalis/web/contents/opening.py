"""open_app: folders as a server: one artefact alone at "/", or several, each in a room of its own, behind a table of
contents."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from physalis import artifact
from physalis.atlas import Atlas
from physalis.comparing import Forest
from physalis.errors import BadInput
from physalis.explanations.queue import Line, Queue, Sources
from physalis.naming import Known
from physalis.people.annotations import Annotations
from physalis.web.atlas.app import atlas_room
from physalis.web.atlas.explained import Explained
from physalis.web.comparison.serving import comparison_room, open_compared
from physalis.web.contents import records
from physalis.web.contents.finding import Found, Other, around, find, find_others
from physalis.web.contents.others import line_of
from physalis.web.contents.records import Contents, Entry
from physalis.web.contents.room import contents_room
from physalis.web.graphs.names import Names
from physalis.web.graphs.records import page_of
from physalis.web.graphs.serving import graph_room
from physalis.web.graphs.stored import StoredGraph
from physalis.web.lab.app import lab_room
from physalis.web.server.refusals import to_visitor
from physalis.web.server.rooms import Room, app_of
from physalis.web.worker.relay import relayed
from physalis.web.worker.worker import Setting, Worker

Tells = Callable[[], Entry]
"""Makes an entry as it is now: runs go on."""


def open_app(
    folders: Path | str | Sequence[Path | str],
    dictionary: Path | str | None = None,
    activations: Path | str | None = None,
    *,
    author: str | None = None,
    tree: Path | str | None = None,
    articles: Sequence[Path | str] = (),
    explain: bool = False,
    device: str | None = None,
    dtype: str | None = None,
) -> FastAPI:
    """The server of ``server.serving.serve``, made from folders. Raises BadInput as that does."""
    if dictionary is None and activations is not None and not explain:
        raise BadInput("Activations alone steer nothing. Give the dictionary that the atlas is of as well.")
    given = [Path(each) for each in ([folders] if isinstance(folders, Path | str) else folders)]
    found = find(given)
    alone = len(given) == 1 and (not found or found[0].folder == given[0])
    if alone and (not found or found[0].kind == "run"):
        artifact.read(given[0], "atlas")  # which says what it is instead
    if not found:
        raise BadInput(f"None of {', '.join(map(str, given))} is or holds something to show. Check the paths.")
    if alone:
        found = [found[0]._replace(prefix="")]
    beside = Beside(author, dictionary, activations, tree, articles, explain, device, dtype)
    if alone:
        return app_of([_alone(found[0]._replace(prefix=""), beside)])
    unseen = find_others(given)
    name, opened = around(given).name or "physalis", _together(found, beside, _sets(unseen))
    others = [line_of(each) for each in unseen]

    def told() -> Contents:
        entries = [_now(each, tells) for each, (tells, _) in zip(found, opened, strict=True)]
        return Contents(name=name, entries=entries, others=others)

    return app_of([contents_room(told), *(room for _, room in opened if room is not None)])


@dataclass(frozen=True)
class Beside:
    """What is served with the atlases, as ``server.serving.serve`` is given it."""

    author: str | None
    dictionary: Path | str | None
    activations: Path | str | None
    tree: Path | str | None
    articles: Sequence[Path | str]
    explain: bool
    device: str | None
    dtype: str | None


def _alone(found: Found, beside: Beside) -> Room:
    """What is served at "/"."""
    if found.kind == "atlas":
        forest = None if beside.tree is None else Forest.open(beside.tree)
        return _of_atlas(found, Atlas.open(found.folder), beside, forest)
    if beside.dictionary is not None or beside.tree is not None or beside.articles or beside.explain:
        raise BadInput(
            f"{found.folder} is no atlas but a {found.kind}: neither a dictionary nor a tree nor articles are served "
            "with it, and it has no features to explain. Give its folder alone."
        )
    return _of_graph(found, {}, {})[1] if found.kind == "graph" else _of_other(found, [])


def _together(
    found: Sequence[Found], beside: Beside, sets: Mapping[str, Mapping[str, str]]
) -> list[tuple[Tells, Room | None]]:
    """Each with what tells its entry, and with no room where it could not be opened. ``sets`` as ``Names.of`` has
    them."""
    atlases: dict[Found, Atlas] = {}
    forests: list[Forest] = [] if beside.tree is None else [Forest.open(beside.tree)]
    told: dict[Found, tuple[Tells, Room | None]] = {}
    for each in found:
        try:
            if each.kind == "atlas":
                atlases[each] = Atlas.open(each.folder)
            elif each.kind == "tree":
                forests.append(Forest.open(each.folder))
        except BadInput as error:
            told[each] = _unread(each, error)
    if beside.articles and len(atlases) != 1:
        raise BadInput(
            f"Articles are about one atlas, and {len(atlases)} are served. Serve theirs alone: physalis serve ATLAS "
            "--article FILE."
        )
    if beside.explain and len(atlases) != 1:
        raise BadInput(
            f"One atlas is explained while it is served, and there are {len(atlases)}. Serve it alone: physalis serve "
            "ATLAS --explain."
        )
    if beside.tree is not None and not any(_place(forests[:1], atlas) for atlas in atlases.values()):
        raise BadInput(
            f"{beside.tree} has no place for the dictionary of any of the {len(atlases)} atlases here. Grow one with "
            "it: physalis compare tree."
        )
    modelled = _modelled(atlases, beside)
    for each in found:
        own = beside if each is modelled else replace(beside, dictionary=None)
        try:
            if each in atlases:
                told[each] = _with_entry(each, atlases[each], own, _place(forests, atlases[each]))
            elif each.kind == "graph":
                told[each] = _of_graph(each, atlases, sets)
            elif each not in told:
                told[each] = _entry_of(each), _of_other(each, [*atlases.values()])
        except BadInput as error:
            if own.dictionary is not None or each in atlases and own.articles:
                raise  # about what was asked for beside it
            told[each] = _unread(each, error)
    return [told[each] for each in found]


def _modelled(atlases: Mapping[Found, Atlas], beside: Beside) -> Found | None:
    """The atlas that the dictionary is of. One server has one model."""
    if beside.dictionary is None:
        return None
    hash = artifact.read(Path(beside.dictionary), "dictionary").hash
    for each, atlas in atlases.items():
        if atlas.manifest.inputs.get("dictionary") == hash:
            return each
    raise BadInput(
        f"None of the {len(atlases)} atlases here is of {beside.dictionary}. Give the dictionary of one of them: a "
        "server has the model of one atlas."
    )


def _place(forests: Sequence[Forest], atlas: Atlas) -> Forest | None:
    """The first tree that has a place for an atlas's dictionary."""
    hash = atlas.manifest.inputs.get("dictionary")
    return next((each for each in forests if hash in {width.hash for width in each.summary.widths}), None)


def _with_entry(found: Found, atlas: Atlas, beside: Beside, forest: Forest | None) -> tuple[Tells, Room]:
    return atlas.kept(lambda: records.of_atlas(found, atlas)), _of_atlas(found, atlas, beside, forest)


def _of_atlas(found: Found, atlas: Atlas, beside: Beside, forest: Forest | None) -> Room:
    atlas.read_ahead()
    people, live = Annotations.beside(atlas, writes=beside.author is not None), None
    if beside.dictionary is not None:
        recorded = None if beside.activations is None else Path(beside.activations)
        where = (people.notes is not None, beside.device, beside.dtype)
        live = relayed(Worker(Setting(found.folder, Path(beside.dictionary), recorded, *where)))
    known = Known(atlas, people.notes)
    queue = _queue(known, beside) if beside.explain else None
    return atlas_room(
        atlas, live, people, author=beside.author, forest=forest, articles=beside.articles,
        explained=Explained(known, queue), prefix=found.prefix,
    )  # fmt: skip


def _queue(known: Known, beside: Beside) -> Line | None:
    """What explains the features, unless all are, or cannot be: then that is said."""
    rules = known.beside().rules
    if rules is not None and rules.is_whole and len(rules) == len(known.atlas):
        return None
    try:
        return Queue(Sources.beside(known.atlas, beside.dictionary, beside.activations)).line
    except BadInput as error:
        print(f"The features are not explained. {error}", file=sys.stderr)
        return None


def _of_graph(
    found: Found, atlases: Mapping[Found, Atlas], sets: Mapping[str, Mapping[str, str]]
) -> tuple[Tells, Room]:
    """A graph, with what the atlases of its layers know of its features."""
    graph = StoredGraph.open(found.folder)
    page, served = page_of(graph), [(atlas, each.prefix) for each, atlas in atlases.items()]
    room = graph_room(page, Names.of(graph, served, sets), prefix=found.prefix)
    return partial(records.of_graph, found, page), room


def _sets(others: Sequence[Other]) -> dict[str, dict[str, str]]:
    """What the sets of transcoders are made of, by their hashes."""
    found: dict[str, dict[str, str]] = {}
    for each in others:
        if each.kind == "transcoders":
            with suppress(BadInput):  # one that is damaged names nothing
                said = artifact.read(each.folder, each.kind)
                found[said.hash] = said.inputs
    return found


def _of_other(found: Found, atlases: Sequence[Atlas]) -> Room:
    """A room without a model. Comparisons and trees show what the atlases know of their features."""
    if found.kind == "lab":
        return lab_room(found.folder, prefix=found.prefix)
    if found.kind == "run":
        from physalis.web.contents.runs import run_room

        return run_room(found)
    subject = open_compared(found.folder)
    parts = subject.summary.widths if isinstance(subject, Forest) else (subject.summary.a, subject.summary.b)
    own = [each for each in atlases if each.manifest.inputs.get("dictionary") in {part.hash for part in parts}]
    return comparison_room(subject, own, prefix=found.prefix)


def _entry_of(found: Found) -> Tells:
    if found.kind == "lab":
        return partial(records.of_lab, found)
    if found.kind == "run":
        from physalis.web.contents.runs import run_entry

        return run_entry(found)
    subject = open_compared(found.folder)
    if isinstance(subject, Forest):
        return partial(records.of_tree, found, subject)
    return partial(records.of_comparison, found, subject)


def _unread(found: Found, error: BadInput) -> tuple[Tells, None]:
    return partial(records.of_unread, found, to_visitor(error)), None


def _now(found: Found, tells: Tells) -> Entry:
    """An entry, also of what was damaged meanwhile."""
    try:
        return tells()
    except BadInput as error:
        return records.of_unread(found, to_visitor(error))

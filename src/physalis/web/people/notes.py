"""notes_router: what people write about an atlas, as JSON under /api/notes.

| address | GET | POST | DELETE |
| --- | --- | --- | --- |
| /features/12, /features/12/said | all that people wrote about it; and what else its page shows of them | | |
| /labels?feature=1&feature=2, /labels/ID | labels of features | name a feature | one's own |
| /notes?feature=1, /notes/ID | notes on a feature | write one; edit one's own | one's own |
| /votes/label?target=ID, /votes/ID | tallies | vote, on a label or an explanation | one's own |
| /lists, /lists/ID | all lists; one with its features | make one; rename it | a list |
| /lists/ID/entries, /lists/ID/entries/12 | | put a feature in, move or edit it | take it out |
| /search?query= | labels and notes with these words | | |

Text goes in and out as it was written: no HTML is made here. Bodies are JSON with a content type that says so, which no
form of another site can send.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from pydantic import ConfigDict, Field

from physalis.people.notes import Notes
from physalis.people.notes.records import (
    LAST_FEATURE,
    Description,
    Entry,
    FeatureId,
    FeatureNotes,
    Found,
    FullList,
    Id,
    Label,
    Labelled,
    LabelText,
    Listed,
    Listing,
    ListName,
    ListRow,
    Note,
    NoteText,
    Override,
    Remark,
    Removal,
    Said,
    Tally,
    Target,
    Vote,
    VotedOn,
    Worth,
)
from physalis.people.notes.store import ENTRIES
from physalis.people.records import Record
from physalis.people.refusals import Missing
from physalis.web.people.routes import PeopleRoute
from physalis.web.server.answers import Refusal, as_json

MOST_ASKED = 500
"""Features or targets of one question."""
MOST_ROWS = 200
"""Rows of one page of a search."""
MOST_SHOWN, MOST_LABELS = 200, 20
"""Labels, notes and lists that are told of one feature; and labels, where many features are asked for."""
Asked = Annotated[int, Field(ge=-LAST_FEATURE, le=LAST_FEATURE)]
"""A feature's number in an address, whether there is such a feature or not."""


class _Body(Record):
    model_config = ConfigDict(strict=True)


class LabelBody(_Body):
    """A name for a feature."""

    feature: FeatureId
    text: LabelText


class NoteBody(_Body):
    """A note on a feature."""

    feature: FeatureId
    text: NoteText


class NoteEdit(_Body):
    """A note written anew."""

    text: NoteText


class VoteBody(_Body):
    """A vote on the wording of a label or explanation."""

    feature: FeatureId
    on: VotedOn
    target: Target
    value: Worth


class ListEdit(_Body):
    """A list named and described anew."""

    name: ListName
    description: Description = ""


class ListBody(ListEdit):
    """A new list, with its first features in order."""

    features: Annotated[list[FeatureId], Field(max_length=ENTRIES, fail_fast=True)] = []


class EntryBody(_Body):
    """A feature's entry in a list. ``at`` counts the entries before it; null leaves it, or puts a new one last."""

    feature: FeatureId
    label: Override = ""
    note: Remark = ""
    at: Annotated[int, Field(ge=0)] | None = None


def read_only() -> str:
    """A ``writer`` for atlases that nobody writes about here."""
    raise HTTPException(403, "These notes are read-only here.")


def notes_router(notes: Notes, n_features: int, writer: Callable[..., str]) -> APIRouter:
    """The addresses of one atlas's notes, for an app to include.

    ``writer`` is a FastAPI dependency that every change goes through: it returns who is writing, or raises
    HTTPException (403 where nothing may be written), and is where an app looks at sessions, tokens and rates.
    """
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal} for status in (400, 403, 404, 413, 422, 503)
    }
    router = APIRouter(prefix="/api/notes", tags=["notes"], route_class=PeopleRoute, responses=refusals)

    def check(*features: int) -> None:
        for feature in features:
            if not 0 <= feature < n_features:
                last = n_features - 1
                raise Missing(f"There is no feature {feature}: this atlas has {n_features:,}, from 0 to {last}.")

    @router.get("/features/{feature}", response_model=FeatureNotes)
    def about(feature: Asked) -> Response:
        """All that people wrote about a feature."""
        check(feature)
        return as_json(notes.of(feature, most=MOST_SHOWN))

    @router.get("/features/{feature}/said", response_model=Said)
    def said(feature: Asked) -> Response:
        """All that people wrote about a feature, the votes on its labels, and the lists it can be put into."""
        check(feature)
        return as_json(notes.said(feature, most=MOST_SHOWN))

    @router.get("/labels")
    def labels(feature: Annotated[list[Asked], Query(max_length=MOST_ASKED)]) -> Mapping[int, Sequence[Labelled]]:
        """The labels of features, most liked first. Features without any are left out."""
        check(*feature)
        return notes.labels_of(feature, most=MOST_LABELS)

    @router.post("/labels", status_code=201)
    def label(body: LabelBody, author: Annotated[str, Depends(writer)]) -> Label:
        """Name a feature; takes the place of one's earlier name for it."""
        check(body.feature)
        return notes.label(body.feature, body.text, author=author)

    @router.delete("/labels/{id}")
    def remove_label(id: Id, author: Annotated[str, Depends(writer)]) -> Removal:
        """Take away one's own label."""
        return notes.remove(Label, id, author=author)

    @router.get("/notes", response_model=Sequence[Note])
    def notes_of(feature: Asked) -> Response:
        """The notes on a feature, oldest first."""
        check(feature)
        return as_json(notes.notes_of(feature, most=MOST_SHOWN))

    @router.post("/notes", status_code=201)
    def note(body: NoteBody, author: Annotated[str, Depends(writer)]) -> Note:
        """Write a note."""
        check(body.feature)
        return notes.note(body.feature, body.text, author=author)

    @router.post("/notes/{id}")
    def edit_note(id: Id, body: NoteEdit, author: Annotated[str, Depends(writer)]) -> Note:
        """Write one's own note anew. The answer has an id of its own."""
        return notes.edit_note(id, body.text, author=author)

    @router.delete("/notes/{id}")
    def remove_note(id: Id, author: Annotated[str, Depends(writer)]) -> Removal:
        """Take away one's own note."""
        return notes.remove(Note, id, author=author)

    @router.get("/votes/{on}")
    def tallies(on: VotedOn, target: Annotated[list[Target], Query(max_length=MOST_ASKED)]) -> Mapping[str, Tally]:
        """The votes on labels or explanations. Targets without any are left out."""
        return notes.tallies(on, target)

    @router.post("/votes", status_code=201)
    def vote(body: VoteBody, author: Annotated[str, Depends(writer)]) -> Vote:
        """Vote; takes the place of one's earlier vote on the same wording."""
        check(body.feature)
        return notes.vote(body.feature, body.on, body.target, body.value, author=author)

    @router.delete("/votes/{id}")
    def remove_vote(id: Id, author: Annotated[str, Depends(writer)]) -> Removal:
        """Take back one's own vote."""
        return notes.remove(Vote, id, author=author)

    @router.get("/lists", response_model=Sequence[ListRow])
    def lists() -> Response:
        """All lists, by name."""
        return as_json(notes.lists(most=ENTRIES))

    @router.get("/features/{feature}/lists")
    def lists_of(feature: Asked) -> Sequence[Listed]:
        """The lists that a feature stands in."""
        check(feature)
        return notes.lists_of(feature, most=MOST_SHOWN)

    @router.post("/lists", status_code=201)
    def make_list(body: ListBody, author: Annotated[str, Depends(writer)]) -> FullList:
        """Make a list."""
        check(*body.features)
        return notes.make_list(body.name, author=author, description=body.description, features=body.features)

    @router.get("/lists/{id}", response_model=FullList)
    def full_list(id: Id) -> Response:
        """A list with its features in order."""
        return as_json(notes.full_list(id))

    @router.post("/lists/{id}")
    def describe_list(id: Id, body: ListEdit, author: Annotated[str, Depends(writer)]) -> Listing:
        """Name and describe a list anew."""
        return notes.describe_list(id, body.name, author=author, description=body.description)

    @router.delete("/lists/{id}")
    def remove_list(id: Id, author: Annotated[str, Depends(writer)]) -> Removal:
        """Take away a list."""
        return notes.remove_list(id, author=author)

    @router.post("/lists/{id}/entries")
    def enter(id: Id, body: EntryBody, author: Annotated[str, Depends(writer)]) -> Entry:
        """Put a feature into a list, move it or edit its entry."""
        check(body.feature)
        return notes.enter(id, body.feature, author=author, label=body.label, note=body.note, at=body.at)

    @router.delete("/lists/{id}/entries/{feature}")
    def take_out(id: Id, feature: Asked, author: Annotated[str, Depends(writer)]) -> Removal:
        """Take a feature out of a list."""
        return notes.take_out(id, feature, author=author)

    @router.get("/search", response_model=Found)
    def search(
        query: Annotated[str, Query(max_length=500)],
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        limit: Annotated[int, Query(ge=0, le=MOST_ROWS)] = 50,
    ) -> Response:
        """Labels and notes that hold every word, best match first; the last word may be unfinished."""
        return as_json(notes.search(query, offset=offset, limit=limit))

    return router

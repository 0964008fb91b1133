"""What people write, as records that are never changed: an edit is a new record that replaces old ones.

Whatever two people wrote apart is therefore merged by putting their records together, and what counts now follows from
the records alone: those of one ``slot`` compete, and the newest that nothing replaces is the current one. An edit made
apart from a removal survives it: nothing that somebody wrote is lost by a merge.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from physalis import artifact
from physalis.errors import BadInput
from physalis.people import spelling
from physalis.people.records import Record

AUTHOR, LABEL, NOTE, NAME, DESCRIPTION, REMARK, TARGET = 200, 2_000, 10_000, 200, 5_000, 2_000, 200
"""The most characters of an author, a label, a note, a list's name and description, an entry's note, a target."""

LAST_FEATURE = 2**31 - 1

_UNSEEN = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
_BREAKS = r"\t\n\r\u2028\u2029"
_ONE_LINE = rf"^[^{_UNSEEN}{_BREAKS}]*$"
_WORDS = rf"^[^{_UNSEEN}{_BREAKS}]*[^{_UNSEEN}{_BREAKS}\s][^{_UNSEEN}{_BREAKS}]*$"
_TEXT = rf"^[^{_UNSEEN}]*$"
_WRITTEN_TEXT = rf"^[^{_UNSEEN}]*[^{_UNSEEN}\s][^{_UNSEEN}]*$"


def _moment(text: str) -> str:
    datetime.strptime(text, spelling.TIME)  # the pattern lets the 31st of February through
    return text


def _whole(value: Any) -> Any:
    if isinstance(value, bool):  # equal to 1, and so let through
        raise ValueError("Input should be 1 or -1")
    return value


Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
"""As ``people.spelling`` makes them, or a uuid in hexadecimal."""
Time = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"),
    AfterValidator(_moment),
]
"""UTC. Always written alike, so that it sorts as text."""
FeatureId = Annotated[int, Field(ge=0, le=LAST_FEATURE)]
Author = Annotated[str, Field(max_length=AUTHOR, pattern=_WORDS)]
LabelText = Annotated[str, Field(max_length=LABEL, pattern=_WORDS)]
NoteText = Annotated[str, Field(max_length=NOTE, pattern=_WRITTEN_TEXT)]
ListName = Annotated[str, Field(max_length=NAME, pattern=_WORDS)]
Description = Annotated[str, Field(max_length=DESCRIPTION, pattern=_TEXT)]
Override = Annotated[str, Field(max_length=LABEL, pattern=_ONE_LINE)]
Remark = Annotated[str, Field(max_length=REMARK, pattern=_TEXT)]
Target = Annotated[str, Field(max_length=TARGET, pattern=_WORDS)]
VotedOn = Literal["label", "explanation"]
Worth = Annotated[Literal[1, -1], BeforeValidator(_whole)]


class Writing(Record):
    """One thing that someone wrote at some time."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    id: Id
    author: Author
    time: Time
    replaces: Annotated[tuple[Id, ...], AfterValidator(lambda ids: tuple(sorted(set(ids))))] = ()
    """Ids of the records that this one stands in for: more than one where two edits were made apart."""

    @property
    def slot(self) -> str:
        """Records of one slot compete to be the current one."""
        return json.dumps(self._competes())

    def _competes(self) -> tuple[str | int, ...]:
        return ("record", self.id)


class Label(Writing):
    """A name for a feature. A person's newest one counts; explanations by machines (with ``method`` or ``model``) each
    count."""

    kind: Literal["label"] = "label"
    feature: FeatureId
    text: LabelText
    method: Override = ""
    """How a machine found it, such as "oai_token-act-pair"."""
    model: Override = ""
    """The model that wrote it."""
    scores: Annotated[dict[str, float], AfterValidator(lambda scores: dict(sorted(scores.items())))] = {}
    """Whatever scores came with it, by their names there."""

    def _competes(self) -> tuple[str | int, ...]:
        made = (self.method, self.model, artifact.digest(self.text)) if self.method or self.model else ()
        return ("label", self.feature, self.author, *made)


class Note(Writing):
    """Markdown text on a feature. Kept as written: who shows it makes it safe."""

    kind: Literal["note"] = "note"
    feature: FeatureId
    text: NoteText


class Listing(Writing):
    """A list of features: its name and description. ``list`` is its identity through all edits."""

    kind: Literal["list"] = "list"
    list: Id
    name: ListName
    description: Description = ""

    def _competes(self) -> tuple[str | int, ...]:
        return ("list", self.list)


class Entry(Writing):
    """A feature in a list, at ``place`` among the others, with what it is called and what is said of it there."""

    kind: Literal["entry"] = "entry"
    list: Id
    feature: FeatureId
    place: float
    label: Override = ""
    """Its name in this list; empty for the name that it has anyway."""
    note: Remark = ""

    def _competes(self) -> tuple[str | int, ...]:
        return ("entry", self.list, self.feature)


class Vote(Writing):
    """One author's +1 or -1 on the wording of a label or explanation; an edited label starts without votes."""

    kind: Literal["vote"] = "vote"
    feature: FeatureId
    on: VotedOn
    target: Target
    """Id of the label's record, or of the explanation where it is kept."""
    value: Worth

    def _competes(self) -> tuple[str | int, ...]:
        return ("vote", self.on, self.target, self.author)


class Removal(Writing):
    """Takes away the records that it replaces. ``what`` they were, and of which feature or list, says its file."""

    kind: Literal["removal"] = "removal"
    what: Literal["label", "note", "list", "entry", "vote"]
    feature: FeatureId | None = None
    list: Id | None = None

    @model_validator(mode="after")
    def _placed(self) -> "Removal":
        in_list = self.what in ("list", "entry")
        if in_list == (self.list is None) or (self.feature is None and self.what != "list"):
            raise ValueError(f"the removal of a {self.what} says which {'list' if in_list else 'feature'} it was of")
        return self


Written = Label | Note | Listing | Entry | Vote | Removal

_WRITTEN: TypeAdapter[Written] = TypeAdapter(Annotated[Written, Field(discriminator="kind")])


class Labelled(Record):
    """A label that counts, with the votes on its wording."""

    label: Label
    up: int
    down: int


class Tally(Record):
    """The votes on one label or explanation. ``by`` gives each author's."""

    up: int
    down: int
    by: dict[str, int]


class FullList(Record):
    """A list with its features in order."""

    list: Listing
    entries: tuple[Entry, ...]


class ListRow(Record):
    """A list among lists."""

    list: Listing
    n_entries: int


class Listed(Record):
    """A feature's entry, with the list that it stands in."""

    list: Listing
    entry: Entry


class FeatureNotes(Record):
    """All that people wrote about one feature."""

    feature: int
    labels: list[Labelled]
    """Most liked first, then newest."""
    notes: list[Note]
    """Oldest first, as one reads a conversation."""
    lists: list[Listed]
    n_labels: int
    """How many there are, of which ``labels`` may be the first; ``n_notes`` and ``n_lists`` likewise."""
    n_notes: int
    n_lists: int


class Said(Record):
    """All that a feature's page shows of people's words."""

    notes: FeatureNotes
    votes: dict[str, Tally]
    """The votes on its labels, by the label's id."""
    lists: list[ListRow]
    """The lists there are, to put it into."""


class Found(Record):
    """A page of what a search found, best first. ``total`` counts all."""

    total: int
    offset: int
    rows: list[Label | Note]


class Added(Record):
    """What came of adding records from elsewhere."""

    added: int
    known: int
    """Were there already."""
    left_out: tuple[str, ...] = ()
    """A sentence for everything that did not fit."""


Kind = TypeVar("Kind", bound=Writing)


def write(kind: type[Kind], *, author: str, **fields: Any) -> Kind:
    """A record written now. Raises BadInput for a text that is too long, blank, or not text."""
    filled: dict[str, Any] = {"id": spelling.new_id(), "time": spelling.now(), "author": author} | fields
    try:
        return kind(**filled)
    except ValidationError as error:
        raise BadInput(fault(error.errors()[0])) from error


def read(line: str | bytes) -> Written:
    """The record of one line. Raises BadInput if it is none."""
    try:
        return _WRITTEN.validate_json(line)
    except ValidationError as error:
        raise BadInput(fault(error.errors()[0])) from error


def fault(first: Mapping[str, Any]) -> str:
    """What pydantic found wrong, as a sentence."""
    name = ".".join(str(part) for part in first["loc"]) or "This"
    value = repr(first.get("input"))
    shown = value if len(value) <= 80 else f"{value[:77]}..."
    reason = first["msg"]
    if first["type"] == "string_pattern_mismatch":
        reason = "It is blank, not of the form asked for, or has a line break or a character that does not show"
    return f"{name} = {shown} cannot be used: {reason}."

"""What people write, as records that are never changed: an edit is a new record that replaces old ones.

Whatever two people wrote apart is therefore merged by putting their records together, and what counts now follows from
the records alone: those of one ``slot`` compete, and the newest that nothing replaces is the current one. An edit made
apart from a removal survives it: nothing that somebody wrote is lost by a merge.
"""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from physalis import artifact
from physalis.errors import BadInput

AUTHOR, LABEL, NOTE, NAME, DESCRIPTION, REMARK, TARGET = 200, 2_000, 10_000, 200, 5_000, 2_000, 200
"""The most characters of an author, a label, a note, a list's name and description, an entry's note, a target."""

LAST_FEATURE = 2**31 - 1

_UNSEEN = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
_BREAKS = r"\t\n\r\u2028\u2029"
_ONE_LINE = rf"^[^{_UNSEEN}{_BREAKS}]*$"
_WORDS = rf"^[^{_UNSEEN}{_BREAKS}]*[^{_UNSEEN}{_BREAKS}\s][^{_UNSEEN}{_BREAKS}]*$"
_TEXT = rf"^[^{_UNSEEN}]*$"
_WRITTEN_TEXT = rf"^[^{_UNSEEN}]*[^{_UNSEEN}\s][^{_UNSEEN}]*$"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def _moment(text: str) -> str:
    datetime.strptime(text, _TIME)  # the pattern lets the 31st of February through
    return text


def _whole(value: Any) -> Any:
    if isinstance(value, bool):  # equal to 1, and so let through
        raise ValueError("Input should be 1 or -1")
    return value


Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
"""A uuid in hexadecimal."""
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


class Record(BaseModel):
    """One thing that someone wrote at some time."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

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


class Label(Record):
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


class Note(Record):
    """Markdown text on a feature. Kept as written: who shows it makes it safe."""

    kind: Literal["note"] = "note"
    feature: FeatureId
    text: NoteText


class Listing(Record):
    """A list of features: its name and description. ``list`` is its identity through all edits."""

    kind: Literal["list"] = "list"
    list: Id
    name: ListName
    description: Description = ""

    def _competes(self) -> tuple[str | int, ...]:
        return ("list", self.list)


class Entry(Record):
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


class Vote(Record):
    """One author's +1 or -1 on the wording of a label or explanation; an edited label starts without votes."""

    kind: Literal["vote"] = "vote"
    feature: FeatureId
    on: VotedOn
    target: Target
    """Id of the label's record, or of the explanation where it is kept."""
    value: Worth

    def _competes(self) -> tuple[str | int, ...]:
        return ("vote", self.on, self.target, self.author)


class Removal(Record):
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


class Labelled(BaseModel):
    """A label that counts, with the votes on its wording."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Label
    up: int
    down: int


class Tally(BaseModel):
    """The votes on one label or explanation. ``by`` gives each author's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    up: int
    down: int
    by: dict[str, int]


class FullList(BaseModel):
    """A list with its features in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    list: Listing
    entries: tuple[Entry, ...]


class ListRow(BaseModel):
    """A list among lists."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    list: Listing
    n_entries: int


class Listed(BaseModel):
    """A feature's entry, with the list that it stands in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    list: Listing
    entry: Entry


class FeatureNotes(BaseModel):
    """All that people wrote about one feature."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class Said(BaseModel):
    """All that a feature's page shows of people's words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    notes: FeatureNotes
    votes: dict[str, Tally]
    """The votes on its labels, by the label's id."""
    lists: list[ListRow]
    """The lists there are, to put it into."""


class Found(BaseModel):
    """A page of what a search found, best first. ``total`` counts all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    total: int
    offset: int
    rows: list[Label | Note]


class Added(BaseModel):
    """What came of adding records from elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    added: int
    known: int
    """Were there already."""
    left_out: tuple[str, ...] = ()
    """A sentence for everything that did not fit."""


def now() -> str:
    """This moment as records write it."""
    return spell(datetime.now(UTC))


def spell(moment: datetime) -> str:
    """A moment as records write it."""
    return moment.astimezone(UTC).strftime(_TIME)


def new_id() -> str:
    """An id that nobody else has."""
    return uuid.uuid4().hex


Kind = TypeVar("Kind", bound=Record)


def write(kind: type[Kind], *, author: str, **fields: Any) -> Kind:
    """A record written now. Raises BadInput for a text that is too long, blank, or not text."""
    filled: dict[str, Any] = {"id": new_id(), "time": now(), "author": author} | fields
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

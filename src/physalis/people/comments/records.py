"""What the comments tell: the records that pages, the command line and Python see. Times are UTC, as ISO 8601."""

from typing import Annotated, Literal

from pydantic import Field

from physalis.people.comments.anchors import Anchor
from physalis.people.records import Person, Record, Role, State


class Invitation(Person):
    """What the owner knows of an invitation. The token of its link is not kept."""

    role: Role
    created: str
    expires: str
    accepted: str | None
    revoked: str | None
    state: Literal["open", "accepted", "expired", "revoked"]


class Invited(Record):
    """An invitation and the token of its link, which is told this once."""

    invitation: Invitation
    token: str


class Session(Record):
    """Somebody signed in."""

    person: Person
    csrf: str
    """What a request that changes something has to bring besides the cookie."""
    expires: str


class Opened(Record):
    """A session and the token of its cookie, which is told this once."""

    session: Session
    token: str


class Comment(Record):
    """A comment or a reply, with its latest text."""

    id: str
    anchor: Annotated[Anchor, Field(discriminator="kind")]
    parent: str | None
    """The comment that this one replies to."""
    author: str
    """The id of the person."""
    name: str
    affiliation: str
    role: Role
    """As on the invitation when it was written."""
    text: str
    """Markdown."""
    html: str
    """The same, safe to put into a page."""
    version: int
    """From 1; each edit adds one."""
    state: State
    written: str
    edited: str
    """When this version was written."""
    changed: str
    """When it came into this state."""


class Version(Record):
    """A comment's text as it was from ``time`` on."""

    number: int
    text: str
    html: str
    time: str


class Thread(Record):
    """A published comment and its published replies, in the order in which they were written."""

    comment: Comment
    replies: list[Comment]


class Fault(Record):
    """A row that was changed behind the program's back."""

    kind: Literal["comment", "invitation"]
    id: str
    problem: str

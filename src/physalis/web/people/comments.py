"""comments_router: invited comments over the web. Everyone reads what is published; who was invited writes; the owner
decides.

| request, below /api/comments | |
| --- | --- |
| GET ?on=feature/12 | the published threads of a feature, figure/NAME or article/NAME; without ``on``, all |
| POST /session | a link's token for a session (a cookie); DELETE ends it |
| GET /me | who I am, and the token that changes need in the header X-CSRF-Token |
| POST, PUT /ID | write a comment; another version of it, while it waits |
| POST /ID/replies, /ID/withdraw | reply to it, take it back |
| GET /mine, /ID/versions | what I wrote, in every state and version |
| GET /queue, POST /ID/publish | the owner's: what waits, and showing it to everyone |
| GET, POST /invitations, POST /invitations/ID/renew, /invitations/ID/revoke | the owner's: who may write |
| GET /faults | the owner's: rows that were changed behind the program's back |

The app around it stands behind ``web.guard.guard``, which counts bodies and requests and keeps other sites out.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from physalis.people.comments import Comments, Database, Invitations
from physalis.people.comments.anchors import Anchor
from physalis.people.comments.invitations import LINK, csrf_fits
from physalis.people.comments.records import Comment, Fault, Invitation, Invited, Session, Thread, Version
from physalis.people.comments.store import LONGEST
from physalis.people.records import Person, Record
from physalis.people.refusals import Missing, NotAllowed, NotKnown
from physalis.web.guard.hosts import session_cookie
from physalis.web.people.routes import PersonalRoute
from physalis.web.server.answers import as_json

SESSION_DAYS = 30
Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$", max_length=16)]


class Link(Record):
    """What stands behind the # of an invitation's link."""

    token: Annotated[str, Field(max_length=200)]


class Text(Record):
    """A comment's words, as Markdown."""

    text: Annotated[str, Field(max_length=2 * LONGEST)]  # what is too long by less is told so in its own words


class New(Text):
    """A comment and what it hangs on."""

    anchor: Annotated[Anchor, Field(discriminator="kind")]


class Read(Record):
    """The version that the owner read, and that is to be published."""

    version: int


class Guest(Record):
    """Whom to invite."""

    name: Annotated[str, Field(max_length=500)]
    affiliation: Annotated[str, Field(max_length=500)] = ""
    days: int = 30


class Days(Record):
    """How long a link is to be open."""

    days: int = 30


class Sent(Record):
    """An invitation with its link, which is told this once. It is to be put behind the server's address."""

    invitation: Invitation
    link: str


class Me(Record):
    """Who asks. Visitors have no id, name or token."""

    role: Literal["visitor", "guest", "owner"]
    id: str = ""
    name: str = ""
    affiliation: str = ""
    csrf: str = ""


def comments_router(database: Database, has: Callable[[Anchor], bool]) -> APIRouter:
    """The routes of one database. ``has`` says whether an anchor is there: whether the atlas has that feature, and so
    on. Comments on anything else are refused."""
    comments, invitations = Comments(database), Invitations(database)
    router = APIRouter(prefix="/api/comments", tags=["comments"], route_class=PersonalRoute)

    def visitor(request: Request) -> Session | None:
        secret = request.cookies.get(session_cookie(request)[0])
        return None if secret is None else invitations.session(secret)

    def reader(session: Annotated[Session | None, Depends(visitor)]) -> Person:
        if session is None:
            raise NotKnown("You are not signed in here. Open the link of your invitation, or ask for one.")
        return session.person

    def writer(
        request: Request,
        session: Annotated[Session | None, Depends(visitor)],
        person: Annotated[Person, Depends(reader)],
    ) -> Person:
        given = request.headers.getlist("x-csrf-token")
        if session is None or len(given) != 1 or not csrf_fits(session, given[0]):
            raise NotAllowed("The header X-CSRF-Token is not that of your session. Load the page again.")
        return person

    def ruler(person: Annotated[Person, Depends(writer)]) -> Person:
        return _owner(person)

    def overseer(person: Annotated[Person, Depends(reader)]) -> Person:
        return _owner(person)

    @router.post("/session")
    def accept(link: Link, request: Request, response: Response) -> Me:
        """Exchange an invitation, once, for a session."""
        opened = invitations.accept(link.token, days=SESSION_DAYS)
        name, secure = session_cookie(request)
        if name in request.cookies:
            invitations.leave(request.cookies[name])  # whoever was here before is not any more
        response.set_cookie(
            name, opened.token, SESSION_DAYS * 86400, path="/", httponly=True, samesite="strict", secure=secure
        )
        return _me(opened.session)

    @router.delete("/session")
    def leave(by: Annotated[Person, Depends(writer)], request: Request, response: Response) -> Me:
        """Sign out."""
        name, secure = session_cookie(request)
        invitations.leave(request.cookies[name])
        response.delete_cookie(name, path="/", httponly=True, samesite="strict", secure=secure)
        return Me(role="visitor")

    @router.get("/me")
    def me(session: Annotated[Session | None, Depends(visitor)]) -> Me:
        """Who I am."""
        return Me(role="visitor") if session is None else _me(session)

    @router.get("", response_model=list[Thread])
    def published(on: Annotated[str | None, Query(max_length=2_000)] = None) -> Response:
        """What everyone may read on a place, or everywhere."""
        return as_json(comments.published(on))

    @router.post("", status_code=201)
    def write(new: New, by: Annotated[Person, Depends(writer)]) -> Comment:
        """Leave a comment with the owner."""
        if not has(new.anchor):
            raise Missing(f"There is no {new.anchor.place} here that a comment could hang on, or not with these words.")
        return comments.write(by, new.anchor, new.text)

    @router.get("/mine")
    def mine(by: Annotated[Person, Depends(reader)]) -> list[Comment]:
        """What I wrote, in every state."""
        return comments.mine(by)

    @router.get("/queue")
    def queue(by: Annotated[Person, Depends(overseer)]) -> list[Comment]:
        """What waits for the owner."""
        return comments.queue(by)

    @router.get("/faults")
    def faults(by: Annotated[Person, Depends(overseer)]) -> list[Fault]:
        """What was changed behind the program's back."""
        return [*comments.verify(), *invitations.verify()]

    @router.get("/invitations")
    def invited(by: Annotated[Person, Depends(overseer)]) -> list[Invitation]:
        """Who was invited."""
        return invitations.all()

    @router.post("/invitations", status_code=201)
    def invite(guest: Guest, by: Annotated[Person, Depends(ruler)], request: Request) -> Sent:
        """Invite a guest. Owners are made where the files are, not over the web."""
        return _sent(request, invitations.invite(guest.name, guest.affiliation, days=guest.days))

    @router.post("/invitations/{id}/renew")
    def renew(id: Id, asked: Days, by: Annotated[Person, Depends(ruler)], request: Request) -> Sent:
        """A new link for the same person; the old one and its sessions end."""
        return _sent(request, invitations.renew(id, days=asked.days))

    @router.post("/invitations/{id}/revoke")
    def revoke(id: Id, by: Annotated[Person, Depends(ruler)]) -> Invitation:
        """Close an invitation and end its sessions."""
        return invitations.revoke(id)

    @router.put("/{id}")
    def edit(id: Id, new: Text, by: Annotated[Person, Depends(writer)]) -> Comment:
        """Another version of my comment, while it waits."""
        return comments.edit(by, id, new.text)

    @router.get("/{id}/versions")
    def versions(id: Id, by: Annotated[Person, Depends(reader)]) -> list[Version]:
        """Every version of a comment."""
        return comments.versions(by, id)

    @router.post("/{id}/replies", status_code=201)
    def reply(id: Id, new: Text, by: Annotated[Person, Depends(writer)]) -> Comment:
        """Leave a reply with the owner."""
        return comments.reply(by, id, new.text)

    @router.post("/{id}/withdraw")
    def withdraw(id: Id, by: Annotated[Person, Depends(writer)]) -> Comment:
        """Take a comment back, for good."""
        return comments.withdraw(by, id)

    @router.post("/{id}/publish")
    def publish(id: Id, read: Read, by: Annotated[Person, Depends(ruler)]) -> Comment:
        """Show the version that was read to everyone."""
        return comments.publish(by, id, read.version)

    return router


def _owner(person: Person) -> Person:
    if person.role != "owner":
        raise NotAllowed(f"Only the owner may do that; {person.name} is a {person.role}.")
    return person


def _me(session: Session) -> Me:
    return Me(**session.person.model_dump(), csrf=session.csrf)


def _sent(request: Request, invited: Invited) -> Sent:
    return Sent(invitation=invited.invitation, link=request.scope.get("root_path", "") + LINK + invited.token)

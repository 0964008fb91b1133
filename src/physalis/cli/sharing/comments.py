"""The commands `physalis comments`: who may comment on an atlas, and what of it is shown, for who has its files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from physalis.cli.arguments.amounts import Count
from physalis.cli.arguments.help import page
from physalis.cli.arguments.options import Atlas_, Json, given
from physalis.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from physalis.people.comments import Comments, Invitations
    from physalis.people.comments.records import Comment, Invited
    from physalis.people.records import Person, Record

app = cyclopts.App(name="comments", help="Who may comment on an atlas, and what is shown of it.")
Id = Annotated[str, Parameter(name="ID", help="Id of the comment, which `comments queue` shows.")]
InvitationId = Annotated[str, Parameter(name="ID", help="Id of the invitation, which `comments list` shows.")]
Days = Annotated[Count, Parameter(help="Days that the link is open.")]
Origin = Annotated[
    str | None,
    Parameter(
        help="Where guests reach the server, if not at the address that serve uses by default.", metavar="ADDRESS"
    ),
]


@app.command(
    **page(
        of="people.comments.invitations.Invitations.invite",
        example="physalis comments invite atlas 'Ada Lovelace' 'Analytical Engines'",
    )
)
def invite(
    atlas: Atlas_,
    name: Annotated[str, Parameter(help="Whose name stands on the comments.")],
    affiliation: Annotated[str | None, Parameter(help="What stands beside the name.")] = None,
    /,
    *,
    role: Annotated[
        Literal["guest", "owner"] | None, Parameter(help="An owner decides what is shown.", metavar="ROLE")
    ] = None,
    days: Days = None,
    origin: Origin = None,
    json: Json = False,
) -> None:
    """Invite somebody to comment: prints the link to send, this once."""
    from physalis.atlas import Atlas
    from physalis.people.comments import Database, Invitations, beside

    address = _address(origin)
    Atlas.open(atlas)  # refuses a folder that is none
    made = Invitations(Database(beside(atlas))).invite(name, **given(affiliation=affiliation, role=role, days=days))
    _show_link(made, address, json=json)


@app.command(name="list", **page(example="physalis comments list atlas"))
def list_invitations(atlas: Atlas_, /, *, json: Json = False) -> None:
    """Say who was invited, and whether the link is open."""
    _, invitations = _opened(atlas)
    found = invitations.all()
    if json:
        return _print_json(found)
    if not found:
        print("Nobody was invited", file=sys.stderr)
    for each in found:
        until = f" until {each.expires[:10]}" if each.state == "open" else ""
        print(f"{each.id}  {_who(each)}, {each.role}: {each.state}{until}")


@app.command(
    **page(of="people.comments.invitations.Invitations.renew", example="physalis comments renew atlas b1f2a3c4d5e6")
)
def renew(atlas: Atlas_, id_: InvitationId, /, *, days: Days = None, origin: Origin = None, json: Json = False) -> None:
    """Make a new link for somebody who lost it: the old one ends."""
    address = _address(origin)
    _, invitations = _opened(atlas)
    _show_link(invitations.renew(id_, **given(days=days)), address, json=json)


@app.command(**page(example="physalis comments revoke atlas b1f2a3c4d5e6"))
def revoke(atlas: Atlas_, id_: InvitationId, /) -> None:
    """Close an invitation and end its sessions. What was written stays."""
    _, invitations = _opened(atlas)
    print(f"The invitation of {invitations.revoke(id_).name} is revoked")


@app.command(**page(example="physalis comments queue atlas"))
def queue(atlas: Atlas_, /, *, json: Json = False) -> None:
    """Show what waits to be published, oldest first."""
    comments, _ = _opened(atlas)
    waiting = comments.queue(_owner())
    _show_comments(waiting, json=json)
    if not waiting and not json:
        print("Nothing waits to be published", file=sys.stderr)


@app.command(**page(example="physalis comments publish atlas c0ffee123456 1"))
def publish(
    atlas: Atlas_,
    id_: Id,
    version: Annotated[int, Parameter(help="The version you read: if it was edited since, it is refused.")],
    /,
    *,
    json: Json = False,
) -> None:
    """Show a comment to everyone."""
    comments, _ = _opened(atlas)
    _show_comments([comments.publish(_owner(), id_, version)], json=json)


@app.command(**page(example="physalis comments withdraw atlas c0ffee123456"))
def withdraw(atlas: Atlas_, id_: Id, /, *, json: Json = False) -> None:
    """Take a comment back, for good, and hide its replies."""
    comments, _ = _opened(atlas)
    _show_comments([comments.withdraw(_owner(), id_)], json=json)


@app.command(**page(example="physalis comments verify atlas"))
def verify(atlas: Atlas_, /, *, json: Json = False) -> None:
    """Name what was changed behind the program's back.

    Ends with code 1 if there is any.
    """
    comments, invitations = _opened(atlas)
    found = [*comments.verify(), *invitations.verify()]
    if json:
        _print_json(found)
    else:
        print("\n".join(f"{each.kind} {each.id}: {each.problem}" for each in found) or "All is as it was written")
    if found:
        sys.exit(1)


def _opened(atlas: Path) -> "tuple[Comments, Invitations]":
    from physalis.people.comments import Comments, Invitations, find_beside

    database = find_beside(atlas)
    if database is None:
        raise BadInput(f"{atlas} has no comments. Invite somebody: physalis comments invite {atlas} NAME AFFILIATION.")
    return Comments(database), Invitations(database)


def _owner() -> "Person":
    """Whoever has the files, for whom this acts."""
    from physalis.people.records import Person

    return Person(id="", name="who has the files", affiliation="", role="owner")


def _address(origin: str | None) -> str:
    from physalis.web.guard.hosts import public_name
    from physalis.web.server.serving import usual_address

    address = origin or usual_address()
    public_name(address)  # refuses what is no origin, before anything is written
    return address


def _show_link(made: "Invited", address: str, *, json: bool) -> None:
    from physalis.people.comments.invitations import LINK
    from physalis.web.people.comments import Sent

    link = f"{address}{LINK}{made.token}"
    if json:
        print(Sent(invitation=made.invitation, link=link).model_dump_json(indent=1))
        return
    print(
        f"{_who(made.invitation)} signs in once, before {made.invitation.expires[:10]}, with this link, which is not "
        "shown again. A server that ran before the first invitation has to be started anew.",
        file=sys.stderr,
    )
    print(link)


def _show_comments(found: "Sequence[Comment]", *, json: bool) -> None:
    if json:
        return _print_json(found)
    for each in found:
        print(f"{each.id} {each.version}  {each.anchor.place}  {_who(each)}, {each.edited[:10]}: {each.state}")
        print("".join(f"    {line}\n" for line in each.text.split("\n")))


def _who(person: "Person | Comment") -> str:
    return f"{person.name} ({person.affiliation})" if person.affiliation else person.name


def _print_json(found: "Sequence[Record]") -> None:
    from json import dumps

    print(dumps([each.model_dump() for each in found], indent=1))

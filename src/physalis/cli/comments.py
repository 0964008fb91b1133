"""The commands `physalis comments`: who may comment on an atlas, and what of it is shown, for who has its files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from physalis.cli.options import Json, given
from physalis.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from physalis.comments import Database
    from physalis.comments.records import Comment, Invited, Person, Record

app = cyclopts.App(name="comments", help="Comments on an atlas by invitation: invite people, publish what they write.")
Id = Annotated[str, Parameter(name="ID")]
Origin = Annotated[
    str | None, Parameter(help="Where guests reach the server, if not at the address that serve uses by default.")
]


@app.command
def invite(
    atlas: Path, name: str, affiliation: str | None = None, /, *, role: Literal["guest", "owner"] | None = None,
    days: int | None = None, origin: Origin = None, json: Json = False,
) -> None:  # fmt: skip
    """Invite a person to comment on ATLAS under a NAME and an AFFILIATION, and print the link to send them, this once.
    ROLE is guest or owner, who decides what is shown; DAYS is how long the link is open."""
    from physalis.atlas import Atlas
    from physalis.comments import Database, Invitations, beside

    address = _address(origin)
    Atlas.open(atlas)  # refuses a folder that is none
    made = Invitations(Database(beside(atlas))).invite(name, **given(affiliation=affiliation, role=role, days=days))
    _show_link(made, address, json=json)


@app.command(name="list")
def list_invitations(atlas: Path, /, *, json: Json = False) -> None:
    """Who was invited: the id, name, affiliation and role of each, and whether the link is open."""
    from physalis.comments import Invitations

    found = Invitations(_database(atlas)).all()
    if json:
        return _print_json(found)
    for each in found:
        until = f" until {each.expires[:10]}" if each.state == "open" else ""
        print(f"{each.id}  {_who(each)}, {each.role}: {each.state}{until}")


@app.command
def renew(atlas: Path, id_: Id, /, *, days: int | None = None, origin: Origin = None, json: Json = False) -> None:
    """A new link for the person of an invitation, who lost it or the session; both end. Printed this once."""
    from physalis.comments import Invitations

    address = _address(origin)
    _show_link(Invitations(_database(atlas)).renew(id_, **given(days=days)), address, json=json)


@app.command
def revoke(atlas: Path, id_: Id, /) -> None:
    """Close an invitation and end its sessions. What was written stays."""
    from physalis.comments import Invitations

    print(f"The invitation of {Invitations(_database(atlas)).revoke(id_).name} is revoked")


@app.command
def queue(atlas: Path, /, *, json: Json = False) -> None:
    """What waits to be published, oldest first: the id and version of each, its place, author and text."""
    from physalis.comments import Comments

    _show_comments(Comments(_database(atlas)).queue(_owner()), json=json)


@app.command
def publish(atlas: Path, id_: Id, version: int, /, *, json: Json = False) -> None:
    """Show a comment to everyone, in the VERSION that you read: if it was edited since, it is refused."""
    from physalis.comments import Comments

    _show_comments([Comments(_database(atlas)).publish(_owner(), id_, version)], json=json)


@app.command
def withdraw(atlas: Path, id_: Id, /, *, json: Json = False) -> None:
    """Take a comment back, for good, and hide its replies."""
    from physalis.comments import Comments

    _show_comments([Comments(_database(atlas)).withdraw(_owner(), id_)], json=json)


@app.command
def verify(atlas: Path, /, *, json: Json = False) -> None:
    """Name all comments and invitations that were changed behind the program's back. Ends with code 1 if there are."""
    from physalis.comments import Comments, Invitations

    database = _database(atlas)
    found = [*Comments(database).verify(), *Invitations(database).verify()]
    if json:
        _print_json(found)
    else:
        print("\n".join(f"{each.kind} {each.id}: {each.problem}" for each in found) or "All is as it was written")
    if found:
        sys.exit(1)


def _database(atlas: Path) -> "Database":
    from physalis.comments import find_beside

    database = find_beside(atlas)
    if database is None:
        raise BadInput(f"{atlas} has no comments. Invite somebody: physalis comments invite {atlas} NAME AFFILIATION.")
    return database


def _owner() -> "Person":
    """Whoever has the files, for whom this acts."""
    from physalis.comments.records import Person

    return Person(id="", name="who has the files", affiliation="", role="owner")


def _address(origin: str | None) -> str:
    from physalis.web.hosts import public_name
    from physalis.web.serving import usual_address

    address = origin or usual_address()
    public_name(address)  # refuses what is no origin, before anything is written
    return address


def _show_link(made: "Invited", address: str, *, json: bool) -> None:
    from physalis.comments.invitations import LINK
    from physalis.web.comments import Sent

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

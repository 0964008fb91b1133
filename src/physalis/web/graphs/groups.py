"""groups: Groups, the supernodes of a graph as its page shows them: those of the file in its folder, without torch
(``circuits.supernodes`` makes and edits them). A bad file spoils no page: it is said why there are none."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from physalis.artifact import untrusted
from physalis.artifact.manifest import wrong
from physalis.errors import BadInput

FILE = "supernodes.json"
VERSION = 1
MOST = 4 << 20
"""Bytes of the file."""
LONGEST = 200
"""Characters of a name."""

Place = tuple[int, int, int]
"""Layer, position and number of a feature."""


class Group(NamedTuple):
    name: str
    members: list[int]
    """Which nodes."""


class Groups(NamedTuple):
    groups: list[Group]
    method: str
    lack: str
    """Why there are none, as a sentence; empty where nobody made any."""


class _Supernode(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=LONGEST)
    members: list[Place]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version: int
    supernodes: list[_Supernode]
    method: str = ""


def read(folder: Path, nodes: Mapping[Place, int]) -> Groups:
    """Those beside the graph in ``folder``, of the ``nodes`` that are shown; a node is of the first that names it."""
    if not os.path.lexists(folder / FILE):
        return Groups([], "", "")
    try:
        read = untrusted.contents(untrusted.open_inside(folder, FILE), FILE, most=MOST)
        told = _File.model_validate(untrusted.parse_json(read, FILE))
    except ValidationError as error:
        return Groups([], "", f"{FILE} cannot be read: {wrong(error)}. Make it again, or delete it.")
    except BadInput as error:
        return Groups([], "", str(error))
    if told.version != VERSION:
        lack = f"{FILE} is of version {told.version}, and this physalis reads version {VERSION}."
        return Groups([], "", f"{lack} Install a newer physalis, or delete it.")
    return Groups(_shown(told.supernodes, nodes), told.method, "")


def _shown(groups: Sequence[_Supernode], nodes: Mapping[Place, int]) -> list[Group]:
    taken: set[int] = set()
    shown = []
    for each in groups:
        there = [nodes[place] for place in dict.fromkeys(each.members) if place in nodes and nodes[place] not in taken]
        if there:
            taken |= {*there}
            shown.append(Group(each.name, there))
    return shown

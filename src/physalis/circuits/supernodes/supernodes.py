"""supernodes: Supernodes, groups of a graph's features that do one thing together, each by its name; a file beside it.

A graph of a prompt has hundreds of features, and a reader thinks in a dozen. Groups are made by ``group``, and edited
by functions that return new ones. The file is ``supernodes.json`` in the graph's folder. The graph's manifest does not
name it: people go on editing, and the graph stays what it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from physalis import artifact
from physalis.circuits.graph import KIND, Graph
from physalis.errors import BadInput

FILE = "supernodes.json"
VERSION = 1
LONGEST = 200
"""Characters of a name."""
EDITED = ", edited"
"""After the name of the method, where people went on from what it made."""


class Member(NamedTuple):
    """A feature of a graph, as other graphs of the same transcoders name it too."""

    layer: int
    position: int
    feature: int


class Supernode(NamedTuple):
    """Some features under one name."""

    name: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Supernodes:
    """Groups of different names, no feature in two of them. Features that are in none stand alone. Raises BadInput for
    groups that are not so, and for an empty one."""

    groups: tuple[Supernode, ...] = ()
    method: str = "by hand"
    """How they were made."""

    def __post_init__(self) -> None:
        names: set[str] = set()
        seen: dict[Member, str] = {}
        for name, members in self.groups:
            if not name.strip() or len(name) > LONGEST or name in names:
                raise BadInput(
                    f"Supernodes have names of 1 to {LONGEST} characters, each its own; received {name[:60]!r}, which "
                    "is blank, too long or there twice. Choose another."
                )
            names.add(name)
            if not members:
                raise BadInput(f"A supernode has at least one feature; {name!r} has none. Leave it out.")
            for member in members:
                if min(member) < 0:
                    raise BadInput(
                        f"{name!r} has the member {[*member]}; a layer, a position and a feature count from 0."
                    )
                if member in seen:
                    raise BadInput(
                        f"{_said(member)} is in {seen[member]!r} and in {name!r}, and a feature is in one supernode at "
                        "most. Take it out of one."
                    )
                seen[member] = name

    def __repr__(self) -> str:
        features = sum(len(group.members) for group in self.groups)
        return f"Supernodes({len(self.groups)} groups of {features} features, {self.method})"

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Supernode]:
        return iter(self.groups)

    def __getitem__(self, name: str) -> Supernode:
        """Raises BadInput for a name that no group has."""
        for group in self.groups:
            if group.name == name:
                return group
        known = ", ".join(repr(group.name) for group in self.groups[:12])
        raise BadInput(f"There is no supernode {name!r}. There are: {known or 'none'}.")

    def of(self, member: Sequence[int]) -> str | None:
        """The name of the group that a feature is in; None where it stands alone."""
        return next((name for name, members in self.groups if tuple(member) in members), None)

    # editing

    def merged(self, *names: str, name: str) -> "Supernodes":
        """Two groups or more as one, called ``name``, where the first of them stood. Raises BadInput for names that
        no groups have, and for fewer than two."""
        if len({*names}) < 2:
            raise BadInput(f"Two supernodes or more are merged; received {', '.join(map(repr, names)) or 'none'}.")
        members = tuple(member for each in dict.fromkeys(names) for member in self[each].members)
        first = next(group.name for group in self.groups if group.name in names)
        kept = [
            Supernode(name, members) if group.name == first else group
            for group in self.groups
            if group.name == first or group.name not in names
        ]
        return self._edited(kept)

    def split(self, name: str, members: Iterable[Sequence[int]], new: str) -> "Supernodes":
        """Some members of a group in a group of their own, called ``new``, after it. Raises BadInput for members that
        are not in it, and where none would be left on one of the sides."""
        whole, out = self[name].members, _members(members)
        if strangers := [each for each in out if each not in whole]:
            raise BadInput(f"{_said(strangers[0])} is not in {name!r}, so it cannot be split off. Name members of it.")
        if not 0 < len(out) < len(whole):
            raise BadInput(
                f"{name!r} has {len(whole)} members and {len(out)} are to be split off: one at least is left on each "
                "side. To call it otherwise, rename it."
            )
        at = [group.name for group in self.groups].index(name)
        left = Supernode(name, tuple(each for each in whole if each not in out))
        return self._edited([*self.groups[:at], left, Supernode(new, out), *self.groups[at + 1 :]])

    def without(self, members: Iterable[Sequence[int]]) -> "Supernodes":
        """These features stand alone again; a group that none is left in is no more. Raises BadInput for a feature that
        is in no group."""
        out = _members(members)
        if alone := [each for each in out if self.of(each) is None]:
            raise BadInput(f"{_said(alone[0])} is in no supernode, so it cannot be taken out of one.")
        return self._edited(_left(self.groups, out))

    def renamed(self, name: str, new: str) -> "Supernodes":
        """One group under another name. Raises BadInput for a name that none has, and for one that another has."""
        self[name]
        return self._edited([group._replace(name=new) if group.name == name else group for group in self.groups])

    def moved(self, members: Iterable[Sequence[int]], to: str) -> "Supernodes":
        """These features, from wherever they stand, in the group ``to``: a new one at the end where no group is called
        so. A group that none is left in is no more. Raises BadInput for no features."""
        out = _members(members)
        rest = [
            Supernode(name, tuple(each for each in own if each not in out) + (out if name == to else ()))
            for name, own in self.groups
        ]
        rest += [] if to in (group.name for group in self.groups) else [Supernode(to, out)]
        return self._edited([group for group in rest if group.members])

    def _edited(self, groups: Iterable[Supernode]) -> "Supernodes":
        return Supernodes(tuple(groups), self.method.removesuffix(EDITED) + EDITED)

    # beside a graph

    def columns(self, graph: Graph) -> dict[str, list[int]]:
        """The columns of each group's features. Raises BadInput for a feature that the graph does not have, or that was
        pruned from it: ``within`` leaves those out."""
        there = columns_of(graph)
        for name, members in self.groups:
            if wrong := [each for each in members if each not in there]:
                raise BadInput(
                    f"{name!r} has {_said(wrong[0])}, which is no feature of the graph of {graph.prompt!r}, or was "
                    "pruned from it. Take it out, or give the graph that the groups are of."
                )
        return {name: [there[each] for each in members] for name, members in self.groups}

    def within(self, graph: Graph) -> "Supernodes":
        """The same groups as far as a graph has their features: what pruning has left of them."""
        there = columns_of(graph)
        gone = {member for _, members in self.groups for member in members if member not in there}
        return replace(self, groups=tuple(_left(self.groups, gone)))

    def save(self, folder: Path | str) -> None:
        """Write them into the folder of the graph that they are of, in the place of those that are there. Raises
        BadInput for a folder that holds no graph, and for features that it does not have."""
        folder = Path(folder)
        self.columns(Graph.open(folder))
        artifact.write_json(folder / FILE, self.record())

    @classmethod
    def open(cls, folder: Path | str) -> "Supernodes":
        """Those of a graph's folder. Raises BadInput for a folder that holds no graph, or none of them, for a damaged
        file, and for features that the graph does not have."""
        folder = Path(folder)
        artifact.read(folder, KIND)
        artifact.check_no_link(folder, FILE)
        if not (folder / FILE).exists():
            raise BadInput(f"The graph in {folder} has no supernodes yet (no {FILE}). Group its features first.")
        found = cls.parse(artifact.read_json(folder / FILE), folder / FILE)
        found.columns(Graph.open(folder))
        return found

    def record(self) -> dict[str, Any]:
        """As plain data: what the file holds."""
        groups = [{"name": name, "members": [[*each] for each in members]} for name, members in self.groups]
        return {"version": VERSION, "method": self.method, "supernodes": groups}

    @classmethod
    def parse(cls, said: Any, source: Path | str = FILE) -> "Supernodes":
        """What ``record`` wrote. Raises BadInput, naming the ``source``, for anything else."""
        wrong = _wrong(said)
        if wrong is None:
            groups = [Supernode(each["name"], _members(each["members"])) for each in said["supernodes"]]
            try:
                return cls(tuple(groups), said["method"])
            except BadInput as error:
                wrong = str(error)
        raise BadInput(f"{source} holds no supernodes: {wrong} Mend it, or group the features again.")


def columns_of(graph: Graph) -> dict[Member, int]:
    """The column of each feature that a graph has kept."""
    every = zip(graph.layer.tolist(), graph.position.tolist(), graph.feature.tolist(), strict=True)
    return {Member(*each): i for i, (each, kept) in enumerate(zip(every, graph.kept.tolist(), strict=False)) if kept}


def _members(given: Iterable[Sequence[int]]) -> tuple[Member, ...]:
    found = tuple(dict.fromkeys(Member(*each) for each in given))
    if not found:
        raise BadInput("No feature was named. Name at least one, by its layer, position and number.")
    return found


def _left(groups: Iterable[Supernode], out: Iterable[Member]) -> list[Supernode]:
    gone = {*out}
    left = [Supernode(name, tuple(each for each in own if each not in gone)) for name, own in groups]
    return [group for group in left if group.members]


def _said(member: Member) -> str:
    return f"Feature {member.feature} of layer {member.layer} at position {member.position}"


def _wrong(said: Any) -> str | None:
    """What is wrong with the form of a file's value."""
    if not isinstance(said, dict) or said.get("version") != VERSION:
        version = said.get("version") if isinstance(said, dict) else None
        return f"its version is {str(version)[:20]}, and this physalis reads version {VERSION}."
    if not isinstance(said.get("method"), str) or not isinstance(said.get("supernodes"), list):
        return "it does not say its method, a text, and its supernodes, a list."
    for each in said["supernodes"]:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            return "a supernode has a name, a text."
        if not isinstance(each.get("members"), list):
            return f"the members of {each['name'][:60]!r} are no list."
        for member in each["members"]:
            if not isinstance(member, list) or len(member) != 3 or not all(type(i) is int for i in member):
                return f"{each['name'][:60]!r} has the member {str(member)[:60]}, which is no layer, position, feature."
        if len({tuple(member) for member in each["members"]}) < max(1, len(each["members"])):
            return f"{each['name'][:60]!r} has no member, or one twice."
    return None

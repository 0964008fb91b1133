"""What pages and notebooks show of a comparison or a tree of features: its records, and beside them what atlases know
of the features, where there are any. No torch here."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from physalis.atlas import Atlas
from physalis.comparing import Comparison, Forest
from physalis.comparing.reader import SideName, Sort
from physalis.comparing.records import Compared, Family, Fate, Group, Node, Record, Width
from physalis.errors import BadInput
from physalis.web.atlas.query import LAST

MOST_ROWS = 500


class Known(Record):
    """What an atlas says of a feature: its headline, and the text around its strongest firing."""

    headline: str
    snippet: list[str]
    snippet_codes: list[float]
    max_code: float


class ComparedRow(Record):
    """A feature of one side beside its partner on the other, each with what is known of it."""

    feature: Compared
    known: Known | None
    partner: Compared | None
    partner_known: Known | None


class ComparedRows(Record):
    """A page of them. ``total`` counts all that match."""

    total: int
    offset: int
    rows: list[ComparedRow]


class GroupRow(Record):
    """One feature and the several that it is split into."""

    group: Group
    known: Known | None
    members: list[Known | None]
    """Of each member in turn."""


class GroupRows(Record):
    """A page of them."""

    total: int
    offset: int
    rows: list[GroupRow]


class TreeRow(Record):
    """A tree of features in one line."""

    root: Node
    split_sizes: list[int]
    """Features at each level from the root's on."""
    known: Known | None


class TreeRows(Record):
    """A page of trees, the largest first."""

    total: int
    offset: int
    rows: list[TreeRow]


class Kin(Record):
    """A feature's place in the tree, and what is known of those in it."""

    family: Family
    widths: list[Width]
    n_tokens: int
    known: list[dict[str, Known]]
    """One entry a width: by the feature's number."""


class Asked(BaseModel):
    """What the list of a comparison's features is asked, as its address says it."""

    model_config = ConfigDict(extra="forbid")

    side: SideName = "a"
    fate: Fate | None = None
    sort: Sort = "id"
    descending: bool = False
    offset: int = Field(default=0, ge=0, le=LAST)
    limit: int = Field(default=25, ge=0, le=MOST_ROWS)


class Paged(BaseModel):
    """Which of a row of groups or trees."""

    model_config = ConfigDict(extra="forbid")

    offset: int = Field(default=0, ge=0, le=LAST)
    limit: int = Field(default=10, ge=0, le=MOST_ROWS)


class Place(BaseModel):
    """Which feature of a forest."""

    model_config = ConfigDict(extra="forbid")

    level: int = Field(ge=0, le=LAST)
    feature: int = Field(ge=0, le=LAST)


class Names:
    """What atlases say of the features of dictionaries, found by the dictionary's hash."""

    def __init__(self, atlases: Sequence[Atlas], dictionaries: Sequence[tuple[str, str]]) -> None:
        """``dictionaries`` are the name and the hash of each; names may be alike. Raises BadInput for the atlas of any
        other."""
        self._atlases = {str(atlas.manifest.inputs.get("dictionary")): atlas for atlas in atlases}
        for hash, atlas in self._atlases.items():
            if hash not in (each for _, each in dictionaries):
                known = "; ".join(name for name, _ in dictionaries)
                raise BadInput(
                    f"{atlas.folder} is the atlas of none of these dictionaries: {known}. Give atlases of those, or "
                    "none."
                )

    def of(self, hash: str, ids: Iterable[int]) -> dict[int, Known]:
        """What is known of some features of a dictionary; empty without its atlas."""
        atlas = self._atlases.get(hash)
        if atlas is None:
            return {}
        fields = Known.model_fields
        return {
            row.id: Known.model_construct(**{name: getattr(row, name) for name in fields})
            for row in atlas.rows(list(dict.fromkeys(ids)))
        }


def names_of(subject: Comparison | Forest, atlases: Sequence[Atlas]) -> Names:
    """The names in a comparison or a forest. Raises BadInput for an atlas that belongs to none of its dictionaries."""
    if isinstance(subject, Forest):
        parts = subject.summary.widths
    else:
        parts = [subject.summary.a, subject.summary.b]
    return Names(atlases, [(each.name, each.hash) for each in parts])


def rows(found: Comparison, names: Names, asked: Asked) -> ComparedRows:
    """One page of a side's features, each beside its partner."""
    own, other = _hashes(found, asked.side)
    there: SideName = "b" if asked.side == "a" else "a"
    listed = found.features(
        asked.side, fate=asked.fate, sort=asked.sort, descending=asked.descending, offset=asked.offset,
        limit=asked.limit,
    )  # fmt: skip
    partners = [None if row.partner is None else found.feature(there, row.partner) for row in listed.rows]
    known = names.of(own, [row.id for row in listed.rows])
    theirs = names.of(other, [each.id for each in partners if each is not None])
    return ComparedRows(
        total=listed.total,
        offset=listed.offset,
        rows=[
            ComparedRow(
                feature=row,
                known=known.get(row.id),
                partner=partner,
                partner_known=None if partner is None else theirs.get(partner.id),
            )
            for row, partner in zip(listed.rows, partners, strict=True)
        ],
    )


def group_rows(found: Comparison, names: Names, asked: Paged) -> GroupRows:
    """Some of the splits, those of A first."""
    shown = []
    for group in found.groups[asked.offset : asked.offset + asked.limit]:
        own, other = _hashes(found, group.side)
        parts = names.of(other, [member.feature for member in group.members])
        shown.append(
            GroupRow(
                group=group,
                known=names.of(own, [group.feature]).get(group.feature),
                members=[parts.get(member.feature) for member in group.members],
            )
        )
    return GroupRows(total=len(found.groups), offset=asked.offset, rows=shown)


def tree_rows(forest: Forest, names: Names, asked: Paged) -> TreeRows:
    """Some of the trees, the largest first."""
    shown, roots = [], forest.roots()
    for place in roots[asked.offset : asked.offset + asked.limit]:
        tree = forest.tree(*place)
        known = names.of(forest.summary.widths[place[0]].hash, [place[1]])
        shown.append(TreeRow(root=tree.root, split_sizes=tree.split_sizes, known=known.get(place[1])))
    return TreeRows(total=len(roots), offset=asked.offset, rows=shown)


def kin(forest: Forest, names: Names, level: int, feature: int) -> Kin:
    """A feature's family. Raises BadInput if there is no such level or feature."""
    family = forest.family(level, feature)
    ids: list[list[int]] = [[] for _ in forest.summary.widths]
    for node in (family.node, *family.ancestors, *family.siblings, *family.descendants):
        ids[node.level].append(node.feature)
    known = [names.of(width.hash, each) for width, each in zip(forest.summary.widths, ids, strict=True)]
    return Kin(
        family=family,
        widths=forest.summary.widths,
        n_tokens=forest.summary.n_tokens,
        known=[{str(id): each for id, each in level.items()} for level in known],
    )


def level_of(forest: Forest, atlas: Atlas) -> int:
    """Where the dictionary of an atlas stands in a forest. Raises BadInput if it does not."""
    hash, widths = atlas.manifest.inputs.get("dictionary"), forest.summary.widths
    levels = [level for level, width in enumerate(widths) if width.hash == hash]
    if not levels:
        raise BadInput(
            f"{forest.folder} has no place for the dictionary of {atlas.folder}: it was grown from "
            f"{'; '.join(width.name for width in widths)}. Grow one with it: physalis compare tree."
        )
    return levels[0]


def _hashes(found: Comparison, side: SideName) -> tuple[str, str]:
    """Of a side's dictionary and of the other."""
    a, b = found.summary.a.hash, found.summary.b.hash
    return (a, b) if side == "a" else (b, a)

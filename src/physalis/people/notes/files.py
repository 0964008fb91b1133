"""Notes as plain files for git: one record a line, so that merging is putting lines together.

| file | holds |
| --- | --- |
| notes.json | the hash of the atlas that they are about |
| labels/000300.jsonl | labels of features 300 to 399, and what removes them; likewise notes/ and votes/ |
| lists/ID.jsonl | one list and its entries |
| .gitattributes | tells git to keep both sides' lines |

Lines are sorted by feature and then by id. Ids are random, so what two people add rarely falls between the same lines;
where it does, git keeps both. Each file is written whole or not at all, and records are only ever added: an export that
was killed leaves a state between the old and the new, and the next one completes it.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from physalis.artifact import holding, tidy, untrusted
from physalis.artifact.folder import check, is_file, write
from physalis.artifact.untrusted import shown
from physalis.errors import BadInput
from physalis.people.notes.ledger import check_same
from physalis.people.notes.records import Added, Entry, Listing, Removal, Written, read
from physalis.people.notes.store import Notes

HEADER = "notes.json"
FORMAT = 1
"""Version of the files. A newer one is refused."""
FEATURES_A_FILE = 100
LONGEST = 1 << 20
"""Bytes of a line: the longest note has 60,000."""
MOST = 1 << 30
"""Bytes of a file."""

_FOLDERS = ("labels", "lists", "notes", "votes")
_ATTRIBUTES = "*.jsonl merge=union\n"
_CONFLICT = (b"<<<<<<< ", b"||||||| ", b"=======", b">>>>>>> ")
"""How lines of git begin that stand in a file with a conflict. Both sides' records count, so they are passed over."""


def merge(*sides: Iterable[Written]) -> Sequence[Written]:
    """The union of records, by id: in whatever order sides are merged, and however often, it is the same.

    Raises BadInput if two different records have one id.
    """
    union: dict[str, Written] = {}
    for side in sides:
        for record in side:
            check_same(union.setdefault(record.id, record), record)
    return [union[id] for id in sorted(union)]


def export_notes(notes: Notes, folder: Path | str) -> int:
    """Write notes into a folder, which may hold an earlier export; returns how many records it holds then.

    Records that stand there and not in these notes, such as a colleague's fetched by git, stay there. Raises BadInput
    if the folder's notes are about another atlas, or cannot be read.
    """
    return _write(Path(folder), notes.atlas, notes.records())


def import_notes(notes: Notes, folder: Path | str) -> Added:
    """Add the records of an export that is trusted: all of them, or none if one cannot be read. They may remove and
    edit what anybody wrote here (see ``import_additions``).

    Raises BadInput if the folder's notes are about another atlas, or a line is not a record; it names the line.
    """
    return notes.add(_read(Path(folder), notes.atlas))


def import_additions(notes: Notes, folder: Path | str) -> Added:
    """Add those records of an export, which may be a stranger's, that change nothing of what stands here: no edits and
    removals of it, no entries for lists that are here, and nothing in the name of somebody who writes here, for a name
    is not proved. ``left_out`` says what else there was.

    Raises BadInput as ``import_notes`` does.
    """
    found, here = _read(Path(folder), notes.atlas), [*notes.records()]
    known, authors = {record.id for record in here}, {record.author for record in here}
    lists = {record.list for record in here if isinstance(record, Listing)}
    fresh = [record for record in found if record.id not in known]
    changes = {record.id for record in fresh if known.intersection(record.replaces) or _list_of(record) in lists}
    named = {record.id for record in fresh if record.author in authors} - changes
    told = []
    if changes:
        told.append(f"{len(changes):,} records would change or remove what stands here")
    if named:
        told.append(f"{len(named):,} are in the name of somebody who writes here")
    if told:
        told = [f"{', and '.join(told)}: left out. Whoever trusts the folder can import it with --trust."]
    left = changes | named
    return notes.add(each for each in found if each.id not in left).model_copy(update={"left_out": tuple(told)})


def _list_of(record: Written) -> str | None:
    return record.list if isinstance(record, Listing | Entry | Removal) else None


def merge_notes(folders: Sequence[Path | str], out: Path | str) -> int:
    """Put the records of several exports into ``out``, which may hold an export too; returns how many it holds then.

    Raises BadInput if they are not all about one atlas, or a line is not a record.
    """
    if not folders:
        raise BadInput("There is nothing to merge: name at least one folder of exported notes.")
    atlas = _header(Path(folders[0]))
    return _write(Path(out), atlas, merge(*(_read(Path(folder), atlas) for folder in folders)))


def _write(folder: Path, atlas: str, records: Iterable[Written]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder):
        for place in (folder, *(folder / name for name in _FOLDERS)):
            if place.is_dir() and (place == folder or not place.is_symlink()):
                tidy(place)
        union = merge(_there(folder, atlas), records)
        if not (folder / HEADER).exists():  # first: files without it are nobody's
            write(folder, HEADER, (json.dumps({"notes": FORMAT, "atlas": atlas}, indent=1) + "\n").encode())
        if not (folder / ".gitattributes").exists():
            write(folder, ".gitattributes", _ATTRIBUTES.encode())
        by_file: dict[str, list[Written]] = defaultdict(list)
        for record in union:
            by_file[_file_of(record)].append(record)
        for name in by_file:
            check(folder, name)  # before any is written
        for name in sorted(by_file):
            lines = "".join(f"{r.model_dump_json()}\n" for r in sorted(by_file[name], key=_order))
            write(folder, name, lines.encode())
    return len(union)


def _file_of(record: Written) -> str:
    if isinstance(record, Listing | Entry) or (isinstance(record, Removal) and record.list):
        return f"lists/{record.list}.jsonl"
    kind = record.what if isinstance(record, Removal) else record.kind
    return f"{kind}s/{(record.feature or 0) // FEATURES_A_FILE * FEATURES_A_FILE:06d}.jsonl"


def _order(record: Written) -> tuple[int, str]:
    feature = None if isinstance(record, Listing) else record.feature
    return (-1 if feature is None else feature, record.id)


def _files(folder: Path) -> list[Path]:
    found = [file for name in _FOLDERS for file in sorted((folder / name).glob("*.jsonl"))]
    for file in found:
        if not is_file(folder, str(file.relative_to(folder))):
            raise BadInput(f"{file} is no file, or is reached through a link. Put the file itself there.")
    return found


def _there(folder: Path, atlas: str) -> Sequence[Written]:
    """What a folder to write into holds already."""
    if (folder / HEADER).exists():
        return _read(folder, atlas)
    if strangers := _files(folder):
        raise BadInput(
            f"{strangers[0]} is there without a {HEADER}, so that nobody can say which atlas it is about. Choose "
            "another folder, or put that file back; nothing was touched."
        )
    return []


def _read(folder: Path, atlas: str) -> Sequence[Written]:
    """The records of an export."""
    if (theirs := _header(folder)) != atlas:
        raise BadInput(
            f"{folder} holds notes about another atlas: its manifest has the hash {theirs}, this one's has {atlas}. "
            "The same number may be another feature there. If the features are the same (the atlas was only built "
            f"again), write the new hash into {folder / HEADER}."
        )
    return merge(record for file in _files(folder) for record in _lines(file))


def _lines(file: Path) -> Iterator[Written]:
    # Split at line feeds alone: a note may hold other characters that Python takes for the end of a line.
    with untrusted.open_file(file) as opened:
        for number, line in enumerate(untrusted.lines(opened, file, longest=LONGEST, most=MOST), 1):
            if not line.strip() or line.startswith(_CONFLICT):
                continue
            try:
                record = read(line)
            except BadInput as error:
                raise BadInput(
                    f"{file}, line {number} is not a record of notes. {error} Restore it as it was, or take it out. "
                    "Nothing of this folder was used."
                ) from error
            yield record


def _header(folder: Path) -> str:
    """The hash of the atlas that an export is about."""
    file = folder / HEADER
    try:
        if not file.exists():
            raise BadInput(f"{folder} holds no exported notes: it has no {HEADER}. Check the path.")
        header = untrusted.parse_json(untrusted.read_bytes(file, most=LONGEST), file)
        version, atlas = header["notes"], header["atlas"]
    except (KeyError, TypeError) as error:
        raise BadInput(f'{file} cannot be read. It should be {{"notes": {FORMAT}, "atlas": "…"}}.') from error
    if not isinstance(version, int) or version > FORMAT:
        raise BadInput(
            f"{folder} has format {shown(version)}; this physalis reads up to {FORMAT}. Install a newer one."
        )
    return str(atlas)

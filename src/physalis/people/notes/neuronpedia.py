"""What people and machines wrote at Neuronpedia, taken over: explanations as labels, quick lists as lists.

Nothing is dropped in silence: whatever does not fit is told in a sentence.
"""

import gzip
import json
import sys
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from physalis.artifact import untrusted
from physalis.artifact.untrusted import shown
from physalis.errors import BadInput
from physalis.people.notes import records
from physalis.people.notes.records import Added, Entry, FullList, Label, Listing
from physalis.people.notes.store import Notes
from physalis.people.records import Record
from physalis.people.spelling import new_id, spell

LONGEST = 4 << 20
"""Bytes of a line: an explanation has a few hundred."""
MOST = 4 << 30
"""Bytes of a file, once it is unpacked."""
MOST_ROWS = 2_000_000
MOST_TOLD = 10_000
"""Sentences of what did not fit."""
LONGEST_SOURCE = 200
"""Characters of a name of theirs."""
LARGEST = 1e300
"""What any score is below."""
_READ = {
    "modelId", "layer", "index", "description", "authorId", "typeName", "explanationModelName", "scoreV1", "scoreV2",
    "createdAt", "updatedAt",
}  # fmt: skip
_READ_IN_LIST = {"modelId", "layer", "index", "description"}
_TIMELESS = "1970-01-01T00:00:00.000000Z"
"""The time of a row without one. Not that of the import: who imports a row again must get the same record."""
_NAMESPACE = uuid.UUID("6f0c0f3e-5d1b-5a7e-9d0e-6a3f1c2b4d58")


class ImportedList(Record):
    """A list taken over, and a sentence for everything that did not fit."""

    full: FullList
    left_out: tuple[str, ...]


class _QuickList(NamedTuple):
    name: str
    description: str
    features: list[dict[str, Any]]
    unkept: list[str]
    """Fields that nothing is made of."""


class _Misfit(Exception):
    """A row that cannot be taken over, and why."""


def import_explanations(notes: Notes, path: Path | str, *, n_features: int, source: str | None = None) -> Added:
    """Take over exported explanations: rows of jsonl or jsonl.gz, in one file or a folder of them.

    Each becomes a label with its method, model and scores, signed "neuronpedia:" and its author there. A row always
    gives the same record, so importing it again, or merging with someone who did, adds nothing. ``source`` is the model
    and layer that this atlas is of, such as "gpt2-small/8-res-jb"; other rows are counted and left out. It may be left
    away where all rows are of one. Raises BadInput if they are not, or the file cannot be read.
    """
    labels: list[Label] = []
    left_out: list[str] = []
    elsewhere: Counter[str] = Counter()
    unkept: Counter[str] = Counter()
    sources: set[str] = set()
    for place, row in _rows(Path(path), left_out):
        if len(labels) + len(left_out) + len(elsewhere) + len(unkept) > MOST_ROWS:
            raise BadInput(f"{path} holds more than {MOST_ROWS:,} explanations. Nothing was imported: part it.")
        sources.add(_source(row))
        if source is not None and _source(row) != source:
            elsewhere[_source(row)] += 1
            continue
        unkept.update(name[:LONGEST_SOURCE] for name in row.keys() - _READ)
        try:
            labels.append(_label(row, n_features))
        except (_Misfit, BadInput) as misfit:
            left_out.append(f"{place}: {misfit}")
    _check_one(sources, source)
    left_out += [
        f"{n:,} rows are of {name}, not of {source}, and were left out." for name, n in sorted(elsewhere.items())
    ]
    left_out += [f"{shown(name)} is not kept; {n:,} rows have it." for name, n in sorted(unkept.items())]
    return notes.add(labels).model_copy(update={"left_out": _told(left_out)})


def _told(left_out: list[str]) -> tuple[str, ...]:
    more = len(left_out) - MOST_TOLD
    return tuple(left_out) if more <= 0 else (*left_out[:MOST_TOLD], f"And {more:,} more like these.")


def import_list(
    notes: Notes, text: str, *, author: str, n_features: int, source: str | None = None, name: str | None = None
) -> ImportedList:
    """Take over a quick list: its address, or its JSON (the features, or an object with them, name and description).

    The list is ``author``'s here; a feature's description becomes its name in this list. ``source`` and ``name`` may be
    left away where the text says them. Raises BadInput for a text that is no quick list, or of several sources.
    """
    said = _quick_list(text)
    rows = [row for each in said.features for row in _one_by_one(each)]
    _check_one({_source(row) for row in rows}, source)
    left_out = [f"{key!r} of the list is not kept." for key in said.unkept]
    left_out += [f"{key!r} is not kept; {n:,} entries have it." for key, n in _unkept(rows, _READ_IN_LIST)]
    if not (name or said.name):
        raise BadInput("The list has no name. Give one with name.")
    id = new_id()
    head = records.write(Listing, author=author, list=id, name=name or said.name, description=said.description)
    entries: dict[int, Entry] = {}
    for number, row in enumerate(rows, 1):
        try:
            if source is not None and _source(row) != source:
                raise _Misfit(f"it is of {_source(row)}, not of {source}.")
            feature = _feature(row, n_features)
            if feature in entries:
                raise _Misfit(f"feature {feature} stands there already; the first entry counts.")
            label = " ".join(str(row.get("description") or "").split())
            place = float(len(entries))
            entries[feature] = records.write(Entry, author=author, list=id, feature=feature, place=place, label=label)
        except (_Misfit, BadInput) as misfit:
            left_out.append(f"Entry {number}: {misfit}")
    if not entries:
        raise BadInput(f"The list has no feature of this atlas. {' '.join(left_out)}")
    notes.add([head, *entries.values()])
    return ImportedList(full=notes.full_list(id), left_out=tuple(left_out))


def _rows(path: Path, left_out: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row stands, and the row."""
    files = sorted(p for p in path.iterdir() if p.name.endswith((".jsonl", ".jsonl.gz"))) if path.is_dir() else [path]
    if not files:
        raise BadInput(f"{path} holds no .jsonl and no .jsonl.gz file. Check the path.")
    for file in files:
        try:
            with untrusted.open_file(file) as packed:
                opened = gzip.GzipFile(fileobj=packed) if file.suffix == ".gz" else packed
                for number, line in enumerate(untrusted.lines(opened, file, longest=LONGEST, most=MOST), 1):
                    place = f"{file.name}, line {number}"
                    try:
                        row = untrusted.parse_json(line, "it") if line.strip() else None
                    except BadInput as error:
                        left_out.append(f"{place}: {str(error).removeprefix('it cannot be read: ')}")
                        continue
                    if isinstance(row, dict):
                        yield place, row
                    elif row is not None:
                        left_out.append(f"{place}: it is not an object.")
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{file} cannot be read ({error}). Nothing was imported; fetch it again.") from error


def _label(row: dict[str, Any], n_features: int) -> Label:
    text = row.get("description")
    if not isinstance(text, str) or not text.strip():
        raise _Misfit("it has no description.")
    fields = {
        "feature": _feature(row, n_features),
        "text": " ".join(text.split()),
        "method": str(row.get("typeName") or ""),
        "model": str(row.get("explanationModelName") or ""),
        "scores": {name: _score(row, name) for name in ("scoreV1", "scoreV2") if row.get(name) is not None},
        "time": _time(row),
    }
    author = f"neuronpedia:{row.get('authorId') or 'unknown'}"
    content = json.dumps([_source(row), author, fields], sort_keys=True)
    return records.write(Label, author=author, id=uuid.uuid5(_NAMESPACE, content).hex, **fields)


def _feature(row: dict[str, Any], n_features: int) -> int:
    index = row.get("index")
    if isinstance(index, bool) or not isinstance(index, int | str) or not str(index).isdecimal():
        raise _Misfit(f"its index is {shown(index)}, not the number of a feature.")
    if len(str(index)) > 12 or int(index) >= n_features:
        raise _Misfit(
            f"there is no feature {str(index)[:20]}: this atlas has {n_features:,}, from 0 to {n_features - 1}."
        )
    return int(index)


def _score(row: dict[str, Any], name: str) -> float:
    score = row[name]
    if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) < LARGEST:
        raise _Misfit(f"its {name} is {shown(score)}, not a number.")
    return float(score)


def _time(row: dict[str, Any]) -> str:
    said = row.get("updatedAt") or row.get("createdAt")
    if said is None:
        return _TIMELESS
    try:
        moment = datetime.fromisoformat(said)
        return spell(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (TypeError, ValueError, OverflowError) as error:
        raise _Misfit(f"its time is {shown(said)}, which cannot be read.") from error


def _source(row: dict[str, Any]) -> str:
    return "/".join(str(row.get(name))[:LONGEST_SOURCE] for name in ("modelId", "layer"))


def _check_one(sources: set[str], source: str | None) -> None:
    """Of several sources one has to be named; where one is taken on trust, that is said."""
    if source is None and len(sources) == 1:
        print(
            f"That the features of {shown(*sources)} are those of this atlas is taken on trust. Name with --source "
            "what it is of, and others are left out.",
            file=sys.stderr,
        )
    if source is None and len(sources) > 1:
        some = ", ".join(sorted(sources)[:5])
        raise BadInput(
            f"There are features of {len(sources)} sources: {some}. Say with source which one this atlas is of."
        )


def _unkept(rows: Iterable[dict[str, Any]], read: set[str]) -> list[tuple[str, int]]:
    """Fields that nothing is made of, and how many rows have them."""
    return sorted(Counter(key for row in rows for key in row.keys() - read).items())


def _quick_list(text: str) -> _QuickList:
    text = text.strip()
    name = ""
    try:
        if text.startswith(("http://", "https://")):
            asked = parse_qs(urlsplit(text).query)
            name, text = asked.get("name", [""])[0], asked.get("features", [""])[0]
        said = untrusted.parse_json(text, "it")
    except (BadInput, ValueError) as error:
        raise BadInput(
            f"This is not a quick list: {shown(text)} is not JSON ({error}). Give its address, with all that follows "
            "the question mark, or its JSON."
        ) from error
    said = said if isinstance(said, dict) else {"features": said}
    features = said.pop("features", None) or said.pop("neurons", None)
    if not isinstance(features, list) or not all(isinstance(each, dict) for each in features):
        raise BadInput("This is not a quick list: it has no features, each with modelId, layer and index.")
    name = name or str(said.pop("name", None) or "")
    return _QuickList(name, str(said.pop("description", None) or ""), features, sorted(said))


def _one_by_one(row: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """A row of several features, whose index is "[[1, 2], [3]]", as one row each."""
    index = row.get("index")
    if not (isinstance(index, str) and index.startswith("[[")):
        return [row]
    try:
        return [row | {"index": one} for some in json.loads(index) for one in some]
    except (ValueError, TypeError, RecursionError):
        return [row]

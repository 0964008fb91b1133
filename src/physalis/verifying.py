"""verify(): is a folder still what was written? Every file against its sha256, and what it holds against what is said.

Readers check what is cheap: sizes, shapes, ranges, and sums of what they read whole. This reads everything: shards row
by row, databases page by page, and what lies in folders inside, as a sweep's dictionaries do. Nothing is written.
"""

import hashlib
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, computed_field
from safetensors import SafetensorError, safe_open

from physalis import artifact, dictionaries
from physalis.activations import KIND as ACTIVATIONS
from physalis.activations import Activations, Shard, Span, Sums, merge_sums, moments, read_sidecar
from physalis.artifact import (
    JOB,
    MANIFEST,
    Manifest,
    check_no_link,
    file_digest,
    plain,
    read_bytes,
    read_json,
    unreadable,
)
from physalis.atlas import Atlas
from physalis.atlas.schema import DATABASE
from physalis.codes import KIND as CODES
from physalis.codes import StoredCodes
from physalis.codes.tokens import agrees
from physalis.comparing.forest import KIND as FOREST
from physalis.comparing.forest import Forest
from physalis.comparing.reader import KIND as COMPARISON
from physalis.comparing.reader import Comparison
from physalis.display.counts import counted
from physalis.errors import BadInput
from physalis.explanations import KIND as EXPLANATIONS
from physalis.explanations import Explanations
from physalis.judging import Scores, Words
from physalis.judging.scored import KIND as SCORES
from physalis.judging.words import KIND as WORDS
from physalis.placement.origin import Origin
from physalis.recording.contexts import TEXT, written
from physalis.runtime.progress import progress
from physalis.suites import Suite
from physalis.suites.evaluated import KIND as SUITE
from physalis.training import checkpoints, history

ROWS = 16_384  # of a shard, read at a time
PIECE = 1 << 24  # numbers of a checkpoint, looked at at a time
MOST_DEPTH = 8
"""Folders in folders: what we write nests no deeper than two."""


class Verified(BaseModel):
    """One file, or one thing that must be so of several."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Below the folder."""
    right: bool
    said: str
    """What was found to be so, or what is wrong."""


class Verification(BaseModel):
    """What was found in a folder."""

    model_config = ConfigDict(frozen=True)

    kind: str
    finished: bool
    files: tuple[Verified, ...]

    @computed_field
    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return all(each.right for each in self.files)


def verify(folder: str | Path) -> Verification:
    """Look at every file of an artefact, finished or not, of whatever kind, and say of each whether it is right.

    Folders inside that are artefacts themselves are looked at too, ``MOST_DEPTH`` deep. Raises BadInput only for a
    folder that holds no artefact of ours; whatever is wrong with one is told.
    """
    return _verify(Path(folder), MOST_DEPTH)


def _verify(folder: Path, depth: int) -> Verification:
    finished = (folder / MANIFEST).exists()
    if not finished and not (folder / JOB).exists():
        raise BadInput(f"{folder} holds nothing that physalis made (no {MANIFEST}, no {JOB}). {_named(folder)}")
    kind, found = (_finished if finished else _unfinished)(folder)
    for inside in artifact.inside(folder):
        if inside.is_symlink():
            continue
        name = f"{inside.name}/"
        if not depth:
            found.append(Verified(name=name, right=False, said="It lies deeper than anything of ours: not looked at."))
            continue
        further = _verify(inside, depth - 1).files
        found += [each.model_copy(update={"name": name + each.name}) for each in further]
    return Verification(kind=kind, finished=finished, files=tuple(found))


def _named(folder: Path) -> str:
    found = artifact.inside(folder)
    if not found:
        return "Check the path."
    return (
        f"Inside {'is' if len(found) == 1 else 'are'} {artifact.several(found)}: verify them one by one, as in "
        f"`physalis verify {found[0]}`."
    )


def _finished(folder: Path) -> tuple[str, list[Verified]]:
    kind = artifact.kind_of(folder)
    manifest: Manifest | None = None

    def parse() -> str:
        nonlocal manifest
        manifest = artifact.parsed(read_json(folder / MANIFEST), folder / MANIFEST)
        return f"{manifest.kind}, {counted(len(manifest.files), 'file')}"

    found = [_checked(MANIFEST, parse)]
    if manifest is None:
        return kind or "unknown", found
    spans = [Span(**each["span"]) for each in manifest.facts["shards"]] if manifest.kind == ACTIVATIONS else []
    sizes = sum(_size(folder / name) for name in (*manifest.files, *(span.name for span in spans)))
    with progress("verify", sizes, "bytes") as advance:
        for name, sha in sorted(manifest.files.items()):
            found.append(_checked(name, lambda name=name, sha=sha: _same(folder, name, sha)))
            advance(_size(folder / name))
        for span in spans:
            context = manifest.config["context"]
            found.append(_checked(span.name, lambda span=span, context=context: _shard(folder, context, span)))
            advance(_size(folder / span.name))
    inside = _INSIDE.get(manifest.kind)
    if inside is not None:
        found.append(_checked("what they hold", lambda: inside(folder)))
    return manifest.kind, found


def _checked(name: str, look: Callable[[], str]) -> Verified:
    try:
        return Verified(name=name, right=True, said=look())
    except ValueError as error:  # BadInput, and what numpy says of parts that do not fit each other
        return Verified(name=name, right=False, said=" ".join(str(error).split()))
    except OSError as error:
        return Verified(name=name, right=False, said=str(unreadable(error, Path(error.filename or name))))


def _size(path: Path) -> int:
    try:
        return plain(path)
    except BadInput:
        return 0


def _same(folder: Path, name: str, sha: str) -> str:
    check_no_link(folder, name)
    size = plain(folder / name)
    if file_digest(folder / name) != sha:
        raise BadInput("It is another file than was written: its sha256 is not the one in the manifest.")
    return f"{size:,} bytes, as written"


def _shard(folder: Path, context: int, span: Span) -> str:
    """A shard against its sidecar, which the manifest has the sum of."""
    said, path = read_sidecar(folder, span), folder / span.name
    shard = Shard.open(path, size=said["bytes"], places=range(span.start * context, span.stop * context))
    if file_digest(path) != said["sha256"]:
        raise BadInput("It is another file than was recorded: its sha256 is not the one in its sidecar.")
    at = np.empty(shard.rows, np.int64)
    shard.read_at(0, at)
    if hashlib.sha256(at.tobytes()).hexdigest() != said["at"] or len(np.unique(at)) != len(at):
        raise BadInput("Its rows are not at the places that its sidecar has the sum of, or two are at one.")
    for start in range(0, shard.rows, ROWS):
        shard.read_x(start, np.empty((min(ROWS, shard.rows - start), shard.d), np.uint16))
    return f"{counted(shard.rows, 'row')} of width {shard.d:,}, as recorded"


def _activations(folder: Path) -> str:
    acts = Activations.open(folder)
    said = [read_sidecar(folder, span) for span in acts.spans if not span.held_out]
    summed = merge_sums([Sums(each["rows"], np.array(each["sum"]), np.array(each["sum_squares"])) for each in said])
    mean, scale = moments(summed, None if acts.offset is None else acts.offset.numpy())
    if not np.array_equal(mean, acts.mean.numpy()) or scale != acts.scale:
        raise BadInput("Mean and scale are not those of the shards' sums.")
    largest, documents = int(acts.tokens.max()), int(acts.documents.max())
    return f"{counted(acts.n_tokens, 'row')}; token ids up to {largest:,}, document numbers up to {documents:,}"


def _dictionary(folder: Path) -> str:
    config = dictionaries.load(folder, dtype=torch.float32).config
    Origin.of(artifact.read(folder, "dictionary"))
    return (
        f"{counted(config.n_features, 'feature')} from width {config.d_in:,} to {config.d_out:,}, every number finite"
    )


def _codes(folder: Path) -> str:
    codes = StoredCodes.open(folder)
    for i, segment in enumerate(codes.segments):
        if not agrees(segment) or segment["at"][-1] != codes.manifest.facts["segments"][i]["last"]:
            raise BadInput(f"Segment {i} says something else by token than by feature.")
    if codes.n_fired.sum() != codes.n_codes or (np.diff(codes.at) <= 0).any():
        raise BadInput("The codes are not as many as the manifest says, or tokens are not in the order of the text.")
    return f"{codes.n_codes:,} codes of {codes.n_features:,} features on {codes.n_tokens:,} tokens"


def _atlas(folder: Path) -> str:
    try:
        atlas = Atlas.open(folder)
        database = sqlite3.connect(f"file:{quote(str(folder / DATABASE))}?mode=ro&immutable=1", uri=True)
        try:
            ((said,), *more) = database.execute("PRAGMA integrity_check").fetchall()
            (n,) = database.execute("SELECT count(*) FROM pages").fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise BadInput(f"{DATABASE} is damaged: {error}.") from error
    if said != "ok" or more:
        raise BadInput(f"{DATABASE} is damaged: {said.splitlines()[-1]}.")
    if n != len(atlas):
        raise BadInput(f"{DATABASE} has {n:,} pages, and the manifest says {len(atlas):,} features.")
    return f"{counted(n, 'feature')}, the database intact"


def _comparison(folder: Path) -> str:
    opened = Comparison.open(folder)
    return f"{opened.size('a'):,} features beside {opened.size('b'):,}"


def _explanations(folder: Path) -> str:
    found = Explanations.open(folder)
    if found.counts.shape[0] != len(found) or len(found) != found.manifest.facts["n_features"]:
        raise BadInput("There are not as many rules, counts and features.")
    for each in found:
        if each.program.size != each.size:
            raise BadInput(f"The rule of feature {each.feature} has {each.program.size} leaves, not {each.size}.")
    return f"{counted(len(found), 'rule')}, each read"


def _words(folder: Path) -> str:
    found = Words.open(folder)
    if len(found) != found.manifest.facts["n_features"]:
        raise BadInput("There are not as many descriptions as the manifest says.")
    return f"{counted(len(found), 'description')}, each read"


def _scores(folder: Path) -> str:
    found = Scores.open(folder)
    if len(found) != found.manifest.facts["n_scores"]:
        raise BadInput("There are not as many scores as the manifest says.")
    return f"{counted(len(found), 'score')}, each read"


def _suite(folder: Path) -> str:
    found = Suite.open(folder)
    return f"{counted(len(found.measured), 'measurement')}, each read"


def _forest(folder: Path) -> str:
    return f"{len(Forest.open(folder).summary.widths)} dictionaries in a row"


_INSIDE: dict[str, Callable[[Path], str]] = {
    ACTIVATIONS: _activations, "dictionary": _dictionary, CODES: _codes, "atlas": _atlas, COMPARISON: _comparison,
    FOREST: _forest, EXPLANATIONS: _explanations, WORDS: _words, SCORES: _scores,
    SUITE: _suite,
}  # fmt: skip
"""What is read of each kind beside its manifest; of others their files are all."""


def _unfinished(folder: Path) -> tuple[str, list[Verified]]:
    """What there is of something that is still being made, or was stopped: run again, its command goes on from it."""
    kind = "unknown"

    def job() -> str:
        nonlocal kind
        said = read_json(folder / JOB)
        if not isinstance(said, dict) or not isinstance(said.get("kind"), str):
            raise BadInput(f"{JOB} does not say what is being made: delete the folder and make it again.")
        kind = said["kind"]
        return f"{kind}, unfinished"

    def text() -> str:
        said = written(folder)
        if said is None:
            raise BadInput("The text is not what was read: the record command writes it anew.")
        return f"the text as it was read, {counted(said['n_held_out'], 'context')} held out"

    def kept() -> str:
        path = folder / checkpoints.CHECKPOINT
        plain(path)
        try:
            with safe_open(path, "pt") as f:
                broken = [name for name in f.keys() if not _finite(f.get_slice(name))]
                step = int((f.metadata() or {})["step"])
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:
            raise BadInput(f"It cannot be read ({error}): the run starts afresh.") from error
        if broken:
            raise BadInput(f"{broken[0]} is not finite: the run starts afresh.")
        return f"goes on at step {step:,}"

    def metrics() -> str:
        text = read_bytes(folder / history.METRICS)
        rows = history.read(folder / history.METRICS)
        if len(rows) < text.count(b"\n"):
            raise BadInput(f"Line {len(rows) + 1} is damaged: the run starts afresh.")
        return counted(len(rows), "row")

    found = [_checked(JOB, job)]
    for name, look in ((TEXT, text), (checkpoints.CHECKPOINT, kept), (history.METRICS, metrics)):
        if (folder / name).exists():
            found.append(_checked(name, look))
    for path in sorted(folder.glob("shard-" + 6 * "[0-9]" + ".json")):
        span = Span(number=int(path.stem.partition("-")[2]), start=0, stop=0, held_out=False)
        found.append(_checked(span.name, lambda span=span: _recorded(folder, span)))
    return kind, found


def _finite(tensor: Any) -> bool:
    """Whether all numbers are, read some rows at a time: what a stranger's file unpacks to may be more than memory."""
    shape = tensor.get_shape()
    if not tensor.get_dtype().startswith(("F", "BF")):
        return True
    if not shape:
        return bool(tensor[...].isfinite().all())
    rows = max(1, PIECE // max(1, math.prod(shape[1:])))
    return all(bool(tensor[i : i + rows].isfinite().all()) for i in range(0, shape[0], rows))


def _recorded(folder: Path, span: Span) -> str:
    said, path = read_sidecar(folder, span), folder / span.name
    shard = Shard.open(path, size=said["bytes"])
    if file_digest(path) != said["sha256"]:
        raise BadInput("It is another file than was recorded: delete it, and the record command makes it anew.")
    return f"{counted(shard.rows, 'row')} of width {shard.d:,}, as recorded"

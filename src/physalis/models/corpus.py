"""corpus: text from anywhere, one document after another, and packed into contexts of token ids.

A *document* is a text that stands alone: a file, a row of a JSONL or Parquet file, an article. Documents are joined
with the model's separator token and cut into contexts of equal length; every token remembers its document.
"""

import glob
import gzip
import json
import os
import random
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Int32

from physalis.errors import BadInput
from physalis.models import hub
from physalis.models.model import Model
from physalis.models.prompting import first_id

LONG_TEXT = 50_000
"""Characters after which a plain text file is cut, at the next blank line, into a further document."""

CONTEXTS_A_BLOCK = 256
TEXTS_A_BATCH = 64

ROWS = (".jsonl", ".jsonl.gz", ".parquet")
"""Files that hold one document a row; every other file is plain text."""

NOT_TEXT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "pydoc_data", "__pycache__"}
"""Folders of Python's library that are left out: tests, other people's packages, character tables."""


def documents(source: str, *, field: str | None = None) -> Iterator[str]:
    """The documents of a source, in an order that depends on nothing but the source.

    ``source`` is ``stdlib`` (the running Python's sources and its manual's topics, shuffled), a file, a folder (all
    text files in it, by name), a glob pattern, several of these with commas between, or the name of a Hugging Face
    dataset, streamed (``owner/name``, or ``owner/name:config``; its train split). ``.jsonl``, ``.jsonl.gz`` and
    ``.parquet`` give the text in ``field`` of each row ("text" if not given). Plain text longer than 50,000 characters
    is cut at a blank line. Raises BadInput if nothing matches or, while reading, if a row has no such field.
    """
    if source == "stdlib":
        return _stdlib()
    paths = _paths(source)
    if paths is None:
        return _hub(source, field or "text")
    return (text for path in paths for text in _file(path, field or "text"))


def _paths(source: str) -> list[Path] | None:
    # The files a source names; None if it can only be a dataset's name.
    path = Path(source).expanduser()
    if path.is_file():
        if not _is_text(path):
            raise BadInput(f"{path} is not a text file. Give plain text (UTF-8), .jsonl, .jsonl.gz or .parquet.")
        return [path]
    if path.is_dir():
        inside = (
            p
            for p in sorted(path.rglob("*"))
            if p.is_file() and not any(q.startswith(".") for q in p.relative_to(path).parts)
        )
        found = [p for p in inside if _is_text(p)]
    elif "," in source:
        parts = [_paths(part.strip()) for part in source.split(",")]
        if None in parts:
            missing = source.split(",")[parts.index(None)].strip()
            raise BadInput(f"There is no file or folder {missing!r} in the list {source!r}. Check the path.")
        return [p for part in parts if part for p in part]
    elif any(c in source for c in "*?["):
        found = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file() and _is_text(p)]
    elif path.suffix or source.startswith((".", "/", "~")) or source.count("/") > 1:
        found = []
    else:
        return None
    if not found:
        raise BadInput(
            f"No text file matches {source!r}. Give a file, a folder, a glob such as 'texts/*.txt', or stdlib."
        )
    return found


def _is_text(path: Path) -> bool:
    if path.name.endswith(ROWS):
        return True
    with open(path, "rb") as f:
        return b"\0" not in f.read(8192)


def _file(path: Path, field: str) -> Iterator[str]:
    if path.name.endswith(".parquet"):
        yield from _parquet(path, field)
    elif path.name.endswith(ROWS):
        yield from _jsonl(path, field)
    else:
        with open(path, encoding="utf-8", errors="replace") as f:
            yield from _cut(f)


def _cut(lines: Iterable[str]) -> Iterator[str]:
    # One document until LONG_TEXT characters, then up to a blank line, or to 4 times that where there is none.
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= LONG_TEXT and (not line.strip() or size >= 4 * LONG_TEXT):
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _jsonl(path: Path, field: str) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise BadInput(
                        f"Line {number} of {path} is not JSON ({error}). Each line must be one object."
                    ) from error
                yield _text(row, field, f"line {number} of {path}")


def _parquet(path: Path, field: str) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if field not in names:
            raise BadInput(_no_field(field, str(path), names))
        for batch in file.iter_batches(batch_size=1024, columns=[field]):
            for value in batch.column(0).to_pylist():
                yield _text({field: value}, field, str(path))


def _text(row: Any, field: str, where: str) -> str:
    if not isinstance(row, dict) or field not in row:
        raise BadInput(_no_field(field, where, list(row) if isinstance(row, dict) else []))
    value = row[field]
    if value is not None and not isinstance(value, str):
        raise BadInput(
            f"The field {field!r} in {where} holds {type(value).__name__}, not text. Name another with --field."
        )
    return value or ""


def _no_field(field: str, where: str, names: list[str]) -> str:
    there = ", ".join(map(str, names)) or "none"
    return f"There is no field {field!r} in {where}; it has: {there}. Name the one that holds the text with --field."


def _hub(source: str, field: str) -> Iterator[str]:
    try:
        # here, since it is an extra that few need and takes a second to import
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadInput(
            f"There is no file or folder {source!r}. If it is a Hugging Face dataset, install the reader first: "
            "pip install 'physalis[hub]'."
        ) from error
    if not hub.in_reach():
        raise BadInput(
            f"There is no file or folder {source!r}, and the Hugging Face hub, where it might be a dataset, cannot be "
            "reached from here. Check the path or the connection; stdlib is text that every machine has."
        )
    name, _, config = source.partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split="train", streaming=True)
    except Exception as error:  # the library raises a dozen kinds, network errors among them
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(
            f"Neither a file nor a readable Hugging Face dataset: {source!r} ({first}). Check the name."
        ) from error
    return (_text(row, field, source) for row in rows)


def _stdlib() -> Iterator[str]:
    """Python's own sources and the topics of its manual, in a fixed shuffle: code and prose are mixed throughout."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files: list[Path] = []
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if name not in NOT_TEXT]  # never walks into them
        files += [Path(folder, n) for n in names if n.endswith(".py") and not n.startswith("_sysconfigdata")]
    files.sort()
    texts: list[Path | str] = [*files, *(text for _, text in sorted(topics.topics.items()))]
    random.Random(0).shuffle(texts)
    for item in texts:
        if isinstance(item, str):
            yield item
        else:
            yield from _file(item, "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A block of contexts, at most 256."""

    ids: Int32[np.ndarray, "contexts context"]
    """Token ids."""
    documents: Int32[np.ndarray, "contexts context"]
    """For each token the number of its document, counted from 0 in the order read. A separator belongs to the document
    that it ends; a BOS token to the document of the token after it."""


def pack(model: Model, documents: Iterable[str], *, context: int, bos: bool) -> Iterator[Packed]:
    """Pack documents into contexts of ``context`` tokens, in order, 256 contexts a block (the last may be shorter).

    Every document is followed by the model's separator token. With ``bos`` each context starts with the BOS token (the
    separator where the tokenizer has no BOS) and so holds one token of text less. Documents without text are skipped;
    tokens that do not fill the last context are dropped. Raises BadInput if there is no text, or not enough for one
    context.
    """
    first = first_id(model)
    if bos and first is None:
        raise BadInput(
            f"The tokenizer of {model.name} has neither a BOS nor an end token. Record with bos=False (--no-bos)."
        )
    if context < 2:
        raise BadInput(f"A context needs at least 2 tokens; received {context}.")
    width = context - 1 if bos else context
    ids, owners = np.empty(0, np.int32), np.empty(0, np.int32)
    packed, seen = False, 0
    texts = filter(str.strip, documents)
    while batch := list(islice(texts, TEXTS_A_BATCH)):
        parts, numbers = [ids], [owners]
        for encoded in model.encode(batch):
            separated = encoded if model.separator_id is None else [*encoded, model.separator_id]
            parts.append(np.array(separated, np.int32))
            numbers.append(np.full(len(separated), seen, np.int32))
            seen += 1
        ids, owners = np.concatenate(parts), np.concatenate(numbers)
        while len(ids) >= CONTEXTS_A_BLOCK * width:
            cut = CONTEXTS_A_BLOCK * width
            yield _block(ids[:cut], owners[:cut], width, first if bos else None)
            ids, owners, packed = ids[cut:], owners[cut:], True
    if whole := len(ids) // width * width:
        yield _block(ids[:whole], owners[:whole], width, first if bos else None)
    elif not packed:
        if not seen:
            raise BadInput("The text is empty: no document holds anything but white space. Choose another --text.")
        raise BadInput(
            f"The text is shorter than one context: {len(ids)} tokens, and a context holds {width} of text. "
            "Give more text or a smaller --context."
        )


def _block(ids: np.ndarray, owners: np.ndarray, width: int, first: int | None) -> Packed:
    ids, owners = ids.reshape(-1, width), owners.reshape(-1, width)
    if first is not None:
        ids = np.concatenate([np.full((len(ids), 1), first, np.int32), ids], axis=1)
        owners = np.concatenate([owners[:, :1], owners], axis=1)
    return Packed(ids=ids, documents=owners)

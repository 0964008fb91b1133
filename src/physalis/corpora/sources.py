"""sources: text from anywhere, one document after another.

A *document* is a text that stands alone: a file, a row of a JSONL or Parquet file, an article.
"""

import glob
import os
import random
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from pydoc_data import topics

from physalis.artifact import untrusted
from physalis.corpora import hub
from physalis.corpora.formats import KINDS, READABLE, UNPACKED, is_text, text_of, texts
from physalis.corpora.trail import Trail
from physalis.errors import BadInput

SUFFIXES = {*KINDS, *UNPACKED, ".txt", ".text", ".md", ".rst", ".tex", ".html", ".htm", ".xml", ".log", ".py"}
"""What ends in one of these is a file, there or not; names of data sets may have dots too."""

DATA_SET = re.compile(r"([\w.-]+/)?[\w.-]+(:[\w.-]+)?")

NOT_TEXT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "pydoc_data", "__pycache__"}
"""Folders of Python's library that are left out: tests, other people's packages, character tables."""


def documents(source: str, *, field: str | None = None, trail: Trail | None = None) -> Iterator[str]:
    """The documents of a source, in an order that depends on nothing but the source.

    ``source`` is ``stdlib`` (the running Python's sources and its manual's topics, shuffled), a file, a folder (all
    text files in it, by name), a glob pattern, several of these with commas between, or the name of a Hugging Face
    dataset, streamed (``owner/name``, or ``owner/name:config``; its train split). Rows of ``.jsonl``, ``.json``,
    ``.csv``, ``.tsv`` and ``.parquet`` give the text in ``field`` ("text" if not given; ``a.b`` for b inside a), other
    files are plain text; each may be packed (``.gz``, ``.zst``, ``.bz2``, ``.xz``). Plain text longer than 50,000
    characters is cut at a blank line. What is read of files is noted in ``trail``. Raises BadInput if nothing matches
    or, while reading, if a file cannot be read or a row has no such field.
    """
    found = files(source)
    if found is None:
        return _hub(source, field or "text")
    return _read(found, field or "text", trail or Trail())


def files(source: str) -> list[Path | str] | None:
    """What a source is made of, in order: files, and texts that stand in none; None if it can only be a dataset's
    name. Raises BadInput if nothing matches."""
    return _stdlib() if source == "stdlib" else _paths(source)


def _read(found: Sequence[Path | str], field: str, trail: Trail) -> Iterator[str]:
    for each in found:
        if isinstance(each, str):
            yield each
        else:
            yield from texts(each, field, trail)
    trail.ended = True


def _paths(source: str) -> list[Path | str] | None:
    found = _matches(source)
    if found is None and "," in source:
        found = _listed(source)
    if found is None and not _is_path(source) and DATA_SET.fullmatch(source):
        return None
    if not found:
        raise BadInput(
            f"No text file matches {source!r}. Give a file, a folder, a glob such as 'texts/*.txt', or stdlib."
        )
    return [*found]


def _matches(source: str) -> list[Path] | None:
    # The text files of one file, folder or pattern; None where there is no such thing.
    path = Path(source).expanduser()
    try:
        if path.is_file():
            if not is_text(path):
                raise BadInput(f"{path} is not a text file. Give {READABLE}; text in UTF-8.")
            return [path]
        if path.exists() and not path.is_dir():
            raise BadInput(f"{path} is {untrusted.kind_of(path.stat().st_mode)}, and no text file. Give {READABLE}.")
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if p.is_file()]
            _check_links(path, inside)
            return [p for p in inside if not any(q.startswith(".") for q in p.relative_to(path).parts) and is_text(p)]
        # Folders may have brackets in their names, which mean something else in a pattern.
        for pattern in (str(path), str(path).replace("[", "[[]")) if any(c in source for c in "*?[") else ():
            if named := sorted(glob.glob(pattern, recursive=True)):
                return [p for p in map(Path, named) if p.is_file() and is_text(p)]
    except BadInput:
        raise
    except (OSError, ValueError) as error:  # no permission, a name of 10,000 letters, a NUL in it
        raise BadInput(f"{source!r} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    return None


def _check_links(folder: Path, inside: Sequence[Path]) -> None:
    """Raise BadInput for a link that leads out of a folder, which may be a stranger's: nobody named what it leads to.
    In the hub's cache the files of a version are links to those of its repository."""
    root = folder.resolve()
    if root.parent.name == "snapshots" and (root.parents[1] / "blobs").is_dir():
        root = root.parents[1]
    for path in inside:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise BadInput(
                f"{path} is a link that leads out of {folder}, to what nobody named. To read it, name the file, or a "
                f"pattern such as '{folder}/*{path.suffix}'; or take it out."
            )


def _listed(source: str) -> list[Path]:
    # The longest names first: files may have commas in theirs.
    parts, found = source.split(","), []
    while parts:
        for n in range(len(parts), 0, -1):
            if (here := _matches(",".join(parts[:n]).strip())) is not None:
                found, parts = [*found, *here], parts[n:]
                break
        else:
            raise BadInput(
                f"There is no file or folder {parts[0].strip()!r} in the list {source!r}. Check the path; names of "
                "data sets are given alone."
            )
    return found


def _is_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).suffix.lower() in SUFFIXES


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
        raise BadInput(
            f"Neither a file nor a readable Hugging Face dataset: {source!r} ({_first_line(error)}). Check the name; "
            "where a dataset has configurations, give one: OWNER/NAME:CONFIG."
        ) from error
    return _rows(rows, source, field)


def _rows(rows: Iterable, source: str, field: str) -> Iterator[str]:
    rows = iter(rows)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise BadInput(
                f"Reading the dataset {source!r} stopped ({_first_line(error)}). Run the same command again."
            ) from error
        yield text_of(row, field, source)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _stdlib() -> list[Path | str]:
    """Python's own sources and the topics of its manual, in a fixed shuffle: code and prose are mixed throughout."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found: list[Path] = []
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if name not in NOT_TEXT]  # never walks into them
        found += [Path(folder, n) for n in names if n.endswith(".py") and not n.startswith("_sysconfigdata")]
    found.sort()
    every: list[Path | str] = [*found, *(text for _, text in sorted(topics.topics.items()))]
    random.Random(0).shuffle(every)
    return every

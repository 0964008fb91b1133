"""untrusted: files from elsewhere, read only as far as they may go: regular files of a size that was allowed, JSON and
YAML that nest no deeper than anybody needs.

A path may lead to a pipe that never ends or out of its folder, four hundred bytes of YAML can stand for gigabytes, and
a value that is put into a sentence may be a million characters long.
"""

import errno
import io
import json
import os
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from physalis.errors import BadInput

MOST_DEPTH = 100
"""Lists in lists, of what is read as YAML. JSON ends where Python's stack does."""

LONGEST_SHOWN = 80
"""Characters of a value in a sentence."""

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip
_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxstring, _SHOWN.maxother, _SHOWN.maxlong = 2, LONGEST_SHOWN, LONGEST_SHOWN, 40


def open_file(path: Path | str) -> io.BufferedReader:
    """A regular file, opened to be read; a link to one is followed. Raises BadInput for what is none, or not there."""
    return _regular(path, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))


def open_inside(folder: Path, name: str) -> io.BufferedReader:
    """The regular file that a text of somebody else's calls ``name``, such as ``plots/one.png``, inside its folder. Not
    one that lies outside, and none that is a link or is reached through one. Raises BadInput otherwise."""
    return _regular(name, lambda: _inside(folder, name))


def _regular(path: Path | str, opened: Any) -> io.BufferedReader:
    try:
        handle = opened()
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadInput(f"{_spelled(path)} cannot be read ({said}). Check the path.") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise BadInput(f"{_spelled(path)} is {kind_of(mode)}, where a file should be. Check the path.")
    return os.fdopen(handle, "rb")


def _inside(folder: Path, name: str) -> int:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise OSError(errno.EACCES, f"it does not lie in {folder.name or 'the same folder'}")
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.parts[:-1]:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = deeper
        return os.open(path.parts[-1], os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        said = "it is a link, or is reached through one: put the file itself there"
        raise OSError(error.errno, said) from error
    finally:
        os.close(at)


def kind_of(mode: int) -> str:
    """What something is that is no file, by its mode."""
    return next((said for is_kind, said in _KINDS if is_kind(mode)), "no file")


def contents(file: io.BufferedReader, name: Path | str, *, most: int) -> bytes:
    """All bytes of an opened file. Raises BadInput if there are more than ``most``."""
    with file:
        read = file.read(most + 1)
    if len(read) > most:
        raise BadInput(f"{_spelled(name)} has more than {most:,} bytes, the most that is read of it.")
    return read


def read_bytes(path: Path, *, most: int) -> bytes:
    """All bytes of a regular file. Raises BadInput as ``open_file`` does, and if there are more than ``most``."""
    return contents(open_file(path), path, most=most)


def read_text(path: Path, *, most: int) -> str:
    """A file of UTF-8. Raises BadInput as ``read_bytes`` does, and for other bytes."""
    return decoded(read_bytes(path, most=most), path)


def lines(file: io.BufferedIOBase, name: Path | str, *, longest: int, most: int) -> Iterator[bytes]:
    """The lines of an opened file, which may be one that is unpacked meanwhile. Raises BadInput for a line of more than
    ``longest`` bytes, and for more than ``most`` bytes in all."""
    total, number = 0, 0
    while line := file.readline(longest + 1):
        number, total = number + 1, total + len(line)
        if len(line) > longest:
            raise BadInput(f"{_spelled(name)}, line {number} has more than {longest:,} bytes: no such line is read.")
        if total > most:
            raise BadInput(f"{_spelled(name)} holds more than {most:,} bytes, the most that is read of it.")
        yield line


def decoded(read: bytes, name: Path | str) -> str:
    """UTF-8 as text, without a mark at its beginning. Raises BadInput for other bytes."""
    try:
        return read.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{_spelled(name)} cannot be read ({error}): it must be text in UTF-8.") from error


def parse_json(text: str | bytes, name: Path | str) -> Any:
    """The value of a JSON text. Raises BadInput, naming ``name``, for what is none or nests too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BadInput(f"{_spelled(name)} cannot be read: it nests too deep.") from error
    except ValueError as error:
        raise BadInput(f"{_spelled(name)} cannot be read: it is not JSON ({_cut(str(error))}).") from error


def parse_yaml(text: str, name: Path | str) -> Any:
    """The value of a YAML text. Raises Malformed for what is none, nests too deep, refers to parts of itself or names
    types of its own."""
    try:
        return yaml.load(text, _Plain)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or str(error)
        raise Malformed(f"{_spelled(name)} is not YAML ({_cut(said)}).", line=mark.line if mark else 0) from error
    except (ValueError, ArithmeticError, RecursionError, AttributeError, LookupError, TypeError) as error:
        # PyYAML lets what it cannot make of a date or a number through
        raise Malformed(f"{_spelled(name)} is not YAML ({_cut(str(error))}).", line=0) from error


class Malformed(BadInput):
    """A text that does not parse."""

    def __init__(self, sentence: str, *, line: int) -> None:
        super().__init__(sentence)
        self.line = line
        """Counted from 0."""


class _Plain(yaml.SafeLoader):
    """Names for what stands elsewhere let 400 bytes say gigabytes. No settings need them, nor types of their own."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if event.anchor is not None:  # of an alias, and of what one could stand for
            raise self._refused("it refers to parts of itself")
        if event.tag is not None:
            raise self._refused("it names types of its own")
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise self._refused(f"it nests more than {MOST_DEPTH} deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def _refused(self, why: str) -> yaml.YAMLError:
        event: Any = self.peek_event()
        return yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)


def shown(value: Any) -> str:
    """A value as it stands in a sentence: cut before it is spelled out, for it may be longer than memory."""
    try:
        return _cut(_SHOWN.repr(value))
    except ValueError:  # Python spells out no number of more than 4,300 digits
        return "a number of thousands of digits"


def _spelled(name: Path | str) -> str:
    # As it is, where a terminal can show it.
    text = str(name)
    return text if text.isprintable() and len(text) <= 4 * LONGEST_SHOWN else shown(text)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


@contextmanager
def named(what: str) -> Iterator[None]:
    """Sentences of what is read inside begin with ``what``."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{what}: {error}") from error

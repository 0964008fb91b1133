"""pickles: files that torch.save wrote, read without running what they contain.

A pickle is a program: loading one with Python's own reader runs whatever its author put in. Here only torch's
restricted reader is used, which builds tensors, numbers, strings and plain containers and knows nothing else. Each
reading is announced on standard error.
"""

import io
import pickle
import pickletools
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from physalis.artifact import untrusted
from physalis.errors import BadInput

MOST_PROGRAM = 1 << 24  # bytes of the pickle itself, which holds names and shapes; numbers stand beside it
BEFORE_1_6 = 4  # pickles one after another, in a torch file of that time: the last is what was saved


def load(path: Path) -> Any:
    """What the file holds, tensors on the CPU. Raises BadInput, naming it, if the file asks for anything else, or
    unpacks to more than it is."""
    untrusted.open_file(path).close()
    print(f"{path.name} is a pickle: it is read with a restricted reader that runs no code.", file=sys.stderr)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_size(path, archive)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of protocols other than torch's: they are read or refused
            held = torch.load(path, map_location="cpu", weights_only=True)
        _check_shapes(path, held)
        return held
    except BadInput:
        raise
    except pickle.UnpicklingError as error:
        wanted = _wanted(str(error))
        if wanted is None:
            raise BadInput(f"{path} cannot be read as a torch file ({_first_line(error)}). Check the path.") from error
        raise BadInput(
            f"{path} wants to run {wanted}, which no weights need. It was not run and nothing was read. If you trust "
            "the file's author, load it with the tool that wrote it and save its state_dict, or better, safetensors."
        ) from error
    except (
        EOFError, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, MemoryError,
        zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise BadInput(
            f"{path} cannot be read as a torch file ({_first_line(error)}). It is damaged or something else: fetch it "
            "again."
        ) from error


def words(path: Path) -> frozenset[str]:
    """Every string in the pickle, a mapping's keys among them, found without building anything; empty if it is none."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_size(path, archive)
                program = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
        else:
            with open(path, "rb") as file:
                program = file.read(MOST_PROGRAM)
    except BadInput:
        raise
    except (OSError, StopIteration, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        return frozenset()
    found: set[str] = set()
    try:
        rest = io.BytesIO(program)
        for _ in range(BEFORE_1_6):
            found.update(value for _, value, _ in pickletools.genops(rest) if isinstance(value, str))
    except ValueError:  # it ends, or is no pickle
        pass
    return frozenset(found)


def _check_size(path: Path, archive: zipfile.ZipFile) -> None:
    """torch.save stores what it stores as it is, so that the parts are never more than the whole."""
    parts = archive.infolist()
    unpacked = sum(part.file_size for part in parts)
    if unpacked > path.stat().st_size:
        raise BadInput(
            f"{path} unpacks to {unpacked:,} bytes and has {path.stat().st_size:,}, which nothing that torch saved "
            "does. It was not read: fetch it from somewhere that you trust."
        )
    program = max((part.file_size for part in parts if part.filename.endswith("data.pkl")), default=0)
    if program > MOST_PROGRAM:
        raise BadInput(f"{path} holds a pickle of {program:,} bytes beside its numbers, which no weights need.")


def _check_shapes(path: Path, held: Any) -> None:
    """A tensor may be a view that says a few numbers a thousand million times."""
    for value in _tensors(held):
        if value.layout != torch.strided:
            raise BadInput(f"{path} holds a tensor that is {value.layout}, which no weights are. Save it dense.")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise BadInput(
                f"{path} holds a tensor of shape {tuple(value.shape)} and too few numbers for that. It is damaged: "
                "fetch it again."
            )


def _tensors(held: Any) -> Iterator[torch.Tensor]:
    """Those in containers, each container once: it may hold itself, or another one a million times."""
    waiting, seen = [held], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict | list | tuple | set | frozenset) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value


def _wanted(message: str) -> str | None:
    """The global that torch's reader refused."""
    for pattern in (
        r"Unsupported global: GLOBAL (\S+) was not an allowed global",
        r"Trying to (?:load unsupported GLOBAL|call reduce for unrecognized function) (.+?)(?: whose|\.?$)",
        r"Unsupported class (\S+)",
        r"Can only build \w+.*but got (\S+)",
    ):
        found = re.search(pattern, message, flags=re.MULTILINE)
        if found:
            return found[1].strip()
    return None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]

"""pickles: files that torch.save wrote, read without running what they contain.

A pickle is a program: loading one with Python's own reader runs whatever its author put in. Here only torch's
restricted reader is used, which builds tensors, numbers, strings and plain containers and knows nothing else. Each
reading is announced on standard error.
"""

import pickle
import pickletools
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from physalis.errors import BadInput


def load(path: Path) -> Any:
    """What the file holds, tensors on the CPU. Raises BadInput, naming it, if the file asks for anything else."""
    print(f"{path.name} is a pickle: it is read with a restricted reader that runs no code.", file=sys.stderr)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of protocols other than torch's: they are read or refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _wanted(str(error))
        if wanted is None:
            raise BadInput(f"{path} cannot be read as a torch file ({_first_line(error)}). Check the path.") from error
        raise BadInput(
            f"{path} wants to run {wanted}, which no weights need. It was not run and nothing was read. If you trust "
            "the file's author, load it with the tool that wrote it and save its state_dict, or better, safetensors."
        ) from error
    except (EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise BadInput(
            f"{path} cannot be read as a torch file ({_first_line(error)}). It is damaged or something else: fetch it "
            "again."
        ) from error


def words(path: Path) -> frozenset[str]:
    """Every string in the pickle, a mapping's keys among them, found without building anything; empty if it is none."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                program = archive.read(name)
        else:
            program = path.read_bytes()
        return frozenset(value for _, value, _ in pickletools.genops(program) if isinstance(value, str))
    except (OSError, StopIteration, ValueError, zipfile.BadZipFile):
        return frozenset()


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

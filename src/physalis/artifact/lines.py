"""lines: records in a file of an artefact, one a line, as JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from physalis.artifact.files import read_bytes, write_atomic
from physalis.artifact.finished import check_digest
from physalis.artifact.manifest import MISFIT, Manifest
from physalis.errors import BadInput

R = TypeVar("R", bound=BaseModel)


def write_lines(path: Path, records: Iterable[BaseModel]) -> None:
    """Write them, all or none."""
    lines = "".join(f"{each.model_dump_json()}\n" for each in records)
    write_atomic(path, lambda at: at.write_text(lines, encoding="utf-8"))


def read_lines(path: Path, manifest: Manifest, kind: type[R], what: str) -> list[R]:
    """What ``write_lines`` wrote. Raises BadInput, which names ``what`` should be there, if the file is not what the
    manifest says, or holds anything else."""
    check_digest(path, manifest)
    try:
        lines = read_bytes(path).decode().split("\n")[:-1]  # texts in them may hold other line ends
        return [kind.model_validate_json(line) for line in lines]
    except (ValidationError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} holds no {what} ({type(error).__name__}). {MISFIT}") from error

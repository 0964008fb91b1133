"""manifest: what a finished artefact says of itself, parsed once and refused in a sentence where it cannot be that."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from physalis import __version__
from physalis.artifact.kinds import KINDS
from physalis.errors import BadInput

SCHEMA = 1
"""Version of every artefact's layout. A reader refuses a newer one by name."""

AGAIN = "The folder is damaged: copy it again, or make it again."

MISFIT = "The folder is damaged, or of another version of physalis: copy it again, or make it again."
"""Of what is whole by its form, and does not hold what it should."""


class Manifest(BaseModel):
    """What a finished artefact says of itself. Its ``hash`` identifies it to everything made from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """"activations", "dictionary", "evaluation", "atlas" and so on: ``kinds`` says what these hold."""
    schema_version: int = SCHEMA
    version: str = __version__
    """The physalis that wrote it."""
    config: dict[str, Any]
    """Everything that decided the content."""
    seed: int | None = None
    inputs: dict[str, str] = {}
    """Role to hash of what this was made from: {"activations": "…", "model": "…"}."""
    facts: dict[str, Any] = {}
    """What was measured while making it."""
    files: dict[str, str] = {}
    """File name to sha256. Names lead nowhere but below the folder."""

    @field_validator("files")
    @classmethod
    def _stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
                raise ValueError(f"{name!r} leads out of the folder")
        return files

    def __repr__(self) -> str:
        made_of = f" of {', '.join(self.inputs)}" if self.inputs else ""
        return f"Manifest({self.kind}{made_of}, {self.hash[:12]}, physalis {self.version})"

    def __str__(self) -> str:
        return repr(self)

    @property
    def hash(self) -> str:
        return digest(self.model_dump())


def digest(value: Any) -> str:
    """sha256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def parsed(value: Any, path: Path) -> Manifest:
    """The manifest that a JSON value is, of whatever kind. Raises BadInput, naming the file it came from, if it is
    none, is newer, or does not hold what its kind does."""
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds {_in_words(value)}, and should hold a manifest. {AGAIN}")
    version = value.get("schema_version", SCHEMA)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BadInput(f"{path} says schema_version = {_in_words(version)}, which should be a whole number. {AGAIN}")
    if version > SCHEMA:
        raise BadInput(
            f"{path.parent} has schema version {version}; this physalis {__version__} reads up to {SCHEMA}. "
            "Install a newer physalis."
        )
    if unknown := sorted(set(value) - set(Manifest.model_fields)):
        raise BadInput(
            f"{path} has a field {unknown[0][:60]!r}, which this physalis {__version__} does not know: it was written "
            f"by physalis {_in_words(value.get('version'))}. Install a newer physalis, or make the folder again."
        )
    try:
        manifest = Manifest.model_validate(value, strict=True)
        for said in KINDS:
            if said.kind_of() == manifest.kind:
                said.model_validate(value)
    except ValidationError as error:
        raise BadInput(f"{path}: {wrong(error)}. {MISFIT}") from error
    return manifest


def wrong(error: ValidationError) -> str:
    """What is wrong with a value that is not what it should be: where, what stands there, and what should."""
    first = error.errors()[0]
    where = ".".join(str(each) for each in first["loc"]) or "it"
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "value_error":
        return f"{where}: {first['msg'].removeprefix('Value error, ')}"
    said = first["msg"][:1].lower() + first["msg"][1:]
    return f"{where} is {_in_words(first['input'])}: {said}"


def _in_words(value: Any) -> str:
    match value:
        case None:
            return "null"
        case dict():
            return "a table of names"
        case list():
            return "a list"
        case _:
            text = repr(value)
            return text if len(text) < 60 else text[:57] + "..."

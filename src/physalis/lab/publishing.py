"""Told: an experiment's page and verdict in one JSON file, made once and kept while its text stays the same."""

import ast
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from physalis import __version__
from physalis.artifact import untrusted
from physalis.artifact.folder import is_file, write
from physalis.errors import BadInput
from physalis.lab.checks import Experiment
from physalis.lab.pages import Page
from physalis.runtime.jobs import Job, run
from physalis.runtime.progress import Advance

MOST = 64 << 20
"""Bytes of an experiment's record."""


class Checked(BaseModel):
    """What pages read of a check; all else of it is shown as it is."""

    passed: bool
    seconds: float

    @classmethod
    def of(cls, said: Any) -> "Checked":
        """Raises ValueError for a value that is no check, or holds what no page can, as NaN."""
        json.dumps(said, allow_nan=False)
        return cls.model_validate(said)


def sources(module: str, found: dict[str, str]) -> dict[str, str]:
    """The text of a module of the lab and of those that it stands on, added to ``found`` by their names."""
    spec = find_spec(module)
    if module in found or spec is None or spec.origin is None:
        return found
    found[module] = Path(spec.origin).read_text()
    for node in ast.walk(ast.parse(found[module])):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("physalis.lab."):
            sources(str(node.module), found)
    return found


def origin(experiment: Experiment) -> dict[str, str]:
    """What made a page: this version, and the text of the experiment's module and of those of the lab that it stands
    on. Without the version a change elsewhere in the package would go unnoticed; with all of its text, every page would
    be made again for a comma."""
    text = json.dumps(sources(experiment.check.__module__, {}), sort_keys=True)
    return {"version": __version__, "text": hashlib.sha256(text.encode()).hexdigest()}


def tell(experiment: Experiment) -> dict[str, Any]:
    """Runs it: its page, its check, and what made them, as JSON."""
    page = experiment.explore()
    return {"made": origin(experiment), "page": page.model_dump(mode="json"), "check": experiment.run().to_dict()}


def read_told(file: Path) -> dict[str, Any]:
    """What ``tell`` told, out of a file. Raises BadInput for one that is damaged, or holds something else."""
    found = untrusted.parse_json(untrusted.read_bytes(file, most=MOST), file)
    try:
        Page.model_validate(found["page"])
        Checked.of(found["check"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadInput(f"{file} is not an experiment's record. Remove it: the experiment is then run again.") from error
    return found


def kept(folder: Path, experiment: Experiment) -> bool:
    """Whether the folder holds what this version and this text of the experiment made."""
    name = f"{experiment.id}.json"
    if not is_file(folder, name):
        return False
    try:
        return read_told(folder / name).get("made") == origin(experiment)
    except BadInput:
        return False


def gather(folder: Path, experiments: Sequence[Experiment]) -> None:
    """Write ``<id>.json`` of each experiment into the folder, except where it is there already. Each is written whole
    as soon as it is made, so that a run that was stopped goes on where it was."""
    jobs = [Job(e.id, origin(e), 1, partial(kept, folder, e), partial(_write, folder, e)) for e in experiments]
    run(jobs, "Experiments", "pages")


def _write(folder: Path, experiment: Experiment, advance: Advance) -> None:
    advance(0, note=experiment.id)
    text = json.dumps(tell(experiment), separators=(",", ":"), allow_nan=False)
    write(folder, f"{experiment.id}.json", text.encode())
    advance(1)

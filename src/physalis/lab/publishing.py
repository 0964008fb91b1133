"""Told: an experiment's page and verdict in one JSON file, made once and kept while its text stays the same."""

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from physalis import __version__
from physalis.artifact import write_atomic
from physalis.lab.checks import Experiment
from physalis.lab.pages import Page
from physalis.progress import progress


def origin(experiment: Experiment) -> dict[str, str]:
    """What made a page: this version, and the text of the module that the experiment is written in."""
    module = inspect.getmodule(experiment.check)
    text = inspect.getsource(module or experiment.check)
    return {"version": __version__, "text": hashlib.sha256(text.encode()).hexdigest()}


def tell(experiment: Experiment) -> dict[str, Any]:
    """Runs it: its page, its check, and what made them, as JSON."""
    page = experiment.explore()
    # What could not be measured is null: JSON has no NaN.
    check = json.loads(json.dumps(experiment.run().to_dict()), parse_constant=lambda _: None)
    return {"made": origin(experiment), "page": page.model_dump(mode="json"), "check": check}


def kept(file: Path, experiment: Experiment) -> bool:
    """Whether the file holds what this version and this text of the experiment made."""
    if not file.exists():
        return False
    found = json.loads(file.read_text())
    try:
        Page.model_validate(found.get("page"))
    except ValidationError:
        return False
    return found.get("made") == origin(experiment)


def gather(folder: Path, experiments: Sequence[Experiment]) -> None:
    """Write ``<id>.json`` of each experiment into the folder, except where it is there already. Each is written whole
    as soon as it is made, so that a run that was stopped goes on where it was."""
    missing = [experiment for experiment in experiments if not kept(folder / f"{experiment.id}.json", experiment)]
    with progress("Experiments", len(experiments), "pages", done=len(experiments) - len(missing)) as advance:
        for experiment in missing:
            advance(0, note=experiment.id)
            text = json.dumps(tell(experiment), separators=(",", ":"), allow_nan=False)
            write_atomic(folder / f"{experiment.id}.json", lambda path, text=text: path.write_text(text))
            advance(1)

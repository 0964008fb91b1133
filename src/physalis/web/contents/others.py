"""others: what lies in the folders and has no pages: told in a line each, with the command that shows it. No torch."""

import re
import shlex

from physalis import artifact
from physalis.artifact import Manifest
from physalis.atlas.records import Record
from physalis.display.counts import counted
from physalis.errors import BadInput
from physalis.web.contents.finding import Other

COMMANDS = {
    "evaluation": "python -c \"import physalis; print(physalis.Evaluation.open('{}'))\"",
    "sweep": "physalis serve {}/*/",
    "site": "python -m http.server -d {}",
}
"""What shows an artefact that has no pages, by its kind, run where the folders lie. VERIFY says what others hold."""
VERIFY = "physalis verify {}"


class Line(Record):
    """An artefact without pages."""

    what: str
    """Such as "a sweep"."""
    name: str
    told: str
    """What its manifest says of it, in a few words."""
    command: str


def line_of(other: Other) -> Line:
    """What is told of it. A name that a shell would read otherwise is quoted."""
    name, command = shlex.quote(other.name), COMMANDS.get(other.kind, VERIFY)
    if name != other.name and "'{}'" in command:
        command = VERIFY
    what = artifact.in_words(other.kind)
    return Line(what=what, name=other.name, told=_told(other), command=command.replace("{}", name))


def _told(other: Other) -> str:
    try:
        said = artifact.read(other.folder, other.kind)
        return _OF_KINDS.get(other.kind, lambda said: "")(said)
    except (BadInput, KeyError, TypeError, ValueError):
        return "its manifest cannot be read"


def _activations(said: Manifest) -> str:
    n = said.facts["n_train"] + said.facts["n_held_out"]
    return f"{counted(n, 'token')} of {said.config['text']['name']} at {said.config['site']} of {said.config['model']}"


def _dictionary(said: Manifest) -> str:
    return f"{said.config['architecture']}, {counted(said.config['dictionary']['n_features'], 'feature')}"


def _evaluation(said: Manifest) -> str:
    found = said.facts["metrics"]
    names = {"fvu": "FVU", "l0": "L0", "ce_increase": "loss increase"}
    return ", ".join(f"{told} {_short(found[name]['value'])}" for name, told in names.items() if name in found)


def _short(value: float) -> str:
    """As pages write it: .111."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.3g}")


def _sweep(said: Manifest) -> str:
    n = len(said.config["grid"])
    return f"{n:,} {'dictionary' if n == 1 else 'dictionaries'}; their frontier is drawn in frontier.svg"


_OF_KINDS = {"activations": _activations, "dictionary": _dictionary, "evaluation": _evaluation, "sweep": _sweep}

"""trained: whether a dictionary is judged on the recordings that it was trained on, in a sentence where it is not."""

from pathlib import Path

from physalis import artifact
from physalis.activations import KIND, Stored
from physalis.artifact import Manifest
from physalis.errors import BadInput

FLATTERS = "Text that it was trained on flatters it."
MOST = 100
"""Folders in which its own recording is looked for."""


def other_recording(about: Manifest, dictionary: Path, source: Stored) -> str | None:
    """What to say where a dictionary was trained on another recording than ``source``; None where it was not, or where
    its manifest does not say. Whether the texts overlap is told where its own recording lies beside either."""
    own = about.inputs.get("activations")
    if own is None or own == source.inputs["activations"]:
        return None
    [*here] = source.reads
    found = _find(own, [dictionary, *(each.folder for each in here)])
    if found is None:
        return f"The dictionary was trained on another recording; whether their texts overlap is not known. {FLATTERS}"
    was, now = (_name(each) for each in (found[1], here[0].manifest))
    if found[1].config.get("text") == here[0].manifest.config.get("text"):
        return (
            f"The dictionary was trained on another recording, {found[0].name}, of the same text ({now}): what is held "
            f"out here need not have been held out there. {FLATTERS}"
        )
    return (
        f"The dictionary was trained on another recording, {found[0].name}: on {was}, and this is {now}. Whether these "
        f"overlap is not known. {FLATTERS}"
    )


def _find(own: str, beside: list[Path]) -> tuple[Path, Manifest] | None:
    for above in dict.fromkeys(each.absolute().parent for each in beside):
        for folder in sorted(above.iterdir())[:MOST]:
            if artifact.kind_of(folder) != KIND:
                continue
            try:
                manifest = artifact.read(folder, KIND)
            except BadInput:
                continue
            if manifest.hash == own:
                return folder, manifest
    return None


def _name(manifest: Manifest) -> str:
    said = manifest.config.get("text")
    name = said.get("name") if isinstance(said, dict) else said
    return str(name or "a text that is not named")

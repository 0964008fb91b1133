"""beside: what lies beside an atlas and is said of its features: explanations, words, and scores of both."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from physalis import artifact
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.explanations.explained import KIND as RULES
from physalis.explanations.explained import Explanations, pieces_in
from physalis.judging.scored import KIND as SCORES
from physalis.judging.scored import Scores
from physalis.judging.words import KIND as WORDS
from physalis.judging.words import Words


class Beside(NamedTuple):
    """Of several folders of a kind those of most features; all scores of what is shown."""

    rules: Explanations | None
    words: Words | None
    scores: tuple[Scores, ...]


T = TypeVar("T", Explanations, Words, Scores)


def find_beside(atlas: Atlas) -> Beside:
    """Those of the atlas's dictionary; of explanations that are being made, those that are there. What cannot be read
    is passed over, and said."""
    found = {folder: artifact.kind_of(folder) for folder in folders_beside(atlas.folder)}
    found |= {folder: RULES for folder, kind in found.items() if kind is None and _is_begun(folder)}

    def opened(kind: str, what: str, open_: Callable[[Path], T]) -> Iterator[T]:
        for folder in (folder for folder, its in found.items() if its == kind):
            try:
                each = open_(folder)
                if _is_of(each, atlas):
                    yield each
            except BadInput as error:  # the atlas is shown without them
                print(f"The {what} in {folder.name} are not shown. {error}", file=sys.stderr)

    def checked(folder: Path) -> Explanations:
        rules = Explanations.so_far(folder)
        if _is_of(rules, atlas):
            check(rules, atlas)
        return rules

    def words_of(folder: Path) -> Words:
        words = Words.open(folder)
        if _is_of(words, atlas) and (wrong := [each.feature for each in words if not 0 <= each.feature < len(atlas)]):
            raise BadInput(f"{folder} describes feature {wrong[0]}, and {atlas.folder} has {len(atlas):,}.")
        return words

    rules = max(opened(RULES, "rules", checked), key=len, default=None)
    words = max(opened(WORDS, "words", words_of), key=len, default=None)
    shown = {each.manifest.hash for each in (rules, words) if each is not None}
    scores = [
        each for each in opened(SCORES, "scores", Scores.open) if each.manifest.inputs.get("explanations") in shown
    ]
    return Beside(rules, words, tuple(scores))


def _is_begun(folder: Path) -> bool:
    try:
        job = artifact.read_json(folder / artifact.JOB) if pieces_in(folder) else None
    except (BadInput, OSError):
        return False
    return isinstance(job, dict) and job.get("kind") == RULES


def check(rules: Explanations, atlas: Atlas) -> None:
    """Raise BadInput if they are of another dictionary than the atlas, or of features that it does not have."""
    if not _is_of(rules, atlas):
        raise BadInput(f"{rules.folder} explains another dictionary than that of {atlas.folder}. Explain that one.")
    if wrong := [each.feature for each in rules if not 0 <= each.feature < len(atlas)]:
        raise BadInput(f"{rules.folder} explains feature {wrong[0]}, and {atlas.folder} has {len(atlas):,}.")


def folders_beside(folder: Path) -> list[Path]:
    """What lies beside a folder, by name; nothing where that may not be listed."""
    try:
        return sorted(folder.resolve().parent.iterdir())
    except OSError:
        return []


def _is_of(said: Explanations | Words | Scores, atlas: Atlas) -> bool:
    hash = atlas.manifest.inputs.get("dictionary")
    return hash is not None and said.manifest.inputs.get("dictionary") == hash
